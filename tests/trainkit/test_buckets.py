"""Buckets: laws over every configuration, the least crop by brute force."""

from __future__ import annotations

import itertools
import math
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainkit.buckets import (
    BucketConfig,
    Size,
    bucket_levels,
    bucket_of,
    fit,
    make_buckets,
    nearest_bucket,
    place,
)


@st.composite
def configs(draw: st.DrawFn) -> BucketConfig:
    step = 8 * draw(st.integers(1, 12))
    resolution = step * draw(st.integers(1, 40))
    longest = draw(st.none() | st.integers(max(16, resolution), 4 * resolution + 16))
    shortest = draw(st.none() | st.integers(min(16, resolution), max(16, resolution)))
    if resolution < 16 or (shortest or 0) > resolution:
        shortest = None
    no_upscale = draw(st.booleans())
    return BucketConfig(
        resolution=max(16, resolution),
        max_side=longest,
        min_side=shortest,
        step=step,
        no_upscale=no_upscale,
    )


sizes = st.tuples(st.integers(1, 6000), st.integers(1, 6000))


@given(configs())
def test_every_bucket_is_within_the_limits(config: BucketConfig) -> None:
    buckets = make_buckets(config)
    assert len(set(buckets)) == len(buckets)
    assert (config.resolution, config.resolution) in buckets
    for width, height in buckets:
        assert width * height <= config.resolution**2
        assert width % config.step == height % config.step == 0
        assert config.shortest <= min(width, height)
        assert max(width, height) <= config.longest


@given(configs())
def test_turning_every_picture_turns_every_bucket(config: BucketConfig) -> None:
    buckets = make_buckets(config)
    assert {(h, w) for w, h in buckets} == set(buckets)


@given(configs())
def test_no_bucket_could_be_a_step_higher(config: BucketConfig) -> None:
    # Of every width at least one bucket is as high as area and longest side allow.
    high = config.longest // config.step * config.step
    by_width: dict[int, int] = {}
    for width, height in bucket_levels(config)[0]:
        by_width[width] = max(by_width.get(width, 0), height)
    for width, height in by_width.items():
        assert height == high or width * (height + config.step) > config.resolution**2


@given(configs(), sizes)
def test_nearest_bucket_crops_least(config: BucketConfig, size: Size) -> None:
    buckets = bucket_levels(config)[0]

    def lost(bucket: Size) -> float:
        cover = max(bucket[0] / size[0], bucket[1] / size[1])
        return 1 - bucket[0] * bucket[1] / (size[0] * cover * size[1] * cover)

    chosen = nearest_bucket(size, buckets)
    assert lost(chosen) <= min(map(lost, buckets)) + 1e-8
    # ... which is what the module says it is.
    ratio = abs(math.log(size[0] / size[1]) - math.log(chosen[0] / chosen[1]))
    assert lost(chosen) == pytest.approx(1 - math.exp(-ratio), abs=1e-9)


def test_nearest_bucket_crops_least_over_a_fine_grid() -> None:
    # The nearest ratio itself, not its logarithm, is wrong for one shape in a hundred only: ask many.
    buckets = make_buckets(BucketConfig())
    for width in range(300, 3000, 3):
        size = (width, 1000)
        kept = {b: fit(size, b).kept for b in buckets}
        # `kept` is of whole pixels, so allow for their rounding.
        assert kept[nearest_bucket(size, buckets)] >= max(kept.values()) - 2e-4


@given(configs(), sizes)
def test_fit_covers_the_bucket_and_keeps_the_middle(config: BucketConfig, size: Size) -> None:
    placed = fit(size, nearest_bucket(size, make_buckets(config)))
    for side in (0, 1):
        assert placed.resized[side] >= placed.bucket[side]
        left = placed.crop[side]
        right = placed.resized[side] - placed.bucket[side] - left
        assert left >= 0
        assert right - left in (0, 1)
    assert any(placed.resized[side] == placed.bucket[side] for side in (0, 1))
    assert 0 < placed.kept <= 1
    # The shape of the picture is kept, up to the rounding of one side to whole pixels.
    scale = max(placed.bucket[0] / size[0], placed.bucket[1] / size[1])
    assert all(abs(placed.resized[side] - size[side] * scale) <= 0.5 + 1e-6 for side in (0, 1))


@pytest.mark.parametrize(
    ("resolution", "max_side", "count"),
    [(768, 1024, 37), (1024, 1024, 49), (1024, 1536, 59), (1024, 2048, 81)],
)
def test_as_many_buckets_as_were_counted_elsewhere(resolution: int, max_side: int, count: int) -> None:
    # Counted by a simulation that shares no code with this project; both of the recipe's phases are among
    # them.
    assert len(make_buckets(BucketConfig(resolution=resolution, max_side=max_side, min_side=256))) == count


def test_common_shapes_of_the_first_phase() -> None:
    assert nearest_bucket((768, 768), make_buckets(BucketConfig())) == (768, 768)
    assert nearest_bucket((3000, 2000), make_buckets(BucketConfig())) == (928, 608)


@given(configs(), st.lists(sizes, max_size=60))
def test_placing_all_at_once_is_placing_each(config: BucketConfig, shapes: list[Size]) -> None:
    buckets = make_buckets(config)
    # Sizes as near to the middle between two buckets as numbers up to 200,000 can be: there are the ties.
    level = bucket_levels(config)[-1]
    middles = [math.sqrt(a[0] * b[0] / (a[1] * b[1])) for a, b in itertools.pairwise(level[:12])]
    shapes += [Fraction(ratio).limit_denominator(200_000).as_integer_ratio() for ratio in middles]
    placement = place(np.array(shapes, dtype=np.int32).reshape(-1, 2), config)
    alone = [fit(size, bucket_of(size, config)) for size in shapes]
    assert placement.buckets == buckets
    assert [placement.bucket(i) for i in range(len(shapes))] == [placed.bucket for placed in alone]
    assert placement.counts.tolist() == [sum(p.bucket == b for p in alone) for b in buckets]
    assert placement.enlarged == sum(p.resized[0] > size[0] for p, size in zip(alone, shapes, strict=True))
    if shapes:
        assert placement.kept == pytest.approx(sum(p.kept for p in alone) / len(alone), rel=1e-12)
        area = sum(p.bucket[0] * p.bucket[1] for p in alone) / len(alone)
        assert placement.used == pytest.approx(area / config.resolution**2, rel=1e-12)


@given(configs(), sizes)
def test_without_upscaling_nothing_that_fits_a_bucket_is_enlarged(config: BucketConfig, size: Size) -> None:
    config = config.model_copy(update={"no_upscale": True})
    width, height = bucket = bucket_of(size, config)
    assert bucket in make_buckets(config)
    within = [b for b in make_buckets(config) if b[0] <= size[0] and b[1] <= size[1]]
    levels = [nearest_bucket(size, level) for level in bucket_levels(config)]
    if any(b in within for b in levels):
        # The largest scale at which the bucket of its aspect is within it.
        assert bucket == next(b for b in levels if b in within)
        assert fit(size, bucket).resized[0] <= size[0]
    else:
        # Enlarged, to the bucket of its aspect that asks for least.
        assert (width, height) == nearest_bucket(size, make_buckets(config), smallest=True)
    # Large pictures notice nothing.
    if bucket_levels(config)[0] and min(size) >= config.longest:
        assert bucket == bucket_of(size, config.model_copy(update={"no_upscale": False}))


def test_small_pictures_go_to_smaller_buckets_of_their_aspect() -> None:
    config = BucketConfig(resolution=512, min_side=64, step=64, no_upscale=True)
    # kohya's rounds each side down by itself: 511 x 513 becomes 448 x 512 there, and 40 x 40 a bucket of 0.
    for size, bucket in [
        ((512, 512), (512, 512)),
        ((511, 513), (448, 448)),
        ((300, 300), (256, 256)),
        ((640, 420), (640, 384)),
        ((630, 420), (512, 384)),
        ((64, 64), (64, 64)),
        ((40, 40), (64, 64)),
        ((4000, 3000), (576, 448)),
    ]:
        assert bucket_of(size, config) == bucket, size
    placement = place(np.array([(511, 513), (40, 40), (4000, 3000)], dtype=np.int32), config)
    assert placement.enlarged == 1


def test_a_tie_goes_to_the_larger_area_on_either_side() -> None:
    config = BucketConfig(resolution=64, max_side=96, min_side=32, step=32)
    assert make_buckets(config) == ((32, 96), (64, 64), (96, 32))
    # Ratios next to sqrt(3), the middle, from below and above: 1e-6 and less than 1e-9 away from it.
    for size, bucket in [
        ((1351, 780), (96, 32)),
        ((989, 571), (64, 64)),
        ((262_087, 151_316), (64, 64)),
        ((191_861, 110_771), (64, 64)),
    ]:
        assert place(np.array([size], dtype=np.int32), config).bucket(0) == bucket, size
        assert nearest_bucket(size, make_buckets(config)) == bucket, size


def test_no_pictures_use_everything() -> None:
    placement = place(np.zeros((0, 2), dtype=np.int32), BucketConfig())
    assert (placement.kept, placement.used, placement.enlarged, len(placement.index)) == (1.0, 1.0, 0, 0)


def test_a_short_longest_side_is_seen_in_the_area_used() -> None:
    sizes_of = np.array([(2000, 3000), (3000, 4000)], dtype=np.int32)
    assert place(sizes_of, BucketConfig(resolution=1024, max_side=1024)).used < 0.75
    assert place(sizes_of, BucketConfig(resolution=1024, max_side=1536)).used > 0.95


def test_millions_are_placed_in_seconds() -> None:
    # The recipe: 3.3 million pictures, 0.6 s on one core; one by one they would take minutes.
    rng = np.random.default_rng(0)
    many = np.exp(rng.normal(np.log(1000), 0.3, (3_300_000, 2))).astype(np.int32)
    began = time.process_time()
    placement = place(many, BucketConfig())
    assert time.process_time() - began < 20
    assert placement.index.itemsize <= 2
    assert placement.counts.sum() == 3_300_000


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"step": 12}, "step is 12, must be a multiple of 8"),
        ({"resolution": 770}, "resolution is 770, must be a multiple of step (32)"),
        ({"resolution": 512, "max_side": 256}, "must lie between min_side (256) and max_side (256)"),
        ({"resolution": 512, "min_side": 640}, "must lie between min_side (640) and max_side (1024)"),
    ],
)
def test_sides_that_do_not_fit_are_refused(settings: dict[str, int], part: str) -> None:
    with pytest.raises(ValidationError) as caught:
        BucketConfig.model_validate(settings)
    assert part in str(caught.value)
