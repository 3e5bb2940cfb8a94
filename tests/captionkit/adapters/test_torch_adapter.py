"""Captions through PyTorch's own loader: the same with any number of workers, however they are started."""

from __future__ import annotations

import itertools
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    WeightedRandomSampler,
)

from captionkit import CaptionPipeline, Curve, DataError, Record, parse_tags
from captionkit.adapters.epoch import SharedEpoch
from captionkit.adapters.pictures import mirrored
from captionkit.adapters.sampler import EpochSampler, Pick
from captionkit.adapters.samples import Captioned
from captionkit.adapters.torch import CaptionDataset, CaptionIterable, collate
from captionkit.policies import DropTags
from tests.captionkit.adapters.little_data import (
    SIZE,
    Pairs,
    Pictures,
    Stream,
    is_mirrored,
    picture,
    recipe,
    records,
    wanted,
)

# What PyTorch says of more workers than cores; here they are asked for on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

Seen = list[tuple[str, str, bool]]


def seen(loader: Any) -> Seen:
    """Name, text and flip of everything a loader gives, with the picture held against the flip."""
    said: Seen = []
    for batch in loader:
        for name, text, flip, image in zip(
            batch["name"], batch["text"], batch["flip"].tolist(), batch["image"], strict=True
        ):
            assert is_mirrored(image) == flip
            said.append((name, text, flip))
    return said


def by_name(said: Seen) -> dict[str, tuple[str, bool]]:
    return {name: (text, flip) for name, text, flip in said}


def picks(sampler: EpochSampler) -> list[Pick]:
    """One pass over a sampler of indices."""
    given = list(sampler)
    assert all(isinstance(pick, Pick) for pick in given)
    return cast(list[Pick], given)


WORKERS = [
    (0, None, False),
    (2, "fork", False),
    (2, "fork", True),
    (4, "fork", True),
    (2, "spawn", True),
    (2, "forkserver", True),
]
"""How many, how started, whether they live on between epochs."""


def loaders(dataset: Any, num_workers: int, how: str | None, persistent: bool, **options: Any) -> Any:
    return DataLoader(
        dataset,
        batch_size=4,
        num_workers=num_workers,
        multiprocessing_context=how,
        persistent_workers=persistent,
        collate_fn=collate,
        **options,
    )


@pytest.mark.parametrize(("num_workers", "how", "persistent"), WORKERS)
def test_a_text_is_a_function_of_record_and_epoch(
    num_workers: int, how: str | None, persistent: bool
) -> None:
    dataset = CaptionDataset(Pictures(), records(), recipe())
    loader = loaders(dataset, num_workers, how, persistent, shuffle=True)
    for epoch in (0, 1, 7):
        dataset.set_epoch(epoch)
        assert by_name(seen(loader)) == wanted(epoch)


@pytest.mark.parametrize(("num_workers", "how", "persistent"), WORKERS)
def test_a_stream_gives_the_same_texts(num_workers: int, how: str | None, persistent: bool) -> None:
    named = {record.id: record for record in records()}
    dataset = CaptionIterable(Stream(), named, recipe(), key="name")
    loader = loaders(dataset, num_workers, how, persistent)
    for epoch in (0, 1, 7):
        dataset.set_epoch(epoch)
        assert by_name(seen(loader)) == wanted(epoch)


def test_epochs_and_draws_differ() -> None:
    epochs = [wanted(epoch) for epoch in range(3)] + [wanted(0, draw=1)]
    for one, other in itertools.combinations(epochs, 2):
        assert sum(one[name] == other[name] for name in one) <= 1


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_sampler_hands_out_epoch_and_repeat(num_workers: int) -> None:
    order = [3, 1, 3, 3, 0, 1]
    sampler = EpochSampler(order, epoch=2)
    dataset = CaptionDataset(Pictures(), records(), recipe())  # Its own epoch stays 0.
    loader = loaders(dataset, num_workers, "fork" if num_workers else None, False, sampler=sampler)
    said = seen(loader)
    draws = [0, 0, 1, 2, 0, 1]
    names = [f"p{index:03}" for index in order]
    assert said == [(name, *wanted(2, draw)[name]) for name, draw in zip(names, draws, strict=True)]
    # Without it, an index alone cannot tell the second time from the first.
    plain = seen(loaders(dataset, 0, None, False, sampler=order))
    assert plain == [(name, *wanted(0)[name]) for name in names]


def test_persistent_workers_see_the_epoch_of_the_sampler() -> None:
    sampler = EpochSampler(RandomSampler(range(SIZE)))
    dataset = CaptionDataset(Pictures(), records(), recipe())
    loader = loaders(dataset, 2, "fork", True, sampler=sampler)
    for epoch in (4, 0):
        sampler.set_epoch(epoch)
        assert by_name(seen(loader)) == wanted(epoch)


def test_a_batch_sampler_hands_them_out_too() -> None:
    batches = EpochSampler(BatchSampler(SequentialSampler(range(SIZE)), 5, drop_last=False), epoch=3)
    dataset = CaptionDataset(Pictures(), records(), recipe())
    options: Any = {"batch_sampler": batches, "num_workers": 2, "collate_fn": collate}
    loader: Any = DataLoader(dataset, **options)
    assert len(loader) == 3
    assert by_name(seen(loader)) == wanted(3)


def test_repeats_make_the_data_set_longer_and_each_is_a_draw() -> None:
    dataset = CaptionDataset(Pictures(), records(), recipe(), repeats=3, epoch=1)
    assert len(dataset) == 3 * SIZE
    said = seen(loaders(dataset, 0, None, False))
    for draw in range(3):
        assert by_name(said[draw * SIZE : (draw + 1) * SIZE]) == wanted(1, draw)
    # Together with a sampler that repeats, no two draws of a record are the same.
    both = [dataset._pick(Pick(place, 1, draw)) for place in range(3 * SIZE) for draw in range(2)]
    assert {(pick.place, pick.draw) for pick in both} == {(p, d) for p in range(SIZE) for d in range(6)}


@given(st.permutations(range(SIZE)), st.integers(0, SIZE - 1))
def test_order_and_removed_samples_change_no_other(order: list[int], kept: int) -> None:
    names = order[: kept + 1]
    shuffled = [records()[name] for name in names]
    dataset = CaptionDataset(Pictures(names), shuffled, recipe(), epoch=5)
    for sample in [dataset[index] for index in range(len(names))]:
        assert (sample["text"], sample["flip"]) == wanted(5)[sample["name"]]


def test_ranks_that_may_meet_draw_apart_and_ranks_that_share_out_draw_as_one() -> None:
    dealt = [picks(EpochSampler(DistributedSampler(Pictures(), 2, rank, shuffle=False))) for rank in range(2)]
    draws = {(pick.place, pick.draw) for given in dealt for pick in given}
    assert draws == {(place, 0) for place in range(SIZE)}
    met = [picks(EpochSampler([5, 5, 5], rank=rank, num_ranks=2)) for rank in range(2)]
    assert [pick.draw for given in met for pick in given] == [0, 2, 4, 1, 3, 5]


def test_a_recipe_that_follows_the_samples_gets_them_from_the_sampler() -> None:
    rate = Curve(over="samples", points=((0, 0.0), (2 * SIZE, 1.0)))
    pipeline = CaptionPipeline(steps=(DropTags(rate=rate),))
    dataset = CaptionDataset(Pictures(), records(), pipeline)
    sampler = EpochSampler(range(SIZE), epoch=1)
    assert [pick.samples for pick in picks(sampler)] == list(range(SIZE, 2 * SIZE))
    for pick in picks(sampler):
        expected = pipeline.render(records()[pick.place], epoch=1, samples=pick.samples)
        assert dataset[pick]["text"] == expected.text
    with pytest.raises(ValueError, match="follows the samples seen, which nobody gave"):
        dataset[0]


def test_tuples_and_bare_pictures_get_text_and_flip_behind() -> None:
    pairs = CaptionDataset(Pairs(), records(), recipe())
    images, indices, texts, flips = collate([pairs[index] for index in range(SIZE)])
    assert images.shape == (SIZE, 3, 2, 4)
    assert indices.tolist() == list(range(SIZE))
    for index in range(SIZE):
        assert (texts[index], bool(flips[index])) == wanted(0)[f"p{index:03}"]
        assert is_mirrored(images[index]) == flips[index]
    alone = CaptionDataset([picture(0)], records()[:1], recipe())[0]
    assert alone[1:] == wanted(0)["p000"]
    assert torch.equal(alone[0], mirrored(picture(0)) if alone[2] else picture(0))


def test_a_mask_turns_with_its_picture_and_nothing_turns_if_told_so() -> None:
    turned = Captioned(pictures=("image", "mask"))
    samples: list[dict[str, Any]] = [{"image": picture(0), "mask": picture(1)} for _ in range(SIZE)]
    both = CaptionDataset(samples, records(), recipe(), captioned=turned)
    assert {is_mirrored(both[i]["image"]) for i in range(SIZE)} == {True, False}
    for index in range(SIZE):
        assert is_mirrored(both[index]["image"]) == is_mirrored(both[index]["mask"]) == both[index]["flip"]
        assert not is_mirrored(samples[index]["image"])  # Theirs is left alone.
    left = CaptionDataset(samples, records(), recipe(), captioned=Captioned("caption", "turn", pictures=()))
    assert {left[i]["turn"] for i in range(SIZE)} == {True, False}
    assert not any(is_mirrored(left[i]["image"]) for i in range(SIZE))
    assert left[0]["caption"] == wanted(0)["p000"][0]


def test_records_by_name_by_function_and_by_place_agree() -> None:
    named = {record.id: record for record in records()}
    ways = [
        CaptionDataset(Pictures(), records(), recipe()),
        CaptionDataset(Pictures(), named, recipe(), key="name"),
        CaptionDataset(Pictures(), named, recipe(), key=lambda sample: sample["name"]),
        CaptionDataset(Pictures(), lambda sample: named[sample["name"]], recipe()),
    ]
    for index in range(SIZE):
        assert len({way[index]["text"] for way in ways}) == 1


def test_a_data_set_that_fetches_several_at_once_still_does() -> None:
    class AtOnce(Pictures):
        asked: list[list[int]] = []  # noqa: RUF012

        def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
            self.asked.append(indices)
            return [self[index] for index in indices]

    dataset = CaptionDataset(AtOnce(), records(), recipe())
    assert by_name(seen(loaders(dataset, 0, None, False))) == wanted(0)
    assert AtOnce.asked == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_accelerate_sets_the_epoch() -> None:
    from accelerate.data_loader import prepare_data_loader

    dataset = CaptionDataset(Pictures(), records(), recipe())
    loader: Any = prepare_data_loader(loaders(dataset, 0, None, False), put_on_device=False)
    for epoch in range(3):
        assert by_name(seen(loader)) == wanted(epoch)


@pytest.mark.parametrize("wrong", [SIZE, -SIZE - 1])
def test_an_index_that_is_not_there_ends_the_data_set(wrong: int) -> None:
    dataset = CaptionDataset(Pictures(), records(), recipe())
    with pytest.raises(IndexError, match=f"there is no sample {wrong}; there are {SIZE}"):
        dataset[wrong]
    assert dataset[-1]["name"] == "p011"


def test_mirroring() -> None:
    image = Image.new("RGB", (3, 1))
    image.putpixel((0, 0), (255, 0, 0))
    assert mirrored(image).getpixel((2, 0)) == (255, 0, 0)
    assert torch.equal(mirrored(mirrored(picture(0))), picture(0))
    assert is_mirrored(mirrored(picture(0)))
    with pytest.raises(DataError, match=r"\(8, 8, 3\) is \[height, width, channels\].*permute"):
        mirrored(torch.zeros(8, 8, 3))
    with pytest.raises(DataError, match=r"cannot mirror a numpy\.ndarray"):
        mirrored(np.zeros((3, 8, 8)))
    with pytest.raises(DataError, match=r"must be a tensor"):
        mirrored(torch.zeros(8))


def test_collate() -> None:
    image = Image.new("RGB", (2, 2))
    batch = collate(
        [{"a": 1, "b": "x", "c": image, "d": np.zeros(2), "e": None, "f": True, "g": 0.5} for _ in "12"]
    )
    assert batch["a"].tolist() == [1, 1]
    assert batch["f"].dtype == torch.bool
    assert batch["g"].tolist() == [0.5, 0.5]
    assert batch["b"] == ["x", "x"]
    assert batch["c"] == [image, image]
    assert batch["d"].shape == (2, 2)
    assert batch["e"] == [None, None]
    assert collate([torch.zeros(2), torch.zeros(2)]).shape == (2, 2)
    with pytest.raises(
        DataError, match=r"'image': the tensors of one batch have different shapes: \(2,\), \(3,\)"
    ):
        collate([{"image": torch.zeros(2)}, {"image": torch.zeros(3)}])


PARTS: dict[str, Any] = {"dataset": Pictures(), "records": records(), "pipeline": recipe()}
NAMED = {"p000": Record("p000", parse_tags("fox"))}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"records": records()[:3]}, "there are 3 records for 12 samples"),
        ({"records": NAMED}, "records by name need `key`"),
        ({"key": "name"}, "`key` needs records by name"),
        ({"repeats": 0}, "repeats must be a whole number from 1 on, got 0"),
        ({"epoch": 0.5}, "an epoch must be a whole number, got 0.5"),
    ],
)
def test_what_does_not_go_together(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        CaptionDataset(**PARTS | arguments)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"records": NAMED, "key": "name"}, r"sample 1: there is no record 'p001' among 1 .*'p000'"),
        ({"records": NAMED, "key": "nam"}, r"sample 1: .*nothing at 'nam'; the sample is 'image', 'name'"),
        ({"records": lambda sample: sample}, "sample 1: the function of records gave a dict, must be a Rec"),
        ({"dataset": [{"pixels": 0}] * SIZE}, r"sample 1: there is no picture at 'image'.*'pixels'"),
        ({"dataset": [()] * SIZE}, "there is no picture at 0; the sample has nothing"),
    ],
)
def test_what_is_wrong_with_a_sample(given: dict[str, Any], says: str) -> None:
    dataset = CaptionDataset(**PARTS | given)
    with pytest.raises(DataError, match=says):
        dataset[1]


@pytest.mark.parametrize("wrong", [-1, "a", (0, 1.5), None])
def test_what_is_no_index(wrong: Any) -> None:
    with pytest.raises(DataError, match="must give indices"):
        list(EpochSampler([wrong]))


def test_a_rank_must_be_one_of_them() -> None:
    with pytest.raises(DataError, match="rank is 2 of 2, must be between 0 and 1"):
        EpochSampler([0], rank=2, num_ranks=2)


@given(st.integers(0, 2 * SIZE), st.sampled_from(["random", "weighted", "dealt", "plain"]))
def test_the_place_of_a_sampler_comes_back(given_out: int, kind: str) -> None:
    def made() -> EpochSampler:
        own = torch.Generator().manual_seed(3)
        if kind == "random":
            return EpochSampler(RandomSampler(range(2 * SIZE), generator=own))
        if kind == "weighted":
            weights = [1.0, 5.0] * SIZE
            return EpochSampler(WeightedRandomSampler(weights, 2 * SIZE, replacement=True, generator=own))
        if kind == "dealt":
            return EpochSampler(DistributedSampler(Pictures([0] * 4 * SIZE), 2, 1, seed=2))
        return EpochSampler([index % 5 for index in range(2 * SIZE)])

    first = made()
    list(first)
    first.set_epoch(1)
    passing = iter(first)
    before = [next(passing) for _ in range(given_out)]
    state = passing.state_dict()
    rest = list(passing)
    assert len(before) + len(rest) == len(first) == 2 * SIZE
    second = made()
    again = iter(second)
    again.load_state_dict(state)
    assert list(again) == rest
    assert second.epoch == 1
    assert all(isinstance(pick, Pick) and pick.epoch == 1 for pick in rest)


def test_an_order_that_nobody_could_find_again_is_refused() -> None:
    for sampler in (RandomSampler(range(3)), BatchSampler(RandomSampler(range(3)), 2, drop_last=False)):
        with pytest.raises(DataError, match=r"order of a RandomSampler without a generator.*manual_seed"):
            iter(EpochSampler(sampler)).state_dict()
    with pytest.raises(DataError, match="saved after 3 entries of an epoch, which has 2 here"):
        iter(EpochSampler([0, 1])).load_state_dict({"epoch": 0, "num_yielded": 3, "generator": None})


def test_a_stream_says_which_draw_a_sample_is() -> None:
    named = {record.id: record for record in records()}
    stream = [{"image": picture(0), "name": "p000", "repeat": draw} for draw in range(3)]
    said = list(CaptionIterable(stream, named, recipe(), key="name", draw="repeat", epoch=2))
    assert [(one["text"], one["flip"]) for one in said] == [wanted(2, draw)["p000"] for draw in range(3)]
    with pytest.raises(DataError, match="records by name and `key`"):
        CaptionIterable(stream, named, recipe())


def test_an_epoch_can_be_shared_by_several_data_sets() -> None:
    epoch = SharedEpoch()
    one, other = (CaptionDataset(Pictures(), records(), recipe(), epoch=epoch) for _ in range(2))
    epoch.set(9)
    assert one[0]["text"] == other[0]["text"] == wanted(9)["p000"][0]
