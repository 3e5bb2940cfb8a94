"""ai-toolkit: its two mixins patched.

ai-toolkit is not on PyPI (the package of that name there is another). What stands for it keeps to the
signatures of 27a03a9: `load_caption(caption_dict)`, `get_caption(trigger, to_replace_list,
add_if_not_present, short_caption)`, `load_and_process_image(transform, only_load_latents)`, and to how its
dataset uses them: a deep copy of the item, its picture, then its caption.
"""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from captionkit import CaptionkitError, load_pipeline
from captionkit.adapters.ai_toolkit import ItemCaptions, install
from captionkit.adapters.captioner import Captioner, mirrored, unmirrored
from tests.captionkit.adapters.peers import PATIENCE, pictures, pipeline, records


class CaptionProcessingDTOMixin:
    """The attributes are those of ai-toolkit's `FileItemDTO`."""

    path: str
    flip_x: bool
    dataset_config: Any
    raw_caption: str | None
    raw_caption_short: str | None
    caption: str
    caption_short: str
    trigger_word: str | None
    is_reg: bool

    def load_caption(self, caption_dict: Any = None) -> None:
        if self.raw_caption is None:
            self.raw_caption, self.raw_caption_short = "text, of, the, file", "short text"
        self.caption = self.get_caption()
        self.caption_short = self.get_caption(short_caption=True)

    def get_caption(
        self,
        trigger: str | None = None,
        to_replace_list: list[str] | None = None,
        add_if_not_present: bool = False,
        short_caption: bool = False,
    ) -> str:
        raw = self.raw_caption_short if short_caption else self.raw_caption
        return f"ai-toolkit's own: {raw}"


class ImageProcessingDTOMixin:
    image: tuple[str, str]

    def load_and_process_image(self, transform: Any, only_load_latents: bool = False) -> None:
        flip: bool = self.flip_x  # type: ignore[attr-defined]
        self.image = ("right", "left") if flip else ("left", "right")


def inject_trigger_into_prompt(
    prompt: str, trigger: str | None, to_replace_list: Any, add_if_not_present: bool
) -> str:
    return f"{trigger} {prompt}" if trigger and add_if_not_present and trigger not in prompt else prompt


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The modules of ai-toolkit that the adapter imports, fresh for each test."""
    mixins, prompts = ModuleType("toolkit.dataloader_mixins"), ModuleType("toolkit.prompt_utils")
    captioned = type("CaptionProcessingDTOMixin", (CaptionProcessingDTOMixin,), {})
    pictured = type("ImageProcessingDTOMixin", (ImageProcessingDTOMixin,), {})
    vars(mixins).update(CaptionProcessingDTOMixin=captioned, ImageProcessingDTOMixin=pictured)
    vars(prompts).update(inject_trigger_into_prompt=inject_trigger_into_prompt)
    monkeypatch.setitem(sys.modules, "toolkit.dataloader_mixins", mixins)
    monkeypatch.setitem(sys.modules, "toolkit.prompt_utils", prompts)
    return type("FileItemDTO", (captioned, pictured), {})


def item(kind: Any, number: int, *, flip_x: bool = False, cached: bool = False, **attributes: Any) -> Any:
    made = kind()
    vars(made).update(
        path=f"/data/set/{number}.png",
        flip_x=flip_x,
        raw_caption=None,
        raw_caption_short=None,
        trigger_word=None,
        is_reg=False,
        dataset_config=SimpleNamespace(cache_text_embeddings=cached),
    )
    vars(made).update(attributes)
    return made


def drawn(one: Any) -> Any:
    """What ai-toolkit's dataset does for one picture of a batch."""
    seen = copy.deepcopy(one)
    seen.load_and_process_image(None)
    seen.load_caption({})
    return seen


def test_each_visit_is_the_next_epoch_of_the_pipeline(peer: Any) -> None:
    install(pipeline(), records(), first_epoch=2)
    for record in pictures():
        one = item(peer, int(record.id.rpartition("/")[2]))
        for epoch in (2, 3, 4):
            seen = drawn(one)
            expected = unmirrored(pipeline()).render(record, epoch=epoch).text
            assert (seen.caption, seen.image) == (expected, ("left", "right"))
            assert seen.get_caption() == expected  # Asked again for the same copy, nothing is drawn.
            assert seen.caption_short == "ai-toolkit's own: short text"


def test_a_caption_that_is_loaded_again_is_drawn_anew(peer: Any) -> None:
    install(pipeline(), records())
    one = item(peer, 1)
    for epoch in range(3):
        one.load_caption({})
        assert one.caption == unmirrored(pipeline()).render(pictures()[1], epoch=epoch).text


def test_mirrored_copies_have_the_text_of_the_mirrored_picture_or_are_not_mirrored(peer: Any) -> None:
    install(pipeline(), records(), repeats=2)
    swapped = 0
    for record in pictures():
        number = int(record.id.rpartition("/")[2])
        for epoch in (0, 1):
            one, other = (drawn(item(peer, number, flip_x=flip)) for flip in (False, True))
            assert one.caption == unmirrored(pipeline()).render(record, epoch=epoch, draw=0).text
            expected = mirrored(pipeline()).render(record, epoch=epoch, draw=1)
            assert (other.caption, other.image) == (
                expected.text,
                ("right", "left") if expected.flip else ("left", "right"),
            )
            assert expected.flip == ("text on sign" not in {tag.name for tag in record.tags})
            swapped += "right arm up" in other.caption
    assert swapped > 0


def test_cached_text_embeddings_are_of_one_text(peer: Any) -> None:
    install(pipeline(), records())
    texts = {drawn(item(peer, 1, cached=True)).caption for _ in range(5)}
    assert texts == {unmirrored(pipeline()).render(pictures()[1]).text}


def test_the_trigger_is_put_in_but_not_into_an_empty_caption(peer: Any) -> None:
    install(pipeline().model_copy(update={"steps": ()}), records())
    assert drawn(item(peer, 1, trigger_word="sks")).caption.startswith("sks fox, snow")
    assert drawn(item(peer, 1, trigger_word="sks", is_reg=True)).caption.startswith("fox, snow")
    empty = load_pipeline({"steps": [{"kind": "empty_caption", "p": 1.0}]})
    captions = ItemCaptions(Captioner(empty, records()))
    assert captions.text(item(peer, 1), "") == ""
    install(empty, records())
    assert drawn(item(peer, 1, trigger_word="sks")).caption == ""


def _texts(arguments: tuple[ItemCaptions, Any]) -> None:
    captions, queue = arguments
    queue.put([captions.text(item(CaptionProcessingDTOMixin, number), "") for number in (1, 2) * 4])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_have_all_the_draws_between_them(method: str) -> None:
    captions = ItemCaptions(Captioner(pipeline(), records()))
    context: Any = multiprocessing.get_context(method)
    queue = context.Queue()
    workers = [context.Process(target=_texts, args=((captions, queue),)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = sorted(text for _ in workers for text in queue.get(timeout=PATIENCE))
    for worker in workers:
        worker.join(timeout=PATIENCE)
    expected = [
        unmirrored(pipeline()).render(pictures()[number], epoch=epoch).text
        for number in (1, 2)
        for epoch in range(8)
    ]
    assert found == sorted(expected)


def test_a_copy_says_the_same() -> None:
    captions = ItemCaptions(Captioner(pipeline(), records()))
    other = pickle.loads(pickle.dumps(captions))
    for _ in range(3):
        one = item(CaptionProcessingDTOMixin, 1)
        text = captions.text(one, "")
        captions.forget(one)
        assert other.text(one, "") == text


def test_without_ai_toolkit_it_says_so() -> None:
    with pytest.raises(CaptionkitError, match="ai-toolkit cannot be imported"):
        install(pipeline())
