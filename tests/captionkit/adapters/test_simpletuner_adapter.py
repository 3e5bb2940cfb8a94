"""SimpleTuner 3.1.6 from PyPI: its own PromptHandler, in a Python of its own.

`simpletuner.helpers.prompts` imports with what the tests have; nothing stands for anything. `CaptionShuffler`
came later (main, 2026-08) and is not in 3.1.6: the same two methods are patched in both.
"""

from __future__ import annotations

import ast
import json
import pickle
from pathlib import Path
from typing import Any, ClassVar

import pytest

from captionkit import CaptionkitError, DataError
from captionkit.adapters.captioner import Captioner
from captionkit.adapters.simpletuner import Variants, install, patch
from tests.captionkit.adapters.peers import never_mirrored, pictures, pipeline, records, run_apart, unpacked

REAL = """
import json
from pathlib import Path
from simpletuner.helpers.prompts import PromptHandler
from simpletuner.helpers.training.state_tracker import StateTracker
from captionkit.adapters.lookup import Records
from captionkit.adapters.simpletuner import install
from tests.captionkit.adapters.peers import pictures, pipeline

class Backend:  # The methods of a data backend that the reading of text files calls.
    id = "pictures"
    def exists(self, path): return Path(path).is_file()
    def read(self, path): return Path(path).read_bytes()
    def list_files(self, instance_data_dir, file_extensions):
        return [(instance_data_dir, [], sorted(map(str, Path(instance_data_dir).rglob("*.png"))))]

install(pipeline(), Records(pictures(), root="."), count=4)
# No list of files was made before, as at the first start; the real one asks for the whole configuration.
StateTracker.get_image_files = classmethod(lambda cls, data_backend_id: None)
named = dict(prepend_instance_prompt=False, data_backend=Backend(), use_captions=True)
every = dict(named, instance_data_dir=".", caption_strategy="textfile")
captions, missing, paths = PromptHandler.get_all_captions(return_image_paths=True, **every)
drawn = {path: PromptHandler.magic_prompt(
    image_path=path, caption_strategy="textfile", sampler_backend_id="pictures", **named)
    for path in dict.fromkeys(paths)}
instance = PromptHandler.magic_prompt(image_path="set/0.png", caption_strategy="instanceprompt",
    instance_prompt="a fox", **named)
print(json.dumps([captions, missing, paths, drawn, len(PromptHandler.get_all_captions(**every)), instance]))
"""


@pytest.fixture(scope="module")
def simpletuner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.getbasetemp(), "simpletuner==3.1.6")


def expected(count: int) -> dict[str, list[str]]:
    """The texts of each picture's draws, each once."""
    return {
        str(record.image): list(
            dict.fromkeys(one.text for one in never_mirrored().render_many(record, count))
        )
        for record in pictures()
    }


def test_the_real_cache_and_the_real_draws_have_one_set_of_captions(
    simpletuner: Path, tmp_path: Path
) -> None:
    for record in pictures():
        picture = tmp_path / str(record.image)
        picture.parent.mkdir(exist_ok=True)
        picture.touch()
        picture.with_suffix(".txt").write_text("one line\nanother", encoding="utf-8")
    printed = run_apart(REAL, [simpletuner], tmp_path)
    captions, missing, paths, drawn, length, instance = json.loads(printed.splitlines()[-1])
    assert (missing, length, instance) == ([], 2, "a fox")
    cached: dict[str, list[str]] = {}
    for path, caption in zip(paths, captions, strict=True):
        cached.setdefault(path, []).append(caption)
    assert cached == expected(4)
    assert drawn == cached


def test_the_two_methods_have_the_signatures_that_are_patched(simpletuner: Path) -> None:
    tree = ast.parse((simpletuner / "simpletuner/helpers/prompts.py").read_text(encoding="utf-8"))
    handler = next(one for one in tree.body if isinstance(one, ast.ClassDef) and one.name == "PromptHandler")
    named = {one.name: one for one in handler.body if isinstance(one, ast.FunctionDef)}
    for name, place in (("magic_prompt", 2), ("get_all_captions", 4)):
        method = named[name]
        assert [ast.unparse(one) for one in method.decorator_list] == ["staticmethod"]
        assert method.args.args[place].arg == "caption_strategy"
    assert named["magic_prompt"].args.args[0].arg == "image_path"
    assert "return_image_paths" in [one.arg for one in named["get_all_captions"].args.args]


class Handler:
    """As SimpleTuner's, with captions by picture."""

    read: ClassVar[dict[str, Any]] = {
        "/data/set/1.png": ["a", "b"],
        "/data/set/2.png": "c",
        "/data/new.png": None,
    }

    @staticmethod
    def magic_prompt(
        image_path: str, use_captions: bool, caption_strategy: str | None, prepend_instance_prompt: bool
    ) -> Any:
        return Handler.read[image_path]

    @staticmethod
    def get_all_captions(
        instance_data_dir: str,
        use_captions: bool,
        prepend_instance_prompt: bool,
        data_backend: object,
        caption_strategy: str,
        instance_prompt: str | None = None,
        return_image_paths: bool = False,
    ) -> Any:
        pairs = [(path, "x") for path in ("/data/set/1.png", "/data/set/1.png", "/data/set/2.png")]
        captions, paths = [caption for _, caption in pairs], [path for path, _ in pairs]
        return (captions, [], paths) if return_image_paths else (captions, [])


def patched(count: int) -> Any:
    handler = type("Handler", (Handler,), {})
    patch(handler, Variants(Captioner(pipeline(), records()), count))
    return handler


@pytest.mark.parametrize("count", [1, 3])
def test_arguments_may_stand_in_their_places(count: int) -> None:
    handler = patched(count)
    texts = expected(count)["set/1.png"]
    assert handler.magic_prompt("/data/set/1.png", True, "textfile", False) == (
        texts if count > 1 else texts[0]
    )
    assert handler.magic_prompt("/data/new.png", True, None, False) is None
    captions, missing = handler.get_all_captions("/data", True, False, None, "textfile")
    assert (captions, missing) == (texts + expected(count)["set/2.png"], [])
    assert handler.get_all_captions("/data", True, False, None, "instanceprompt")[0] == ["x", "x", "x"]


def test_the_set_is_the_same_in_every_process() -> None:
    variants = Variants(Captioner(pipeline(), records()), 5)
    copy = pickle.loads(pickle.dumps(variants))
    for record in pictures():
        path = f"/data/{record.image}"
        assert copy(path, []) == variants(path, ["other text"]) == expected(5)[str(record.image)]


def test_the_lines_of_a_picture_without_a_record_are_one_record() -> None:
    variants = Variants(Captioner(never_mirrored().model_copy(update={"steps": ()})), 3)
    assert variants("new.png", ["fox, snow", "A fox sits in the snow."]) == [
        "fox, snow, A fox sits in the snow."
    ]


def test_without_records_the_cache_gets_captions_made_of_what_was_read() -> None:
    handler: Any = type("Handler", (Handler,), {})
    patch(handler, Variants(Captioner(never_mirrored().model_copy(update={"steps": ()})), 3))
    captions, _, paths = handler.get_all_captions(
        "/data", True, False, None, "textfile", return_image_paths=True
    )
    # "x" was read twice for one picture, and a tag that stands twice counts once.
    assert (captions, paths) == (["x", "x"], ["/data/set/1.png", "/data/set/2.png"])


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(DataError, match="count is 0, must be 1 or more"):
        Variants(Captioner(pipeline()), 0)
    with pytest.raises(CaptionkitError, match="SimpleTuner cannot be imported"):
        install(pipeline())
