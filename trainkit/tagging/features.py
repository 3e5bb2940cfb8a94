"""What a backbone makes of pictures, once and for all: the features that a probe learns from.

A cache folder holds safetensors files, each with ``keys`` (uint64 [n], of the pictures' digests) and
``features`` (float16 [n, V, D]; V views: the picture, and its mirror image where both are wanted). Its name
hangs on the backbone's weights and on how pictures are made, so that no feature is ever another network's.
A killed run loses what the last few seconds made.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm import tqdm

from trainkit.errors import CacheError
from trainkit.keys import key_of
from trainkit.manifest_pictures import ManifestPictures
from trainkit.modes import open_to_others
from trainkit.progress import bar_style
from trainkit.sealed import write_tensors
from trainkit.tagging.backbone import Backbone
from trainkit.tagging.preprocess import Preprocessing
from trainkit.whole_file import whole_file

_EVERY = 20.0
"""Seconds after which what is new is written."""


class FeaturesConfig(BaseModel):
    """How a probe's features are made."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    cache: Path | None = None
    """Folder that keeps them; `<out>/features` by default. Several taggers on one backbone can share it."""
    batch: int = Field(default=32, ge=1, le=65536)
    """Pictures at a time."""


def backbone_hash(backbone: Backbone) -> str:
    """Of all weights and of how they are used, in hexadecimal."""
    digest = hashlib.blake2b(digest_size=8)
    told = {"model": backbone.config.to_json_string(use_diff=False), "pool": backbone.pool}
    digest.update(json.dumps(told, sort_keys=True).encode())
    for name, weight in sorted(backbone.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


class FeatureCache:
    """The features of one backbone and one way to make pictures, in a folder of their own."""

    def __init__(
        self, folder: Path, backbone: Backbone, preprocessing: Preprocessing, *, mirrored: bool, ground: str
    ) -> None:
        told = json.dumps([backbone_hash(backbone), preprocessing.describe(), mirrored, ground])
        self.folder = folder / hashlib.blake2b(told.encode(), digest_size=12).hexdigest()
        self._backbone, self._preprocessing, self._mirrored = backbone, preprocessing, mirrored

    def fill(
        self,
        pictures: ManifestPictures,
        rows: Sequence[int],
        digests: Sequence[str],
        *,
        batch: int,
        threads: int,
        device: torch.device,
        report: Callable[[int, str], None],
        rank: int = 0,
        world: int = 1,
        show: bool = False,
    ) -> None:
        """Make the features that are missing; of several processes each makes its share.

        Raises CacheError when they cannot be written, StoreError as the pictures.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        have = set(self._read()[0].tolist())
        missing: dict[int, int] = {}
        for row, digest in zip(rows, digests, strict=True):
            if (key := key_of(digest)) not in have:
                missing.setdefault(key, row)
        own = [(key, row) for number, (key, row) in enumerate(missing.items()) if number % world == rank]
        bar = tqdm(total=len(own), desc="features", disable=not show or not own, delay=2, **bar_style())
        keys: list[int] = []
        made: list[Tensor] = []
        waiting: list[tuple[int, NDArray[np.float32]]] = []
        written = time.monotonic()
        key_by_row = {row: key for key, row in own}
        seen_rows = pictures.images((row for _, row in own), threads=threads, ahead=2 * batch)
        for number, seen in enumerate(seen_rows, 1):
            bar.update()
            if seen.image is None:
                report(seen.row, str(seen.problem))
            else:
                waiting.append((key_by_row[seen.row], self._preprocessing(seen.image)))
            last = number == len(own)
            if waiting and (len(waiting) == batch or last):
                keys += [key for key, _ in waiting]
                made.append(self.features([array for _, array in waiting], device))
                waiting = []
            if keys and (last or time.monotonic() - written > _EVERY):
                self._write(keys, torch.cat(made))
                keys, made, written = [], [], time.monotonic()
        bar.close()

    @torch.no_grad()
    def features(self, arrays: Sequence[NDArray[np.float32]], device: torch.device) -> Tensor:
        """Features of pictures as the network takes them, float16 [B, V, D]."""
        self._backbone.eval()
        pictures = torch.from_numpy(np.stack(arrays)).to(device)
        views = [pictures, pictures.flip(3)] if self._mirrored else [pictures]
        return torch.stack([self._backbone(view).float().cpu().half() for view in views], dim=1)

    def get(self, digests: Sequence[str]) -> tuple[NDArray[np.bool_], Tensor]:
        """Which pictures have features, [N], and the features, float16 [N, V, D], 0 where there are none.

        Raises CacheError when there are none at all.
        """
        keys, features = self._read()
        if not len(keys):
            raise CacheError(f"{self.folder} holds no features: no picture could be read")
        order = np.argsort(keys, kind="stable")
        wanted = np.array([key_of(digest) for digest in digests], dtype=np.uint64)
        at = np.searchsorted(keys[order], wanted).clip(max=len(keys) - 1)
        found = keys[order][at] == wanted
        chosen = features[torch.from_numpy(order[at])]
        chosen[torch.from_numpy(~found)] = 0
        return found, chosen

    def _read(self) -> tuple[NDArray[np.uint64], Tensor]:
        """All keys and features; a file that cannot be read is as if it were not there."""
        keys, features = [], []
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                with safe_open(path, framework="pt") as file:
                    own, values = file.get_tensor("keys"), file.get_tensor("features")
            except (OSError, SafetensorError):
                path.unlink(missing_ok=True)
                continue
            keys.append(own.view(torch.int64).numpy().view(np.uint64))
            features.append(values)
        if not keys:
            return np.zeros(0, np.uint64), torch.zeros(0, 1, self._backbone.num_features).half()
        return np.concatenate(keys), torch.cat(features)

    def _write(self, keys: list[int], features: Tensor) -> None:
        stored = torch.from_numpy(np.array(keys, np.uint64).view(np.int64))
        name = hashlib.blake2b(stored.numpy().tobytes(), digest_size=8).hexdigest()
        try:
            with whole_file(self.folder / f"{name}.safetensors") as partial:
                write_tensors(partial, {"keys": stored, "features": features})
                open_to_others(partial)
        except OSError as error:
            raise CacheError(
                f"features: {self.folder} cannot be written: {error.strerror or error}; free some space, or "
                "give another features.cache"
            ) from error
