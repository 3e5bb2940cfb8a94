"""The data set: which pictures there are, what is known about each, and which of them cannot be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import ImageColor
from pydantic import BaseModel, ConfigDict, Field, field_validator
from tqdm import tqdm

from captionkit import CaptionkitError, CaptionPipeline, Record, read_records
from trainkit.buckets import BucketConfig, Fit, Size, fit, make_buckets, nearest_bucket
from trainkit.errors import PictureError, TrainkitError
from trainkit.images import picture_size

_SHOWN = 20
"""How many bad pictures an error names."""


class DataConfig(BaseModel):
    """The pictures and their captions."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    path: Path
    """Folder of pictures with sidecars, or a .jsonl table whose picture paths are relative to it."""
    recipe: str | dict[str, object] = "hyperfusion"
    """The caption pipeline: a preset's name, a recipe file (relative to the run file), or the recipe
    itself."""
    buckets: BucketConfig = BucketConfig()
    """Shapes in which pictures are trained."""
    latents: Literal["cached", "live"] = "cached"
    """"cached": encode every picture once, both orientations where mirroring is allowed; "live": encode in
    each step."""
    cache: Path | None = None
    """Folder of cached latents; None keeps them in the run's own folder."""
    transparent_as: str = "white"
    """Colour that shows through transparent parts, a CSS name or #rrggbb."""
    max_bad_share: float = Field(default=0.01, ge=0, le=1)
    """Records and pictures that cannot be used are skipped by name; a larger share than this stops the
    run."""
    workers: int = Field(default=2, ge=0)
    """Processes that prepare batches beside the training; 0 prepares them in the training process."""

    @field_validator("transparent_as")
    @classmethod
    def _is_colour(cls, colour: str) -> str:
        try:
            ImageColor.getrgb(colour)
        except ValueError:
            raise ValueError(f"transparent_as is {colour!r}, must be a CSS colour name or #rrggbb") from None
        return colour


@dataclass(frozen=True, slots=True)
class Picture:
    """One usable picture: its record, its file, and how it goes into its bucket."""

    record: Record
    path: Path
    fit: Fit
    may_flip: bool


@dataclass(frozen=True, slots=True)
class Skipped:
    """A record or picture that cannot be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class DataSet:
    """All usable pictures in a fixed order, and what was left out."""

    pictures: tuple[Picture, ...]
    skipped: tuple[Skipped, ...]
    too_small: int
    """How many pictures are smaller than their bucket and are enlarged."""


def read_data(config: DataConfig, pipeline: CaptionPipeline, *, progress: bool = False) -> DataSet:
    """Read every record, decode every picture once, and assign buckets.

    Raises TrainkitError when the folder is missing, when nothing can be used, or when more than
    ``max_bad_share`` cannot be.
    """
    if not config.path.exists():
        raise TrainkitError(f"data.path: no such folder or table: {config.path}")
    skipped: list[Skipped] = []
    try:
        records = list(
            read_records(config.path, on_error=lambda e: skipped.append(Skipped(e.where or "?", str(e))))
        )
    except CaptionkitError as error:
        raise TrainkitError(f"data.path: {error}") from error
    if twice := [name for name, count in Counter(r.id for r in records).items() if count > 1]:
        raise TrainkitError(
            f"data.path: {config.path}: {len(twice)} ids stand there more than once, such as {twice[0]!r}; "
            "their captions "
            "would share their draws. Give every record its own id."
        )
    folder = config.path if config.path.is_dir() else config.path.parent
    buckets = make_buckets(config.buckets)
    pictures: list[Picture] = []
    too_small = 0
    for record, result in _sizes(records, folder, progress):
        if isinstance(result, PictureError):
            skipped.append(Skipped(result.picture, result.reason))
            continue
        placed = fit(result, nearest_bucket(result, buckets))
        too_small += placed.resized[0] > result[0]
        pictures.append(Picture(record, folder / str(record.image), placed, pipeline.may_flip(record)))
    total = len(pictures) + len(skipped)
    _refuse_too_many(config, skipped, total)
    if not pictures:
        raise TrainkitError(f"data.path: {config.path} holds no picture that can be used")
    return DataSet(tuple(pictures), tuple(skipped), too_small)


def _sizes(
    records: list[Record], folder: Path, progress: bool
) -> Iterator[tuple[Record, Size | PictureError]]:
    """Each record with its picture's size, or with what is wrong with the picture; decoding runs in
    threads."""

    def measured(record: Record) -> Size | PictureError:
        if record.image is None:
            return PictureError(record.id, "the record names no picture")
        try:
            return picture_size(folder / record.image)
        except PictureError as error:
            return error

    with ThreadPoolExecutor() as pool:
        results: Iterable[Size | PictureError] = pool.map(measured, records)
        yield from tqdm(
            zip(records, results, strict=True),
            total=len(records),
            desc="reading pictures",
            unit="pic",
            disable=not progress,
            leave=False,
        )


def _refuse_too_many(config: DataConfig, skipped: list[Skipped], total: int) -> None:
    share = len(skipped) / max(1, total)
    if share <= config.max_bad_share:
        return
    names = "\n".join(f"  {s.name}: {s.reason}" for s in skipped[:_SHOWN])
    more = f"\n  and {len(skipped) - _SHOWN} more" if len(skipped) > _SHOWN else ""
    raise TrainkitError(
        f"data.path: {len(skipped)} of {total} pictures cannot be used ({share:.1%}, "
        f"data.max_bad_share allows {config.max_bad_share:.1%}):\n{names}{more}\n"
        "Mend or remove them, or raise data.max_bad_share to skip them."
    )
