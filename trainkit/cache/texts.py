"""The cache of texts: what a frozen text encoder says of captions.

A caption is encoded in chunks of 77 tokens, each apart from the others, so a row is one chunk's states,
float16 [77, d], under a hash of its token ids, the text encoder's weights and the clip skip. Equal chunks are
one row whatever captions they stand in; the empty chunk with which a short caption is filled up is a row like
the others, so a padded caption is exactly what encoding the padded ids gives.

With K variants a record has K captions in the whole run: the draw of pass e and repeat d has that of variant
(e + d) mod K, whether its picture is mirrored included.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from captionkit import CaptionPipeline, Rendered
from trainkit.amounts import gigabytes
from trainkit.cache.complete import is_complete, note_complete
from trainkit.cache.shard import KEY, as_keys
from trainkit.cache.share import Rows, Shared, file_of, joined, shared
from trainkit.cache.store import Store
from trainkit.draw import Draw
from trainkit.errors import CacheError, DamagedError, PictureError
from trainkit.picture import Picture
from trainkit.progress import bar_style
from trainkit.room import free_bytes
from trainkit.text import ChunkMode, Tokens, chunk_states, join_chunks
from trainkit.validation import evaluating

BLOCK, COMPANY = 1024, 32
"""Chunks of a shard (118 kB each with d = 768), and those that are encoded together."""

_TRIED = 256
"""Pictures whose captions are counted before all are."""


def text_fingerprint(text_encoder: Any, clip_skip: int) -> str:
    """A hash of a text encoder's weights and of how it is run; its skipped layers have been dropped."""
    config = text_encoder.config.to_dict()
    told = {key: config.get(key) for key in ("hidden_act", "layer_norm_eps", "num_attention_heads")}
    digest = hashlib.blake2b(json.dumps([clip_skip, told], sort_keys=True).encode(), digest_size=8)
    for name, weight in sorted(text_encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()


class TextCache:
    """Encoded chunks of captions on disk."""

    def __init__(self, folder: Path, fingerprint: str, variants: int, mode: ChunkMode, width: int) -> None:
        self.store = Store(folder / f"text-{fingerprint}")
        self.variants = variants
        self.mode = mode
        self.width = width
        """Of the text encoder's states."""
        self._made = (folder, fingerprint, variants, mode, width)
        self._common = hashlib.blake2b(repr(("text 1", fingerprint)).encode(), digest_size=KEY)

    def __reduce__(self) -> tuple[Any, ...]:
        return TextCache, self._made

    def render(self, pipeline: CaptionPipeline, picture: Picture, draw: Draw) -> Rendered:
        """The caption of a draw: one of the record's variants."""
        return self.variant(pipeline, picture, (draw.epoch + draw.draw) % self.variants)

    def variant(self, pipeline: CaptionPipeline, picture: Picture, number: int) -> Rendered:
        """One of a record's captions. Rates that change over the run are as at its beginning."""
        return pipeline.render(picture.record, epoch=number, samples=0)

    def key(self, ids: NDArray[np.integer[Any]]) -> bytes:
        """The key of one chunk, token ids [77]."""
        digest = self._common.copy()
        digest.update(ids.astype("<i4").tobytes())
        return digest.digest()

    def context(self, ids_BnL: Tensor) -> Tensor:
        """What the UNet attends to, float16 [B, L, d], for token ids [B, n, 77].

        Raises DamagedError when a chunk is not there or cannot be read.
        """
        B, n, L = ids_BnL.shape
        states = np.empty((B * n, L, self.width), np.float16)
        for i, ids in enumerate(ids_BnL.reshape(B * n, L).numpy()):
            try:
                row = self.store.read(self.key(ids))
            except OSError as error:
                raise DamagedError(f"its cached text cannot be read: {error}") from error
            if row is None or row.shape != states.shape[1:]:
                raise DamagedError("its text is not in the cache; start again, and it is encoded")
            states[i] = row
        return join_chunks(torch.from_numpy(states).reshape(B, n, L, self.width), self.mode)


def caption_of(
    pipeline: CaptionPipeline, picture: Picture, draw: Draw, texts: TextCache | None = None
) -> Rendered:
    """The caption of a draw: its own, or with cached ``texts`` one of the record's variants."""
    if texts is not None:
        return texts.render(pipeline, picture, draw)
    return pipeline.render(picture.record, epoch=draw.epoch, draw=draw.draw, samples=draw.sample)


@dataclass(frozen=True, slots=True)
class TextBlock:
    """Chunks that are encoded and written together."""

    name: str
    keys: NDArray[np.uint8]
    """[m, 16]"""
    ids: NDArray[np.int32]
    """[m, 77]"""


def fill_texts(
    cache: TextCache,
    pictures: Sequence[Picture],
    pipeline: CaptionPipeline,
    tokens: Tokens,
    text_encoder: nn.Module,
    device: torch.device,
    *,
    rank: int = 0,
    world: int = 1,
    question: str | None = None,
    progress: bool = False,
) -> None:
    """Encode all variants of the pictures' captions that are not there yet.

    All ``world`` processes call this with the same pictures and share the work; each returns when all is
    there. ``question`` is `question_of` what is asked for here, where that is known. Raises CacheError when
    the disk has no room for it, and when it is full later.
    """
    for line in cache.store.refresh(progress=progress):
        tqdm.write(f"note: {line}: removed, and made anew")
    if is_complete(cache.store, question):
        return
    if rank == 0:
        _require_room(cache, _estimate(cache, pictures, pipeline, tokens), tokens, "about ")
    blocks = _missing(cache, wanted_chunks(cache, pictures, pipeline, tokens, progress=progress))
    if not blocks:
        note_complete(cache.store, question)
        return
    chunks = sum(len(block.keys) for block in blocks)
    if rank == 0:
        needed = _require_room(cache, chunks, tokens, "")
        tqdm.write(
            f"{chunks:,} chunks of captions ({cache.variants} for each of {len(pictures):,} pictures) take "
            f"{gigabytes(needed)} in {cache.store.folder}"
        )
    with (
        tqdm(
            total=chunks,
            desc="encoding captions",
            unit="chunk",
            disable=not progress,
            leave=False,
            **bar_style(),
        ) as bar,
        shared(cache.store, blocks, rank, world) as work,
    ):
        for block in _claimed(work, bar):
            parts = []
            for first in range(0, len(block.keys), COMPANY):
                some = slice(first, first + COMPANY)
                parts.append(_encode(block.keys[some], block.ids[some], text_encoder, device))
                bar.update(len(parts[-1].keys))
            work.hand_in(block, joined(parts))
    cache.store.refresh(trusted={file_of(block.name) for block in blocks})
    note_complete(cache.store, question)


def _claimed(work: Shared[TextBlock], bar: tqdm[Any]) -> Iterator[TextBlock]:
    """Blocks that this process gets to do; ends when all are there."""
    while True:
        block = work.claim()
        bar.update(sum(len(done.keys) for done in work.seen_done()))
        if block is not None:
            yield block
            continue
        if work.all_done():
            return


def _encode(
    keys: NDArray[np.uint8], ids: NDArray[np.int32], text_encoder: nn.Module, device: torch.device
) -> Rows:
    with evaluating(text_encoder), torch.no_grad():
        states = chunk_states(text_encoder, torch.from_numpy(ids.astype(np.int64)).to(device))
    rows = states.half().cpu().numpy()
    if not np.isfinite(rows).all():
        raise CacheError(
            "the text encoder's states are not finite in half precision, so they cannot be cached; leave "
            "text.cached_variants out"
        )
    return Rows(keys, rows, np.zeros((0, KEY), np.uint8))


def wanted_chunks(
    cache: TextCache,
    pictures: Sequence[Picture],
    pipeline: CaptionPipeline,
    tokens: Tokens,
    *,
    progress: bool = False,
) -> dict[bytes, bytes]:
    """Key and token ids (int32 [77]) of every chunk that the pictures' captions need, each once, in the
    pictures' order; the first is the empty chunk."""
    found: dict[bytes, bytes] = {}
    empty = tokens.chunks([""])[0, 0].numpy().astype(np.int32)
    found[cache.key(empty)] = empty.tobytes()
    numbers = tqdm(
        range(len(pictures)),
        desc="looking for captions",
        unit="pic",
        disable=not progress,
        leave=False,
        **bar_style(),
    )
    for number in numbers:
        for ids in _chunks_of(cache, pictures, number, pipeline, tokens):
            found.setdefault(cache.key(ids), ids.tobytes())
    return found


def _missing(cache: TextCache, found: dict[bytes, bytes]) -> list[TextBlock]:
    """The chunks that are not there yet, in order."""
    there = cache.store.has(as_keys(list(found)))
    left = [(key, ids) for (key, ids), has in zip(found.items(), there.tolist(), strict=True) if not has]
    blocks = []
    for first in range(0, len(left), BLOCK):
        some = left[first : first + BLOCK]
        keys = as_keys([key for key, _ in some])
        ids = np.frombuffer(b"".join(ids for _, ids in some), np.int32).reshape(len(some), -1)
        name = f"text-{hashlib.blake2b(keys.tobytes(), digest_size=16).hexdigest()}"
        blocks.append(TextBlock(name, keys, ids))
    return blocks


def _chunks_of(
    cache: TextCache, pictures: Sequence[Picture], number: int, pipeline: CaptionPipeline, tokens: Tokens
) -> Iterator[NDArray[np.int32]]:
    """Token ids [77] of all chunks of one picture's captions; none where there is no record of it."""
    try:
        picture = pictures[number]
    except PictureError:
        return
    for variant in range(cache.variants):
        text = cache.variant(pipeline, picture, variant).text
        yield from tokens.chunks([text])[0].numpy().astype(np.int32)


def _estimate(
    cache: TextCache, pictures: Sequence[Picture], pipeline: CaptionPipeline, tokens: Tokens
) -> int:
    """About how many chunks are missing, from some pictures; what they share is not seen, so it is halved."""
    if not len(pictures):
        return 0
    tried = np.unique(np.linspace(0, len(pictures) - 1, _TRIED, dtype=np.int64))
    keys = {
        cache.key(ids)
        for number in tried
        for ids in _chunks_of(cache, pictures, int(number), pipeline, tokens)
    }
    if not keys:
        return 0
    lacking = int((~cache.store.has(as_keys(list(keys)))).sum())
    share = 1 if len(tried) == len(pictures) else 2
    return lacking * len(pictures) // len(tried) // share


def _require_room(cache: TextCache, chunks: int, tokens: Tokens, about: str) -> int:
    """The bytes that so many chunks take. Raises CacheError when the disk cannot hold them."""
    needed = chunks * (2 * (tokens.chunk + 2) * cache.width + KEY)
    free = free_bytes(cache.store.folder)
    if free is not None and needed > free:
        raise CacheError(
            f"{chunks:,} chunks of captions take {about}{gigabytes(needed)} in {cache.store.folder}, "
            f"{gigabytes(free)} are free there. Lower text.cached_variants ({cache.variants}), set "
            "data.cache to a folder on a larger disk, or leave text.cached_variants out: captions are then "
            "encoded in each step."
        )
    return needed
