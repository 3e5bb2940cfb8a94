"""From a path to the source behind it; its name tells the format, or its beginning does."""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from captionkit.errors import DataError
from captionkit.readers.folder import PICTURE_SUFFIXES, FolderSource
from captionkit.readers.jsonl import JsonlSource
from captionkit.readers.prepared import prepared_folder
from captionkit.readers.source import Source
from captionkit.readers.text import unreadable

Format: TypeAlias = Literal[
    "folder", "jsonl", "csv", "arrow", "hf", "webdataset", "kohya-json", "kohya-toml", "posts"
]
FORMATS: tuple[Format, ...] = get_args(Format)

_SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "arrow",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".tar": "webdataset",
    ".tgz": "webdataset",
    ".toml": "kohya-toml",
}
_PEEKED = 1 << 16
"""So many bytes at the beginning of a file tell what it is."""
_BRACES = re.compile(r"\{\d+\.\.\d+\}")
_POSTS = re.compile(r'\s*(\[|\{\s*"(posts?|id)"\s*:)')


def open_source(
    path: str | os.PathLike[str],
    *,
    format: Format | None = None,
    sentences: bool = True,
    untagged: bool = False,
) -> Source:
    """The records behind a path.

    path                                            format        package
    a folder of pictures with sidecars              folder        -
    .jsonl, .ndjson, also .gz                       jsonl         -
    .csv, .tsv, also .gz                            csv           -
    .parquet, .arrow, .feather, a folder of them    arrow         pyarrow
    a folder by `trainkit prepare`                  arrow         pyarrow
    a folder by `save_to_disk`, or hf:owner/name    hf            datasets
    .tar, a folder of them, x-{000..099}.tar        webdataset    -
    .json by kohya's scripts (meta_cap.json)        kohya-json    -
    .toml, kohya's configuration of data sets       kohya-toml    -
    .json, .jsonl, .csv from e621 or Danbooru       posts         -

    `format` says what it is when the name does not. `sentences` says whether whole sentences among the tags
    of a .txt file are captions, `untagged` whether what has neither tags nor captions is a record, too
    (kohya's files and posts list none). After `#` stands the split of a data set with several: `data#train`.

    Raises `DataError` when there is nothing at the path, or nothing we know.
    """
    text = os.fspath(path)
    if text == "":  # What a shell makes of a variable that is not set; as a path it is `.`.
        raise DataError("the path is empty", hint="give a folder of pictures or a file of records")
    if format is not None and format not in FORMATS:
        raise DataError(f"there is no format {format!r}", hint=f"formats are {', '.join(FORMATS)}")
    if text.startswith("hf:") or (_BRACES.search(text) and not Path(text).exists()):
        return _source(
            text, format or ("hf" if text.startswith("hf:") else "webdataset"), sentences, untagged
        )
    place, split = _place_and_split(text)
    format = format or _format_of(place)
    if split and format != "hf":
        raise DataError(f"has no splits, and so no {split!r}", where=str(place), hint=f"leave #{split} out")
    return _source(text if split else os.fspath(place), format, sentences, untagged)


def _place_and_split(text: str) -> tuple[Path, str]:
    """The path that is there, and what stands behind `#` when only the part before it is."""
    place = Path(text)
    try:
        if place.exists():
            return place, ""
        before, _, split = text.rpartition("#")
        if before and Path(before).exists():
            return Path(before), split
    except OSError as error:  # Such as a name that is too long for the system.
        raise unreadable(place, error) from error
    raise DataError("no such file or folder", where=text, hint=f"looked from the folder {str(Path.cwd())!r}")


def _format_of(place: Path) -> Format:
    if place.is_dir():
        return _format_of_folder(place)
    suffixes = [suffix.lower() for suffix in place.suffixes]
    packed = suffixes[-1:] == [".gz"]
    suffix = "".join(suffixes[-2:-1] if packed else suffixes[-1:])
    if suffix == ".json":
        return "posts" if _POSTS.match(_beginning(place, packed)) else "kohya-json"
    format = _SUFFIXES.get(suffix)
    if format is None:
        raise DataError(
            f"is no file of records that we know: its suffix is {place.suffix!r}",
            where=str(place),
            hint=f"give a folder of pictures, or .json {' '.join(_SUFFIXES)}; or say which with --from",
        )
    if format in ("jsonl", "csv"):
        first = _beginning(place, packed).partition("\n")[0]
        if _is_post(first) if format == "jsonl" else "tag_string" in first.strip().split(","):
            return "posts"
    return format


def _is_post(line: str) -> bool:
    """Whether a line is a post as Danbooru's or e621's interface gives it."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    if not isinstance(value, dict):
        return False
    file = value.get("file")
    return isinstance(value.get("tag_string"), str) or (isinstance(file, dict) and "md5" in file)


def _format_of_folder(folder: Path) -> Format:
    """By what lies right in it; where there are pictures it is a folder of pictures."""
    suffixes: set[str] = set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name in ("dataset_dict.json", "dataset_info.json"):
                    return "hf"
                if entry.name.startswith(".") or entry.is_dir():
                    continue
                packed = entry.name.lower().endswith(".tar.gz")
                suffixes.add(".tgz" if packed else os.path.splitext(entry.name)[1].lower())
                if suffixes & PICTURE_SUFFIXES:
                    return "folder"
    except OSError as error:
        raise unreadable(folder, error) from error
    if suffixes & {".tar", ".tgz"}:
        return "webdataset"
    if ".arrow" in suffixes and prepared_folder(folder) is not None:
        return "arrow"
    tables = {".parquet", ".arrow", ".feather", ".ipc"}
    return "arrow" if suffixes and suffixes <= tables else "folder"


def _beginning(place: Path, packed: bool) -> str:
    try:
        with gzip.open(place) if packed else place.open("rb") as file:
            return file.read(_PEEKED).decode("utf-8-sig", errors="replace")
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(place, error) from error


def _source(text: str, format: Format, sentences: bool, untagged: bool) -> Source:
    """Readers that few runs need are imported when one does."""
    path = Path(text)
    if untagged and format in ("kohya-json", "kohya-toml", "posts"):
        raise DataError(
            f"{format} lists pictures by their tags and captions",
            where=text,
            hint="give the folder of the pictures, or leave --untagged out",
        )
    if format == "folder":
        if not path.is_dir():
            raise DataError("is a file, not a folder", where=text, hint="leave --from out")
        return FolderSource(path, sentences, untagged=untagged)
    if path.is_dir() and format in ("jsonl", "csv", "kohya-json", "kohya-toml", "posts"):
        raise DataError(f"is a folder, and {format} is a file", where=text, hint="leave --from out")
    match format:
        case "jsonl":
            return JsonlSource(path, untagged)
        case "csv":
            from captionkit.readers.csv_table import CsvSource

            return CsvSource(path, untagged)
        case "arrow":
            from captionkit.readers.arrow_table import ArrowSource

            # What was prepared is trained, with an empty text where nothing is known.
            return ArrowSource(path, untagged or (path.is_dir() and prepared_folder(path) is not None))
        case "hf":
            from captionkit.readers.hf_dataset import HfSource

            before, _, split = text.rpartition("#")
            return HfSource(before, split, untagged) if before else HfSource(text, None, untagged)
        case "webdataset":
            from captionkit.readers.webdataset import WebDatasetSource

            return WebDatasetSource(text, sentences, untagged)
        case "kohya-json":
            from captionkit.readers.kohya_metadata import KohyaMetadataSource

            return KohyaMetadataSource(path)
        case "kohya-toml":
            from captionkit.readers.kohya_dataset import KohyaDatasetSource

            return KohyaDatasetSource(path)
        case "posts":
            from captionkit.readers.posts import PostsSource

            return PostsSource(path)
