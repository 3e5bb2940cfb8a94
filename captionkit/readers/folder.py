"""A folder of pictures whose tags and captions lie beside them in sidecar files."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from captionkit.errors import CaptionkitError, DataError
from captionkit.readers.sidecars import SIDECAR_SUFFIXES, Sidecars
from captionkit.readers.source import Block, Report, Source, strict
from captionkit.readers.text import unreadable
from captionkit.record import Record

PICTURE_SUFFIXES = frozenset({".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
FOREIGN_SUFFIXES = frozenset({".heic", ".heif", ".jfif", ".jp2", ".jxl", ".psd", ".svg", ".tga"})
"""Pictures too, but of kinds that are not read: with sidecars beside them, they are reported."""

PICTURES_PER_BLOCK = 1000


@dataclass(frozen=True)
class FolderBlock(Block):
    """Some pictures of one listing, with the names of what lies beside them."""

    folder: Path
    place: Path
    pictures: tuple[tuple[str, tuple[str, ...]], ...]
    """(stem, pictures of that stem)."""
    sidecars: dict[str, dict[str, str]]
    """The names of sidecars by stem and suffix."""
    table: Path | None
    """A JSON Lines file that was met on the way."""
    sentences: bool
    untagged: bool = False

    @property
    def amount(self) -> int:
        """How much of the source this is."""
        return sum(len(of_stem) for _, of_stem in self.pictures)

    def records(self, report: Report) -> Iterator[Record]:
        """The records of this piece, in order."""
        for stem, of_stem in self.pictures:
            try:
                names = self.sidecars.get(stem, {})
                beside = Sidecars(self.place, names, self.sentences, self.untagged)
                record = _record(self.folder, self.place, of_stem, beside, self.table)
            except CaptionkitError as error:
                report(error)
            else:
                yield record


@dataclass(frozen=True)
class FolderSource(Source):
    """The pictures of a folder with sidecars (`read_folder` says which); holds one listing at a time."""

    folder: Path
    sentences: bool = True
    per_block: int = PICTURES_PER_BLOCK
    """So many stems are a block."""
    except_in: Path | None = None
    """A folder that is passed over, such as one that is being written below this one."""
    untagged: bool = False
    """Whether what has neither tags nor captions is a record, too."""

    @property
    def unit(self) -> str:
        """What amounts are counted in."""
        return "pictures"

    @property
    def root(self) -> Path:
        """The folder at which relative paths of pictures begin."""
        return self.folder

    def total(self) -> int | None:
        """The amount of everything; None when only reading tells."""
        return None

    def blocks(self, report: Report) -> Iterator[Block]:
        """The pieces, in order."""
        empty = True
        table: Path | None = None
        for place, names in _walk(self.folder, frozenset(), report):
            if self.except_in is not None and place.is_relative_to(self.except_in):
                continue
            pictures, sidecars = _sorted_out(names)
            for error in _never_read(place, names, pictures, sidecars):
                report(error)
            table = table or next((place / name for name in names if name.endswith(".jsonl")), None)
            empty = empty and not pictures
            stems = iter(pictures)
            while some := list(islice(stems, self.per_block)):
                of_some = tuple((stem, tuple(pictures[stem])) for stem in some)
                beside = {stem: sidecars[stem] for stem in some if stem in sidecars}
                yield FolderBlock(self.folder, place, of_some, beside, table, self.sentences, self.untagged)
        if empty:
            raise DataError(
                "no pictures in this folder or below it",
                where=str(self.folder),
                hint=f"pictures end in {', '.join(sorted(PICTURE_SUFFIXES))}",
            )


def read_folder(
    path: str | os.PathLike[str], *, sentences: bool = True, on_error: Report | None = None
) -> Iterator[Record]:
    """The records of all pictures under a folder in the order of their paths; holds one listing at a time.

    Beside `a.png` lie
        a.txt       its tags, separated by commas or line ends, and whole sentences among them as captions
                    (`parse_caption` says what counts as one; with `sentences=False` all are tags);
        a.caption   its captions in whole sentences, one per line;
        a.json      or both in one object, as on a line of `read_jsonl`; it may hold facts alone.
    A record's id is the picture's path relative to the folder, with "/" and without the suffix; its image
    is that path with the suffix. Folders are read to any depth, links to folders are followed, names that
    begin with "." and files of other kinds are passed over.

    Raises `DataError` at once when there is no such folder, and at the end when there was no picture in it.
    For a bad record, `on_error` is called and it is skipped; without `on_error` the error is raised. Bad
    are: a picture without tags and captions, an empty or misencoded sidecar, tags that stand in two
    sidecars, two pictures with one id; and, so that nothing is lost without a word, `a.txt` beside `a.TXT`,
    and sidecars of a picture of another kind, such as `a.heic`.
    """
    folder = Path(path)
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "no such folder"
        raise DataError(what, where=str(folder), hint="read_records takes a folder or a .jsonl file")
    return FolderSource(folder, sentences).records(on_error or strict)


def _walk(folder: Path, above: frozenset[str], report: Report) -> Iterator[tuple[Path, list[str]]]:
    """The folder and those below it, each with its files' names; sorted, the same everywhere."""
    real = os.path.realpath(folder)
    if real in above:
        report(DataError("is a link to a folder above itself", where=str(folder), hint="remove the link"))
        return
    files: list[str] = []
    folders: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    (folders if _is_folder(entry) else files).append(entry.name)
    except OSError as error:
        report(unreadable(folder, error))
        return
    yield folder, sorted(files)
    for name in sorted(folders):
        yield from _walk(folder / name, above | {real}, report)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """What cannot even be asked, such as a link in a ring, is no folder; whoever opens it says more."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _sorted_out(names: list[str]) -> tuple[dict[str, list[str]], dict[str, dict[str, str]]]:
    """The pictures of a listing by stem, and its sidecars by stem and suffix."""
    pictures: dict[str, list[str]] = {}
    sidecars: dict[str, dict[str, str]] = {}
    for name in names:
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in PICTURE_SUFFIXES:
            pictures.setdefault(stem, []).append(name)
        elif suffix.lower() in SIDECAR_SUFFIXES:
            sidecars.setdefault(stem, {}).setdefault(suffix.lower(), name)
    return pictures, sidecars


def _never_read(
    place: Path, names: list[str], pictures: Container[str], sidecars: dict[str, dict[str, str]]
) -> Iterator[DataError]:
    """What would be lost without a word: a second sidecar of one kind, sidecars of a picture we cannot
    read."""
    for name in names:
        stem, suffix = os.path.splitext(name)
        kept = sidecars.get(stem, {}).get(suffix.lower(), name)
        if kept != name:
            yield DataError(
                f"is a second sidecar beside {kept}", where=str(place / name), hint="keep one of the two"
            )
        if stem in sidecars and stem not in pictures and suffix.lower() in FOREIGN_SUFFIXES:
            yield DataError(
                f"has sidecars, but {suffix} is no kind of picture that is read",
                where=str(place / name),
                hint=f"convert it; pictures end in {', '.join(sorted(PICTURE_SUFFIXES))}",
            )


def _record(
    folder: Path, place: Path, pictures: Sequence[str], beside: Sidecars, table: Path | None
) -> Record:
    picture = place / pictures[0]
    if len(pictures) > 1:
        raise DataError(
            f"{len(pictures)} pictures share one id and one set of sidecars: {', '.join(pictures)}",
            where=str(picture.with_suffix("")),
            hint="rename all but one of them",
        )
    image = picture.relative_to(folder).as_posix()
    try:
        image.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"the picture's name is not UTF-8: {os.fsencode(pictures[0])!r}",
            where=str(place),
            hint="rename it",
        ) from error
    tags, prose, facts = beside.read()
    if not (tags or prose or beside.allow_empty):
        raise _untold(picture, table)
    return Record(os.path.splitext(image)[0], tags, prose, image, tuple(facts.items()))


def _untold(picture: Path, table: Path | None) -> DataError:
    """The error for a picture without sidecars; `table` is a JSON Lines file met on the way."""
    if table is not None:
        hint = f"{table} is there: give that instead of the folder"
    elif near := next((f for s in SIDECAR_SUFFIXES if (f := Path(f"{picture}{s}")).is_file()), None):
        hint = f"{near.name} is there: rename it to {picture.stem}{near.suffix}"
    else:
        stem = picture.stem
        hint = f"write {stem}.txt (tags), {stem}.caption (captions) or {stem}.json, or take the picture out"
    return DataError("has neither tags nor captions beside it", where=str(picture), hint=hint)
