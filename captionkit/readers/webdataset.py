"""WebDataset: tars in which the files of one sample share a name and stand together."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from captionkit.errors import CaptionkitError, DataError
from captionkit.readers.facts import ID_KEY
from captionkit.readers.fields import IMAGE_KEYS, Fields
from captionkit.readers.folder import FOREIGN_SUFFIXES, PICTURE_SUFFIXES
from captionkit.readers.shards import find_shards
from captionkit.readers.sidecars import SIDECAR_SUFFIXES, Written, known_from, object_in
from captionkit.readers.source import Block, Report, Source
from captionkit.readers.tar import EndError, Member, read_members
from captionkit.readers.text import decode
from captionkit.record import Record

# What WebDataset takes for its own remarks.
_META = re.compile(r"__[^/]*__($|/)")


@dataclass(frozen=True)
class WebDatasetSource(Source):
    """The samples of tars: `path` is one, also packed (.tar.gz), a folder of them, or `pic-{000..099}.tar`.

    Files whose names are the same up to the first dot of the base name, and that stand together, are one
    sample, as in WebDataset: a picture, and `.txt`, `.caption`, `.json` with the meaning they have beside a
    picture (`read_folder`); files of other kinds are passed over, and so are names that begin with ".".
    What img2dataset writes is read: its .txt repeats the caption of its .json, and the rest are facts.

    A record's id is "id" in the .json, if it is there, else the key: the name up to that dot, with its
    folders in the tar. Nothing is remembered from shard to shard, so two shards with one key give two records
    with one id. Its image is the shard's path and the name in it, `pic-000000.tar/cats/a.jpg`, relative to
    `root`; of a sample without a picture, what the .json says, else None.

    A tar that is cut short is read up to there, and reported. Links, devices, paths that lead out of the tar,
    sidecars of more than 16 MiB and what grows out of a .gz without bounds are refused.
    """

    path: str | os.PathLike[str]
    sentences: bool = True
    untagged: bool = False
    """Whether what has neither tags nor captions is a record, too."""

    @cached_property
    def _found(self) -> tuple[Path, tuple[Path, ...]]:
        return find_shards(self.path)

    @property
    def unit(self) -> str:
        """What amounts are counted in."""
        return "B"

    @property
    def root(self) -> Path:
        """The folder at which relative paths of pictures begin."""
        return self._found[0]

    def total(self) -> int | None:
        """The amount of everything; None when only reading tells."""
        return sum(shard.stat().st_size for shard in self._found[1])

    def blocks(self, report: Report) -> Iterator[Block]:
        """The pieces, in order."""
        root, shards = self._found
        for shard in shards:
            yield ShardBlock(root, shard, self.sentences, self.untagged)


@dataclass(frozen=True)
class ShardBlock(Block):
    """One tar, read one sample at a time."""

    root: Path
    shard: Path
    sentences: bool
    untagged: bool = False

    @property
    def amount(self) -> int:
        """How much of the source this is."""
        return self.shard.stat().st_size

    def records(self, report: Report) -> Iterator[Record]:
        """The records of this piece, in order."""
        empty = True

        def told(error: CaptionkitError) -> None:
            nonlocal empty
            empty = False
            report(error)

        name = self.shard.relative_to(self.root).as_posix()
        for sample in _samples(self.shard, told):
            empty = False
            try:
                record = _record(sample, name, self.shard, self.sentences, self.untagged)
            except CaptionkitError as error:
                report(error)
            else:
                if record is not None:
                    yield record
        if empty:
            report(
                DataError("holds no samples", where=str(self.shard), hint="names are a.jpg, a.txt, a.json")
            )


class _Sample:
    """The files of one key that stand together, by what follows the first dot of their names."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.files: dict[str, Member] = {}
        self.faults: list[DataError] = []

    def add(self, suffix: str, member: Member, shard: Path) -> None:
        if member.fault is not None:
            self.faults.append(member.fault)
        elif suffix in self.files:
            twice = f"stands beside {self.files[suffix].name} in one sample"
            self.faults.append(DataError(twice, where=f"{shard}/{member.name}", hint="keep one of the two"))
        else:
            self.files[suffix] = member


def _samples(shard: Path, report: Report) -> Iterator[_Sample]:
    """The samples in order. Damage is reported; the sample in which it lies, or before which, is left out, as
    more may have belonged to it."""
    sample: _Sample | None = None
    try:
        for member in read_members(shard, _is_sidecar):
            key, suffix = key_of(member.name)
            if not suffix:
                if member.fault is not None:
                    report(member.fault)
                continue
            if sample is not None and sample.key != key:
                yield sample
                sample = None
            sample = sample or _Sample(key)
            sample.add(suffix, member, shard)
    except DataError as error:
        report(error)
        if not isinstance(error, EndError):
            return
    if sample is not None:
        yield sample


def key_of(name: str) -> tuple[str, str]:
    """The key and the suffix of a file in a tar; the suffix is empty for files that are no sample's.

    >>> key_of("v1.5/a.b.JPG"), key_of("README"), key_of("a/.hidden.jpg")
    (('v1.5/a', '.b.jpg'), ('README', ''), ('a/.hidden.jpg', ''))
    """
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    hidden = name.startswith(".") or "/." in name
    if not stem or not suffix or hidden or _META.match(name):
        return name, ""
    return folder + slash + stem, (dot + suffix).lower()


def _is_sidecar(name: str) -> bool:
    return key_of(name)[1] in SIDECAR_SUFFIXES


def _record(sample: _Sample, name: str, shard: Path, sentences: bool, untagged: bool) -> Record | None:
    """The record of a sample; None when it has nothing to do with pictures and captions."""
    if sample.faults:
        raise sample.faults[0]
    where = f"{shard}/{sample.key}"
    pictures = [member for suffix, member in sample.files.items() if suffix in PICTURE_SUFFIXES]
    texts = {
        suffix: Written(place := shard / member.name, decode(member.data or b"", place))
        for suffix, member in sample.files.items()
        if suffix in SIDECAR_SUFFIXES
    }
    if not pictures:
        _no_other_picture(sample, shard)
        if not texts:
            return None
    if len(pictures) > 1:
        names = ", ".join(member.name for member in pictures)
        raise DataError(f"{len(pictures)} pictures are one sample: {names}", where=where, hint="keep one")
    if not texts and not untagged:
        hint = (
            f"write {sample.key}.txt, .caption or .json right behind it: the files of a sample stand together"
        )
        raise DataError(
            "has neither tags nor captions beside it", where=f"{shard}/{pictures[0].name}", hint=hint
        )
    fields = object_in(texts)
    tags, prose, facts = known_from(texts, fields, sentences, allow_empty=untagged)
    if not (tags or prose or untagged):
        raise DataError("has neither tags nor captions", where=where)
    image = _image(fields) if not pictures else f"{name}/{pictures[0].name}"
    return Record(_id(fields) or sample.key, tags, prose, image, tuple(facts.items()))


def _no_other_picture(sample: _Sample, shard: Path) -> None:
    for suffix, member in sample.files.items():
        last = os.path.splitext(suffix)[1] or suffix
        if suffix in FOREIGN_SUFFIXES:
            what, hint = f"{suffix} is no kind of picture that is read", "convert it"
        elif suffix != last and last in PICTURE_SUFFIXES:
            what = "has a dot before its suffix, at which its key ends"
            hint = "write the name with another mark in its place"
        else:
            continue
        raise DataError(what, where=f"{shard}/{member.name}", hint=hint)


def _id(fields: Fields) -> str | None:
    value = fields.get(ID_KEY)
    return (
        str(value) if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None
    )


def _image(fields: Fields) -> str | None:
    texts = [value for key in IMAGE_KEYS if isinstance(value := fields.get(key), str) and value.strip()]
    return texts[0] if texts else None
