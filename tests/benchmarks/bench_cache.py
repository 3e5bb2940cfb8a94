"""How fast cached latents are read, against one file for each picture; how fast an index of millions opens;
whether pictures are decoded while others are encoded.

Run: PYTHONPATH=. python tests/benchmarks/bench_cache.py PICTURES [--work FOLDER] [--entries N] [--json]

PICTURES is a folder of pictures with sidecars or a table, such as the emoji of the tests. Nothing of a model
is needed: the VAEs have random weights, whose answers are as large as any other's. "old" is the cache of
version 0.1: one safetensors file with mean and standard deviation for each picture, in one of 256 folders.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file, save_file

from captionkit import preset
from tests.trainkit.tiny import byte_tokenizer
from trainkit.batches import BatchPlan
from trainkit.buckets import BucketConfig, fit, place
from trainkit.cache.fill import fill_latents
from trainkit.cache.index import NONE, merged, open_index
from trainkit.cache.latents import LatentCache
from trainkit.cache.shard import Shard, shard_bytes
from trainkit.cache.store import INDEX, Store
from trainkit.data_config import DataConfig
from trainkit.feed import Feed
from trainkit.images import to_bucket
from trainkit.latents import vae_fingerprint
from trainkit.picture import Picture
from trainkit.pictures import DataSet, read_data
from trainkit.text import Tokens

TOKENS = Tokens(byte_tokenizer(), 300)
PIPELINE = preset("hyperfusion", max_tokens=300).with_counter(TOKENS.count)
BATCH = 8
CPU = torch.device("cpu")


def small_vae() -> Any:
    """A VAE of SD 1.5's shape of latents, with few channels."""
    torch.manual_seed(0)
    vae: Any = AutoencoderKL(
        block_out_channels=(4, 4, 8, 8),
        layers_per_block=1,
        norm_num_groups=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    return vae.eval()


def real_vae() -> Any:
    """SD 1.5's VAE, untrained."""
    torch.manual_seed(0)
    vae: Any = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
    )
    return vae.eval()


class OldCache(LatentCache):
    """One file for each picture, as before."""

    def path_of(self, picture: Picture, placed: Any) -> Path:
        """Where a picture's file lies."""
        stat = os.stat(picture.place.path)
        where = os.path.realpath(picture.place.path)
        parts = (self.fingerprint, where, stat.st_size, stat.st_mtime_ns, placed, self.transparent_as)
        name = hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()
        return self.store.folder.parent / name[:2] / f"{name}.safetensors"

    def load(self, picture: Picture, fit: Any, mirrored: bool) -> tuple[torch.Tensor, ...]:
        """As before: all of the file is read."""
        tensors = load_file(self.path_of(picture, fit))
        side = "mirrored" if mirrored else "plain"
        return tensors[f"{side}.mean"].float(), tensors[f"{side}.std"].float()


def copy_as_old(cache: LatentCache, old: OldCache, data: DataSet, placement: Any) -> None:
    """The same latents in files of their own."""
    for number, picture in enumerate(data.pictures):
        placed = fit(picture.size, placement.bucket(number))
        tensors: dict[str, torch.Tensor] = {}
        for side, mirrored in (("plain", False), ("mirrored", True)):
            if mirrored and not picture.may_flip:
                continue
            mean, std = cache.load(picture, placed, mirrored)
            tensors |= {f"{side}.mean": mean.half().contiguous(), f"{side}.std": std.half().contiguous()}
        path = old.path_of(picture, placed)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path)


def forget(folder: Path) -> None:
    """Take a folder's files out of the system's memory, as if they had not been read for long."""
    os.sync()
    for path in folder.rglob("*.safetensors"):
        file = os.open(path, os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def reading(pictures: Path, work: Path, resolution: int) -> dict[str, Any]:
    """Micro-batches a second from both caches, in turns."""
    data = read_data(DataConfig(path=pictures), [PIPELINE])
    config = BucketConfig(resolution=resolution)
    placement = place(data.sizes, config)
    vae, reader = small_vae(), DataConfig(path=pictures).reader
    fingerprint = vae_fingerprint(vae)
    cache = LatentCache(work / "new", fingerprint, "white")
    started = time.perf_counter()
    fill_latents(cache, data.pictures, placement, reader, vae, CPU)
    print(f"{len(data.pictures)} pictures cached in {time.perf_counter() - started:.0f} s", file=sys.stderr)
    old = OldCache(work / "old", fingerprint, "white")
    copy_as_old(cache, old, data, placement)
    plan = BatchPlan(placement.buckets, placement.index, BATCH, 0)
    count = len(data.pictures) // BATCH
    found: dict[str, dict[str, list[float]]] = {"warm": {}, "cold": {}, "latents alone, warm": {}}
    for _ in range(5):
        for name, some in (("old", old), ("new", cache)):
            feed = Feed(plan, data.pictures, PIPELINE, TOKENS, some, (4, 8), reader)
            for state in ("cold", "warm"):
                if state == "cold":
                    forget(work / name)
                    cache.store.refresh(write=False)
                started = time.perf_counter()
                for number in range(count):
                    assert feed[number].problems == []
                rate = count / (time.perf_counter() - started)
                found[state].setdefault(name, []).append(rate)
            started = time.perf_counter()
            for number in range(count):
                for draw in plan[number].draws:
                    picture = data.pictures[draw.picture]
                    some.load(picture, fit(picture.size, placement.bucket(draw.picture)), False)
            rate = count / (time.perf_counter() - started)
            found["latents alone, warm"].setdefault(name, []).append(rate)
    told: dict[str, Any] = {"pictures": len(data.pictures), "resolution": resolution, "batch": BATCH}
    for name in ("old", "new"):
        files = [p.stat() for p in (work / name).rglob("*.safetensors")]
        told[f"{name} files"] = len(files)
        told[f"{name} MB on the disk"] = round(sum(s.st_blocks for s in files) * 512 / 1e6, 1)
    for state, rates in found.items():
        told[f"micro-batches/s, {state}"] = {k: round(statistics.median(v), 1) for k, v in rates.items()}
    return told


def fake_shards(entries: int) -> Iterator[Shard]:
    """Shards of 512 rows under random keys."""
    rng = np.random.default_rng(0)
    for number in range(-(-entries // 512)):
        keys = rng.integers(0, 256, (512, 16), dtype=np.uint8)
        yield Shard(f"768x768-{number:032x}.safetensors", 75_000_000, 1, keys, keys[:0], (2, 4, 96, 96), 500)


OPENED = """
import json, os, sys, time
from pathlib import Path
import numpy as np
from trainkit.cache.index import open_index

def memory():
    told = Path("/proc/self/smaps_rollup").read_text().split()
    return {name: int(told[told.index(f"{name}:") + 1]) / 1024 for name in ("Private_Dirty", "Pss", "Rss")}

before = memory()
started = time.perf_counter()
index = open_index(Path(sys.argv[1]), verify=sys.argv[2] == "verified")
seconds = time.perf_counter() - started
rng = np.random.default_rng(1)
some = rng.integers(0, len(index), 20_000)
keys = np.stack([index.high[some], index.low[some]], axis=1).astype(">u8").view("u1").reshape(-1, 16)
started = time.perf_counter()
for key in keys:
    assert index.find(key[None])[0] >= 0
each = (time.perf_counter() - started) / len(keys)
started = time.perf_counter()
assert (index.find(keys) >= 0).all()
together = (time.perf_counter() - started) / len(keys)
after = memory()
print(json.dumps({"seconds": round(seconds, 4), "microseconds a key, alone": round(each * 1e6, 1),
    "microseconds a key, together": round(together * 1e6, 2),
    "MB private": round(after["Private_Dirty"] - before["Private_Dirty"], 1),
    "MB resident, of which all but the private are shared": round(after["Rss"] - before["Rss"], 1)}))
"""


def opening(work: Path, entries: int) -> dict[str, Any]:
    """Making and opening the index of so many entries."""
    shards = list(fake_shards(entries))
    started = time.perf_counter()
    index = merged(NONE, (), shards)
    made = time.perf_counter() - started
    path = work / INDEX
    index.save(path)
    started = time.perf_counter()
    merged(open_index(path, verify=True), {shards[0].name}, shards[:1])
    again = time.perf_counter() - started
    told: dict[str, Any] = {
        "entries": len(index),
        "shards": len(shards),
        "MB": round(path.stat().st_size / 1e6, 1),
        "seconds to make it of the shards' keys": round(made, 2),
        "seconds to put one shard in": round(again, 2),
    }
    for how in ("verified", "mapped"):
        words = [sys.executable, "-c", OPENED, str(path), how]
        told[f"opened, {how}"] = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    return told


def from_shards(work: Path, entries: int) -> dict[str, Any]:
    """A folder with as many real shards as ``entries`` need, their rows of four numbers: listing and
    opening."""
    store = Store(work / "many")
    rng = np.random.default_rng(0)
    rows = np.zeros((512, 2, 2), np.float16)
    names = [f"8x8-{number:032x}.safetensors" for number in range(-(-entries // 512))]
    store.folder.mkdir()
    for name in names:  # Not `put`, which would wait for the disk 13,000 times.
        keys = rng.integers(0, 256, (512, 16), dtype=np.uint8)
        (store.folder / name).write_bytes(shard_bytes(keys, rows, keys[:0]))
    told: dict[str, Any] = {"entries": 512 * len(names), "shards": len(names)}
    for what in ("without an index", "with it"):
        started = time.perf_counter()
        assert Store(work / "many").refresh() == []
        told[f"seconds to open the folder {what}"] = round(time.perf_counter() - started, 2)
    return told


def overlapping(pictures: Path, work: Path, count: int, resolution: int) -> dict[str, Any]:
    """Seconds to fill with SD 1.5's VAE, to encode alone and to decode alone. The pictures are enlarged, so
    that decoding is work as with photographs."""
    torch.set_num_threads(1)
    large = work / "large"
    large.mkdir()
    for number, picture in enumerate(read_data(DataConfig(path=pictures), []).pictures[:count]):
        with Image.open(picture.place.path) as small:
            small.convert("RGB").resize((3000, 3000)).save(large / f"{number}.png", compress_level=1)
        (large / f"{number}.txt").write_text("emoji")
    data = read_data(DataConfig(path=large), [])
    some = [replace(p, may_flip=False) for p in data.pictures]
    placement = place(np.array([p.size for p in some], np.int32), BucketConfig(resolution=resolution))
    vae, reader = real_vae(), DataConfig(path=large).reader

    class Timed:
        dtype, config, seconds = vae.dtype, vae.config, 0.0

        def encode(self, pixels: torch.Tensor) -> Any:
            started = time.perf_counter()
            answer = vae.encode(pixels)
            Timed.seconds += time.perf_counter() - started
            return answer

    started = time.perf_counter()
    for number, picture in enumerate(some):
        to_bucket(reader.image(picture), fit(picture.size, placement.bucket(number)))
    decoding = time.perf_counter() - started
    started = time.perf_counter()
    fill_latents(LatentCache(work / "overlap", "x", "white"), some, placement, reader, Timed(), CPU)
    whole = time.perf_counter() - started
    return {
        "pictures": count,
        "resolution": resolution,
        "seconds to decode them, one after another": round(decoding, 2),
        "seconds in the VAE": round(Timed.seconds, 2),
        "seconds to fill": round(whole, 2),
    }


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--work", type=Path, default=Path("bench-cache"), help="made, and removed at the end")
    parser.add_argument("--resolution", type=int, default=512)
    parser.add_argument("--entries", type=int, default=6_600_000)
    parser.add_argument("--encode", type=int, default=32, help="pictures for SD 1.5's VAE")
    parser.add_argument("--only", choices=["reading", "index", "folder", "filling"], help="one part alone")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.work.mkdir(parents=True)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "reading": lambda: reading(options.pictures, options.work, options.resolution),
        "index": lambda: opening(options.work, options.entries),
        "folder": lambda: from_shards(options.work, options.entries),
        "filling": lambda: overlapping(options.pictures, options.work, options.encode, 128),
    }
    try:
        told = {name: part() for name, part in parts.items() if options.only in (None, name)}
    finally:
        shutil.rmtree(options.work, ignore_errors=True)
    if options.json:
        print(json.dumps(told, indent=2))
        return
    for about, values in told.items():
        print(f"{about}: {json.dumps(values, indent=2)}")


if __name__ == "__main__":
    main()
