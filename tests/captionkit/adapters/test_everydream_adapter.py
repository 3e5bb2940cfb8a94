"""EveryDream2: the plugin, loaded and called as its trainer does.

EveryDream2 is not on PyPI. What stands for `plugins.plugins` keeps to 5098db8: `BasePlugin` with
`on_epoch_start(**kwargs)` and `transform_caption(caption)`, a loader that wants a subclass and gives no
arguments, workers that are forked anew for every epoch.
"""

from __future__ import annotations

import importlib
import multiprocessing
import pickle
import sys
import tomllib
import warnings
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from captionkit import CaptionkitError, load_pipeline
from captionkit.adapters import everydream
from captionkit.adapters.captioner import unmirrored
from captionkit.adapters.lookup import record_of_text
from tests.captionkit.adapters.peers import PATIENCE, RECIPE

CAPTION = "fox, snow, running, left arm up, tree, day"


class BasePlugin:
    def on_epoch_start(self, **kwargs: Any) -> None:
        pass

    def transform_caption(self, caption: str) -> str:
        return caption

    def transform_pil_image(self, img: Any) -> Any:
        return img


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The plugin, made by EveryDream2's way of loading one."""
    module = ModuleType("plugins.plugins")
    vars(module)["BasePlugin"] = BasePlugin
    monkeypatch.setitem(sys.modules, "plugins", ModuleType("plugins"))
    monkeypatch.setitem(sys.modules, "plugins.plugins", module)
    recipe, data = tmp_path / "recipe.toml", tmp_path / "data.jsonl"
    recipe.write_text(RECIPE, encoding="utf-8")
    data.write_text('{"file": "set/1.png", "tags": "cat, red, sky, night"}\n', encoding="utf-8")
    monkeypatch.setenv("CAPTIONKIT_RECIPE", str(recipe))
    monkeypatch.setenv("CAPTIONKIT_DATA", str(data))
    place, _, name = "captionkit.adapters.everydream.CaptionPlugin".rpartition(".")
    plugin_class = getattr(importlib.import_module(place), name)
    assert issubclass(plugin_class, BasePlugin)
    yield plugin_class()
    vars(everydream).pop(everydream.PLUGIN, None)


def expected(epoch: int, draw: int, text: str = CAPTION) -> str:
    pipeline = unmirrored(load_pipeline(tomllib.loads(RECIPE)))
    return pipeline.render(record_of_text(text), epoch=epoch, draw=draw).text


@pytest.mark.filterwarnings("ignore:none of 1 records")
def test_the_text_is_that_of_the_epoch_and_of_the_repeat(loaded: Any) -> None:
    for epoch in (0, 1, 5):
        loaded.on_epoch_start(epoch=epoch, global_step=9, epoch_length=3)
        for draw in range(3):
            assert loaded.transform_caption(CAPTION) == expected(epoch, draw)
        assert loaded.transform_pil_image("picture") == "picture"


def test_an_id_stands_for_its_record(loaded: Any) -> None:
    loaded.on_epoch_start(epoch=0)
    seen = {loaded.transform_caption("set/1") for _ in range(9)} | {loaded.transform_caption("set/1.png")}
    assert {tag for text in seen for tag in text.split(", ")} == {"cat", "red", "sky", "night"}


def test_a_text_of_its_own_is_said_once(loaded: Any) -> None:
    with pytest.warns(UserWarning, match="belongs to the text 'fox, snow"):
        loaded.transform_caption(CAPTION)


def _work(plugin: Any, queue: Any) -> None:
    warnings.simplefilter("ignore")
    queue.put([plugin.transform_caption(CAPTION) for _ in range(4)])


def test_the_workers_of_an_epoch_have_all_its_draws_between_them(loaded: Any) -> None:
    context: Any = multiprocessing.get_context("fork")
    for epoch in (0, 1):
        loaded.on_epoch_start(epoch=epoch)
        queue = context.Queue()
        workers = [context.Process(target=_work, args=(loaded, queue)) for _ in range(2)]
        for worker in workers:
            worker.start()
        found = [text for _ in workers for text in queue.get(timeout=PATIENCE)]
        for worker in workers:
            worker.join(timeout=PATIENCE)
        assert Counter(found) == Counter(expected(epoch, draw) for draw in range(8))


@pytest.mark.filterwarnings("ignore:none of 1 records")
def test_it_can_be_pickled_by_its_name(loaded: Any) -> None:
    loaded.on_epoch_start(epoch=3)
    copy = pickle.loads(pickle.dumps(loaded))
    assert type(copy) is type(loaded)
    assert copy.transform_caption(CAPTION) == loaded.transform_caption(CAPTION) == expected(3, 0)


def test_without_everydream_it_says_so() -> None:
    with pytest.raises(CaptionkitError, match="plugins cannot be imported"):
        vars(everydream)["__getattr__"]("CaptionPlugin")
    with pytest.raises(AttributeError, match="has no attribute 'Other'"):
        vars(everydream)["__getattr__"]("Other")
