"""From a name to the target behind it; its suffix tells the format, or the caller does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from captionkit.errors import DataError
from captionkit.writers.folder import FolderTarget
from captionkit.writers.sidecar_texts import Style
from captionkit.writers.staging import Pictures
from captionkit.writers.target import Target

TargetFormat: TypeAlias = Literal[
    "folder", "jsonl", "csv", "parquet", "arrow", "hf", "webdataset", "kohya-json"
]
TARGETS: tuple[TargetFormat, ...] = get_args(TargetFormat)

_SUFFIXES: dict[str, TargetFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".json": "kohya-json",
    ".tar": "webdataset",
}


def open_target(
    path: str | os.PathLike[str],
    *,
    format: TargetFormat | None = None,
    pictures: Path | None = None,
    bring: Pictures | None = None,
    style: Style = "plain",
    overwrite: bool = False,
) -> Target:
    """The target of a name: by its suffix, or of the format that is given.

    `pictures` is the folder at which the pictures' paths begin, for formats that take the pictures along. Of
    a folder, `bring` says what becomes of the pictures (by default they stay where this is their own folder,
    and are linked where it is another), and `style` which sidecars are written.

    Raises `DataError` for a suffix we do not know, and when something is there under this name and
    `overwrite` is false. (A folder is judged file by file, when it is written.)
    """
    place = Path(path)
    if os.fspath(path) == "":
        raise DataError("the path is empty", hint="give the file or folder to write")
    if format is None:
        format = _SUFFIXES.get(Path(place.name.lower().removesuffix(".gz")).suffix)
    if format is None:
        raise DataError(
            f"what shall be written there is not known: its suffix is {place.suffix!r}",
            where=str(place),
            hint=f"one of {' '.join(_SUFFIXES)}; or say which with --to: {', '.join(TARGETS)}",
        )
    if format != "folder" and not overwrite and os.path.lexists(place):
        raise DataError("is there already", where=str(place), hint="another name, or --overwrite")
    if pictures is not None and not pictures.is_dir():
        raise DataError("no such folder of pictures", where=str(pictures), hint="--pictures names it")
    if format == "folder":
        own = pictures is None or pictures.resolve() == place.resolve()
        return FolderTarget(place, pictures, bring or ("stay" if own else "link"), style, overwrite)
    return _target(place, format, pictures)


def _target(place: Path, format: TargetFormat, pictures: Path | None) -> Target:
    """Writers that few runs need are imported when one does."""
    match format:
        case "jsonl":
            from captionkit.writers.jsonl import JsonlTarget

            return JsonlTarget(place)
        case "csv":
            from captionkit.writers.csv_table import CsvTarget

            return CsvTarget(place)
        case "parquet" | "arrow":
            from captionkit.writers.arrow_table import ArrowTarget

            return ArrowTarget(place, format)
        case "hf":
            from captionkit.writers.hf_dataset import HfTarget

            return HfTarget(place)
        case "webdataset":
            from captionkit.writers.webdataset import WebDatasetTarget

            return WebDatasetTarget(place, pictures)
        case "kohya-json":
            from captionkit.writers.kohya_metadata import KohyaMetadataTarget

            return KohyaMetadataTarget(place)
        case "folder":
            raise AssertionError("`open_target` has seen to it")
