"""The same embeddings as the usual front ends, by an implementation of our own that shares no code with
trainkit.

Written from what AUTOMATIC1111's front end does (sd_hijack_clip.py) and, for chunk_mode = "kohya", what the
trainer of that name does, as plain loops: token by token, one chunk at a time, with all layers of the text
encoder and ``output_hidden_states``.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel

import trainkit
from trainkit.text import ChunkMode, Tokens, drop_skipped_layers, encode_chunks

TOKENIZER: Any = AutoTokenizer.from_pretrained(Path(trainkit.__file__).parent / "demo/base/tokenizer")
"""CLIP's own merges, those of them that its small world needs."""
WORDS = ("red", "circle", "star", "blue", "background", "black")
"""One token each."""


def token_ids(text: str) -> list[int]:
    ids: list[int] = TOKENIZER(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
    return ids


def front_end_chunks(text: str) -> list[list[int]]:
    """Chunks of 77 ids. A chunk that is full gives what follows its last comma to the next chunk, if that
    comma is among its last 20 tokens and the text does not go on with a comma."""
    [comma] = token_ids(",")
    begin, end = TOKENIZER.bos_token_id, TOKENIZER.eos_token_id
    chunks: list[list[int]] = []
    chunk: list[int] = []
    last_comma = -1

    def close() -> None:
        chunks.append([begin, *chunk, *[end] * (75 - len(chunk)), end])

    for token in token_ids(text):
        if token == comma:
            last_comma = len(chunk)
        elif len(chunk) == 75 and last_comma != -1 and 75 - last_comma <= 20:
            moved = chunk[last_comma + 1 :]
            chunk = chunk[: last_comma + 1]
            close()
            chunk, last_comma = moved, -1
        if len(chunk) == 75:
            close()
            chunk, last_comma = [], -1
        chunk.append(token)
    if chunk or not chunks:
        close()
    return chunks


def front_end_embedding(encoder: Any, texts: list[str], clip_skip: int) -> Tensor:
    """Every chunk encoded by itself, joined along the sequence; shorter prompts filled up with empty
    chunks."""
    rows = [front_end_chunks(text) for text in texts]
    empty = [TOKENIZER.bos_token_id, *[TOKENIZER.eos_token_id] * 76]
    longest = max(len(row) for row in rows)
    return torch.stack(
        [
            torch.cat(
                [one_chunk(encoder, chunk, clip_skip) for chunk in row + [empty] * (longest - len(row))]
            )
            for row in rows
        ]
    )


def trainer_embedding(encoder: Any, texts: list[str], clip_skip: int) -> Tensor:
    """Cut blindly at 75: the first begin, 75 states of every chunk, the last end."""
    every = [token_ids(text) for text in texts]
    n = max(1, -(-max(map(len, every)) // 75))
    begin, end = TOKENIZER.bos_token_id, TOKENIZER.eos_token_id
    result = []
    for ids in every:
        whole = [begin, *ids, *[end] * (75 * n + 1 - len(ids))]
        states = [
            one_chunk(encoder, [begin, *whole[i : i + 75], end], clip_skip) for i in range(1, 75 * n + 1, 75)
        ]
        result.append(torch.cat([states[0][:1], *(s[1:76] for s in states), states[-1][76:]]))
    return torch.stack(result)


def one_chunk(encoder: Any, ids: list[int], clip_skip: int) -> Tensor:
    """States [77, d] of one chunk, under the final layer norm."""
    states = encoder(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
    body = encoder.text_model if hasattr(encoder, "text_model") else encoder
    normed: Tensor = body.final_layer_norm(states[-clip_skip])[0]
    return normed


def text_encoder() -> Any:
    """Five layers, random weights, always the same."""
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(TOKENIZER),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=5,
        num_attention_heads=4,
        initializer_factor=5.0,
        bos_token_id=TOKENIZER.bos_token_id,
        eos_token_id=TOKENIZER.eos_token_id,
    )
    return CLIPTextModel(config).eval()


def ours(texts: list[str], clip_skip: int, mode: ChunkMode, backtrack: int) -> Tensor:
    encoder = text_encoder()
    drop_skipped_layers(encoder, clip_skip)
    with torch.no_grad():
        return encode_chunks(encoder, Tokens(TOKENIZER, 1200, backtrack).chunks(texts), mode)


def prompt(count: int, commas: tuple[int, ...] = ()) -> str:
    """Exactly ``count`` tokens, with commas at these places."""
    rng = random.Random(count)
    text = " ".join("," if i in commas else rng.choice(WORDS) for i in range(count))
    assert len(token_ids(text)) == count
    return text


TAGS = tuple(range(3, 600, 4))
"""A comma after every third word."""
PROMPTS = {
    "one chunk": (["", prompt(1), prompt(40, TAGS), prompt(75)], 1),
    "one tag that fits": ([prompt(75, TAGS)], 1),
    "two chunks": ([prompt(76), prompt(150), prompt(90, TAGS), "a red circle"], 2),
    "a comma where it counts": ([prompt(76, (comma,)) for comma in (53, 54, 55, 56, 74, 75)], 2),
    "three chunks": ([prompt(151), prompt(225), prompt(200, TAGS)], 3),
    "seven chunks": ([prompt(525), prompt(451, (70, 150)), prompt(500, TAGS)], 7),
    "taken literally": (["(red circle:1.3), [blue star], BREAK black background \\(star\\) <lora:x:1>"], 1),
}


@pytest.mark.parametrize("clip_skip", [1, 2, 3])
@pytest.mark.parametrize("name", PROMPTS)
def test_the_embedding_is_the_front_ends(name: str, clip_skip: int) -> None:
    texts, chunks = PROMPTS[name]
    with torch.no_grad():
        expected = front_end_embedding(text_encoder(), texts, clip_skip)
    assert expected.shape == (len(texts), 77 * chunks, 32)
    torch.testing.assert_close(ours(texts, clip_skip, "concat77", 20), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("clip_skip", [1, 2, 3])
@pytest.mark.parametrize("name", PROMPTS)
def test_the_embedding_is_the_trainers(name: str, clip_skip: int) -> None:
    texts, chunks = PROMPTS[name]
    with torch.no_grad():
        expected = trainer_embedding(text_encoder(), texts, clip_skip)
    assert expected.shape == (len(texts), 75 * chunks + 2, 32)
    torch.testing.assert_close(ours(texts, clip_skip, "kohya", 0), expected, rtol=0, atol=1e-5)


def test_the_comparison_can_tell_one_clip_skip_and_one_cut_from_another() -> None:
    texts = [prompt(90, (60,))]
    with torch.no_grad():
        skips = [front_end_embedding(text_encoder(), texts, clip_skip) for clip_skip in (1, 2, 3)]
    assert (skips[0] - skips[1]).abs().max() > 0.1
    assert (skips[1] - skips[2]).abs().max() > 0.1
    assert (ours(texts, 2, "concat77", 0) - skips[1]).abs().max() > 0.1


@given(st.lists(st.sampled_from([*WORDS, ",", ","]), max_size=400))
def test_chunks_are_the_front_ends_for_any_run_of_words_and_commas(words: list[str]) -> None:
    text = " ".join(words)
    assert Tokens(TOKENIZER, 1200).chunks([text])[0].tolist() == front_end_chunks(text)
