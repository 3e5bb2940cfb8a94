"""Masks: found beside the picture, cut as it is, averaged down to the latent grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from captionkit import Record
from trainkit.buckets import fit
from trainkit.errors import PictureError
from trainkit.images import to_bucket
from trainkit.mask_names import is_mask
from trainkit.masks import latent_mask, mask_of
from trainkit.picture import Picture, PictureReader
from trainkit.place import Place
from trainkit.store.settings import StoreConfig
from trainkit.store.store import Store


def speckled(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng([width, height])
    return Image.fromarray(rng.integers(0, 256, (height, width), dtype=np.uint8))


@given(st.integers(3, 200), st.integers(3, 200), st.booleans(), st.floats(0, 1))
def test_a_mask_stays_between_floor_and_one(width: int, height: int, mirrored: bool, floor: float) -> None:
    mask = latent_mask(
        speckled(width, height), fit((width, height), (64, 48)), 8, mirrored=mirrored, floor=floor
    )
    assert mask.shape == (1, 6, 8)
    assert floor - 1e-6 <= mask.min()
    assert mask.max() <= 1 + 1e-6


@given(st.integers(3, 200), st.integers(3, 200))
def test_a_mirrored_mask_is_the_mask_mirrored(width: int, height: int) -> None:
    image, placed = speckled(width, height), fit((width, height), (64, 48))
    plain = latent_mask(image, placed, 8, mirrored=False, floor=0.0)
    # The sums of an average run in another order.
    torch.testing.assert_close(latent_mask(image, placed, 8, mirrored=True, floor=0.0), plain.flip(-1))
    with_floor = latent_mask(image, placed, 8, mirrored=False, floor=0.4)
    torch.testing.assert_close(with_floor, 0.4 + 0.6 * plain)


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("size", [(64, 48), (96, 48), (40, 64), (333, 100)])
def test_a_mask_covers_what_it_covers_in_the_picture(size: tuple[int, int], scale: int) -> None:
    # A disc, as picture and as mask of another size: cut and averaged they agree.
    def disc(factor: int) -> Image.Image:
        width, height = size[0] * factor, size[1] * factor
        y, x = np.mgrid[:height, :width]
        inside = ((x + 0.5) / factor - size[0] / 3) ** 2 + ((y + 0.5) / factor - size[1] / 2) ** 2 < 400
        return Image.fromarray((inside * 255).astype(np.uint8))

    placed = fit(size, (64, 48))
    pixels = (to_bucket(disc(1).convert("RGB"), placed)[:1] + 1) / 2
    expected = torch.nn.functional.avg_pool2d(pixels, 8)
    found = latent_mask(disc(scale), placed, 8, mirrored=False, floor=0.0)
    # Edges differ by how the two are resized; a shift by one pixel would be off by 0.12.
    assert (found - expected).abs().max() < 0.1
    assert found.max() > 0.99
    assert found.min() < 0.01


def test_masks_are_found_by_name(tmp_path: Path) -> None:
    path = tmp_path / "fox [1].jpg"
    path.touch()
    picture = Place(str(path))
    assert mask_of(picture, "none") is None
    assert mask_of(picture, "alpha") == picture
    assert mask_of(picture, "file") is None
    plain, labelled = tmp_path / "fox [1].mask.png", tmp_path / "fox [1]-masklabel.png"
    plain.touch()
    assert mask_of(picture, "file") == Place(str(plain))
    labelled.touch()
    assert mask_of(picture, "file") == Place(str(labelled))
    assert is_mask(plain)
    assert is_mask(labelled)
    assert not is_mask(path)


@pytest.mark.parametrize("name", ["a.mask.png", "a-masklabel.png", ".mask.png", "-masklabel.png", "a.png"])
def test_what_masks_no_picture_is_no_mask(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    (tmp_path / "b.png").touch()
    (tmp_path / "a.mask.txt").touch()
    assert not is_mask(tmp_path / name)


def masked(place: Path, mask: Path, size: tuple[int, int]) -> Image.Image | None:
    """The mask as it is read for a picture of ``size``."""
    picture = Picture(Record(id="a"), Place(str(place)), size, True, mask=Place(str(mask)))
    return PictureReader(Store(StoreConfig())).mask(picture)


def test_the_alpha_channel_is_a_mask(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    alpha = speckled(30, 20)
    image = Image.new("RGB", (30, 20), "red")
    image.putalpha(alpha)
    image.save(path)
    mask = masked(path, path, (30, 20))
    assert mask is not None
    assert np.array_equal(np.asarray(mask), np.asarray(alpha))
    image.convert("RGB").save(path)
    assert masked(path, path, (30, 20)) is None


@pytest.mark.parametrize(
    ("size", "fits"),
    [
        ((300, 200), True),
        ((600, 400), True),
        ((64, 43), True),  # 42.7
        ((64, 42), True),
        ((3, 2), True),
        ((200, 300), False),
        ((64, 45), False),
        ((300, 203), False),
        ((300, 300), False),
    ],
)
def test_a_mask_is_a_scaled_copy_or_refused(tmp_path: Path, size: tuple[int, int], fits: bool) -> None:
    path, picture = tmp_path / "a.mask.png", tmp_path / "a.jpg"
    Image.new("L", size, 255).save(path)
    if fits:
        mask = masked(picture, path, (300, 200))
        assert mask is not None
        assert mask.size == size
        return
    with pytest.raises(PictureError) as caught:
        masked(picture, path, (300, 200))
    width, height = size
    assert str(caught.value) == (
        f"{picture}: its mask a.mask.png is {width}x{height}, which is no scaled copy of 300x200; "
        "draw it anew"
    )


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "I;16", "P"])
def test_masks_of_every_mode_are_gray(tmp_path: Path, mode: str) -> None:
    half = Image.new("L", (40, 20), 0)
    half.paste(255, (0, 0, 20, 20))
    stored = (
        Image.fromarray(np.asarray(half).astype(np.uint16) * 257) if mode == "I;16" else half.convert(mode)
    )
    stored.save(tmp_path / "a.mask.png")
    mask = masked(tmp_path / "a.png", tmp_path / "a.mask.png", (40, 20))
    assert mask is not None
    assert np.array_equal(np.asarray(mask), np.asarray(half))


def test_a_broken_mask_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mask.png").write_bytes(b"nothing")
    with pytest.raises(PictureError, match=r"a\.mask\.png: is not a picture"):
        masked(tmp_path / "a.png", tmp_path / "a.mask.png", (40, 20))
