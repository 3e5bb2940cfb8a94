"""The plan of micro-batches: every picture once per turn, nothing dropped, nothing repeated, pure."""

from __future__ import annotations

import pickle
import time
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainkit.batches import BatchPlan, share_of
from trainkit.buckets import Size


@st.composite
def plans(draw: st.DrawFn) -> BatchPlan:
    """Few to many pictures in one to six buckets, buckets smaller than a batch among them."""
    counts = draw(st.lists(st.integers(1, 40), min_size=1, max_size=6))
    index = draw(st.permutations([n for n, count in enumerate(counts) for _ in range(count)]))
    buckets: list[Size] = [(64, 8 * n + 8) for n in range(len(counts))]
    return BatchPlan(buckets, index, draw(st.integers(1, 24)), draw(st.integers(0, 2**40)))


@given(plans(), st.integers(1, 5))
def test_every_picture_comes_once_per_turn(plan: BatchPlan, epochs: int) -> None:
    end = plan.batches_before(epochs)
    assert plan.mean_pass == plan.num_pictures
    seen = Counter((d.picture, d.epoch) for n in range(end) for d in plan[n].draws)
    assert max(seen.values(), default=1) == 1
    # Turns are gone through in order: of a bucket's pictures each stands within one turn of every other,
    # and all but a remainder smaller than a batch per bucket has been seen `epochs` times.
    for members in plan.members.values():
        turns = [sum(seen[p, e] for e in range(epochs + 1)) for p in members]
        assert max(turns) - min(turns) <= 1
        assert all(seen[p, e] == 1 for p, t in zip(members, turns, strict=True) for e in range(t))
        assert 0 <= len(members) * epochs - sum(turns) < plan.batch


@given(plans(), st.integers(0, 200))
def test_a_micro_batch_is_full_and_of_one_shape(plan: BatchPlan, number: int) -> None:
    micro = plan[number]
    assert [d.sample for d in micro.draws] == list(range(number * plan.batch, (number + 1) * plan.batch))
    assert {d.picture for d in micro.draws} <= set(plan.members[micro.bucket])


@given(plans(), st.integers(0, 200))
def test_epoch_of_agrees_with_batches_before(plan: BatchPlan, number: int) -> None:
    epoch = plan.epoch_of(number)
    assert plan.batches_before(epoch) <= number < plan.batches_before(epoch + 1)


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=40),
    st.integers(1, 4096),
    st.integers(0, 10**12),
)
def test_epoch_of_holds_for_buckets_far_smaller_than_a_batch(
    counts: list[int], batch: int, number: int
) -> None:
    buckets = [(8, 8 * n + 8) for n in range(len(counts))]
    plan = BatchPlan(buckets, [n for n, c in enumerate(counts) for _ in range(c)], batch, 0)
    epoch = plan.epoch_of(number)
    assert plan.batches_before(epoch) <= number < plan.batches_before(epoch + 1)


@given(plans(), st.lists(st.integers(0, 100), min_size=1, max_size=8))
def test_any_micro_batch_may_be_asked_first(plan: BatchPlan, numbers: list[int]) -> None:
    # Resuming is asking for the next number: neither the order of questions nor a copy changes an answer.
    fresh = pickle.loads(pickle.dumps(plan))
    forwards = {n: plan[n] for n in range(101)}
    for number in numbers:
        assert fresh[number] == forwards[number]


@given(plans(), st.integers(0, 50), st.integers(1, 6))
def test_devices_share_a_micro_batch_without_overlap(plan: BatchPlan, number: int, world: int) -> None:
    micro = plan[number]
    shares = [share_of(micro, rank, world) for rank in range(world)]
    assert sorted(d.sample for share in shares for d in share) == [d.sample for d in micro.draws]
    if plan.batch % world == 0:
        assert {len(share) for share in shares} == {plan.batch // world}


def test_another_seed_or_epoch_is_another_order() -> None:
    buckets, index = [(64, 64), (64, 96)], [0] * 40 + [1] * 40
    plan, other = BatchPlan(buckets, index, 8, 0), BatchPlan(buckets, index, 8, 1)
    first = [plan[n].draws for n in range(10)]
    assert first != [other[n].draws for n in range(10)]
    assert [[d.picture for d in draws] for draws in first] != [
        [d.picture for d in plan[n].draws] for n in range(10, 20)
    ]
    # The buckets' batches are mixed, not one bucket after the other.
    order = [plan[n].bucket for n in range(10)]
    assert order != sorted(order)
    assert order != sorted(order, reverse=True)


def test_a_remainder_opens_the_next_epoch() -> None:
    plan = BatchPlan([(64, 64)], [0] * 5, 3, 0)
    assert [plan.batches_before(e) for e in range(4)] == [0, 1, 3, 5]
    turns = [[d.epoch for d in plan[n].draws] for n in range(5)]
    assert sorted(e for batch in turns for e in batch) == [0] * 5 + [1] * 5 + [2] * 5


def test_a_plan_of_millions_is_quick() -> None:
    # The recipe: 3.3 million pictures, 60 buckets, 16 epochs. Limits are ten times what one slow core needs.
    buckets = [(32 * (16 + i), 768) for i in range(60)]
    index = np.arange(3_300_000) % 60
    started = time.process_time()
    plan = BatchPlan(buckets, index, 16, 0)
    last = plan.batches_before(16) - 1
    assert plan.epoch_of(last) == 15
    for number in (0, last // 2, last):
        assert len(plan[number].draws) == 16
    assert time.process_time() - started < 30
    started = time.process_time()
    for number in range(last - 100, last):
        plan[number]
    assert time.process_time() - started < 10
