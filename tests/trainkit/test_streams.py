"""Over a whole run every picture comes in every pass as often as its quota says, whatever changes in between:
batch, number of devices, accumulate, buckets. Nothing is dropped, nothing is repeated."""

from __future__ import annotations

import itertools
import pickle
from collections import Counter
from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainkit.batches import BatchPlan
from trainkit.buckets import Size
from trainkit.draw import Draw
from trainkit.quota import Quota
from trainkit.streams import NOTHING, Owed, Visits, joined
from trainkit.windows import POOL, Window

weights = st.one_of(
    st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 3.0]),
    st.floats(0, 4, width=32),
)


def chunks(draw: Draw) -> int:
    """As a caption's length is: a pure function of everything but the sample."""
    return 1 + (draw.picture * 7 + draw.epoch * 3 + draw.draw) % 4


@dataclass(frozen=True)
class Change:
    """A stretch of a run: which bucket each picture is in, and how many micro-batches of which size come."""

    index: tuple[int, ...]
    batch: int
    taken: int


@dataclass(frozen=True)
class Chain:
    """A run that changes its buckets and batches now and then."""

    seed: int
    weights: tuple[float, ...] | None
    window: int
    changes: tuple[Change, ...]

    def plan(self, number: int, owed: Owed, first_sample: int) -> BatchPlan:
        change = self.changes[number]
        buckets: list[Size] = [(64, 8 * n + 8) for n in range(6)]
        return BatchPlan(
            buckets,
            change.index,
            change.batch,
            self.seed,
            weights=None if self.weights is None else np.array(self.weights, dtype=np.float32),
            owed=owed,
            first_sample=first_sample,
            window=Window(self.window, chunks) if self.window else None,
        )


@st.composite
def chains(draw: st.DrawFn, *, most: int = 4) -> Chain:
    count = draw(st.integers(1, 40))
    own = draw(st.none() | st.lists(weights, min_size=count, max_size=count).filter(lambda w: sum(w) > 0.3))
    index = st.lists(st.integers(0, 5), min_size=count, max_size=count).map(tuple)
    change = st.builds(Change, index, st.integers(1, 12), st.integers(0, 30))
    return Chain(
        draw(st.integers(0, 2**40)),
        None if own is None else tuple(own),
        draw(st.sampled_from([0, 0, 1, 2, 3])),
        tuple(draw(st.lists(change, min_size=1, max_size=most))),
    )


def dealt(chain: Chain) -> tuple[list[tuple[BatchPlan, Draw, int]], Owed]:
    """Every draw of a run with its plan and micro-batch, and what is owed at its end."""
    found: list[tuple[BatchPlan, Draw, int]] = []
    owed, sample = Owed(), 0
    for number, change in enumerate(chain.changes):
        plan = chain.plan(number, owed, sample)
        for n in range(change.taken):
            found += [(plan, draw, n) for draw in plan[n].draws]
        owed = plan.owed_after(change.taken)
        sample += change.taken * change.batch
    return found, owed


def visits_of(visits: Visits) -> Counter[tuple[int, int, int]]:
    return Counter(zip(visits.pictures.tolist(), visits.epochs.tolist(), visits.draws.tolist(), strict=True))


@given(chains())
def test_nothing_is_dropped_and_nothing_repeated(chain: Chain) -> None:
    found, owed = dealt(chain)
    seen = Counter((d.picture, d.epoch, d.draw) for _, d, _ in found)
    given_out = seen + visits_of(owed.visits)
    count = len(chain.changes[0].index)
    share = [1.0] * count if chain.weights is None else chain.weights
    # All of every pass that has begun, each once, is either drawn or owed; of the others nothing is drawn.
    quota = Quota(chain.seed, None if chain.weights is None else np.array(share, dtype=np.float32))
    pictures = np.arange(count, dtype=np.int32)
    due = quota.before(owed.first_epoch, pictures).tolist()
    assert max(given_out.values(), default=1) == 1
    assert Counter(p for p, _, _ in given_out) == Counter({p: n for p, n in enumerate(due) if n})
    for p, e, j in given_out:
        own = np.array([p], dtype=np.int32)
        assert 0 <= e < owed.first_epoch
        assert 0 <= j < quota.before(e + 1, own)[0] - quota.before(e, own)[0]
    # A pass is what the weight says: to within one draw over any number of passes.
    assert all(abs(n - owed.first_epoch * w) < 1 + 1e-6 for n, w in zip(due, share, strict=True))
    assert [d.sample for _, d, _ in found] == list(range(len(found)))


@given(chains())
def test_a_draw_belongs_to_its_bucket_and_to_a_pass_that_has_begun(chain: Chain) -> None:
    found, _ = dealt(chain)
    for plan, draw, number in found:
        assert draw.picture in plan.members[plan[number].bucket].tolist()
        assert draw.epoch <= plan.epoch_of(number)
        assert plan.batches_before(plan.epoch_of(number)) <= number


@given(chains(), st.integers(0, 30))
def test_what_a_stretch_owes_is_a_function_of_where_it_stands(chain: Chain, number: int) -> None:
    _, owed = dealt(chain)
    plan = chain.plan(0, owed, 0)
    again = pickle.loads(pickle.dumps(plan))
    assert visits_of(plan.owed_after(number).visits) == visits_of(again.owed_after(number).visits)
    # Whether micro-batches were asked for before or not.
    for n in range(3):
        assert again[n] == plan[n]
    assert visits_of(plan.owed_after(number).visits) == visits_of(again.owed_after(number).visits)
    # In the order of the list or not.
    order = np.random.default_rng(0).permutation(len(owed.visits))
    other = chain.plan(0, Owed(owed.visits.take(order), owed.first_epoch), 0)
    assert other[number] == plan[number]


@given(chains(most=1), st.integers(0, 25))
def test_the_oldest_passes_come_first(chain: Chain, number: int) -> None:
    plan = chain.plan(0, Owed(), 0)
    owed = plan.owed_after(number)
    after = BatchPlan(list(plan.members), _index(plan), plan.batch, 1, weights=None, owed=owed)
    for members in after.members.values():
        stream = [
            draw.epoch
            for n in range(after.batches_before(owed.first_epoch + 1))
            for draw in after[n].draws
            if draw.picture in members
        ]
        mine = np.isin(owed.visits.pictures, members)
        whole = sorted([*owed.visits.epochs[mine].tolist(), *[owed.first_epoch] * len(members)])
        # Batches of a bucket come in any order within a pass, but hold its stream from the beginning.
        assert sorted(stream) == whole[: len(stream)]


def _index(plan: BatchPlan) -> list[int]:
    place = {int(p): n for n, members in enumerate(plan.members.values()) for p in members}
    return [place[p] for p in range(plan.num_pictures)]


@given(chains(most=1), st.integers(0, 40))
def test_a_window_sorts_and_changes_nothing_else(chain: Chain, number: int) -> None:
    change = chain.changes[0]
    plain = Chain(chain.seed, chain.weights, 0, (change,)).plan(0, Owed(), 0)
    for size in (1, 2, 5):
        plan = Chain(chain.seed, chain.weights, size, (change,)).plan(0, Owed(), 0)
        epoch = plan.epoch_of(number)
        first, end = plan.batches_before(epoch), plan.batches_before(epoch + 1)
        assert (first, end) == (plain.batches_before(epoch), plain.batches_before(epoch + 1))
        # The same draws in a pass, bucket by bucket; only how they stand together differs.
        for bucket in plan.members:
            ours, theirs = (
                Counter(
                    (d.picture, d.epoch, d.draw)
                    for n in range(first, end)
                    if p[n].bucket == bucket
                    for d in p[n].draws
                )
                for p in (plan, plain)
            )
            assert ours == theirs
        # Each of one window's batches holds no longer captions than the next one's shortest.
        if size >= max(Counter(plan[n].bucket for n in range(first, end)).values(), default=0):
            for bucket in plan.members:
                spans = sorted(
                    (min(map(chunks, plan[n].draws)), max(map(chunks, plan[n].draws)))
                    for n in range(first, end)
                    if plan[n].bucket == bucket
                )
                assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))


def test_half_used_windows_owe_what_their_order_says() -> None:
    # 120 pictures in windows of 4 batches of 5: wherever a stretch ends, the rest is what the sorted windows
    # have left, and not what an unsorted stream would.
    for taken in range(25):
        chain = Chain(3, None, 4, (Change((0,) * 120, 5, taken), Change((0, 1) * 60, 3, 10)))
        found, owed = dealt(chain)
        seen = Counter((d.picture, d.epoch, d.draw) for _, d, _ in found) + visits_of(owed.visits)
        assert set(seen.values()) == {1}
        assert len(seen) == 120 * owed.first_epoch


def test_windows_are_mixed_a_few_at_a_time() -> None:
    # Of 100 windows of 4 batches no more than those of one pool are half used anywhere.
    plan = Chain(0, None, 4, (Change((0,) * 800, 2, 0),)).plan(0, Owed(), 0)
    pool = 4 * POOL
    by_pool = [{d.picture for n in range(first, first + pool) for d in plan[n].draws} for first in (0, pool)]
    assert [len(pictures) for pictures in by_pool] == [2 * pool, 2 * pool]
    assert not by_pool[0] & by_pool[1]
    lengths = [max(map(chunks, plan[n].draws)) for n in range(pool)]
    assert lengths != sorted(lengths)


def test_joining_nothing_is_nothing() -> None:
    assert joined([]) is NOTHING
