"""The cache of latents: the VAE's mean and standard deviation of every picture, as it is cut.

A row is float16 [2, 4, h, w]: mean and standard deviation, h = H / 8; with ``data.vae = "mode"`` it is
[1, 4, h, w], the mean alone. Mirroring a latent is not the latent of the mirrored picture, so both
orientations have rows where mirroring is allowed. The key of a row is a hash of everything that decides its
content: the VAE's weights, the picture's bytes (or, where no digest of them is known, its path, size and time
of change), how it is cut, the ground under transparent parts, and whether it is mirrored.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch
from torch import Tensor

from trainkit.buckets import Fit
from trainkit.cache.shard import KEY
from trainkit.cache.store import Store
from trainkit.errors import DamagedError, PictureError
from trainkit.latents import VaeDraw
from trainkit.picture import Picture
from trainkit.place import Place


def identity(place: Place) -> bytes:
    """What a picture is known by: the digest of its bytes, or else where they lie and when they were changed.

    Of an object in a store without a digest, a change is not noticed. Raises PictureError when a local
    picture without a digest is gone.
    """
    if place.digest is not None:
        return place.digest
    if "://" in place.path:
        return repr((place.path, place.offset, place.length)).encode()
    try:
        stat = os.stat(place.path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise PictureError(place.name, reason or "no such file") from error
    where = os.path.abspath(place.path)
    return repr((where, place.offset, place.length, stat.st_size, stat.st_mtime_ns)).encode(
        errors="surrogateescape"
    )


class LatentCache:
    """Encoded pictures on disk, by picture, cut and orientation."""

    def __init__(self, folder: Path, fingerprint: str, transparent_as: str, draw: VaeDraw = "sample") -> None:
        self.store = Store(folder / f"vae-{fingerprint}-{draw}")
        self.fingerprint = fingerprint
        self.transparent_as = transparent_as
        self.draw = draw
        self._common = hashlib.blake2b(
            repr(("latents 1", fingerprint, draw, transparent_as)).encode(), digest_size=KEY
        )

    def __reduce__(self) -> tuple[object, ...]:
        return LatentCache, (self.store.folder.parent, self.fingerprint, self.transparent_as, self.draw)

    def keys(self, picture: Picture, fit: Fit) -> tuple[bytes, bytes]:
        """The keys of a picture in its bucket, as it is and mirrored. Raises PictureError when it is gone."""
        common = self._common.copy()
        common.update(identity(picture.place))
        common.update(repr((fit.bucket, fit.resized, fit.crop)).encode())
        mirrored = common.copy()
        mirrored.update(b"mirrored")
        return common.digest(), mirrored.digest()

    def load(self, picture: Picture, fit: Fit, mirrored: bool) -> tuple[Tensor, ...]:
        """Mean and standard deviation of one picture in one bucket, float32 [4, h, w] each; the mean alone
        where that is all that is kept. Raises PictureError when they are not there or not whole."""
        key = self.keys(picture, fit)[mirrored]
        try:
            row = self.store.read(key)
        except (OSError, DamagedError) as error:
            raise PictureError(picture.place.name, f"its cached latents cannot be read: {error}") from error
        if row is None:
            raise PictureError(
                picture.place.name, "its latents are not in the cache; start again, and they are made"
            )
        return tuple(torch.from_numpy(row.astype("float32")).unbind())
