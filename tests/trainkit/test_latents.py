"""Latents on disk: what is found again, what is noticed, what is mended."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file

from captionkit import CaptionPipeline, FlipRule
from trainkit.buckets import BucketConfig
from trainkit.errors import PictureError, TrainkitError
from trainkit.images import read_picture, to_bucket
from trainkit.latents import LatentCache, encode, sample, vae_fingerprint
from trainkit.pictures import DataConfig, Picture, read_data

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def vae(tiny_model: Path) -> Any:
    return AutoencoderKL.from_pretrained(tiny_model / "vae").eval()


def usable(folder: Path) -> tuple[Picture, ...]:
    """The pictures of a folder; those with an asymmetrical figure may not be mirrored."""
    config = DataConfig(path=folder, buckets=BucketConfig(resolution=64, max_side=96, min_side=32))
    return read_data(config, CaptionPipeline(flip=FlipRule(no_flip=("asymmetrical", "text")))).pictures


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
    assert cache.fill(pictures, vae, CPU) == []
    assert {p.may_flip for p in pictures} == {True, False}
    for picture in pictures:
        for mirrored in (False, True) if picture.may_flip else (False,):
            pixels = to_bucket(read_picture(picture.path), picture.fit, mirrored=mirrored)
            mean, std = encode(vae, pixels[None])
            found = cache.load(picture, mirrored)
            assert found[0].shape == (4, picture.fit.bucket[1] // 8, picture.fit.bucket[0] // 8)
            assert all(part.dtype == torch.float32 for part in found)
            # Kept in half precision: eleven bits.
            torch.testing.assert_close(found[0], mean[0], rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(found[1], std[0], rtol=1e-3, atol=1e-4)


def test_mirrored_latents_are_kept_only_where_they_are_allowed(
    pictures: Path, tmp_path: Path, vae: Any
) -> None:
    cache = LatentCache(tmp_path / "latents", "x", "white")
    cache.fill(usable(pictures), vae, CPU)
    for picture in usable(pictures):
        tensors = load_file(cache.path_of(picture))
        assert ("mirrored.mean" in tensors) == picture.may_flip
        if picture.may_flip:
            # Encoded from mirrored pixels: a convolution's answer is not simply turned round.
            assert not torch.equal(tensors["mirrored.mean"], tensors["plain.mean"].flip(-1))


def test_nothing_is_encoded_twice(pictures: Path, tmp_path: Path, vae: Any) -> None:
    cache, counting = LatentCache(tmp_path / "latents", "x", "white"), Counting(vae)
    cache.fill(usable(pictures), counting, CPU)
    first = counting.count
    assert first >= 21
    cache.fill(usable(pictures), counting, CPU)
    assert counting.count == first
    assert LatentCache(tmp_path / "latents", "another VAE", "white").has(usable(pictures)[0]) is False
    assert LatentCache(tmp_path / "latents", "x", "black").has(usable(pictures)[0]) is False
    assert list((tmp_path / "latents").rglob("*.partial")) == []


def test_a_changed_picture_is_encoded_anew(own_pictures: Path, tmp_path: Path, vae: Any) -> None:
    cache = LatentCache(tmp_path / "latents", "x", "white")
    picture = usable(own_pictures)[0]
    cache.fill([picture], vae, CPU)
    assert cache.has(picture)
    os.utime(picture.path, ns=(1, 1))
    assert not cache.has(picture)


def test_a_file_that_was_cut_off_is_made_anew(own_pictures: Path, tmp_path: Path, vae: Any) -> None:
    cache = LatentCache(tmp_path / "latents", "x", "white")
    pictures = usable(own_pictures)
    cache.fill(pictures, vae, CPU)
    for may_flip in (True, False):
        picture = next(p for p in pictures if p.may_flip == may_flip)
        whole = cache.path_of(picture).read_bytes()
        cache.path_of(picture).write_bytes(whole[:-10])
        assert not cache.has(picture)
        cache.fill(pictures, vae, CPU)
        # To the last bit, although it was encoded in another run.
        assert cache.path_of(picture).read_bytes() == whole


def test_a_file_broken_while_training_is_reported_and_removed(
    own_pictures: Path, tmp_path: Path, vae: Any
) -> None:
    cache = LatentCache(tmp_path / "latents", "x", "white")
    picture = usable(own_pictures)[0]
    with pytest.raises(PictureError, match=r"cached latents cannot be read .* start again to rebuild"):
        cache.load(picture, False)
    cache.fill([picture], vae, CPU)
    cache.path_of(picture).write_bytes(b"half")
    with pytest.raises(PictureError):
        cache.load(picture, False)
    assert not cache.path_of(picture).exists()


def test_a_picture_that_is_gone_is_named(own_pictures: Path, tmp_path: Path, vae: Any) -> None:
    cache = LatentCache(tmp_path / "latents", "x", "white")
    pictures = usable(own_pictures)
    pictures[3].path.unlink()
    (error,) = cache.fill(pictures, vae, CPU)
    assert error.picture == str(pictures[3].path)
    assert all(cache.has(p) for p in pictures if p != pictures[3])
    with pytest.raises(PictureError, match="No such file"):
        cache.load(pictures[3], False)


def test_a_folder_that_cannot_be_written_is_an_error_of_the_user(
    pictures: Path, tmp_path: Path, vae: Any
) -> None:
    (tmp_path / "latents").write_text("a file where the folder should be")
    cache = LatentCache(tmp_path / "latents", "x", "white")
    with pytest.raises(
        TrainkitError, match=r"latents cannot be written .* free some space or set data\.cache"
    ):
        cache.fill(usable(pictures), vae, CPU)


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
