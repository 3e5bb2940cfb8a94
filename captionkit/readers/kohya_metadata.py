"""kohya's metadata for fine-tuning: tags, captions and sizes by the pictures' paths, in one JSON file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from captionkit.errors import DataError
from captionkit.readers.entries import EntryReader, entry_blocks, line_blocks, total_bytes
from captionkit.readers.facts import facts_in
from captionkit.readers.fields import TAGS_KEY, Fields, neither, prose_in, shown, tags_in
from captionkit.readers.folder import FOREIGN_SUFFIXES, PICTURE_SUFFIXES
from captionkit.readers.json_stream import Layout
from captionkit.readers.mixed import parse_caption
from captionkit.readers.separators import part_at_separators
from captionkit.readers.source import Block, Report, Source
from captionkit.record import Fact, Prose, Record, Tag, parse_tags

CAPTION_KEY = "caption"
PATH_KEY = "image_path"
"""Of a line, where the path is no key."""
IMAGE_SIZE, TRAIN_RESOLUTION = "image_size", "train_resolution"

_SUFFIXES = PICTURE_SUFFIXES | FOREIGN_SUFFIXES
# The frequent ones first: mostly one look is enough.
_LOOKED_FOR = (".jpg", ".png", ".webp", *sorted(PICTURE_SUFFIXES - {".jpg", ".png", ".webp"}))
_LOOKED_FOR += tuple(suffix.upper() for suffix in _LOOKED_FOR)
_LEAVES = re.compile(r"(^|[/\\])\.\.([/\\]|$)|^[/\\]|^[A-Za-z]:")


@dataclass(frozen=True)
class KohyaMetadataSource(Source):
    """The pictures of a `meta_cap.json`, `meta_clean.json` or `meta_lat.json`, or of the `.jsonl` form of it.

        {"fox/0001": {"tags": "red fox, snow", "caption": "A fox in the snow.",
                      "image_size": [1024, 768], "train_resolution": [640, 448]}}
        {"image_path": "fox/0001.png", "caption": "...", "width": 1024, "height": 768}    a line

    The key is the picture's path, absolute or relative to `root`, with or without its suffix. The record's
    id is the path without the suffix of a picture; its image is the path as it stands. Where that has no
    such suffix, a picture beside is looked for, unless the path leads out of `root`. "tags" are parted at
    commas and line ends. "caption" is one caption per line; lists are read as in `read_jsonl`. With
    `sentences_among_tags` it is the text of a .txt file: tags, and whole sentences as captions.

    "image_size" becomes the facts `width` and `height`, "train_resolution" the facts
    `train_resolution.width` and `train_resolution.height`, in pixels. All other facts are as in `read_jsonl`.

    Reported and skipped are entries without tags and captions, such as `meta_lat.json` has for pictures that
    nobody captioned, and sizes that are none. Two entries with one key are both read. Broken JSON is
    reported, and nothing behind it is read.
    """

    path: str | os.PathLike[str]
    images: str | os.PathLike[str] | None = None
    """The folder at which relative paths begin; None: the folder of the file."""
    sentences_among_tags: bool = False

    @property
    def unit(self) -> str:
        """What amounts are counted in."""
        return "B"

    @property
    def root(self) -> Path:
        """The folder at which relative paths of pictures begin."""
        return Path(self.path).parent if self.images is None else Path(self.images)

    def total(self) -> int | None:
        """The amount of everything; None when only reading tells."""
        return total_bytes(Path(self.path))

    def blocks(self, report: Report) -> Iterator[Block]:
        """The pieces, in order."""
        file, reader = Path(self.path), KohyaEntries(self.root, self.sentences_among_tags)
        if {".jsonl", ".ndjson"} & {suffix.lower() for suffix in file.suffixes[-2:]}:
            return line_blocks(file, reader)
        return entry_blocks(file, Layout(keyed=True), reader)


@dataclass(frozen=True)
class KohyaEntries(EntryReader):
    """How an entry becomes a record."""

    root: Path
    sentences_among_tags: bool

    def record(self, key: str | int, fields: Fields, where: str) -> Record:
        path = _path(fields, where) if isinstance(key, int) else key
        if not path.strip():
            raise DataError("the path of the picture is blank", where=where, hint="take the entry out")
        tags, prose = self._texts(fields, where)
        if not tags and not prose:
            raise neither(fields, f"{where}: {path}")
        if isinstance(key, int):
            fields = {name: value for name, value in fields.items() if name != PATH_KEY}
        facts = facts_in(fields, where)
        for name, prefix in ((IMAGE_SIZE, ""), (TRAIN_RESOLUTION, f"{TRAIN_RESOLUTION}.")):
            if fields.get(name) is not None:
                facts.update(_size(fields[name], prefix, f"{where}: {name}", facts))
        bare = without_suffix(path)
        image = path if bare != path else _beside(self.root, path) or path
        return Record(bare, tags, prose, image, facts)

    def _texts(self, fields: Fields, where: str) -> tuple[tuple[Tag, ...], tuple[Prose, ...]]:
        tags, caption = fields.get(TAGS_KEY), fields.get(CAPTION_KEY)
        if isinstance(tags, str):
            found = part_at_separators(parse_tags(tags.replace("\n", ",")))
        else:
            found = tags_in(fields, where)
        if isinstance(caption, str):
            if self.sentences_among_tags:
                among, prose = parse_caption(caption)
                return found + part_at_separators(among), prose
            lines: list[str] = [line for line in caption.splitlines() if line.strip()]
            fields = {**fields, CAPTION_KEY: lines}
        return found, prose_in(fields, where)


def without_suffix(path: str) -> str:
    """The path without the suffix of a picture; what else follows a dot stays.

    >>> [without_suffix(path) for path in ("fox/0001.png", "fox/v1.5", "fox/v1.5.JPG")]
    ['fox/0001', 'fox/v1.5', 'fox/v1.5']
    """
    bare, suffix = os.path.splitext(path)
    return bare if suffix.lower() in _SUFFIXES else path


def _path(fields: Fields, where: str) -> str:
    path = fields.get(PATH_KEY)
    if not isinstance(path, str):
        raise DataError(
            f"{PATH_KEY!r} must be the path of a picture, got {shown(path)}",
            where=where,
            hint="is it a file of kohya's scripts?",
        )
    return path


def _size(value: object, prefix: str, where: str, known: dict[str, Fact]) -> dict[str, Fact]:
    """The facts `width` and `height` of `[width, height]`; where they stand by themselves, those count."""
    sides = value if isinstance(value, list) and len(value) == 2 else (0, 0)
    width, height = sides
    if not (type(width) is int and type(height) is int and width > 0 and height > 0):
        raise DataError(f"must be [width, height] in pixels, got {shown(value)}", where=where)
    size: dict[str, Fact] = {f"{prefix}width": width, f"{prefix}height": height}
    return size | {name: known[name] for name in size if name in known}


def _beside(root: Path, path: str) -> str | None:
    """The path with the suffix of the picture that lies there; None where none does, or out of the folder."""
    if _LEAVES.search(path) or not _is_folder(os.path.join(root, os.path.dirname(path))):
        return None
    place = os.path.join(root, path)
    return next((path + suffix for suffix in _LOOKED_FOR if os.path.isfile(place + suffix)), None)


@lru_cache(maxsize=1 << 12)
def _is_folder(path: str) -> bool:
    return os.path.isdir(path)
