"""What of the latents is missing, in the blocks in which it is encoded and written."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from trainkit.buckets import Placement, Size, fit
from trainkit.cache.latents import LatentCache
from trainkit.cache.shard import KEY, as_keys
from trainkit.errors import PictureError
from trainkit.picture import Picture
from trainkit.progress import bar_style

BLOCK = 256
"""Pictures of a shard."""


@dataclass(frozen=True, slots=True)
class LatentBlock:
    """Pictures of one bucket that are encoded and written together."""

    name: str
    bucket: Size
    members: NDArray[np.int64]
    """[m]: their indices in the data set."""
    keys: NDArray[np.uint8]
    """[m, 2, 16]: of each as it is and mirrored."""
    needed: NDArray[np.bool_]
    """[m, 2]: which of the two are missing."""
    again: bool = False
    """Whether these were tried before in vain."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The rows that a data set asks for."""

    keys: NDArray[np.uint8]
    """[N, 2, 16]: of each picture as it is and mirrored; anything for a picture that cannot be used."""
    wanted: NDArray[np.bool_]
    """[N, 2]"""
    errors: list[PictureError]


def asked_of(
    cache: LatentCache, pictures: Sequence[Picture], placement: Placement, *, progress: bool = False
) -> Asked:
    """The rows that pictures in their buckets ask for."""
    keys = np.zeros((len(pictures), 2, KEY), dtype=np.uint8)
    wanted = np.zeros((len(pictures), 2), dtype=bool)
    errors: list[PictureError] = []
    numbers = tqdm(
        range(len(pictures)),
        desc="looking for latents",
        unit="pic",
        disable=not progress,
        leave=False,
        **bar_style(),
    )
    for number in numbers:
        try:
            picture = pictures[number]
            both = cache.keys(picture, fit(picture.size, placement.bucket(number)))
        except PictureError as error:
            errors.append(error)
        else:
            keys[number] = as_keys(both)
            wanted[number] = True, picture.may_flip
    return Asked(keys, wanted, errors)


def plan_blocks(
    cache: LatentCache, asked: Asked, placement: Placement
) -> tuple[list[LatentBlock], list[LatentBlock]]:
    """What is missing, in blocks; and apart from that what was tried before in vain."""
    keys = asked.keys.reshape(-1, KEY)
    missing = asked.wanted & ~cache.store.has(keys).reshape(-1, 2)
    lacking = np.flatnonzero(missing.any(axis=1))
    failed = np.zeros(len(missing), dtype=bool)
    if len(cache.store.index.failed):
        tried = cache.store.index.has_failed(asked.keys[lacking].reshape(-1, KEY)).reshape(-1, 2)
        failed[lacking] = (tried & missing[lacking]).any(axis=1)
    return (
        _blocks(asked, missing, lacking[~failed[lacking]], placement, again=False),
        _blocks(asked, missing, lacking[failed[lacking]], placement, again=True),
    )


def _blocks(
    asked: Asked,
    missing: NDArray[np.bool_],
    members: NDArray[np.int64],
    placement: Placement,
    *,
    again: bool,
) -> list[LatentBlock]:
    """Blocks of pictures of one bucket, in order."""
    place = placement.index[members]
    found: list[LatentBlock] = []
    for number in sorted(np.unique(place).tolist(), key=lambda i: placement.buckets[i]):
        width, height = placement.buckets[number]
        inside = members[place == number]
        for first in range(0, len(inside), BLOCK):
            some = inside[first : first + BLOCK]
            needed = missing[some]
            digest = hashlib.blake2b(asked.keys[some][needed].tobytes(), digest_size=16)
            if again:
                digest.update(b"again")
            name = f"{width}x{height}-{digest.hexdigest()}"
            found.append(LatentBlock(name, (width, height), some, asked.keys[some], needed, again))
    return found
