"""kohya's metadata for fine-tuning, as sd-scripts read it: `--in_json meta_lat.json`, or `metadata_file`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from captionkit.readers.fields import TAGS_KEY
from captionkit.readers.kohya_metadata import (
    CAPTION_KEY,
    IMAGE_SIZE,
    PATH_KEY,
    TRAIN_RESOLUTION,
    without_suffix,
)
from captionkit.record import Facts, Prose, Record, Tag, parse_tags
from captionkit.writers.fields import (
    HUMAN,
    TAKEN,
    fact_fields,
    has_content,
    separators_joined,
    whole_characters,
)
from captionkit.writers.parts import errors_of_writing
from captionkit.writers.target import Losses, Sink, Target
from captionkit.writers.whole_file import whole_file

_TAKEN = TAKEN | {IMAGE_SIZE, TRAIN_RESOLUTION, PATH_KEY}
_SIZES = (
    (IMAGE_SIZE, "width", "height"),
    (TRAIN_RESOLUTION, f"{TRAIN_RESOLUTION}.width", f"{TRAIN_RESOLUTION}.height"),
)
_dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


@dataclass(frozen=True)
class KohyaMetadataTarget(Target):
    """A .json file of entries by the pictures' paths, one a line; or its .jsonl form, by the name.

    The key is the picture's path, or the id where no path is known. "tags" is `a, b`, "caption" has one
    caption per line, "image_size" and "train_resolution" are the facts `width` and `height`,
    `train_resolution.width` and `train_resolution.height`. Other facts stand under their names, where
    sd-scripts pass over them. Packed where the name ends in .gz, which sd-scripts do not read.

    Noted are: categories, sources and scores of tags, sources of captions, line ends in captions, commas in
    the names of tags, ids that are not the path without its suffix, and what JSON cannot hold. Records
    without tags and captions are left out. Two records with one path are both written; of these, sd-scripts
    take the last.
    """

    path: Path

    @property
    def home(self) -> Path:
        """The folder at which relative paths of pictures begin."""
        return self.path.parent

    @property
    def in_lines(self) -> bool:
        """Whether it is the .jsonl form."""
        return bool({".jsonl", ".ndjson"} & {suffix.lower() for suffix in self.path.suffixes[-2:]})

    def encode(self, records: Iterable[Record], losses: Losses) -> bytes:
        """The records as one chunk."""
        lines: list[str] = []
        for record in records:
            if not has_content(record):
                losses.leave_out("records without tags and captions", record.id)
                continue
            key, entry = _key(record, losses), entry_of(record, losses)
            line = _dumps({PATH_KEY: key, **entry}) if self.in_lines else f"{_dumps(key)}: {_dumps(entry)}"
            whole = whole_characters(line)
            if whole != line:
                losses.add("halves of surrogate pairs in texts", whole_characters(record.id))
            lines.append(whole)
        return ("\n" if self.in_lines else ",\n").join(lines).encode("utf-8")

    @contextmanager
    def open(self) -> Iterator[Sink]:
        """Open for writing; leaving the context finishes it."""
        before, between, after = (b"", b"\n", b"\n") if self.in_lines else (b"{\n", b",\n", b"\n}\n")
        with whole_file(self.path) as file:
            sink = _Entries(self.path, file, before, between)
            yield sink
            sink.end(after)


def entry_of(record: Record, losses: Losses) -> dict[str, object]:
    """What stands under a record's key."""
    entry: dict[str, object] = {}
    if record.tags:
        entry[TAGS_KEY] = _tags(record.tags, losses, record.id)
    if record.prose and (caption := _caption(record.prose, losses, record.id)):
        entry[CAPTION_KEY] = caption
    if record.info:
        assert isinstance(record.info, tuple)  # The record has seen to it.
        sizes, rest = _sizes(record.info)
        entry.update(sizes)
        entry.update(fact_fields(rest, losses, record.id, _TAKEN))
    return entry


def _key(record: Record, losses: Losses) -> str:
    if record.image is None or not record.image.strip():
        losses.add("the lack of a picture's path, for which the id stands", record.id)
        key = record.id
    else:
        key = record.image
    if without_suffix(key) != record.id:
        losses.add("ids that are not the picture's path without its suffix", record.id)
    return key


def _tags(tags: tuple[Tag, ...], losses: Losses, record_id: str) -> str:
    if any(tag.category is not None for tag in tags):
        losses.add("categories of tags", record_id)
    if any(tag.source is not None or tag.score is not None for tag in tags):
        losses.add("sources and scores of tags", record_id)
    names = [tag.name for tag in tags]
    text = ", ".join(names)
    if "|||" in text:
        names = [tag.name for tag in separators_joined(tuple(map(Tag, names)), losses, record_id)]
        text = ", ".join(names)
    doubtful = text.count(",") >= len(names) or "{" in text or "\n" in text
    if doubtful and [tag.name for tag in parse_tags(text.replace("\n", ","))] != names:
        losses.add("tags with commas or line ends in their names, which are parted there", record_id)
    return text


def _caption(prose: tuple[Prose, ...], losses: Losses, record_id: str) -> str:
    if any(piece.source != HUMAN for piece in prose):
        losses.add("sources of captions", record_id)
    texts = [piece.text.strip() for piece in prose]
    if any(len(text.splitlines()) > 1 for text in texts):
        losses.add("line ends in captions, which are parted there", record_id)
    if any(not text for text in texts):
        losses.add("captions without text", record_id)
    if any(text != piece.text for text, piece in zip(texts, prose, strict=True)):
        losses.add("spaces around captions", record_id)
    return "\n".join([text for text in texts if text])


def _sizes(facts: Facts) -> tuple[dict[str, object], Facts]:
    """The sizes of which both sides are known, and the other facts."""
    known, sizes, used = dict(facts), dict[str, object](), set[str]()
    for name, width, height in _SIZES:
        sides = [known.get(width), known.get(height)]
        if all(type(side) is int and side > 0 for side in sides):
            sizes[name] = sides
            used |= {width, height}
    return sizes, tuple([fact for fact in facts if fact[0] not in used]) if used else facts


class _Entries(Sink):
    """The entries of the file, each chunk parted from the one before."""

    def __init__(self, path: Path, file: BinaryIO, before: bytes, between: bytes) -> None:
        self._path, self._file = path, file
        self._before, self._between = before, between

    def append(self, chunk: bytes) -> None:
        """Write one chunk."""
        if not chunk:
            return
        with errors_of_writing(self._path):
            self._file.write(self._before)
            self._file.write(chunk)
        self._before = self._between

    def end(self, after: bytes) -> None:
        """Write what stands behind the last entry; `{}` when there is none."""
        with errors_of_writing(self._path):
            if self._before != self._between:
                self._file.write(self._before)
            self._file.write(after)
