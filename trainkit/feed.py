"""From a number to the tensors of a micro-batch: the only place where pictures and captions are prepared.

Micro-batch ``number`` is a pure function of the plan, the caption pipeline and the files, so any worker
process may prepare it, and a restarted run simply asks for the next number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from captionkit import CaptionPipeline
from trainkit.batches import BatchPlan, Draw, share_of
from trainkit.errors import PictureError
from trainkit.images import read_picture, to_bucket
from trainkit.latents import LatentCache
from trainkit.pictures import Picture
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
    """[B]: 1, or 0 for a picture that could not be read any more."""
    texts: list[str]
    records: list[str]
    problems: list[tuple[str, str]]
    """(picture, reason) of what could not be read."""


@dataclass
class Feed(Dataset[Batch]):
    """Prepares micro-batches for one of ``world`` devices."""

    plan: BatchPlan
    pictures: tuple[Picture, ...]
    pipeline: CaptionPipeline
    tokens: Tokens
    cache: LatentCache | None
    latent_shape: tuple[int, int]
    """(channels, pixels per latent pixel) of the VAE, for the blank that stands in for an unreadable
    picture."""
    transparent_as: str
    rank: int = 0
    world: int = 1

    def __getitem__(self, number: int) -> Batch:
        """Micro-batch ``number``, this device's share."""
        micro = self.plan[number]
        # Every device renders all captions of the micro-batch: the longest decides how many chunks they all
        # have, so that all devices run one shape, and several devices compute what one would.
        everyone = [
            self.pipeline.render(self.pictures[d.picture].record, epoch=d.epoch, samples=d.sample)
            for d in micro.draws
        ]
        ids = self.tokens.chunks([r.text for r in everyone])[self.rank :: self.world]
        rendered = everyone[self.rank :: self.world]
        draws = share_of(micro, self.rank, self.world)
        parts: list[tuple[Tensor, ...]] = []
        problems: list[tuple[str, str]] = []
        weight = torch.ones(len(draws))
        for i, (draw, caption) in enumerate(zip(draws, rendered, strict=True)):
            try:
                parts.append(self._picture(draw, caption.flip))
            except PictureError as error:
                problems.append((error.picture, error.reason))
                parts.append(self._blank(micro.bucket))
                weight[i] = 0.0
        stacked = tuple(torch.stack(column) for column in zip(*parts, strict=True))
        texts = [r.text for r in rendered]
        return Batch(
            number=number,
            latents=(stacked[0], stacked[1]) if self.cache is not None else None,
            pixels=stacked[0] if self.cache is None else None,
            ids=ids,
            samples=[d.sample for d in draws],
            weight=weight,
            texts=texts,
            records=[self.pictures[d.picture].record.id for d in draws],
            problems=problems,
        )

    def _picture(self, draw: Draw, mirrored: bool) -> tuple[Tensor, ...]:
        """(mean, std) from the cache, or (pixels,)."""
        picture = self.pictures[draw.picture]
        if self.cache is not None:
            return self.cache.load(picture, mirrored)
        return (to_bucket(read_picture(picture.path, self.transparent_as), picture.fit, mirrored=mirrored),)

    def _blank(self, bucket: tuple[int, int]) -> tuple[Tensor, ...]:
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
            generator=torch.Generator().manual_seed(0),
        )
    )
