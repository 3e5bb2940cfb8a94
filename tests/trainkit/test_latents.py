"""Latents on disk: what is found again, what is noticed, what is mended."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file

from captionkit import CaptionPipeline, FlipRule
from trainkit.buckets import BucketConfig, Fit, Placement, fit, make_buckets, nearest_bucket, place
from trainkit.errors import PictureError, TrainkitError
from trainkit.images import read_picture, to_bucket
from trainkit.latents import LatentCache, encode, sample, vae_fingerprint
from trainkit.picture import Picture
from trainkit.pictures import DataConfig, read_data

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def vae(tiny_model: Path) -> Any:
    return AutoencoderKL.from_pretrained(tiny_model / "vae").eval()


BUCKETS = BucketConfig(resolution=64, max_side=96, min_side=32)


def usable(folder: Path) -> tuple[Picture, ...]:
    """The pictures of a folder; those with an asymmetrical figure may not be mirrored."""
    flip = CaptionPipeline(flip=FlipRule(no_flip=("asymmetrical", "text")))
    return tuple(read_data(DataConfig(path=folder), [flip]).pictures)


def placed(pictures: Sequence[Picture], config: BucketConfig = BUCKETS) -> Placement:
    return place(np.array([p.size for p in pictures], dtype=np.int32), config)


def placed_in(picture: Picture, config: BucketConfig = BUCKETS) -> Fit:
    return fit(picture.size, nearest_bucket(picture.size, make_buckets(config)))


def fill(cache: LatentCache, pictures: Sequence[Picture], vae: Any) -> list[PictureError]:
    return cache.fill(pictures, placed(pictures), vae, CPU)


class Counting:
    """A VAE that counts the pictures it encodes."""

    def __init__(self, vae: Any) -> None:
        self.vae, self.dtype, self.count = vae, vae.dtype, 0

    def encode(self, pixels: torch.Tensor) -> Any:
        self.count += len(pixels)
        return self.vae.encode(pixels)


def test_cached_latents_are_those_of_the_pixels(own_pictures: Path, tmp_path: Path, vae: Any) -> None:
    cache = LatentCache(tmp_path / "latents", vae_fingerprint(vae), "white")
    pictures = usable(own_pictures)
    assert fill(cache, pictures, vae) == []
    assert {p.may_flip for p in pictures} == {True, False}
    for picture in pictures:
        for mirrored in (False, True) if picture.may_flip else (False,):
            pixels = to_bucket(read_picture(Path(picture.place.path)), placed_in(picture), mirrored=mirrored)
            mean, std = encode(vae, pixels[None])
            found = cache.load(picture, placed_in(picture), mirrored)
            assert found[0].shape == (4, placed_in(picture).bucket[1] // 8, placed_in(picture).bucket[0] // 8)
            assert all(part.dtype == torch.float32 for part in found)
            # Kept in half precision: eleven bits.
            torch.testing.assert_close(found[0], mean[0], rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(found[1], std[0], rtol=1e-3, atol=1e-4)


def test_mirrored_latents_are_kept_only_where_they_are_allowed(
    pictures: Path, tmp_path: Path, vae: Any
) -> None:
    cache = LatentCache(tmp_path / "latents", "x", "white")
    fill(cache, usable(pictures), vae)
    for picture in usable(pictures):
        tensors = load_file(cache.path_of(picture, placed_in(picture)))
        assert ("mirrored.mean" in tensors) == picture.may_flip
        if picture.may_flip:
            # Encoded from mirrored pixels: a convolution's answer is not simply turned round.
            assert not torch.equal(tensors["mirrored.mean"], tensors["plain.mean"].flip(-1))


def test_nothing_is_encoded_twice(pictures: Path, tmp_path: Path, vae: Any) -> None:
    cache, counting = LatentCache(tmp_path / "latents", "x", "white"), Counting(vae)
    fill(cache, usable(pictures), counting)
    first = counting.count
    assert first >= 21
    picture = usable(pictures)[0]
    fill(cache, usable(pictures), counting)
    assert counting.count == first
    assert LatentCache(tmp_path / "latents", "another VAE", "white").has(picture, placed_in(picture)) is False
    assert LatentCache(tmp_path / "latents", "x", "black").has(picture, placed_in(picture)) is False
    assert list((tmp_path / "latents").rglob("*.partial")) == []


def test_a_changed_picture_is_encoded_anew(own_pictures: Path, tmp_path: Path, vae: Any) -> None:
    cache = LatentCache(tmp_path / "latents", "x", "white")
    picture = usable(own_pictures)[0]
    fill(cache, [picture], vae)
    assert cache.has(picture, placed_in(picture))
    os.utime(picture.place.path, ns=(1, 1))
    assert not cache.has(picture, placed_in(picture))


def test_a_file_that_was_cut_off_is_made_anew(own_pictures: Path, tmp_path: Path, vae: Any) -> None:
    cache = LatentCache(tmp_path / "latents", "x", "white")
    pictures = usable(own_pictures)
    fill(cache, pictures, vae)
    for may_flip in (True, False):
        picture = next(p for p in pictures if p.may_flip == may_flip)
        whole = cache.path_of(picture, placed_in(picture)).read_bytes()
        cache.path_of(picture, placed_in(picture)).write_bytes(whole[:-10])
        assert not cache.has(picture, placed_in(picture))
        fill(cache, pictures, vae)
        # To the last bit, although it was encoded in another run.
        assert cache.path_of(picture, placed_in(picture)).read_bytes() == whole


def test_a_file_broken_while_training_is_reported_and_removed(
    own_pictures: Path, tmp_path: Path, vae: Any
) -> None:
    cache = LatentCache(tmp_path / "latents", "x", "white")
    picture = usable(own_pictures)[0]
    with pytest.raises(PictureError, match=r"cached latents cannot be read .* start again to rebuild"):
        cache.load(picture, placed_in(picture), False)
    fill(cache, [picture], vae)
    cache.path_of(picture, placed_in(picture)).write_bytes(b"half")
    with pytest.raises(PictureError):
        cache.load(picture, placed_in(picture), False)
    assert not cache.path_of(picture, placed_in(picture)).exists()


def test_a_picture_that_is_gone_is_named(own_pictures: Path, tmp_path: Path, vae: Any) -> None:
    cache = LatentCache(tmp_path / "latents", "x", "white")
    pictures = usable(own_pictures)
    Path(pictures[3].place.path).unlink()
    (error,) = fill(cache, pictures, vae)
    assert error.picture == pictures[3].place.name
    assert all(cache.has(p, placed_in(p)) for p in pictures if p != pictures[3])
    with pytest.raises(PictureError, match="No such file"):
        cache.load(pictures[3], placed_in(pictures[3]), False)


def test_every_placement_has_latents_of_its_own(pictures: Path, tmp_path: Path, vae: Any) -> None:
    cache = LatentCache(tmp_path / "latents", "x", "white")
    all_of_them = usable(pictures)
    larger = BucketConfig(resolution=128, max_side=192, min_side=64)
    fill(cache, all_of_them, vae)
    assert not any(cache.has(p, placed_in(p, larger)) for p in all_of_them)
    assert cache.fill(all_of_them, placed(all_of_them, larger), vae, CPU) == []
    for picture in all_of_them:
        for config in (BUCKETS, larger):
            width, height = placed_in(picture, config).bucket
            mean, _ = cache.load(picture, placed_in(picture, config), False)
            assert mean.shape == (4, height // 8, width // 8)


def test_a_picture_of_another_size_than_was_planned_is_named(
    own_pictures: Path, tmp_path: Path, vae: Any
) -> None:
    cache = LatentCache(tmp_path / "latents", "x", "white")
    first, *rest = usable(own_pictures)
    wrong = replace(first, size=(512, 512))
    width, height = first.size
    (error,) = fill(cache, [wrong, *rest], vae)
    assert str(error) == (
        f"{first.place.name}: the manifest says 512x512, the file is {width}x{height}: prepare again"
    )
    assert not cache.has(wrong, placed_in(wrong))
    assert all(cache.has(p, placed_in(p)) for p in rest)


class Rows(Sequence[Picture]):
    """Pictures made when asked for, one of which cannot be."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: Any) -> Any:
        if index == 4:
            raise PictureError("table: row 5", "has neither tags nor captions")
        return self.pictures[index]


def test_a_row_that_is_no_record_is_reported_and_its_company_encoded_once(
    pictures: Path, tmp_path: Path, vae: Any
) -> None:
    cache, counting = LatentCache(tmp_path / "latents", "x", "white"), Counting(vae)
    all_of_them = usable(pictures)
    rows = Rows(all_of_them)
    for _ in range(2):
        (error,) = cache.fill(rows, placed(all_of_them), counting, CPU)
        assert error.picture == "table: row 5"
    first = counting.count
    assert 20 <= first <= 40
    assert [cache.has(p, placed_in(p)) for p in all_of_them].count(False) == 1


def test_a_folder_that_cannot_be_written_is_an_error_of_the_user(
    pictures: Path, tmp_path: Path, vae: Any
) -> None:
    (tmp_path / "latents").write_text("a file where the folder should be")
    cache = LatentCache(tmp_path / "latents", "x", "white")
    with pytest.raises(
        TrainkitError, match=r"latents cannot be written .* free some space or set data\.cache"
    ):
        fill(cache, usable(pictures), vae)


def test_a_draw_has_the_distribution_that_was_kept() -> None:
    mean, std = torch.full((4, 2, 2), 3.0), torch.full((4, 2, 2), 0.5)
    eps = torch.randn(4, 2, 2)
    torch.testing.assert_close(sample((mean, std), eps, 0.2), (3 + 0.5 * eps) * 0.2)


def test_fingerprint_tells_weights_apart(tiny_model: Path, vae: Any) -> None:
    other = AutoencoderKL.from_pretrained(tiny_model / "vae")
    assert vae_fingerprint(other) == vae_fingerprint(vae)
    with torch.no_grad():
        other.decoder.conv_out.bias[0] += 1e-3
    assert vae_fingerprint(other) != vae_fingerprint(vae)
