"""Buckets: laws over every configuration, the least crop by brute force."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainkit.buckets import BucketConfig, Size, area_used, fit, make_buckets, nearest_bucket


@st.composite
def configs(draw: st.DrawFn) -> BucketConfig:
    step = 8 * draw(st.integers(1, 12))
    resolution = step * draw(st.integers(1, 40))
    longest = draw(st.none() | st.integers(max(16, resolution), 4 * resolution + 16))
    shortest = draw(st.none() | st.integers(min(16, resolution), max(16, resolution)))
    if resolution < 16 or (shortest or 0) > resolution:
        shortest = None
    return BucketConfig(resolution=max(16, resolution), max_side=longest, min_side=shortest, step=step)


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
    for width, height in make_buckets(config):
        by_width[width] = max(by_width.get(width, 0), height)
    for width, height in by_width.items():
        assert height == high or width * (height + config.step) > config.resolution**2


@given(configs(), sizes)
def test_nearest_bucket_crops_least(config: BucketConfig, size: Size) -> None:
    buckets = make_buckets(config)

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


def test_area_used_shows_the_trap_of_a_short_longest_side() -> None:
    trapped = BucketConfig(resolution=1024, max_side=1024)
    chosen = [nearest_bucket(size, make_buckets(trapped)) for size in ((2000, 3000), (3000, 4000))]
    assert area_used(trapped, chosen) < 0.75
    free = BucketConfig(resolution=1024, max_side=1536)
    chosen = [nearest_bucket(size, make_buckets(free)) for size in ((2000, 3000), (3000, 4000))]
    assert area_used(free, chosen) > 0.95
    assert area_used(free, []) == 1.0


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
