"""naifu 0.1.3 from PyPI: its own `Entry` and the batch it makes of one.

`process_batch_fn` came after 0.1.3, which is on PyPI (naifu 0693277 has it): there `get_batch` calls the
function for each entry before it crops it. The store below does this at the same place, and all else is the
real `StoreBase` in a Python of its own. For what its file imports and the tests have not, three things stand:
`h5py` (no latents are read), `torchvision` (pictures are not resized) and `common.utils` (messages).
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from captionkit import DataError
from captionkit.adapters import naifu
from captionkit.adapters.captioner import Captioner
from captionkit.adapters.lookup import record_of_text
from tests.captionkit.adapters.peers import (
    RECIPE,
    never_mirrored,
    pictures,
    pipeline,
    records,
    run_apart,
    unpacked,
)

# What PyTorch says of two workers on one core.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

REAL = """
import importlib, json, sys
from types import ModuleType, SimpleNamespace
import torch

def stand(name, **members):
    vars(sys.modules.setdefault(name, ModuleType(name))).update(members)

nothing = lambda *arguments, **named: None
transforms = SimpleNamespace(Compose=nothing, ToTensor=nothing, Normalize=nothing)
stand("h5py")
stand("torchvision", transforms=transforms)
stand("torchvision.transforms", Resize=lambda *size, **named: lambda pixel: pixel,
      InterpolationMode=SimpleNamespace(BILINEAR=0, BICUBIC=1))
stand("common.utils", rank_zero_debug=nothing, rank_zero_warn=nothing)
from common.storage import Entry, StoreBase, get_class
from captionkit.adapters import naifu
from tests.captionkit.adapters.peers import pictures, pipeline, records

class Store(StoreBase):
    def get_raw_entry(self, index):
        pixel = torch.zeros(3, 4, 4)
        pixel[..., 0] = 1
        return False, pixel, pictures()[index].id, (4, 4), (0, 0), None
    def _get_entry(self, index):
        return get_class("captionkit.adapters.naifu.fn")(super()._get_entry(index))

naifu.prepare(pipeline(), records())
store = Store(".", dtype=torch.float32)
store.to_ratio = {index: 1.0 for index in range(len(pictures()))}
store.ratio_to_bucket = {1.0: (4, 4)}
batches = [store.get_batch(list(range(len(pictures())))) for _ in range(2)]
print(json.dumps([[batch["prompts"], batch["pixels"][:, 0, 0].tolist()] for batch in batches]))
"""


@dataclass
class Entry:
    """As in naifu."""

    is_latent: bool
    pixel: torch.Tensor
    prompt: str
    original_size: tuple[int, int] = (4, 4)
    cropped_size: tuple[int, int] | None = None
    dhdw: tuple[int, int] | None = None
    extras: Any = None


def entry(prompt: str, **other: Any) -> Entry:
    pixel = torch.zeros(3, 2, 2)
    pixel[..., 0] = 1
    fields: dict[str, Any] = {"is_latent": False, "pixel": pixel, "prompt": prompt}
    return Entry(**(fields | other))


@pytest.fixture(autouse=True)
def _unprepared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    naifu._ready.clear()
    yield
    naifu._ready.clear()


def test_the_real_store_makes_batches_of_the_pipeline_s_texts(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    peer = unpacked(tmp_path_factory.getbasetemp(), "naifu==0.1.3")
    printed = run_apart(REAL, [peer], tmp_path)
    for epoch, (prompts, rows) in enumerate(json.loads(printed.splitlines()[-1])):
        expected = [pipeline().render(one, epoch=epoch) for one in pictures()]
        assert prompts == [rendered.text for rendered in expected]
        assert rows == [[0, 0, 0, 1] if one.flip else [1, 0, 0, 0] for one in expected]


def test_what_was_prepared_last_counts() -> None:
    naifu.prepare(pipeline())
    naifu.prepare(pipeline(), records())
    assert naifu.fn(entry("set/1")).prompt == pipeline().render(pictures()[1]).text


def test_latents_are_not_mirrored() -> None:
    naifu.prepare(pipeline(), records())
    for record in pictures():
        made = naifu.fn(entry(record.id, is_latent=True))
        assert made.prompt == never_mirrored().render(record).text
        assert made.pixel[0, 0].tolist() == [1, 0]


def test_the_path_is_known_where_a_store_gives_it() -> None:
    naifu.prepare(pipeline(), records(), first_epoch=3)
    made = naifu.fn(entry("any text", extras={"path": "/data/set/4.png", "other": 1}))
    assert made.prompt == pipeline().render(pictures()[4], epoch=3).text
    assert made.extras == {"path": "/data/set/4.png", "other": 1}


def test_without_a_record_the_text_is_the_picture() -> None:
    naifu.prepare(pipeline())
    for epoch in range(3):
        rendered = pipeline().render(record_of_text("fox, snow, day"), epoch=epoch)
        assert naifu.fn(entry("fox, snow, day")).prompt == rendered.text


class Prompts(Dataset[str]):
    """What naifu's workers do: the function is looked up in the worker."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> str:
        made: Entry = naifu.fn(entry("set/1" if index // 2 % 2 else "set/2"))
        return made.prompt


def epoch_of(num_workers: int) -> list[str]:
    """One epoch with workers of its own."""
    loader = DataLoader(Prompts(), batch_size=None, num_workers=num_workers, multiprocessing_context="fork")
    return list(loader)


def test_prepared_workers_go_on_where_those_of_the_last_epoch_stopped() -> None:
    naifu.prepare(pipeline(), records())
    found = epoch_of(2) + epoch_of(2)
    one, two = pictures()[1], pictures()[2]
    draws = range(len(found) // 2)
    expected = [pipeline().render(record, epoch=n).text for record in (one, two) for n in draws]
    assert sorted(found) == sorted(expected)


def test_unprepared_workers_are_told_by_the_environment_and_draw_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="CAPTIONKIT_RECIPE is not set"):
        naifu.fn(entry("fox"))
    lines = [json.dumps({"file": one.image, "tags": [t.name for t in one.tags]}) for one in pictures()]
    (tmp_path / "data.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    monkeypatch.setenv("CAPTIONKIT_RECIPE", str(tmp_path / "recipe.toml"))
    monkeypatch.setenv("CAPTIONKIT_DATA", str(tmp_path / "data.jsonl"))
    torch.manual_seed(5)
    first, second = epoch_of(2), epoch_of(2)
    torch.manual_seed(5)
    assert (epoch_of(2), epoch_of(2)) == (first, second)
    assert first != second
    assert len(set(first[0::4])) > 1
    assert first[0::4] != first[1::4]  # One picture, two workers.


def test_a_copy_says_the_same() -> None:
    captions = naifu.EntryCaptions(Captioner(pipeline(), records()))
    copy = pickle.loads(pickle.dumps(captions))
    for _ in range(3):
        assert copy(entry("set/1")).prompt == captions(entry("set/1")).prompt
