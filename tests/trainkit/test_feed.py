"""Micro-batches as tensors: pure, shared between devices, and whole when a picture is not."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from diffusers import AutoencoderKL
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from captionkit import CaptionPipeline, Prose, Record, Tag, preset
from tests.trainkit.tiny import byte_tokenizer
from trainkit.batches import BatchPlan
from trainkit.buckets import BucketConfig, fit, place
from trainkit.cache.fill import fill_latents
from trainkit.cache.latents import LatentCache
from trainkit.data_config import DataConfig
from trainkit.errors import PictureError
from trainkit.feed import Batch, Feed
from trainkit.loader import micro_batches
from trainkit.pictures import read_data
from trainkit.text import Tokens

TOKENS = Tokens(byte_tokenizer(), 300)
BUCKETS = BucketConfig(resolution=64, max_side=96, min_side=32)


def make_feed(
    data: Path, cache: LatentCache | None = None, rank: int = 0, world: int = 1, /, **settings: Any
) -> Feed:
    pipeline: CaptionPipeline = preset("hyperfusion", no_flip=["asymmetrical"]).with_counter(TOKENS.count)
    pipeline = pipeline.model_copy(update={"text": pipeline.text.model_copy(update={"max_tokens": 300})})
    config = DataConfig(path=data, **settings)
    found = read_data(config, [pipeline])
    placement = place(found.sizes, BUCKETS)
    plan = BatchPlan(placement.buckets, placement.index, 6, 0)
    floor = config.mask_floor
    reader = config.reader
    return Feed(plan, found.pictures, pipeline, TOKENS, cache, (4, 8), reader, rank, world, floor)


def manifest_of(folder: Path, path: Path, **columns: list[Any]) -> Path:
    """A manifest of a folder's pictures, with more columns or other values."""
    found = read_data(DataConfig(path=folder), [])
    rows = {
        "image": [p.place.path for p in found.pictures],
        "id": [p.record.id for p in found.pictures],
        "width": found.sizes[:, 0].tolist(),
        "height": found.sizes[:, 1].tolist(),
        "tags": [[{"name": t.name, "category": t.category} for t in p.record.tags] for p in found.pictures],
        "captions": [[{"text": c.text, "source": c.source} for c in p.record.prose] for p in found.pictures],
    }
    pq.write_table(pa.table(rows | columns), path)
    return path


def same(one: Batch, other: Batch) -> bool:
    assert one.pixels is not None
    assert other.pixels is not None
    return (
        torch.equal(one.pixels, other.pixels)
        and torch.equal(one.ids, other.ids)
        and (one.number, one.samples, one.texts, one.records)
        == (other.number, other.samples, other.texts, other.records)
    )


@given(
    st.lists(st.text("abc xyz", min_size=1, max_size=100).filter(str.strip), max_size=40),
    st.lists(st.text("abc xyz.", min_size=1, max_size=400).filter(str.strip), max_size=3),
    st.integers(0, 50),
)
def test_every_caption_fits_the_chunks(tags: list[str], prose: list[str], epoch: int) -> None:
    # Tokens.chunks refuses longer ones, which would stop a run: the caption pipeline must leave enough out.
    record = Record("x", tuple(map(Tag, tags)), tuple(map(Prose, prose)))
    for budget in (75, 300):
        pipeline = preset("hyperfusion", max_tokens=budget).with_counter(TOKENS.count)
        assert TOKENS.count(pipeline.render(record, epoch=epoch).text) <= budget


def test_a_batch_depends_on_its_number_alone(pictures: Path) -> None:
    feed = make_feed(pictures)
    in_order = [feed[n] for n in range(8)]
    for number in (5, 0, 7):
        assert same(make_feed(pictures)[number], in_order[number])
    from_workers = list(micro_batches(feed, 3, 8, workers=2))
    assert [b.number for b in from_workers] == [3, 4, 5, 6, 7]
    assert all(same(found, expected) for found, expected in zip(from_workers, in_order[3:], strict=True))


def test_repeats_of_a_picture_have_captions_of_their_own(pictures: Path) -> None:
    feed = make_feed(pictures)
    texts: dict[str, set[str]] = {}
    for number in range(28):
        batch = feed[number]
        for record, text in zip(batch.records, batch.texts, strict=True):
            texts.setdefault(record, set()).add(text)
    assert len(texts) == 21
    assert all(len(found) > 1 for found in texts.values())


@pytest.mark.parametrize("world", [2, 3])
def test_devices_see_the_one_batch_in_parts_of_one_shape(pictures: Path, world: int) -> None:
    whole = make_feed(pictures)
    feeds = [make_feed(pictures, None, rank, world) for rank in range(world)]
    differ = 0
    for number in range(40):
        parts, expected = [feed[number] for feed in feeds], whole[number]
        for rank, part in enumerate(parts):
            assert part.samples == expected.samples[rank::world]
            assert part.texts == expected.texts[rank::world]
            assert part.pixels is not None
            assert expected.pixels is not None
            assert torch.equal(part.pixels, expected.pixels[rank::world])
            # Chunks are counted over all devices: one shape everywhere, and the ids that one device would
            # have.
            assert torch.equal(part.ids, expected.ids[rank::world])
        alone = [len(TOKENS.chunks(part.texts)[0]) for part in parts]
        differ += min(alone) < max(alone)
    assert differ > 0, "the devices' captions needed equally many chunks every time: nothing was shown"


def test_an_unreadable_picture_becomes_a_blank_of_weight_zero(
    own_pictures: Path, tiny_model: Path, tmp_path: Path
) -> None:
    cache = LatentCache(tmp_path / "latents", "x", "white")
    for feed in (make_feed(own_pictures), make_feed(own_pictures, cache)):
        if feed.cache is not None:
            vae = AutoencoderKL.from_pretrained(tiny_model / "vae")
            sizes = np.array([p.size for p in feed.pictures], dtype=np.int32)
            placement = place(sizes, BUCKETS)
            fill_latents(cache, feed.pictures, placement, feed.reader, vae, torch.device("cpu"))
        draw = feed.plan[0].draws[2]
        path = Path(feed.pictures[draw.picture].place.path)
        content, stat = path.read_bytes(), path.stat()
        path.unlink()
        batch = feed[0]
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert batch.weight.tolist() == [1, 1, 0, 1, 1, 1]
        ((name, reason),) = batch.problems
        assert name == str(path)
        assert "no such file" in reason.lower()
        for tensor in batch.latents if batch.latents is not None else (batch.pixels,):
            assert tensor is not None
            assert (tensor[2] == 0).all()
            assert (tensor[3] != 0).any()
        assert feed[0].problems == []


def test_a_manifest_gives_the_batches_of_its_folder(pictures: Path, tmp_path: Path) -> None:
    folder = make_feed(pictures)
    table = make_feed(manifest_of(pictures, tmp_path / "m.parquet"))
    assert not isinstance(table.pictures, tuple)
    again: Feed = pickle.loads(pickle.dumps(table))
    for number in (0, 3, 17):
        assert same(table[number], folder[number])
        assert same(again[number], folder[number])
    for found, number in zip(micro_batches(table, 3, 6, workers=2), (3, 4, 5), strict=True):
        assert same(found, folder[number])


def test_what_is_wrong_with_a_row_is_found_in_its_turn(pictures: Path, tmp_path: Path) -> None:
    feed = make_feed(manifest_of(pictures, tmp_path / "good.parquet"))
    drawn = [draw.picture for draw in feed.plan[0].draws]
    sizes = [p.size for p in feed.pictures]
    width, height = sizes[drawn[1]]
    sizes[drawn[1]] = (2 * width, 2 * height)  # Of the same shape, so that the buckets stay the same.
    weights = [2.0] * 21
    bad = manifest_of(
        *(pictures, tmp_path / "bad.parquet"),
        width=[w for w, _ in sizes],
        height=[h for _, h in sizes],
        loss_weight=weights,
    )
    feed = make_feed(bad)
    batch = feed[0]
    path = Path(feed.pictures[drawn[1]].place.path)
    reason = f"the manifest says {2 * width}x{2 * height}, the file is {width}x{height}: prepare again"
    assert batch.problems == [(str(path), reason)]
    assert batch.weight.tolist() == [2, 0, 2, 2, 2, 2]


class OneLacking(tuple[Any, ...]):
    """Pictures of which the first has no record."""

    def __getitem__(self, index: Any) -> Any:
        if index == 0:
            raise PictureError("table: row 1", "has neither tags nor captions")
        return super().__getitem__(index)


def test_a_row_without_a_record_is_a_blank_of_weight_zero(pictures: Path) -> None:
    whole = make_feed(pictures)
    lacking = make_feed(pictures)
    lacking.pictures = OneLacking(whole.pictures)
    number = next(n for n in range(9) if any(d.picture == 0 for d in whole.plan[n].draws))
    at = [d.picture for d in whole.plan[number].draws].index(0)
    found, expected = lacking[number], whole[number]
    assert found.problems == [("table: row 1", "has neither tags nor captions")]
    assert (found.weight == 0).nonzero().flatten().tolist() == [at]
    assert (found.texts[at], found.records[at]) == ("", "table: row 1")
    assert found.pixels is not None
    assert expected.pixels is not None
    assert (found.pixels[at] == 0).all()
    others = [i for i in range(6) if i != at]
    assert torch.equal(found.pixels[others], expected.pixels[others])


def test_weights_of_pictures_and_folders_multiply(own_pictures: Path) -> None:
    for i in (0, 1):
        sidecar = own_pictures / f"{i:03d}.json"
        sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"loss_weight": 3}))
    feed = make_feed(own_pictures, weights={"00*": 0.5, "001.*": 0.1})
    expected = {"000": 1.5, "001": 0.15} | {f"{i:03d}": 0.5 for i in range(2, 10)}
    seen = set()
    for number in range(8):
        batch = feed[number]
        seen.update(batch.records)
        wanted = [expected.get(record, 1.0) for record in batch.records]
        torch.testing.assert_close(batch.weight, torch.tensor(wanted))
    assert {"000", "001", "002", "020"} <= seen


def left_half(size: tuple[int, int]) -> Image.Image:
    """White on the left, black on the right."""
    mask = Image.new("L", size, 0)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    return mask


@pytest.mark.parametrize("latents", ["live", "cached"])
@pytest.mark.parametrize("masks", ["file", "alpha"])
def test_masks_go_the_way_of_their_pictures(
    own_pictures: Path, tiny_model: Path, tmp_path: Path, masks: str, latents: str
) -> None:
    half = [own_pictures / f"{i:03d}.png" for i in range(0, 21, 2)]
    for path in half:
        image = Image.open(path).convert("RGB")
        if masks == "file":
            left_half(image.size).save(path.with_suffix(".mask.png"))
        else:
            image.putalpha(left_half(image.size))
            image.save(path)
    cache = LatentCache(tmp_path / "latents", "x", "white") if latents == "cached" else None
    feed = make_feed(own_pictures, cache, masks=masks, mask_floor=0.25)
    if cache is not None:
        vae = AutoencoderKL.from_pretrained(tiny_model / "vae")
        sizes = np.array([p.size for p in feed.pictures], dtype=np.int32)
        placement = place(sizes, BUCKETS)
        assert fill_latents(cache, feed.pictures, placement, feed.reader, vae, torch.device("cpu")) == []
    mirrored = set()
    for number in range(14):
        batch, micro = feed[number], feed.plan[number]
        assert batch.problems == []
        if batch.mask is None:
            assert all(int(record) % 2 for record in batch.records)
            continue
        width, height = micro.bucket
        assert batch.mask.shape == (6, 1, height // 8, width // 8)
        for mask, draw, record in zip(batch.mask, micro.draws, batch.records, strict=True):
            picture = feed.pictures[draw.picture]
            if int(record) % 2:
                assert (mask == 1).all()
                continue
            flip = feed.pipeline.render(picture.record, epoch=draw.epoch, samples=draw.sample).flip
            mirrored.add(flip)
            if flip:
                mask = mask.flip(-1)
            left, top = fit(picture.size, micro.bucket).crop
            assert (mask[..., :1] == 1).all(), (record, flip, left, top)
            assert (mask[..., -1:] == 0.25).all()
            assert mask.mean() == pytest.approx(0.625, abs=0.02)
    assert mirrored == {True, False}


def test_no_masks_cost_nothing_and_a_blank_counts_not(own_pictures: Path) -> None:
    assert make_feed(own_pictures)[0].mask is None
    assert make_feed(own_pictures, masks="file")[0].mask is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_batches_for_a_gpu_are_pinned_and_the_same(own_pictures: Path) -> None:
    feed = make_feed(own_pictures)
    for found, number in zip(micro_batches(feed, 0, 4, workers=1), range(4), strict=True):
        assert same(found, feed[number])
        assert found.pixels is not None
        assert found.pixels.is_pinned()
        assert found.ids.is_pinned()
