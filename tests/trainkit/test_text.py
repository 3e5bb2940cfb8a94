"""From captions to the context of the UNet."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, CLIPTextModel

import trainkit
from tests.trainkit.tiny import byte_tokenizer
from trainkit.errors import TrainkitError
from trainkit.text import (
    ChunkMode,
    TextConfig,
    Tokens,
    clip_body,
    drop_skipped_layers,
    encode_chunks,
    put_back_layers,
)

TOKENS = Tokens(byte_tokenizer(), 300)
BOS, EOS = TOKENS.tokenizer.bos_token_id, TOKENS.tokenizer.eos_token_id

texts = st.text(alphabet="abc xyz,.", max_size=60)


@pytest.fixture
def text_encoder(tiny_model: Path) -> Any:
    return CLIPTextModel.from_pretrained(tiny_model / "text_encoder").eval()


@given(st.lists(texts, min_size=1, max_size=4))
def test_chunks_hold_every_token_once_and_in_order(batch: list[str]) -> None:
    ids = TOKENS.chunks(batch)
    longest = max(TOKENS.count(text) for text in batch)
    assert ids.shape == (len(batch), max(1, -(-longest // 75)), 77)
    assert (ids[:, :, 0] == BOS).all()
    for text, row in zip(batch, ids, strict=True):
        inner = [token for chunk in row.tolist() for token in chunk[1:] if token != EOS]
        assert inner == TOKENS.tokenizer(text, add_special_tokens=False)["input_ids"]


WITH_MERGES = AutoTokenizer.from_pretrained(Path(trainkit.__file__).parent / "demo/base/tokenizer")
TRAPS = (
    "<|endoftext|>",
    "<|STARTOFTEXT|>x",
    "don't",
    "\u0391\u03a3",
    "\u03a3,",
    "e\u0301",
    "\u0301",
    "\x1c",
    "\u2028",
)
anything = st.lists(st.one_of(st.text(max_size=8), st.sampled_from(TRAPS), texts), max_size=6).map("".join)


@pytest.mark.parametrize("tokenizer", [byte_tokenizer(), WITH_MERGES], ids=["bytes", "merges"])
@given(text=anything)
def test_remembered_ids_are_the_tokenizers_own_for_any_text(tokenizer: Any, text: str) -> None:
    tokens = Tokens(tokenizer)
    theirs = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
    assert tokens.ids(text) == theirs
    assert tokens.ids(text + " " + text) == theirs + theirs


def test_a_full_chunk_goes_back_to_its_comma_as_front_ends_do() -> None:
    text = "a" * 70 + "," + "b" * 10
    ids = TOKENS.chunks([text])[0]
    assert (ids[0] == EOS).sum() == 77 - 1 - 71
    assert TOKENS.count(text) == 75 + 10
    blind = Tokens(TOKENS.tokenizer, 300, backtrack=0)
    assert blind.count(text) == 81
    assert (blind.chunks([text])[0, 0] == EOS).sum() == 1


@given(texts)
def test_a_short_text_is_tokenized_as_the_tokenizer_does(text: str) -> None:
    theirs = TOKENS.tokenizer(text, padding="max_length", max_length=77)["input_ids"]
    if len(theirs) == 77:
        assert TOKENS.chunks([text])[0, 0].tolist() == theirs


def test_a_long_text_is_cut_into_chunks_of_75() -> None:
    ids = TOKENS.chunks(["a" * 151, "b"])
    assert ids.shape == (2, 3, 77)
    assert (ids[0, 1, 1:76] == ids[0, 0, 1]).all()
    assert ids[0, 2, 2] == EOS
    assert (ids[1, 1, 1:] == EOS).all()
    assert TOKENS.chunks([""], num_chunks=4).shape == (1, 4, 77)


def test_fewer_chunks_than_a_text_needs_are_refused() -> None:
    assert [TOKENS.num_chunks(text) for text in ("", "a" * 75, "a" * 76)] == [1, 1, 2]
    with pytest.raises(ValueError, match="num_chunks is 1, but the longest text needs 2"):
        TOKENS.chunks(["a" * 76, ""], num_chunks=1)


@given(st.lists(texts, min_size=2, max_size=4), st.sampled_from(["concat77", "kohya"]))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_embedding_does_not_depend_on_its_batch(
    text_encoder: Any, batch: list[str], mode: ChunkMode
) -> None:
    n = max(TOKENS.num_chunks(text) for text in batch)
    with torch.no_grad():
        together = encode_chunks(text_encoder, TOKENS.chunks(batch), mode)
        for text, found in zip(batch, together, strict=True):
            alone = encode_chunks(text_encoder, TOKENS.chunks([text], num_chunks=n), mode)
            torch.testing.assert_close(found, alone[0], rtol=0, atol=1e-4)


def test_an_empty_chunk_added_changes_nothing_before_it(text_encoder: Any) -> None:
    with torch.no_grad():
        short = encode_chunks(text_encoder, TOKENS.chunks(["red circle"]), "concat77")
        filled = encode_chunks(text_encoder, TOKENS.chunks(["red circle"], num_chunks=3), "concat77")
        empty = encode_chunks(text_encoder, TOKENS.chunks([""]), "concat77")
    torch.testing.assert_close(filled, torch.cat([short, empty, empty], dim=1), rtol=0, atol=1e-4)


def test_there_is_no_longest_prompt() -> None:
    assert TextConfig(max_tokens=75 * 100).max_tokens == 7500
    assert Tokens(byte_tokenizer(), 7500).chunks(["a" * 7500]).shape == (1, 100, 77)


def test_a_text_over_the_limit_is_refused_not_cut() -> None:
    assert TOKENS.chunks(["a" * 300]).shape == (1, 4, 77)
    with pytest.raises(TrainkitError, match="caption has 301 tokens, at most 300 fit: 'aaa"):
        TOKENS.chunks(["fine", "a" * 301])


def test_tokens_can_go_to_worker_processes() -> None:
    assert pickle.loads(pickle.dumps(TOKENS)).count("abc") == 3


def test_concat77_joins_chunks_that_were_encoded_alone(text_encoder: Any) -> None:
    ids = TOKENS.chunks(["red circle " * 20, "ab"])
    with torch.no_grad():
        context = encode_chunks(text_encoder, ids, "concat77")
        alone = [text_encoder(ids[:, k]).last_hidden_state for k in range(ids.shape[1])]
    assert context.shape == (2, 77 * ids.shape[1], 16)
    torch.testing.assert_close(context, torch.cat(alone, dim=1), rtol=0, atol=1e-4)


def test_kohya_keeps_only_the_outer_begin_and_end(text_encoder: Any) -> None:
    ids = TOKENS.chunks(["red circle " * 20, "ab"])
    n = ids.shape[1]
    assert n == 3
    with torch.no_grad():
        every = encode_chunks(text_encoder, ids, "concat77").reshape(2, n, 77, 16)
        context = encode_chunks(text_encoder, ids, "kohya")
    assert context.shape == (2, 75 * n + 2, 16)
    assert torch.equal(context[:, 0], every[:, 0, 0])
    assert torch.equal(context[:, -1], every[:, -1, -1])
    for k in range(n):
        assert torch.equal(context[:, 1 + 75 * k : 76 + 75 * k], every[:, k, 1:76])


@pytest.mark.parametrize("clip_skip", [1, 2, 3])
def test_clip_skip_is_an_earlier_state_under_the_final_norm(text_encoder: Any, clip_skip: int) -> None:
    ids = TOKENS.chunks(["a red circle on black"])
    with torch.no_grad():
        states = text_encoder(ids[:, 0], output_hidden_states=True).hidden_states
        expected = clip_body(text_encoder).final_layer_norm(states[-clip_skip])
        dropped = drop_skipped_layers(text_encoder, clip_skip)
        found = encode_chunks(text_encoder, ids, "concat77")
    assert len(dropped) == clip_skip - 1
    assert torch.equal(found, expected)


def test_layers_are_put_back_as_they_were(text_encoder: Any) -> None:
    ids = TOKENS.chunks(["a red circle"])[:, 0]
    before = {name: value.clone() for name, value in text_encoder.state_dict().items()}
    with torch.no_grad():
        expected = text_encoder(ids).last_hidden_state
        dropped = drop_skipped_layers(text_encoder, 2)
        assert text_encoder.config.num_hidden_layers == 2
        assert len(text_encoder.state_dict()) < len(before)
        put_back_layers(text_encoder, dropped)
        assert torch.equal(text_encoder(ids).last_hidden_state, expected)
    after = text_encoder.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert text_encoder.config.num_hidden_layers == 3


def test_more_layers_than_there_are_cannot_be_skipped(text_encoder: Any) -> None:
    with pytest.raises(ValueError, match="clip_skip is 4, but the text encoder has only 3 layers"):
        drop_skipped_layers(text_encoder, 4)
