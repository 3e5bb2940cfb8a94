"""Latents on disk: what is found again, what is noticed, what is mended, what several processes share."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file

from captionkit import CaptionPipeline, FlipRule
from tests.trainkit.processes import PATIENCE, environment
from tests.trainkit.tiny import write_pictures
from trainkit.buckets import BucketConfig, Fit, Placement, fit, make_buckets, nearest_bucket, place
from trainkit.cache import fill as filling
from trainkit.cache import missing
from trainkit.cache.fill import fill_latents
from trainkit.cache.latents import LatentCache
from trainkit.data_config import DataConfig
from trainkit.errors import CacheError, PictureError
from trainkit.images import to_bucket
from trainkit.latents import VaeDraw, encode, vae_fingerprint
from trainkit.picture import Picture
from trainkit.pictures import read_data
from trainkit.place import Place

CPU = torch.device("cpu")
BUCKETS = BucketConfig(resolution=64, max_side=96, min_side=32)
READER = DataConfig(path=Path()).reader


@pytest.fixture(scope="module")
def vae(tiny_model: Path) -> Any:
    return AutoencoderKL.from_pretrained(tiny_model / "vae").eval()


def usable(folder: Path) -> tuple[Picture, ...]:
    """The pictures of a folder; those with an asymmetrical figure may not be mirrored."""
    flip = CaptionPipeline(flip=FlipRule(no_flip=("asymmetrical", "text")))
    return tuple(read_data(DataConfig(path=folder), [flip]).pictures)


def placed(pictures: Sequence[Picture], config: BucketConfig = BUCKETS) -> Placement:
    return place(np.array([p.size for p in pictures], dtype=np.int32), config)


def placed_in(picture: Picture, config: BucketConfig = BUCKETS) -> Fit:
    return fit(picture.size, nearest_bucket(picture.size, make_buckets(config)))


def fill(cache: LatentCache, pictures: Sequence[Picture], vae: Any, **options: Any) -> list[PictureError]:
    return fill_latents(cache, pictures, placed(pictures), READER, vae, CPU, **options)


def has(cache: LatentCache, picture: Picture, config: BucketConfig = BUCKETS) -> bool:
    try:
        for mirrored in (False, True) if picture.may_flip else (False,):
            cache.load(picture, placed_in(picture, config), mirrored)
    except PictureError:
        return False
    return True


def content(folder: Path) -> dict[str, bytes]:
    """Every shard, byte for byte."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*x*-*.safetensors")}


class Counting:
    """A VAE that counts the pictures it encodes."""

    def __init__(self, vae: Any) -> None:
        self.vae, self.dtype, self.config, self.count = vae, vae.dtype, vae.config, 0

    def encode(self, pixels: torch.Tensor) -> Any:
        self.count += len(pixels)
        return self.vae.encode(pixels)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of four pictures, so that a folder of twenty-one has several of each shape."""
    monkeypatch.setattr(missing, "BLOCK", 4)
    monkeypatch.setattr(filling, "COMPANY", 2)


@pytest.mark.parametrize("draw", ["sample", "mode"])
def test_cached_latents_are_those_of_the_pixels(
    own_pictures: Path, tmp_path: Path, vae: Any, draw: VaeDraw
) -> None:
    cache = LatentCache(tmp_path / "cache", vae_fingerprint(vae), "white", draw)
    pictures = usable(own_pictures)
    assert fill(cache, pictures, vae) == []
    assert {p.may_flip for p in pictures} == {True, False}
    copy: LatentCache = pickle.loads(pickle.dumps(cache))
    for picture in pictures:
        for mirrored in (False, True) if picture.may_flip else (False,):
            pixels = to_bucket(READER.image(picture), placed_in(picture), mirrored=mirrored)
            moments = encode(vae, pixels[None])
            found = cache.load(picture, placed_in(picture), mirrored)
            assert len(found) == (2 if draw == "sample" else 1)
            assert found[0].shape == (4, placed_in(picture).bucket[1] // 8, placed_in(picture).bucket[0] // 8)
            for part, expected, same in zip(
                found, moments, copy.load(picture, placed_in(picture), mirrored), strict=False
            ):
                assert part.dtype == torch.float32
                assert torch.equal(part, same)
                # Kept in half precision: eleven bits.
                torch.testing.assert_close(part, expected[0], rtol=1e-3, atol=1e-4)


def test_mirrored_latents_are_kept_only_where_they_are_allowed(
    pictures: Path, tmp_path: Path, vae: Any
) -> None:
    cache = LatentCache(tmp_path / "cache", "x", "white")
    fill(cache, usable(pictures), vae)
    for picture in usable(pictures):
        plain = cache.load(picture, placed_in(picture), False)[0]
        if picture.may_flip:
            # Encoded from mirrored pixels: a convolution's answer is not simply turned round.
            assert not torch.equal(cache.load(picture, placed_in(picture), True)[0], plain.flip(-1))
        else:
            with pytest.raises(PictureError, match=r"not in the cache; start again"):
                cache.load(picture, placed_in(picture), True)
    # Other tools read the shards too.
    for path in (tmp_path / "cache").rglob("*x*-*.safetensors"):
        tensors = load_file(path)
        assert tensors["rows"].dtype == torch.float16
        assert tensors["rows"].shape[:3] == (len(tensors["keys"]), 2, 4)


def test_nothing_is_encoded_twice(pictures: Path, tmp_path: Path, vae: Any) -> None:
    folder = tmp_path / "cache"
    cache, counting = LatentCache(folder, "x", "white"), Counting(vae)
    fill(cache, usable(pictures), counting)
    first = counting.count
    assert first >= 21
    fill(cache, usable(pictures), counting)
    fill(LatentCache(folder, "x", "white"), usable(pictures), counting)
    assert counting.count == first
    picture = usable(pictures)[0]
    assert has(cache, picture)
    for other in (("another VAE", "white"), ("x", "black"), ("x", "white", "mode")):
        assert not has(LatentCache(folder, *other), picture)
    assert list(folder.rglob("*.partial")) == []
    assert list((folder / "vae-x-sample" / "claims").iterdir()) == []


def test_a_picture_that_may_be_mirrored_now_gets_what_it_lacks(
    pictures: Path, tmp_path: Path, vae: Any
) -> None:
    cache, counting = LatentCache(tmp_path / "cache", "x", "white"), Counting(vae)
    everyone = usable(pictures)
    fill(cache, [replace(p, may_flip=False) for p in everyone], counting)
    assert counting.count == 21
    fill(cache, everyone, counting)
    assert counting.count == 21 + sum(p.may_flip for p in everyone)
    assert all(has(cache, p) for p in everyone)


def test_a_changed_picture_is_encoded_anew(own_pictures: Path, tmp_path: Path, vae: Any) -> None:
    cache = LatentCache(tmp_path / "cache", "x", "white")
    picture = usable(own_pictures)[0]
    fill(cache, [picture], vae)
    assert has(cache, picture)
    os.utime(picture.place.path, ns=(1, 1))
    assert not has(cache, picture)
    fill(cache, [picture], vae)
    assert has(cache, picture)


def test_a_picture_with_a_digest_is_known_by_it_wherever_it_lies(
    own_pictures: Path, tmp_path: Path, vae: Any
) -> None:
    cache = LatentCache(tmp_path / "cache", "x", "white")
    first, second = (_with_digest(p) for p in usable(own_pictures)[:2])
    fill(cache, [first], vae)
    moved = replace(first, place=replace(first.place, path=str(tmp_path / "elsewhere.png")))
    assert has(cache, moved)
    assert not has(cache, second)
    assert not has(cache, replace(first, place=replace(first.place, digest=bytes(16))))


def _with_digest(picture: Picture) -> Picture:
    content = Path(picture.place.path).read_bytes()
    return replace(
        picture,
        place=Place(picture.place.path, digest=hashlib.blake2b(content, digest_size=16).digest()),
    )


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip_header(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)


def flip_last_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut_short, flip_header, flip_last_byte, empty, Path.unlink])
def test_a_damaged_shard_is_recognised_named_and_made_anew(
    pictures: Path,
    tmp_path: Path,
    vae: Any,
    damage: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "cache"
    fill(LatentCache(folder, "x", "white"), usable(pictures), vae)
    whole = content(folder)
    name = sorted(whole)[1]
    damage(folder / name)
    capsys.readouterr()
    cache, counting = LatentCache(folder, "x", "white"), Counting(vae)
    fill(cache, usable(pictures), counting)
    # To the last bit, although it was encoded in another run, and nothing else was.
    assert content(folder) == whole
    assert 0 < counting.count < 21 + sum(p.may_flip for p in usable(pictures))
    assert all(has(cache, p) for p in usable(pictures))
    if damage is not Path.unlink:
        assert f"{folder / name}: it" in (told := capsys.readouterr().out)
        assert "removed, and made anew" in told


@pytest.mark.parametrize("damage", [cut_short, flip_header, flip_last_byte, empty, Path.unlink])
def test_a_damaged_index_is_made_anew_from_the_shards(
    pictures: Path, tmp_path: Path, vae: Any, damage: Callable[[Path], None]
) -> None:
    folder = tmp_path / "cache"
    fill(LatentCache(folder, "x", "white"), usable(pictures), vae)
    index = folder / "vae-x-sample" / "index.safetensors"
    whole = index.read_bytes()
    damage(index)
    counting = Counting(vae)
    fill(cache := LatentCache(folder, "x", "white"), usable(pictures), counting)
    assert counting.count == 0
    assert index.read_bytes() == whole
    assert all(has(cache, p) for p in usable(pictures))


def test_a_shard_cut_short_while_training_is_reported_and_removed(
    own_pictures: Path, tmp_path: Path, vae: Any
) -> None:
    cache = LatentCache(tmp_path / "cache", "x", "white")
    picture = usable(own_pictures)[0]
    with pytest.raises(PictureError, match=r"not in the cache; start again, and they are made"):
        cache.load(picture, placed_in(picture), False)
    fill(cache, [picture], vae)
    (shard,) = (tmp_path / "cache").rglob("*x*-*.safetensors")
    cut_short(shard)
    with pytest.raises(PictureError, match=r"cannot be read: .* was cut short; start again"):
        cache.load(picture, placed_in(picture), picture.may_flip)
    assert not shard.exists()
    fill(cache, [picture], vae)
    assert has(cache, picture)


def test_a_picture_that_is_gone_is_named(own_pictures: Path, tmp_path: Path, vae: Any) -> None:
    cache = LatentCache(tmp_path / "cache", "x", "white")
    pictures = usable(own_pictures)
    Path(pictures[3].place.path).unlink()
    (error,) = fill(cache, pictures, vae)
    assert error.picture == pictures[3].place.path
    assert all(has(cache, p) for p in pictures if p != pictures[3])
    with pytest.raises(PictureError, match="No such file"):
        cache.load(pictures[3], placed_in(pictures[3]), False)


@pytest.mark.usefixtures("small_blocks")
def test_a_broken_picture_is_named_each_time_and_changes_no_other(
    own_pictures: Path, tmp_path: Path, vae: Any
) -> None:
    pictures = [_with_digest(p) for p in usable(own_pictures)]
    bad = Path(pictures[5].place.path)
    kept = bad.read_bytes()
    fill(LatentCache(tmp_path / "whole", "x", "white"), pictures, vae)
    bad.write_bytes(b"no picture")
    cache = LatentCache(tmp_path / "cache", "x", "white")
    for turn in range(2):
        counting = Counting(vae)
        (error,) = fill(cache, pictures, counting)
        assert error.picture == str(bad)
        assert counting.count == 0 or turn == 0
    assert not has(cache, pictures[5])
    bad.write_bytes(kept)
    assert fill(cache, pictures, vae) == []
    for picture in pictures:
        for mirrored in (False, True) if picture.may_flip else (False,):
            one, two = (
                LatentCache(tmp_path / name, "x", "white").load(picture, placed_in(picture), mirrored)
                for name in ("whole", "cache")
            )
            if picture is pictures[5]:
                torch.testing.assert_close(one, two, rtol=1e-2, atol=1e-3)
            else:
                assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_every_placement_has_latents_of_its_own(pictures: Path, tmp_path: Path, vae: Any) -> None:
    cache = LatentCache(tmp_path / "cache", "x", "white")
    all_of_them = usable(pictures)
    larger = BucketConfig(resolution=128, max_side=192, min_side=64)
    fill(cache, all_of_them, vae)
    assert not any(has(cache, p, larger) for p in all_of_them)
    assert fill_latents(cache, all_of_them, placed(all_of_them, larger), READER, vae, CPU) == []
    for picture in all_of_them:
        for config in (BUCKETS, larger):
            width, height = placed_in(picture, config).bucket
            mean, _ = cache.load(picture, placed_in(picture, config), False)
            assert mean.shape == (4, height // 8, width // 8)


def test_a_picture_of_another_size_than_was_planned_is_named(
    own_pictures: Path, tmp_path: Path, vae: Any
) -> None:
    cache = LatentCache(tmp_path / "cache", "x", "white")
    first, *rest = usable(own_pictures)
    wrong = replace(first, size=(512, 512))
    (error,) = fill(cache, [wrong, *rest], vae)
    assert error.picture == first.place.path
    assert "the manifest says 512x512" in error.reason
    assert all(has(cache, p) for p in rest)


def test_a_folder_that_cannot_be_written_is_an_error_of_the_user(
    pictures: Path, tmp_path: Path, vae: Any
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(CacheError, match=r"cannot be written: .* Free some space or set data\.cache"):
        fill(LatentCache(tmp_path / "cache", "x", "white"), usable(pictures), vae)


def test_a_cache_that_may_only_be_read_is_read(pictures: Path, tmp_path: Path, vae: Any) -> None:
    folder = tmp_path / "cache"
    fill(LatentCache(folder, "x", "white"), usable(pictures), vae)
    before = content(folder)
    (folder / "vae-x-sample" / "index.safetensors").unlink()
    cache: LatentCache = pickle.loads(pickle.dumps(LatentCache(folder, "x", "white")))
    # As a loader's worker does it: without an index file it reads the shards' keys and writes nothing.
    assert all(has(cache, p) for p in usable(pictures))
    assert content(folder) == before
    assert not (folder / "vae-x-sample" / "index.safetensors").exists()


def test_what_does_not_fit_the_disk_is_refused_before_anything_is_encoded(
    pictures: Path, tmp_path: Path, vae: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "free_bytes", lambda folder: 5_000)
    counting = Counting(vae)
    with pytest.raises(
        CacheError, match=r"latents of 21 pictures take .* kB in .*, 5.0 kB are free there\. .*data\.ca"
    ):
        fill(LatentCache(tmp_path / "cache", "x", "white"), usable(pictures), counting)
    assert counting.count == 0
    monkeypatch.setattr(filling, "free_bytes", lambda folder: None)
    assert fill(LatentCache(tmp_path / "cache", "x", "white"), usable(pictures), counting) == []


DRIVER = """
import os, signal, sys, time
from pathlib import Path
import torch
from diffusers import AutoencoderKL
from tests.trainkit.test_cache_latents import content, fill, usable
from trainkit.cache import fill as filling
from trainkit.cache import missing
from trainkit.cache.latents import LatentCache

torch.set_num_threads(1)
missing.BLOCK, filling.COMPANY = 4, 2
root = Path(sys.argv[1])
vae = AutoencoderKL.from_pretrained(Path(sys.argv[2]) / "vae").eval()
pictures = usable(root / "many")

class Watched:
    dtype, config, count, before = vae.dtype, vae.config, 0, lambda: None
    def encode(self, pixels):
        self.before()
        self.count += len(pixels)
        return vae.encode(pixels)

def child(cache, before, rank=0, world=1):
    '''Another process that fills, sharing nothing but the disk; does ``before`` whenever it encodes.'''
    if pid := os.fork():
        return pid
    watched = Watched()
    watched.before = before
    errors = fill(LatentCache(root / cache, "x", "white"), pictures, watched, rank=rank, world=world)
    (root / f"{cache}-{rank}").write_text(str(watched.count))
    os._exit(len(errors))

def wait_for(ready):
    end = time.monotonic() + 300
    while not ready():
        assert time.monotonic() < end, "the others do not get on"
        time.sleep(0.005)

assert os.waitpid(child("whole", lambda: None), 0)[1] == 0
# Killed twice in the middle; who is killed late waits for it.
for enough in (2, 5):
    def slowly():
        time.sleep(0.02)
        wait_for(lambda: len(content(root / "again")) < enough + 2)
    victim = child("again", slowly)
    wait_for(lambda: len(content(root / "again")) >= enough)
    os.kill(victim, signal.SIGKILL)
    assert os.waitpid(victim, 0)[1] == signal.SIGKILL
    assert enough <= len(content(root / "again")) < len(content(root / "whole"))
# What a killed process left of a shard is no shard.
(root / "again" / "vae-x-sample" / f".0x0-{'0' * 32}.safetensors.host-1.partial").write_bytes(b"half")
# Then three to the end, of which one is killed as well, with what it has claimed; before that each has begun.
def begun():
    return sum((root / f"begun-{rank}").exists() for rank in (0, 1, 2))
def together(rank):
    (root / f"begun-{rank}").touch()
    wait_for(lambda: begun() == 3 and rank != 1)
three = [child("again", lambda rank=rank: together(rank), rank, 3) for rank in (0, 1, 2)]
wait_for(lambda: begun() == 3)
os.kill(three[1], signal.SIGKILL)
assert [os.waitpid(pid, 0)[1] for pid in three] == [0, signal.SIGKILL, 0]
"""


def test_killed_and_shared_a_cache_holds_the_same(tiny_model: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "many", 90)
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path), str(tiny_model)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    expected = content(tmp_path / "whole")
    assert len(expected) >= 20  # So many that each of three gets some of what two killed ones left.
    assert content(tmp_path / "again") == expected
    whole, first, last = (int((tmp_path / name).read_text()) for name in ("whole-0", "again-0", "again-2"))
    # Both that were left had a part in it, and nothing was done twice: less than what all is.
    assert min(first, last) > 0
    assert first + last < whole
    assert list((tmp_path / "again").rglob("*.partial")) == []
    assert list((tmp_path / "again" / "vae-x-sample" / "claims").iterdir()) == []


def test_a_disk_that_is_full_in_the_middle_leaves_what_is_there(
    pictures: Path, tmp_path: Path, tiny_model: Path, vae: Any
) -> None:
    folder = tmp_path / "cache"
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        told = pool.apply(_fill_starved, (str(tiny_model), str(pictures), str(folder)))
    assert "cannot be written" in told
    assert "it takes" in told
    assert "What is there stays usable" in told
    some = content(folder)
    assert some
    assert list(folder.rglob("*.partial")) == []
    fill(cache := LatentCache(folder, "x", "white"), usable(pictures), vae)
    assert all(has(cache, p) for p in usable(pictures))
    assert {name: data for name, data in content(folder).items() if name in some} == some


def _fill_starved(model: str, data: str, cache: str) -> str:
    """Fill where no file may have more than 6,000 bytes: small shards can be written, large ones not."""
    missing.BLOCK = 4
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, 6_000))
    vae = AutoencoderKL.from_pretrained(Path(model) / "vae").eval()
    try:
        fill(LatentCache(Path(cache), "x", "white"), usable(Path(data)), vae)
    except CacheError as error:
        return str(error)
    return "nothing"
