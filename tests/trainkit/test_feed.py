"""Micro-batches as tensors: pure, shared between devices, and whole when a picture is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from hypothesis import given
from hypothesis import strategies as st

from captionkit import CaptionPipeline, Prose, Record, Tag, preset
from tests.trainkit.tiny import byte_tokenizer
from trainkit.batches import BatchPlan
from trainkit.buckets import BucketConfig
from trainkit.feed import Batch, Feed, micro_batches
from trainkit.latents import LatentCache
from trainkit.pictures import DataConfig, read_data
from trainkit.text import Tokens

TOKENS = Tokens(byte_tokenizer(), 300)


def make_feed(folder: Path, cache: LatentCache | None = None, rank: int = 0, world: int = 1) -> Feed:
    pipeline: CaptionPipeline = preset("hyperfusion", no_flip=["asymmetrical"]).with_counter(TOKENS.count)
    pipeline = pipeline.model_copy(update={"text": pipeline.text.model_copy(update={"max_tokens": 300})})
    buckets = BucketConfig(resolution=64, max_side=96, min_side=32)
    pictures = read_data(DataConfig(path=folder, buckets=buckets), pipeline).pictures
    plan = BatchPlan([p.fit.bucket for p in pictures], 6, 0)
    return Feed(plan, pictures, pipeline, TOKENS, cache, (4, 8), "white", rank, world)


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
            cache.fill(feed.pictures, vae, torch.device("cpu"))
        draw = feed.plan[0].draws[2]
        path = feed.pictures[draw.picture].path
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
