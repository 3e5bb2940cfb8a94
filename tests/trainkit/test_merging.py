"""Buckets with too few pictures are given up, each picture going where it is cropped least."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainkit.test_buckets import configs
from trainkit.buckets import BucketConfig, Size, fit, place
from trainkit.merging import place_together

some = st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), max_size=60)


@given(configs(), some, st.integers(0, 30))
def test_no_bucket_is_left_with_too_few(config: BucketConfig, shapes: list[Size], fewest: int) -> None:
    sizes = np.array(shapes, dtype=np.int32).reshape(-1, 2)
    config = config.model_copy(update={"min_pictures": fewest})
    alone, together = place(sizes, config), place_together(sizes, config)
    left = together.counts[together.counts > 0]
    assert together.buckets == alone.buckets
    assert together.counts.sum() == len(shapes)
    assert len(left) <= 1 or left.min() >= fewest
    # A bucket that had enough keeps all it had.
    enough = np.flatnonzero(alone.counts >= max(1, fewest))
    for bucket in enough.tolist():
        assert (together.index[alone.index == bucket] == bucket).all()
    # What is told adds up.
    given_up = {alone.buckets[i] for i in np.flatnonzero((alone.counts > 0) & (together.counts == 0))}
    assert {merged.bucket for merged in together.merged} == given_up
    for merged in together.merged:
        mine = alone.index == alone.buckets.index(merged.bucket)
        assert merged.pictures == mine.sum() == sum(count for _, count in merged.into)
        kept = [fit(s, together.bucket(i)).kept for i, s in enumerate(shapes) if mine[i]]
        assert merged.kept_after == pytest.approx(np.mean(kept), rel=1e-12)
    kept = [fit(size, together.bucket(i)).kept for i, size in enumerate(shapes)]
    assert together.kept == pytest.approx(np.mean(kept) if kept else 1.0, rel=1e-12)
    assert place_together(sizes, config).index.tolist() == together.index.tolist()


def test_neighbours_fill_each_other_up_and_it_is_said_aloud() -> None:
    shapes = [(1000, 1000)] * 20 + [(1000, 700)] * 3 + [(1000, 640)] * 4 + [(500, 1900)]
    config = BucketConfig(resolution=512, min_pictures=7)
    placement = place_together(np.array(shapes, dtype=np.int32), config)
    assert {placement.bucket(i) for i in range(20)} == {(512, 512)}
    assert len({placement.bucket(i) for i in range(20, 27)}) == 1
    assert placement.bucket(27) == (512, 512)
    assert len(placement.merged) == 2
    assert str(placement.merged[0]).startswith(
        "bucket 256 x 960 has only 1 pictures, fewer than min_pictures"
    )
    assert "1 to 512 x 512; 26." in str(placement.merged[0])


def test_a_merged_picture_is_not_enlarged_where_it_need_not_be() -> None:
    shapes = [(1000, 1000)] * 9 + [(2000, 1000)] * 9 + [(300, 300)] * 9 + [(310, 250)]
    config = BucketConfig(resolution=512, min_side=64, step=64, no_upscale=True, min_pictures=5)
    placement = place_together(np.array(shapes, dtype=np.int32), config)
    assert placement.bucket(27) != (512, 512)
    assert placement.enlarged == (placement.bucket(27)[1] > 250)
