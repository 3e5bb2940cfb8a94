"""Twins: the bands find exactly what comparing all pairs finds."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.trainkit.prepare.drawn import drawn, encoded
from trainkit.prepare.near import NONE, first_of_near, first_of_same
from trainkit.prepare.phash import perceptual_hash

HASH = st.integers(0, 2**64 - 1)


@st.composite
def clusters(draw: st.DrawFn) -> list[int]:
    """Hashes of which many lie a few bits from each other."""
    seeds = draw(st.lists(HASH, min_size=1, max_size=4))
    flips = st.lists(st.integers(0, 63), max_size=10)
    many = draw(st.lists(st.tuples(st.sampled_from(seeds), flips), min_size=1, max_size=40))
    return [seed ^ sum({1 << bit for bit in bits}) for seed, bits in many]


@settings(deadline=None)
@given(clusters(), st.integers(0, 8))
def test_near_is_what_comparing_all_pairs_finds(hashes: list[int], distance: int) -> None:
    def slow(row: int) -> int:
        near = (i for i in range(row) if (hashes[i] ^ hashes[row]).bit_count() <= distance)
        return next(near, NONE)

    found = first_of_near(np.array(hashes, np.uint64), distance)
    assert found.tolist() == [slow(row) for row in range(len(hashes))]


@given(st.lists(st.integers(0, 9)))
def test_same_is_the_first_one_before(values: list[int]) -> None:
    found = first_of_same(np.array(values, np.uint64))
    assert found.tolist() == [values.index(v) if values.index(v) < i else NONE for i, v in enumerate(values)]


@given(st.lists(st.binary(min_size=16, max_size=16) | st.sampled_from([b"\0" * 16, b"a" + b"\0" * 15])))
def test_digests_may_end_in_zeros(values: list[bytes]) -> None:
    found = first_of_same(np.frombuffer(b"".join(values), "S16"))
    assert found.tolist() == [values.index(v) if values.index(v) < i else NONE for i, v in enumerate(values)]


@pytest.mark.statistics
def test_copies_are_near_and_strangers_are_not(shared: Path) -> None:
    """600 emoji on white, enlarged, against their copies at half the size and JPEG quality 50.

    Fixed pictures, so there are no false alarms by chance; measure_near.py has the figures for all 1,679.
    """
    files = sorted((shared / "data" / "emoji" / "noto72").glob("*.png"))[:600]
    originals, copies = [], []
    for file in files:
        layer = Image.open(file).convert("RGBA").resize((288, 288))
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
        originals.append(perceptual_hash(encoded(image, "PNG")))
        copies.append(perceptual_hash(encoded(image.resize((144, 144)), "JPEG", quality=50)))
    a, b = np.array(originals, np.uint64), np.array(copies, np.uint64)
    assert (np.bitwise_count(a ^ b) <= 4).mean() > 0.9
    apart = np.bitwise_count(a[:, None] ^ a[None, :])[np.triu_indices(len(a), 1)]
    assert (apart <= 4).mean() < 0.002


def test_the_hash_is_of_the_upright_picture_on_white() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = encoded(drawn(200, 100).transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)
    assert (perceptual_hash(lying) ^ perceptual_hash(encoded(drawn(200, 100), "PNG"))).bit_count() == 0
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    clear.paste(drawn(20, 20), (10, 30))
    white = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    assert perceptual_hash(encoded(clear, "PNG")) == perceptual_hash(encoded(white.convert("RGB"), "PNG"))
    with Image.open(io.BytesIO(lying)) as image:
        assert image.size == (100, 200)
