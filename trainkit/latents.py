"""Latents of pictures: encoded live, or once and kept on disk.

The VAE's answer is a distribution; its mean and standard deviation are kept, each [4, h, w] with h = H / 8,
and the sample is drawn anew in every step. Mirroring a latent is not the latent of the mirrored picture, so
both orientations are encoded where mirroring is allowed.

On disk a picture is one safetensors file, named by a hash of everything that decides its content: the VAE's
weights, the picture's path, size in bytes and time of change, and how it is cut. A changed picture or VAE is
a new name. Files are written under a temporary name and renamed, so that several processes can fill one
folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from trainkit.buckets import Fit, Placement, Size, fit
from trainkit.errors import PictureError, TrainkitError
from trainkit.images import to_bucket
from trainkit.picture import Picture, load_image

Moments = tuple[Tensor, Tensor]
"""Mean and standard deviation, unscaled."""

_Placed = tuple[Picture, Fit]


def encode(vae: Any, pixels: Tensor) -> Moments:
    """Mean and standard deviation [B, 4, h, w] of pictures [B, 3, H, W]; no gradients."""
    with torch.no_grad():
        posterior = vae.encode(pixels.to(vae.dtype)).latent_dist
    return posterior.mean.float(), posterior.std.float()


def sample(moments: Moments, eps: Tensor, scaling_factor: float) -> Tensor:
    """A draw from the VAE's distribution, scaled to about unit variance."""
    mean, std = moments
    return (mean + std * eps) * scaling_factor


def vae_fingerprint(vae: Any) -> str:
    """A hash of the VAE's weights."""
    digest = hashlib.blake2b(digest_size=8)
    for name, weight in sorted(vae.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()


class LatentCache:
    """A folder of encoded pictures."""

    def __init__(self, folder: Path, fingerprint: str, transparent_as: str) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.transparent_as = transparent_as

    def path_of(self, picture: Picture, fit: Fit) -> Path:
        """The file of one picture in one bucket. Raises PictureError when the picture itself is gone."""
        try:
            stat = os.stat(picture.place.path)
        except OSError as error:
            raise PictureError(picture.place.name, error.strerror or "no such file") from error
        parts = (
            self.fingerprint,
            os.path.realpath(picture.place.path),
            picture.place.offset,
            stat.st_size,
            stat.st_mtime_ns,
            fit,
            self.transparent_as,
        )
        name = hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"

    def load(self, picture: Picture, fit: Fit, mirrored: bool) -> Moments:
        """The moments of one picture in one bucket. Raises PictureError when they are not there or not
        whole."""
        path = self.path_of(picture, fit)
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            with contextlib.suppress(OSError):
                path.unlink()
            raise PictureError(
                picture.place.name, f"its cached latents cannot be read ({error}); start again to rebuild"
            ) from error
        side = "mirrored" if mirrored else "plain"
        return tensors[f"{side}.mean"].float(), tensors[f"{side}.std"].float()

    def has(self, picture: Picture, fit: Fit) -> bool:
        """Whether the picture's latents for this bucket are there, with the mirrored ones if they are needed.

        Raises PictureError when the picture itself is gone.
        """
        try:
            # Opening reads the header and compares it with the file's length: a file cut off is not there.
            with safe_open(self.path_of(picture, fit), framework="pt") as file:
                return not picture.may_flip or "mirrored.mean" in file.keys()  # noqa: SIM118
        except (OSError, SafetensorError):
            return False

    def fill(
        self,
        pictures: Sequence[Picture],
        placement: Placement,
        vae: Any,
        device: torch.device,
        *,
        progress: bool = False,
    ) -> list[PictureError]:
        """Encode what is not there yet; returns the pictures that could not be.

        ``placement`` says which bucket each goes into; `fill` once per placement, when phases have several.
        Pictures are always encoded in the same company, because the last bits of a result can depend on it:
        a cache that is filled in two goes holds the same as one that is filled in one. No more than one
        company is in memory at once.
        """
        errors: list[PictureError] = []
        with tqdm(
            total=len(pictures), desc="encoding latents", unit="pic", disable=not progress, leave=False
        ) as bar:
            for bucket, members in _companies(placement, 16):
                group: list[_Placed] = []
                for member in members:
                    try:
                        picture = pictures[member]
                    except PictureError as error:
                        errors.append(error)
                    else:
                        group.append((picture, fit(picture.size, bucket)))
                if group and not self._has_all(group):
                    errors += self._encode_group(group, vae, device)
                bar.update(len(members))
        return errors

    def _has_all(self, group: list[_Placed]) -> bool:
        try:
            return all(self.has(picture, placed) for picture, placed in group)
        except PictureError:
            return False

    def _encode_group(self, group: list[_Placed], vae: Any, device: torch.device) -> list[PictureError]:
        """Encode pictures of one shape together, mirrored too where that is allowed, and write one file
        each."""
        readable, pixels, errors = [], [], []
        for picture, placed in group:
            try:
                # The name is taken first: a picture that changes while it is read gets a new one next time.
                path = self.path_of(picture, placed)
                pixels.append(to_bucket(load_image(picture, self.transparent_as), placed))
            except PictureError as error:
                errors.append(error)
            else:
                readable.append((picture, path))
        if not readable:
            return errors
        x = torch.stack(pixels).to(device)
        sides = {"plain": encode(vae, x)}
        if any(picture.may_flip for picture, _ in readable):
            sides["mirrored"] = encode(vae, x.flip(-1))
        for i, (picture, path) in enumerate(readable):
            wanted = ("plain", "mirrored") if picture.may_flip else ("plain",)
            tensors = {
                f"{side}.{part}": value[i].half().cpu().contiguous()
                for side in wanted
                for part, value in zip(("mean", "std"), sides[side], strict=True)
            }
            self._write(path, tensors)
        return errors

    def _write(self, path: Path, tensors: dict[str, Tensor]) -> None:
        partial = path.with_suffix(f".{os.getpid()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, partial)
            partial.replace(path)
        except (OSError, SafetensorError) as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise TrainkitError(
                f"latents cannot be written to {self.folder}: {error}; free some space or set data.cache"
            ) from error


def _companies(placement: Placement, most: int) -> Iterator[tuple[Size, list[int]]]:
    """Groups of up to ``most`` pictures of one bucket, by their indices in order."""
    by_bucket = np.argsort(placement.index, kind="stable")
    ends = np.cumsum(placement.counts)
    for place in sorted(range(len(ends)), key=lambda i: placement.buckets[i]):
        members = by_bucket[ends[place] - placement.counts[place] : ends[place]]
        for first in range(0, len(members), most):
            yield placement.buckets[place], members[first : first + most].tolist()
