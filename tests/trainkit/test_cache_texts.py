"""Texts on disk: what the text encoder would say, under any padding, for the captions that will be drawn."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from captionkit import preset
from tests.trainkit.tiny import byte_tokenizer, run_data
from trainkit.batches import BatchPlan
from trainkit.buckets import BucketConfig, place
from trainkit.cache import texts as texts_file
from trainkit.cache.share import joined
from trainkit.cache.texts import TextCache, fill_texts, text_fingerprint
from trainkit.data_config import DataConfig
from trainkit.draw import Draw
from trainkit.errors import CacheError, ConfigError
from trainkit.feed import Feed
from trainkit.loader import micro_batches
from trainkit.log import read_log
from trainkit.models import ModelConfig, load_model
from trainkit.pictures import DataSet, read_data
from trainkit.run_file import make_run
from trainkit.text import ChunkMode, TextConfig, Tokens, encode_chunks
from trainkit.train import train

CPU = torch.device("cpu")
TOKENS = Tokens(byte_tokenizer(), 300)
PIPELINE = preset("hyperfusion", max_tokens=300).with_counter(TOKENS.count)


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> Any:
    return load_model(ModelConfig(base=tiny_model), TextConfig()).denoiser.text_encoder.requires_grad_(False)


@pytest.fixture(scope="module")
def data(pictures: Path) -> DataSet:
    return read_data(DataConfig(path=pictures), [PIPELINE])


def make(folder: Path, encoder: Any, variants: int = 3, mode: ChunkMode = "concat77") -> TextCache:
    return TextCache(folder, text_fingerprint(encoder, 2), variants, mode, 16)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, encoder: Any, data: DataSet) -> TextCache:
    cache = make(tmp_path_factory.mktemp("texts"), encoder)
    fill_texts(cache, data.pictures, PIPELINE, TOKENS, encoder, CPU)
    return cache


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 2)), min_size=1, max_size=4), st.integers(0, 2))
@pytest.mark.parametrize("mode", get_args(ChunkMode))
def test_a_cached_context_is_what_encoding_the_padded_ids_gives(
    filled: TextCache, encoder: Any, data: DataSet, mode: ChunkMode, chosen: list[tuple[int, int]], more: int
) -> None:
    cache = TextCache(*filled._made[:3], mode, 16)
    texts = [cache.variant(PIPELINE, data.pictures[i], v).text for i, v in chosen]
    ids = TOKENS.chunks(texts, max(map(TOKENS.num_chunks, texts)) + more)
    with torch.no_grad():
        expected = encode_chunks(encoder, ids, mode)
    found = cache.context(ids)
    assert found.dtype == torch.float16
    assert found.shape == expected.shape
    torch.testing.assert_close(found.float(), expected, rtol=1e-3, atol=1e-3)


@given(st.integers(0, 100), st.integers(0, 5), st.integers(0, 10**9))
def test_every_draw_is_one_of_the_variants_with_its_mirroring(
    filled: TextCache, data: DataSet, epoch: int, draw: int, sample: int
) -> None:
    picture = data.pictures[4]
    variants = [filled.variant(PIPELINE, picture, v) for v in range(3)]
    found = filled.render(PIPELINE, picture, Draw(4, epoch, draw, sample))
    assert found == variants[(epoch + draw) % 3]


def test_equal_chunks_are_kept_once_and_nothing_is_encoded_twice(
    filled: TextCache, encoder: Any, data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [
        tuple(chunk.tolist())
        for picture in data.pictures
        for v in range(3)
        for chunk in TOKENS.chunks([filled.variant(PIPELINE, picture, v).text])[0]
    ]
    assert len(filled.store.index) == len({*ids, tuple(TOKENS.chunks([""])[0, 0].tolist())}) < len(ids)

    def never(*arguments: Any) -> Any:
        raise AssertionError("encoded again")

    monkeypatch.setattr(texts_file, "chunk_states", never)
    fill_texts(filled, data.pictures, PIPELINE, TOKENS, encoder, CPU)


def test_killed_between_blocks_it_goes_on_to_the_same_bits(
    tmp_path: Path, encoder: Any, data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts_file, "BLOCK", 8)
    monkeypatch.setattr(texts_file, "COMPANY", 3)
    fill_texts(make(tmp_path / "whole", encoder), data.pictures, PIPELINE, TOKENS, encoder, CPU)
    cache = make(tmp_path / "again", encoder)
    left = 4

    def dies(parts: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        return joined(parts)

    monkeypatch.setattr(texts_file, "joined", dies)
    with pytest.raises(KeyboardInterrupt):
        fill_texts(cache, data.pictures, PIPELINE, TOKENS, encoder, CPU)
    some = list(cache.store.folder.glob("text-*"))
    assert 0 < len(some) < 5
    fill_texts(make(tmp_path / "again", encoder), data.pictures, PIPELINE, TOKENS, encoder, CPU)
    shards = [
        {p.name: p.read_bytes() for p in (tmp_path / name).rglob("text-*.safetensors")}
        for name in ("whole", "again")
    ]
    assert shards[0] == shards[1]
    assert len(shards[0]) > 5


def test_another_encoder_or_clip_skip_has_texts_of_its_own(tiny_model: Path, encoder: Any) -> None:
    assert text_fingerprint(encoder, 2) != text_fingerprint(encoder, 1)
    other = load_model(ModelConfig(base=tiny_model), TextConfig()).denoiser.text_encoder
    assert text_fingerprint(other, 2) == text_fingerprint(encoder, 2)
    with torch.no_grad():
        next(other.parameters()).view(-1)[0] += 1e-3
    assert text_fingerprint(other, 2) != text_fingerprint(encoder, 2)


def test_what_does_not_fit_the_disk_is_refused_before_anything_is_encoded(
    tmp_path: Path, encoder: Any, data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts_file, "free_bytes", lambda folder: 10_000)
    cache = make(tmp_path, encoder)
    with pytest.raises(
        CacheError, match=r"chunks of captions take about .* 10\.0 kB are free there\. Lower text\.cached_va"
    ):
        fill_texts(cache, data.pictures, PIPELINE, TOKENS, encoder, CPU)
    assert not list(cache.store.folder.glob("text-*"))


def feed_of(data: DataSet, texts: TextCache | None, rank: int = 0, world: int = 1) -> Feed:
    placement = place(data.sizes, BucketConfig(resolution=64, max_side=96, min_side=32))
    plan = BatchPlan(placement.buckets, placement.index, 6, 0)
    reader = DataConfig(path=Path()).reader
    return Feed(plan, data.pictures, PIPELINE, TOKENS, None, (4, 8), reader, rank, world, texts=texts)


def test_a_feed_gives_the_context_of_its_ids(filled: TextCache, encoder: Any, data: DataSet) -> None:
    feed = feed_of(data, filled)
    again: Feed = pickle.loads(pickle.dumps(feed))
    parts = [feed_of(data, filled, rank, 2) for rank in (0, 1)]
    for number in range(6):
        batch = feed[number]
        assert batch.problems == []
        assert batch.context is not None
        with torch.no_grad():
            expected = encode_chunks(encoder, batch.ids, "concat77")
        torch.testing.assert_close(batch.context.float(), expected, rtol=1e-3, atol=1e-3)
        for other in (again[number].context, *micro_batches(feed, number, number + 1, workers=1)):
            context = other.context if not isinstance(other, torch.Tensor | None) else other
            assert context is not None
            assert torch.equal(context, batch.context)
        for rank, part in enumerate(parts):
            context = part[number].context
            assert context is not None
            assert torch.equal(context, batch.context[rank::2])
    assert feed_of(data, None)[0].context is None


def test_a_text_that_is_not_there_counts_nothing(tmp_path: Path, encoder: Any, data: DataSet) -> None:
    batch = feed_of(data, make(tmp_path, encoder))[0]
    assert batch.weight.tolist() == [0] * 6
    assert batch.context is not None
    assert not batch.context.any()
    assert {reason for _, reason in batch.problems} == {
        "its text is not in the cache; start again, and it is encoded"
    }


def test_a_text_encoder_that_is_trained_is_refused(tmp_path: Path, tiny_model: Path, pictures: Path) -> None:
    changes = {"text": {"max_tokens": 150, "cached_variants": 2}}
    with pytest.raises(
        ConfigError, match=r"text\.cached_variants needs .* model\.train_text_encoder = false"
    ):
        make_run(run_data(tiny_model, pictures, tmp_path / "out", **changes), tmp_path, "test")


@pytest.mark.parametrize("mode", get_args(ChunkMode))
def test_a_run_learns_about_the_same_with_and_without(
    tmp_path: Path, tiny_model: Path, pictures: Path, mode: ChunkMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two passes over the data at most, so that with two variants every caption is the one without a cache.
    logs = []
    for name, variants in (("live", None), ("cached", 2)):
        AcceleratorState._reset_state(True)
        text = {"max_tokens": 150, "chunk_mode": mode, "cached_variants": variants}
        run = run_data(tiny_model, pictures, tmp_path / name, samples=40, text=text)
        run["model"]["train_text_encoder"] = False
        run["data"]["recipe"] = {"steps": [], "text": {"max_tokens": 150}}
        train(make_run(run, tmp_path, "test"))
        logs.append([line["loss"] for line in read_log(tmp_path / name / "log.jsonl")])
    np.testing.assert_allclose(logs[1], logs[0], rtol=2e-3)
    assert logs[0] != logs[1]
    for part in ("unet", "text_encoder"):
        one, two = (
            load_file(next((tmp_path / name / "model" / part).glob("*.safetensors")))
            for name in ("live", "cached")
        )
        for key, weight in one.items():
            torch.testing.assert_close(two[key], weight, rtol=0, atol=0 if part == "text_encoder" else 5e-3)
