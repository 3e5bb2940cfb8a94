"""From a caption to what the UNet attends to.

A caption of up to ``max_tokens`` tokens is cut into chunks of 75 (CLIP's 77 less its two control tokens).
Shapes: ids are int64 [B, n, 77] with n chunks; the context is float [B, L, d] with

    concat77   L = 77 n       every chunk keeps its begin and end token, as the usual front ends feed them
    kohya      L = 75 n + 2   only the first begin and the last end token stay

Clip skip is counted as the front ends do: 1 uses the last layer of the text encoder, 2 the one before, and so
on; the final layer norm is always applied. (diffusers calls clip skip 2 ``clip_skip = 1``.)

A text is taken literally: parentheses, colons and square brackets are tokens as in the captions that the
model is trained on, never the front ends' marks of emphasis.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from captionkit import COMMA_BACKTRACK, WordMemory, chunked_length, split_chunks
from trainkit.errors import TrainkitError

ChunkMode = Literal["concat77", "kohya"]


class TextConfig(BaseModel):
    """How captions are tokenized and encoded."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    max_tokens: int = Field(default=525, ge=75, multiple_of=75)
    """Longest caption in tokens, a multiple of 75. The caption pipeline leaves out whole tags to stay within
    it. Chunks are encoded apart, so neither the text encoder nor the UNet sets a limit; a batch is only as
    long as its longest caption needs."""
    clip_skip: int = Field(default=2, ge=1, le=12)
    """1: last layer of the text encoder; 2: the layer before it (the recipe's). SD 1.5's has 12."""
    chunk_mode: ChunkMode = "concat77"
    """How the chunks of a long caption are joined; see the module."""
    backtrack: int = Field(default=COMMA_BACKTRACK, ge=0, le=74)
    """A chunk that is full is cut behind its last comma, if no more tokens than this follow it there, so that
    no tag is torn in two: what the usual front ends do at inference. 0 cuts at 75 blindly."""
    cached_variants: int | None = Field(default=None, ge=1, le=2**20)
    """Keep what the text encoder says of this many captions for each picture on disk, and encode none while
    training: faster, and captions are no longer new in every pass. It needs model.train_text_encoder = false,
    and 118 kB for every 75 tokens of SD 1.5's. None encodes every caption when it is drawn."""


@dataclass(frozen=True)
class _Ids:
    """What the tokenizer itself says of a text, without begin and end. Picklable."""

    tokenizer: Any

    def __call__(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)[
            "input_ids"
        ]
        return ids


@dataclass(frozen=True)
class Tokens:
    """Counts and cuts captions with one CLIP tokenizer, and remembers the ids of words. Picklable."""

    tokenizer: Any
    max_tokens: int = 525
    backtrack: int = COMMA_BACKTRACK
    """How far a full chunk goes back to a comma; see TextConfig."""

    @cached_property
    def _memory(self) -> WordMemory:
        return WordMemory(_Ids(self.tokenizer))

    @cached_property
    def _commas(self) -> frozenset[int]:
        return frozenset(self._memory.ids(","))

    @property
    def chunk(self) -> int:
        """Tokens of a chunk without its begin and end token."""
        return int(self.tokenizer.model_max_length) - 2

    def ids(self, text: str) -> list[int]:
        """Token ids of a text, without begin and end."""
        return self._memory.ids(text)

    def count(self, text: str) -> int:
        """Tokens that a text takes up, without begin and end; chunks that end at a comma count whole."""
        count = self._memory.count(text)
        return count if count <= self.chunk else chunked_length(self._split(text), self.chunk)

    def num_chunks(self, text: str) -> int:
        """Chunks that a text takes up, at least 1."""
        return len(self._split(text))

    def _split(self, text: str) -> list[list[int]]:
        return split_chunks(
            self.ids(text), separators=self._commas, size=self.chunk, backtrack=self.backtrack
        )

    def chunks(self, texts: list[str], num_chunks: int | None = None) -> Tensor:
        """Token ids [B, n, 77]; n is what the longest text needs (at least 1), or ``num_chunks``.

        A shorter text is filled up with empty chunks. Raises TrainkitError for a text over ``max_tokens``:
        shortening a caption is the caption pipeline's decision; ValueError if ``num_chunks`` is too few.
        """
        rows = [self._split(text) for text in texts]
        for text, row in zip(texts, rows, strict=True):
            if (length := chunked_length(row, self.chunk)) > self.max_tokens:
                raise TrainkitError(
                    f"caption has {length} tokens, at most {self.max_tokens} fit: {text[:80]!r}..."
                )
        longest = max(map(len, rows), default=1)
        n = longest if num_chunks is None else num_chunks
        if n < longest:
            raise ValueError(f"num_chunks is {n}, but the longest text needs {longest}")
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else eos
        out = torch.full((len(rows), n, self.chunk + 2), pad, dtype=torch.long)
        out[:, :, 0] = bos
        out[:, :, 1] = eos
        for b, row in enumerate(rows):
            for k, part in enumerate(row):
                out[b, k, 1 : 1 + len(part)] = torch.tensor(part, dtype=torch.long)
                out[b, k, 1 + len(part)] = eos
        return out


def clip_body(text_encoder: nn.Module) -> Any:
    """The part of a CLIPTextModel that holds ``embeddings``, ``encoder`` and ``final_layer_norm``.

    It is the model itself since transformers 5.6 and its ``text_model`` before.
    """
    return getattr(text_encoder, "text_model", text_encoder)


def drop_skipped_layers(text_encoder: Any, clip_skip: int) -> nn.ModuleList:
    """Take the layers that clip skip never uses out of the text encoder and return them.

    What is left ends in the final layer norm, so its ``last_hidden_state`` is exactly the clip-skipped state.
    Under DistributedDataParallel this is a need: parameters that get no gradient stop the second step.
    """
    encoder = clip_body(text_encoder).encoder
    keep = len(encoder.layers) - (clip_skip - 1)
    if keep < 1:
        raise ValueError(
            f"clip_skip is {clip_skip}, but the text encoder has only {len(encoder.layers)} layers"
        )
    dropped = nn.ModuleList(encoder.layers[keep:])
    encoder.layers = nn.ModuleList(encoder.layers[:keep])
    text_encoder.config.num_hidden_layers = keep
    return dropped


def put_back_layers(text_encoder: Any, dropped: nn.ModuleList) -> None:
    """Undo drop_skipped_layers, so that the exported text encoder has all of its layers."""
    encoder = clip_body(text_encoder).encoder
    encoder.layers = nn.ModuleList([*encoder.layers, *dropped])
    text_encoder.config.num_hidden_layers = len(encoder.layers)


def encode_chunks(text_encoder: nn.Module, ids_BnL: Tensor, mode: ChunkMode) -> Tensor:
    """Context [B, L, d] of chunked ids, from a text encoder whose skipped layers have been dropped."""
    B, n, L = ids_BnL.shape
    states = chunk_states(text_encoder, ids_BnL.reshape(B * n, L))
    return join_chunks(states.reshape(B, n, L, -1), mode)


def chunk_states(text_encoder: nn.Module, ids_BL: Tensor) -> Tensor:
    """States [B, 77, d] of chunks [B, 77], each encoded apart from the others."""
    states: Tensor = text_encoder(ids_BL).last_hidden_state
    return states


def join_chunks(states_BnLd: Tensor, mode: ChunkMode) -> Tensor:
    """Context [B, L, d] of the states of captions in chunks, [B, n, 77, d]."""
    B, n, L, d = states_BnLd.shape
    if mode == "concat77":
        return states_BnLd.reshape(B, n * L, d)
    middle = states_BnLd[:, :, 1:-1].reshape(B, n * (L - 2), d)
    return torch.cat([states_BnLd[:, 0, :1], middle, states_BnLd[:, -1, -1:]], dim=1)
