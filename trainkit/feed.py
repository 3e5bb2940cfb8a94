"""From a number to the tensors of a micro-batch: the only place where pictures and captions are prepared.

Micro-batch ``number`` is a pure function of the plan, the caption pipeline and the files, so any worker
process may prepare it, and a restarted run simply asks for the next number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from captionkit import CaptionPipeline
from trainkit.batches import BatchPlan, share_of
from trainkit.buckets import Size, fit
from trainkit.cache.latents import LatentCache
from trainkit.cache.texts import TextCache, caption_of
from trainkit.draw import Draw
from trainkit.errors import DamagedError, PictureError
from trainkit.images import to_bucket
from trainkit.masks import latent_mask
from trainkit.picture import Picture, PictureReader
from trainkit.store.trouble import Trouble
from trainkit.text import Tokens, join_chunks


@dataclass
class Batch:
    """One device's part of a micro-batch."""

    number: int
    latents: tuple[Tensor, ...] | None
    """Cached moments, each [B, 4, h, w]: mean and standard deviation, or the mean alone (data.vae = "mode");
    None when pictures are encoded live."""
    pixels: Tensor | None
    """[B, 3, H, W] in [-1, 1] when pictures are encoded live, else None."""
    ids: Tensor
    """Token ids [B, n, 77]."""
    samples: list[int]
    """Global number of each sample in the run; its noise is addressed by it."""
    weight: Tensor
    """[B]: factor on each picture's loss; 0 for a picture that could not be read."""
    texts: list[str]
    records: list[str]
    problems: list[tuple[str, str]]
    """(picture, reason) of what could not be read."""
    mask: Tensor | None = None
    """[B, 1, h, w] in [0, 1]: how much each latent pixel counts; None when all of every picture counts."""
    context: Tensor | None = None
    """Cached texts, float16 [B, L, d]; None when the text encoder is asked in each step."""
    store_failures: list[tuple[str, int]] = field(default_factory=list)
    store_waited: float = 0.0
    """How often stores had to be asked again, and the seconds of waiting: see `store_trouble`."""

    @property
    def store_trouble(self) -> Trouble:
        """What there was of trouble with stores since this process's last micro-batch."""
        return Trouble(tuple((what, count) for what, count in self.store_failures), self.store_waited)

    def pin_memory(self) -> Batch:
        """The same batch in memory from which a GPU copies without waiting."""
        return replace(self, **{f.name: _pinned(getattr(self, f.name)) for f in fields(self)})


def _pinned(value: Any) -> Any:
    """A field with its tensors in pinned memory."""
    if isinstance(value, Tensor):
        return value.pin_memory()
    return tuple(_pinned(item) for item in value) if isinstance(value, tuple) else value


@dataclass(frozen=True, slots=True)
class _Described:
    """One draw in words: the picture and how it is captioned."""

    picture: Picture | None
    name: str
    """The record's id, or the place in the manifest where it should be."""
    text: str
    flip: bool
    problem: PictureError | None


@dataclass
class Feed:
    """Prepares micro-batches for one of ``world`` devices."""

    plan: BatchPlan
    pictures: Sequence[Picture]
    pipeline: CaptionPipeline
    tokens: Tokens
    cache: LatentCache | None
    latent_shape: tuple[int, int]
    """(channels, pixels per latent pixel) of the VAE, for the blank that stands in for an unreadable
    picture."""
    reader: PictureReader
    rank: int = 0
    world: int = 1
    mask_floor: float = 0.0
    """How much of a picture what its mask leaves out still counts."""
    texts: TextCache | None = None
    """None when captions are encoded in each step."""

    def __getitem__(self, number: int) -> Batch:
        """Micro-batch ``number``, this device's share."""
        micro = self.plan[number]
        # Every device renders all captions of the micro-batch: the longest decides how many chunks they all
        # have, so that all devices run one shape, and several devices compute what one would.
        everyone = [self._describe(draw) for draw in micro.draws]
        ids = self.tokens.chunks([d.text for d in everyone])[self.rank :: self.world]
        mine = everyone[self.rank :: self.world]
        parts: list[tuple[Tensor, ...]] = []
        masks: list[Tensor | None] = []
        contexts: list[Tensor] = []
        problems: list[tuple[str, str]] = []
        weight = torch.zeros(len(mine))
        for i, (described, data) in enumerate(zip(mine, self._fetched(mine), strict=True)):
            tensors, mask, problem = self._tensors(described, data, micro.bucket)
            if self.texts is not None:
                context, lacks = self._context(self.texts, ids[i], described)
                contexts.append(context)
                problem = problem or lacks
            parts.append(tensors)
            masks.append(mask)
            if problem is not None:
                problems.append((problem.picture, problem.reason))
            elif described.picture is not None:
                weight[i] = described.picture.weight
        trouble = self.reader.store.take_trouble()
        stacked = tuple(torch.stack(column) for column in zip(*parts, strict=True))
        return Batch(
            number=number,
            latents=stacked if self.cache is not None else None,
            pixels=stacked[0] if self.cache is None else None,
            ids=ids,
            samples=[draw.sample for draw in share_of(micro, self.rank, self.world)],
            weight=weight,
            texts=[d.text for d in mine],
            records=[d.name for d in mine],
            problems=problems,
            store_failures=list(trouble.failures),
            store_waited=trouble.waited,
            mask=self._stack_masks(masks, micro.bucket),
            context=torch.stack(contexts) if contexts else None,
        )

    def _describe(self, draw: Draw) -> _Described:
        """The picture and caption of a draw; without a picture when there is no record of it."""
        try:
            picture = self.pictures[draw.picture]
        except PictureError as error:
            return _Described(None, error.picture, "", False, error)
        caption = caption_of(self.pipeline, picture, draw, self.texts)
        return _Described(picture, picture.record.id, caption.text, caption.flip, None)

    def _fetched(self, described: Sequence[_Described]) -> Iterator[bytes | PictureError | None]:
        """The bytes of each picture that is decoded, in order, or why there are none; None for the others.
        Several are fetched from a store at the same time."""
        wanted = [d.picture if d.picture is not None and self._opens(d.picture) else None for d in described]
        fetched = self.reader.fetch(picture for picture in wanted if picture is not None)
        for picture in wanted:
            yield None if picture is None else next(fetched)

    def _opens(self, picture: Picture) -> bool:
        """Whether the picture itself is needed: to be encoded, or for its alpha channel."""
        return self.cache is None or picture.mask == picture.place

    def _tensors(
        self, described: _Described, data: bytes | PictureError | None, bucket: Size
    ) -> tuple[tuple[Tensor, ...], Tensor | None, PictureError | None]:
        """(mean, std) from the cache or (pixels,), and the mask; or a blank and what went wrong."""
        picture, mirrored = described.picture, described.flip
        if picture is None:
            return self._blank(bucket), None, described.problem
        placed = fit(picture.size, bucket)
        parts: tuple[Tensor, ...]
        if isinstance(data, PictureError):
            return self._blank(bucket), None, data
        try:
            if self.cache is not None:
                parts, mask = self.cache.load(picture, placed, mirrored), self.reader.mask(picture, data)
            else:
                image, mask = self.reader.layers(picture, data)
                parts = (to_bucket(image, placed, mirrored=mirrored),)
        except PictureError as error:
            return self._blank(bucket), None, error
        if mask is None:
            return parts, None, None
        factor = self.latent_shape[1]
        return parts, latent_mask(mask, placed, factor, mirrored=mirrored, floor=self.mask_floor), None

    def _context(
        self, texts: TextCache, ids: Tensor, described: _Described
    ) -> tuple[Tensor, PictureError | None]:
        """The cached context of one caption, [L, d]; zeros and what went wrong when there is none."""
        try:
            return texts.context(ids[None])[0], None
        except DamagedError as error:
            states = torch.zeros(1, *ids.shape, texts.width, dtype=torch.float16)
            return join_chunks(states, texts.mode)[0], PictureError(described.name, str(error))

    def _stack_masks(self, masks: list[Tensor | None], bucket: Size) -> Tensor | None:
        """[B, 1, h, w], a picture without a mask counting whole; None when there is no mask at all."""
        if all(mask is None for mask in masks):
            return None
        factor = self.latent_shape[1]
        whole = torch.ones(1, bucket[1] // factor, bucket[0] // factor)
        return torch.stack([whole if mask is None else mask for mask in masks])

    def _blank(self, bucket: Size) -> tuple[Tensor, ...]:
        """Zeros in the shape of a picture of this bucket; they count with weight 0."""
        width, height = bucket
        if self.cache is None:
            return (torch.zeros(3, height, width),)
        channels, factor = self.latent_shape
        zeros = torch.zeros(channels, height // factor, width // factor)
        return (zeros, zeros) if self.cache.draw == "sample" else (zeros,)
