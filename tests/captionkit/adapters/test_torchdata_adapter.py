"""torchdata's loader: saved in the middle of an epoch it goes on with the same texts, in any process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, RandomSampler
from torchdata.nodes import Batcher, IterableWrapper, Loader, ParallelMapper
from torchdata.stateful_dataloader import StatefulDataLoader

from captionkit.adapters.epoch import SharedEpoch
from captionkit.adapters.sampler import EpochSampler
from captionkit.adapters.table import RenderBatch
from captionkit.adapters.torch import CaptionDataset, CaptionIterable, collate
from captionkit.adapters.torchdata import caption_loader
from tests.captionkit.adapters.little_data import SIZE, Pictures, Stream, recipe, records, tags_of, wanted

# torchdata 0.11 calls `torch.set_vital`, which torch 2.13 has deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated, please do not call:UserWarning"),
    # What PyTorch says of two workers on one core.
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
]

ROOT = Path(__file__).resolve().parents[3]


def seen(batches: Any) -> list[tuple[str, str]]:
    return [pair for batch in batches for pair in zip(batch["name"], batch["text"], strict=True)]


def loader(num_workers: int = 0, repeats: int = 2, **options: Any) -> Any:
    dataset = CaptionDataset(Pictures(), records(), recipe(), repeats=repeats)
    return caption_loader(dataset, batch_size=5, seed=3, num_workers=num_workers, **options)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("done", [0, 1, 3, 5])
def test_it_goes_on_where_it_was_saved(num_workers: int, done: int) -> None:
    first = loader(num_workers)
    first.sampler.set_epoch(4)
    passing = iter(first)
    before = seen(next(passing) for _ in range(done))
    state = first.state_dict()
    rest = seen(passing)
    assert len(before + rest) == 2 * SIZE
    second = loader(num_workers)
    second.load_state_dict(state)
    again = seen(second)
    if done < 5:
        assert again == rest
        assert second.sampler.epoch == 4
    for epoch in (5, 6):
        for one in (first, second):
            one.sampler.set_epoch(epoch)
        following = seen(first)
        assert following == seen(second)
        assert len(following) == 2 * SIZE


def test_the_order_and_the_texts_are_those_of_the_epoch_whatever_the_number_of_workers() -> None:
    for epoch in (0, 1):
        orders = []
        for num_workers in (0, 2):
            one = loader(num_workers)
            one.sampler.set_epoch(epoch)
            orders.append(seen(one))
        assert orders[0] == orders[1]
        texts = [wanted(epoch, draw) for draw in range(2)]
        assert sorted(orders[0]) == sorted((name, one[name][0]) for one in texts for name in one)


SCRIPT = """
import sys, torch
from tests.captionkit.adapters.test_torchdata_adapter import loader, seen
workers, path, step = int(sys.argv[1]), sys.argv[2], sys.argv[3]
one = loader(workers, persistent_workers=workers > 0)
if step == "whole":
    for epoch in (0, 1):
        one.sampler.set_epoch(epoch)
        print(seen(one))
elif step == "save":
    print(seen(one))
    one.sampler.set_epoch(1)
    passing = iter(one)
    print(seen(next(passing) for _ in range(2)), end="")
    torch.save({"loader": one.state_dict(), "epoch": 1}, path)
else:
    saved = torch.load(path)
    one.load_state_dict(saved["loader"])
    one.sampler.set_epoch(saved["epoch"])
    print(seen(one))
"""


def test_another_process_with_two_workers_goes_on(tmp_path: Path) -> None:
    def run(step: str, workers: int) -> str:
        arguments = [str(workers), str(tmp_path / "state.pt"), step]
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        said = subprocess.run(
            [sys.executable, "-c", SCRIPT, *arguments], env=env, capture_output=True, text=True, check=False
        )
        assert said.returncode == 0, said.stderr
        return said.stdout

    whole = run("whole", 0)
    assert (run("save", 2) + run("go on", 2)).replace("][", ", ") == whole


def test_a_sampler_of_ones_own() -> None:
    def made(num_workers: int) -> Any:
        order = RandomSampler(range(SIZE), generator=torch.Generator().manual_seed(5))
        batches = EpochSampler(BatchSampler(order, 4, drop_last=False))
        dataset = CaptionDataset(Pictures(), records(), recipe())
        options: Any = {"batch_sampler": batches, "num_workers": num_workers, "collate_fn": collate}
        return StatefulDataLoader(dataset, **options)

    for num_workers in (0, 2):
        first = made(num_workers)
        seen(first)
        first.batch_sampler.set_epoch(1)
        passing = iter(first)
        next(passing)
        state = first.state_dict()
        rest = seen(passing)
        second = made(num_workers)
        second.load_state_dict(state)
        assert seen(second) == rest
        assert dict(rest).items() <= {name: text for name, (text, _) in wanted(1).items()}.items()


class Saving(Stream):
    """A stream that can save its own place."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 0

    def __iter__(self) -> Any:
        start, self.at = self.at, 0
        for place, sample in enumerate(self.source()):
            if place >= start:
                self.at = place + 1
                yield sample
        self.at = 0

    def source(self) -> Any:
        return super().__iter__()

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at = state["at"]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("stream", [Stream, Saving])
@pytest.mark.parametrize("done", [1, 3])
def test_a_stream_goes_on_in_the_epoch_of_its_state(
    num_workers: int, stream: type[Stream], done: int
) -> None:
    def made() -> tuple[CaptionIterable, Any]:
        named = {record.id: record for record in records()}
        dataset = CaptionIterable(stream(), named, recipe(), key="name")
        return dataset, StatefulDataLoader(dataset, batch_size=3, num_workers=num_workers, collate_fn=collate)

    dataset, first = made()
    dataset.set_epoch(2)
    passing = iter(first)
    before = seen(next(passing) for _ in range(done))
    state = first.state_dict()
    rest = seen(passing)
    whole = {name: text for name, (text, _) in wanted(2).items()}
    assert dict(before + rest) == whole
    dataset, second = made()  # Nobody tells this one of epoch 2.
    second.load_state_dict(state)
    assert seen(second) == rest
    dataset.set_epoch(3)
    assert dict(seen(second)) == {name: text for name, (text, _) in wanted(3).items()}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stream_saved_at_its_end_begins_the_next_epoch(num_workers: int) -> None:
    named = {record.id: record for record in records()}

    def made() -> tuple[CaptionIterable, Any]:
        dataset = CaptionIterable(Stream(), named, recipe(), key="name")
        return dataset, StatefulDataLoader(dataset, batch_size=3, num_workers=num_workers, collate_fn=collate)

    dataset, first = made()
    dataset.set_epoch(2)
    seen(first)
    state = first.state_dict()
    dataset, second = made()
    second.load_state_dict(state)
    dataset.set_epoch(3)
    assert dict(seen(second)) == {name: text for name, (text, _) in wanted(3).items()}


class Uneven(Saving):
    """One worker has 2 samples, the other 10."""

    def source(self) -> Any:
        info = torch.utils.data.get_worker_info()
        assert info is not None
        for index in range(2) if info.id == 0 else range(2, SIZE):
            yield {"image": torch.zeros(1, 2, 2), "name": f"p{index:03}"}


@pytest.mark.parametrize("done", [1, 2, 3, 4])
def test_a_worker_that_had_ended_has_ended_afterwards(done: int) -> None:
    named = {record.id: record for record in records()}

    def made() -> Any:
        dataset = CaptionIterable(Uneven(), named, recipe(), key="name")
        return StatefulDataLoader(dataset, batch_size=2, num_workers=2, collate_fn=collate)

    first = made()
    passing = iter(first)
    before = seen(next(passing) for _ in range(done))
    state = first.state_dict()
    rest = seen(passing)
    assert len(before + rest) == SIZE
    second = made()
    second.load_state_dict(state)
    assert seen(second) == rest


def test_nodes() -> None:
    epoch = SharedEpoch(1)
    render = RenderBatch(recipe(), epoch=epoch)
    rows = [{"id": f"p{index:03}", "tags": tags_of(index)} for index in range(SIZE)]

    def rendered(batch: list[dict[str, Any]]) -> dict[str, Any]:
        return dict(render({name: [row[name] for row in batch] for name in batch[0]}))

    node: Any = Batcher(IterableWrapper(rows), batch_size=4)
    nodes = Loader(ParallelMapper(node, rendered, num_workers=2, method="thread"))
    said = {name: text for batch in nodes for name, text in zip(batch["id"], batch["text"], strict=True)}
    assert said == {name: text for name, (text, _) in wanted(1).items()}
