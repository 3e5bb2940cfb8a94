"""OneTrainer: the module in a pipeline as mgds runs it, and the patch of its augmentation modules.

mgds and OneTrainer are not on PyPI. What stands for them here keeps to the signatures of mgds 3a6994a and
OneTrainer 23df383: `PipelineModule`, `RandomAccessPipelineModule.get_item`, `RandomFlip`'s two flags, and
`DataLoaderText2ImageMixin._augmentation_modules(config)`.
"""

from __future__ import annotations

import pickle
import random
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from captionkit import CaptionkitError
from captionkit.adapters.captioner import Captioner
from captionkit.adapters.onetrainer import CaptionStep, caption_module, install, with_captions
from tests.captionkit.adapters.peers import never_mirrored, pictures, pipeline, records


class PipelineModule:
    """A module asks those before it, from the nearest back, for an item by name; None means "ask further"."""

    modules: list[Any]
    place: int

    def __init__(self) -> None:
        super().__init__()
        self.made = True

    def _get_previous_item(self, variation: int, name: str, index: int) -> Any:
        name, *path = name.split(".")
        for module in reversed(self.modules[: self.place]):
            if name in module.get_outputs():
                item = module.get_item(variation, index, name)[name]
                if item is not None:
                    break
        for step in path:
            item = item.get(step)
        return item

    def _get_previous_length(self, name: str) -> int:
        found = next(one for one in reversed(self.modules[: self.place]) if name in one.get_outputs())
        return int(found.length())

    def _get_rand(self, variation: int, index: int) -> random.Random:
        return random.Random(hash((42, self.place, variation, index)))


class RandomAccessPipelineModule:
    def __init__(self) -> None:
        super().__init__()
        self.started = False


class Pictures(PipelineModule):
    """What OneTrainer has read before the augmentation: path, picture, text, concept."""

    def length(self) -> int:
        return len(pictures())

    def get_outputs(self) -> list[str]:
        return ["image_path", "image", "prompt", "concept"]

    def get_item(self, variation: int, index: int, name: str | None = None) -> dict[str, Any]:
        return {
            "image_path": f"/data/{pictures()[index].image}",
            "image": ("left", "right"),
            "prompt": "what stood in the file",
            "concept": {"image": {"enable_random_flip": True, "enable_fixed_flip": False}},
        }


class RandomFlip(PipelineModule):
    """`enabled_in_name`: by a coin; else `fixed_enabled_in_name`: always."""

    def __init__(self, names: list[str], enabled_in_name: str, fixed_enabled_in_name: str) -> None:
        super().__init__()
        self.names = names
        self.enabled_in_name = enabled_in_name
        self.fixed_enabled_in_name = fixed_enabled_in_name

    def length(self) -> int:
        return self._get_previous_length(self.names[0])

    def get_outputs(self) -> list[str]:
        return self.names

    def get_item(self, variation: int, index: int, name: str | None = None) -> dict[str, Any]:
        flip = self._get_previous_item(variation, self.fixed_enabled_in_name, index)
        if self._get_previous_item(variation, self.enabled_in_name, index):
            flip = self._get_rand(variation, index).random() < 0.5
        images = {name: self._get_previous_item(variation, name, index) for name in self.names}
        return {name: image[::-1] if flip else image for name, image in images.items()}


class ShuffleTags(PipelineModule):
    def get_outputs(self) -> list[str]:
        return ["prompt"]

    def get_item(self, variation: int, index: int, name: str | None = None) -> dict[str, Any]:
        raise AssertionError("OneTrainer's own text steps must be gone")


class DataLoaderText2ImageMixin:
    def _augmentation_modules(self, config: Any) -> list[Any]:
        concept = "concept.image"
        flip = RandomFlip(["image"], f"{concept}.enable_random_flip", f"{concept}.enable_fixed_flip")
        return [flip, ShuffleTags()]


@pytest.fixture(autouse=True)
def _peer(monkeypatch: pytest.MonkeyPatch) -> None:
    mixin = type("DataLoaderText2ImageMixin", (DataLoaderText2ImageMixin,), {})
    for name, member in {
        "mgds.PipelineModule": PipelineModule,
        "mgds.pipelineModuleTypes.RandomAccessPipelineModule": RandomAccessPipelineModule,
        "modules.dataLoader.mixin.DataLoaderText2ImageMixin": mixin,
    }.items():
        module = ModuleType(name)
        setattr(module, name.rpartition(".")[2], member)
        monkeypatch.setitem(sys.modules, name, module)


def _started(modules: list[Any]) -> Any:
    """The last module of a pipeline that begins with the pictures."""
    whole = [Pictures(), *modules]
    for place, module in enumerate(whole):
        module.modules, module.place = whole, place
    return whole[-1]


@pytest.mark.parametrize("setting", ["latent_caching", "image_caching"])  # The older name and the newer.
@pytest.mark.parametrize("caching", [False, True])
def test_each_epoch_s_prompt_and_picture_are_those_of_the_pipeline(caching: bool, setting: str) -> None:
    install(pipeline(), records())
    mixin: Any = sys.modules["modules.dataLoader.mixin.DataLoaderText2ImageMixin"]
    loader = mixin.DataLoaderText2ImageMixin()
    last = _started(loader._augmentation_modules(SimpleNamespace(**{setting: caching})))
    assert last.length() == len(pictures())
    expected = never_mirrored() if caching else pipeline()
    flips = set()
    for index, record in enumerate(pictures()):
        for epoch in range(4):
            rendered = expected.render(record, epoch=epoch)
            prompt = last.modules[1].get_item(epoch, index)["prompt"]
            image = last.get_item(epoch, index, "image")["image"]
            assert (prompt, image == ("right", "left")) == (rendered.text, rendered.flip)
            flips.add(rendered.flip)
    assert flips == ({False} if caching else {False, True})


def test_the_module_keeps_to_the_protocol() -> None:
    module = caption_module(CaptionStep(Captioner(pipeline(), records())))
    assert type(module).__bases__ == (PipelineModule, RandomAccessPipelineModule)
    assert (module.made, module.started) == (True, False)
    assert module.get_inputs() == ["image_path", "prompt"]
    item = _started([module]).get_item(0, 1, requested_name="prompt")
    assert list(item) == module.get_outputs()
    assert None not in item.values()  # mgds would ask further back.


def test_the_step_can_go_to_other_processes() -> None:
    step = CaptionStep(Captioner(pipeline(), records()))
    copy = pickle.loads(pickle.dumps(step))
    assert [copy.item(epoch, "/data/set/1.png", "") for epoch in range(5)] == [
        step.item(epoch, "/data/set/1.png", "") for epoch in range(5)
    ]


def test_a_picture_without_a_record_has_the_text_that_onetrainer_read() -> None:
    step = CaptionStep(Captioner(pipeline(), records()))
    with pytest.warns(UserWarning, match="none of 12 records belongs to the picture '/data/new.png'"):
        item = step.item(0, "/data/new.png", "cat, dog")
    assert set(item["prompt"].split(", ")) <= {"cat", "dog"}


def test_a_run_in_several_processes_is_refused_since_the_others_have_no_patch() -> None:
    install(pipeline(), records())
    mixin: Any = sys.modules["modules.dataLoader.mixin.DataLoaderText2ImageMixin"]
    loader = mixin.DataLoaderText2ImageMixin()
    with pytest.raises(CaptionkitError, match="a process of its own for each further GPU"):
        loader._augmentation_modules(SimpleNamespace(latent_caching=False, multi_gpu=True))
    with pytest.raises(CaptionkitError, match="neither `latent_caching` nor"):
        loader._augmentation_modules(SimpleNamespace())


def test_another_onetrainer_is_refused() -> None:
    step = CaptionStep(Captioner(pipeline(), records()))
    with pytest.raises(CaptionkitError, match="has no RandomFlip"):
        with_captions([ShuffleTags()], step)


def test_without_onetrainer_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "modules.dataLoader.mixin.DataLoaderText2ImageMixin")
    with pytest.raises(CaptionkitError, match="cannot be imported"):
        install(pipeline())
