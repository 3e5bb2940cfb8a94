"""From a number to the tensors of a micro-batch: the only place where pictures and captions are prepared.

Micro-batch ``number`` is a pure function of the plan, the caption pipeline and the files, so any worker
process may prepare it, and a restarted run simply asks for the next number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from captionkit import CaptionPipeline
from trainkit.batches import BatchPlan, Draw, share_of
from trainkit.buckets import Size, fit
from trainkit.errors import PictureError
from trainkit.images import to_bucket
from trainkit.latents import LatentCache
from trainkit.masks import latent_mask
from trainkit.picture import Picture, load_layers, load_mask
from trainkit.text import Tokens


@dataclass
class Batch:
    """One device's part of a micro-batch."""

    number: int
    latents: tuple[Tensor, Tensor] | None
    """Cached moments, each [B, 4, h, w]; None when pictures are encoded live."""
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

    def pin_memory(self) -> Batch:
        """The same batch in memory from which a GPU copies without waiting; DataLoader calls it."""
        self.latents = (
            None if self.latents is None else (self.latents[0].pin_memory(), self.latents[1].pin_memory())
        )
        self.pixels = None if self.pixels is None else self.pixels.pin_memory()
        self.mask = None if self.mask is None else self.mask.pin_memory()
        self.ids = self.ids.pin_memory()
        return self


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
class Feed(Dataset[Batch]):
    """Prepares micro-batches for one of ``world`` devices."""

    plan: BatchPlan
    pictures: Sequence[Picture]
    pipeline: CaptionPipeline
    tokens: Tokens
    cache: LatentCache | None
    latent_shape: tuple[int, int]
    """(channels, pixels per latent pixel) of the VAE, for the blank that stands in for an unreadable
    picture."""
    transparent_as: str
    rank: int = 0
    world: int = 1
    mask_floor: float = 0.0
    """How much of a picture what its mask leaves out still counts."""

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
        problems: list[tuple[str, str]] = []
        weight = torch.zeros(len(mine))
        for i, described in enumerate(mine):
            tensors, mask, problem = self._tensors(described, micro.bucket)
            parts.append(tensors)
            masks.append(mask)
            if problem is not None:
                problems.append((problem.picture, problem.reason))
            elif described.picture is not None:
                weight[i] = described.picture.weight
        stacked = tuple(torch.stack(column) for column in zip(*parts, strict=True))
        return Batch(
            number=number,
            latents=(stacked[0], stacked[1]) if self.cache is not None else None,
            pixels=stacked[0] if self.cache is None else None,
            ids=ids,
            samples=[draw.sample for draw in share_of(micro, self.rank, self.world)],
            weight=weight,
            texts=[d.text for d in mine],
            records=[d.name for d in mine],
            problems=problems,
            mask=self._stack_masks(masks, micro.bucket),
        )

    def _describe(self, draw: Draw) -> _Described:
        """The picture and caption of a draw; without a picture when there is no record of it."""
        try:
            picture = self.pictures[draw.picture]
        except PictureError as error:
            return _Described(None, error.picture, "", False, error)
        caption = self.pipeline.render(picture.record, epoch=draw.epoch, samples=draw.sample)
        return _Described(picture, picture.record.id, caption.text, caption.flip, None)

    def _tensors(
        self, described: _Described, bucket: Size
    ) -> tuple[tuple[Tensor, ...], Tensor | None, PictureError | None]:
        """(mean, std) from the cache or (pixels,), and the mask; or a blank and what went wrong."""
        picture, mirrored = described.picture, described.flip
        if picture is None:
            return self._blank(bucket), None, described.problem
        placed = fit(picture.size, bucket)
        parts: tuple[Tensor, ...]
        try:
            if self.cache is not None:
                parts, mask = self.cache.load(picture, placed, mirrored), load_mask(picture)
            else:
                image, mask = load_layers(picture, self.transparent_as)
                parts = (to_bucket(image, placed, mirrored=mirrored),)
        except PictureError as error:
            return self._blank(bucket), None, error
        if mask is None:
            return parts, None, None
        factor = self.latent_shape[1]
        return parts, latent_mask(mask, placed, factor, mirrored=mirrored, floor=self.mask_floor), None

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
        return (zeros, zeros)


class _Numbers(Sampler[int]):
    """first, first + 1, ... up to the end."""

    def __init__(self, first: int, end: int) -> None:
        self.first, self.end = first, end

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.end))

    def __len__(self) -> int:
        return self.end - self.first


def micro_batches(feed: Feed, first: int, end: int, *, workers: int) -> Iterator[Batch]:
    """Micro-batches ``first`` to ``end`` in order, prepared by ``workers`` processes.

    The generator of its own keeps the loader from drawing its base seed from torch's global generator.
    """
    return iter(
        DataLoader(
            feed,
            batch_size=None,
            sampler=_Numbers(first, end),
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(0),
        )
    )
