"""A data set as kohya sd-scripts is told of it: `--dataset_config dataset.toml`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from captionkit.errors import CaptionkitError, DataError
from captionkit.readers.kohya_arguments import found
from captionkit.readers.kohya_caption import KohyaCaptions, parted
from captionkit.readers.kohya_config import KohyaConfig, KohyaSubset, read_kohya_config
from captionkit.readers.source import Block, Report, Source
from captionkit.readers.text import unreadable
from captionkit.record import Fact, Record, parse_tags

KOHYA_SUFFIXES = frozenset({".avif", ".bmp", ".jpeg", ".jpg", ".jxl", ".png", ".webp"})
"""The pictures that sd-scripts reads, some of them with a package of their own."""

PICTURES_PER_BLOCK = 1000


@dataclass(frozen=True)
class KohyaDatasetSource(Source):
    """The pictures of all subsets of a dataset TOML (or JSON), subset by subset.

    A DreamBooth subset (`image_dir`) has the pictures right in its folder. The text of `a.png` is the first
    line of `a` with the subset's `caption_extension` (there too `.caption` by default); with
    `enable_wildcard` each line is one: the first gives tags and sentences, each other is a caption as it
    stands. Without such a file it is `class_tokens`. Whole sentences become captions unless `sentences` is
    false, and `caption_separator` parts the tags. A fine-tuning subset has the records of its
    `metadata_file` (`KohyaMetadataSource`).

    What a subset says becomes facts of its pictures, so that one recipe can treat subsets differently:
    `kohya.subset` (its `image_dir` or `metadata_file` as it is written there), `kohya.num_repeats`, and every
    option about captions and data that is not at its default, such as `kohya.keep_tokens`. A text of several
    lines gives the fact `kohya.lines`, how many; one from `class_tokens` gives `kohya.caption_from`.

    A record's id is the end of its folder's path, as long as it takes to tell the subsets apart, and the
    picture's name without its suffix: `fox/0001`. A folder that stands in several datasets gets `#2` from
    the second time on; of two pictures with one name, ids have the suffix. Relative folders start at the
    working folder, as there, or else at the file's own.

    Reported and skipped are: options that sd-scripts does not know, folders without pictures, pictures with
    neither text nor class_tokens (there trained with an empty text), empty and misencoded files.
    Raises `DataError` at once when the file cannot be read or has no subset.
    """

    path: str | os.PathLike[str]
    sentences: bool = True
    config: KohyaConfig = field(init=False)
    parts: tuple[_Part, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        config = read_kohya_config(Path(self.path))
        object.__setattr__(self, "config", config)
        object.__setattr__(self, "parts", _parts(config))

    @property
    def unit(self) -> str:
        """What amounts are counted in."""
        # How many pictures a piece of metadata holds is known when it is read.
        return "pieces" if any(part.metadata for part in self.parts) else "pictures"

    @property
    def root(self) -> Path:
        """The deepest folder that holds all folders of the subsets."""
        return _common([part.folder for part in self.parts])

    def total(self) -> int | None:
        """The amount of everything; None when only reading tells."""
        return None

    def blocks(self, report: Report) -> Iterator[Block]:
        """The pieces, in order."""
        for fault in self.config.faults:
            report(fault)
        empty = True
        for part in self.parts:
            blocks = self._metadata(part, report) if part.metadata else self._folder(part, report)
            for block in blocks:
                empty = False
                yield block
        if empty:
            raise DataError(
                "no subset has a picture",
                where=str(self.path),
                hint=f"looked in {', '.join(str(part.folder) for part in self.parts[:3])}",
            )

    def _folder(self, part: _Part, report: Report) -> Iterator[Block]:
        names = _names(part, report)
        pictures = [name for name in names if os.path.splitext(name)[1].lower() in KOHYA_SUFFIXES]
        stems = Counter(os.path.splitext(name)[0] for name in pictures)
        several = frozenset(stem for stem, count in stems.items() if count > 1)
        captions = KohyaCaptions.of(part.subset, part.folder, frozenset(names), self.sentences)
        rest = iter(pictures)
        while some := tuple(islice(rest, PICTURES_PER_BLOCK)):
            amount = len(some) if self.unit == "pictures" else 1
            yield _FolderBlock(part, self.root, amount, some, several, captions)

    def _metadata(self, part: _Part, report: Report) -> Iterator[Block]:
        from captionkit.readers.kohya_metadata import KohyaMetadataSource

        file = found(part.subset.values["metadata_file"], self.config.path)
        if not os.path.isfile(file):
            where = part.subset.places["metadata_file"]
            hint = f"looked for {file}; relative paths start where the command is run"
            report(DataError(f"no such file: {part.subset.name!r}", where=where, hint=hint))
            return
        try:
            for block in KohyaMetadataSource(file, part.folder).blocks(report):
                yield _MetadataBlock(part, self.root, block)
        except DataError as error:  # This one cannot be read; other subsets may be.
            report(error)


@dataclass(frozen=True)
class _Part:
    """A subset with the folder of its pictures, and what its ids begin with."""

    subset: KohyaSubset
    folder: Path
    name: str
    facts: Mapping[str, Fact]

    @property
    def metadata(self) -> bool:
        return "metadata_file" in self.subset.values

    def record(self, record: Record, root: Path, more: Mapping[str, Fact] | None = None) -> Record:
        """A record of this subset: its id and picture told apart from those of others, its facts added."""
        image = None if record.image is None else _below(root, self.folder / record.image)
        info = {**dict(record.info), **self.facts, **(more or {})}
        return replace(record, id=f"{self.name}/{record.id}", image=image, info=info)


@dataclass(frozen=True)
class _FolderBlock(Block):
    part: _Part
    root: Path
    size: int
    pictures: tuple[str, ...]
    several: frozenset[str]
    """Names without suffix that more than one picture has."""
    captions: KohyaCaptions

    @property
    def amount(self) -> int:
        """How much of the source this is."""
        return self.size

    def records(self, report: Report) -> Iterator[Record]:
        """The records of this piece, in order."""
        for name in self.pictures:
            stem = os.path.splitext(name)[0]
            try:
                name.encode("utf-8")
                text = self.captions.read(stem)
                bare = Record(name if stem in self.several else stem, text.tags, text.prose, name)
                record = self.part.record(bare, self.root, text.facts())
            except UnicodeEncodeError:
                where = str(self.part.folder)
                report(DataError(f"the picture's name is not UTF-8: {os.fsencode(name)!r}", where=where))
            except CaptionkitError as error:
                report(error)
            else:
                yield record


@dataclass(frozen=True)
class _MetadataBlock(Block):
    part: _Part
    root: Path
    block: Block

    @property
    def amount(self) -> int:
        """How much of the source this is."""
        return 1

    def records(self, report: Report) -> Iterator[Record]:
        """The records of this piece, in order."""
        get = self.part.subset.get
        separator, keep = get("caption_separator"), get("keep_tokens_separator")
        for record in self.block.records(report):
            if record.image is not None and ".." in Path(record.image).parts:
                report(DataError("leads out of its folder", where=f"{self.part.subset.name}: {record.image}"))
                continue
            if separator != ",":
                parts = parse_tags(", ".join(tag.name for tag in record.tags), separator=separator or ",")
                record = replace(record, tags=parts)
            yield self.part.record(replace(record, tags=parted(record.tags, keep)), self.root)


def _parts(config: KohyaConfig) -> tuple[_Part, ...]:
    """The subsets with folders and names; the names tell them apart."""
    folders = [_folder_of(subset, config.path) for subset in config.subsets]
    # A folder and a metadata file may have one name; several metadata files may share their pictures.
    ends = [
        Path(os.path.splitext(subset.name)[0] if "metadata_file" in subset.values else folder)
        for subset, folder in zip(config.subsets, folders, strict=True)
    ]
    names = _told_apart(ends)
    parts: list[_Part] = []
    seen: Counter[str] = Counter()
    for subset, folder, name in zip(config.subsets, folders, names, strict=True):
        seen[name] += 1
        unique = name if seen[name] == 1 else f"{name}#{seen[name]}"
        parts.append(_Part(subset, folder, unique, subset.facts()))
    return tuple(parts)


def _folder_of(subset: KohyaSubset, file: Path) -> Path:
    """The folder of a subset's pictures; of metadata without one, the folder of the metadata."""
    if (folder := subset.values.get("image_dir")) is not None:
        return found(folder, file)
    return found(subset.values["metadata_file"], file).parent


def _told_apart(paths: Sequence[Path]) -> list[str]:
    """Of each path the shortest end that no other path of these has too.

    >>> _told_apart([Path("/a/x/fox"), Path("/a/y/fox"), Path("/a/y/cat")])
    ['x/fox', 'y/fox', 'cat']
    """
    parts = [path.parts for path in paths]
    names: list[str] = []
    for own in parts:
        others = [other for other in parts if other != own]
        length = 1
        while length < len(own) and any(other[-length:] == own[-length:] for other in others):
            length += 1
        names.append("/".join(part.strip("/\\") for part in own[-length:]).strip("/") or "root")
    return names


def _names(part: _Part, report: Report) -> list[str]:
    """All names in the folder of a subset, sorted; none where it cannot be listed, which is reported."""
    where = part.subset.places.get("image_dir")
    if not os.path.isdir(part.folder):
        hint = f"looked for {part.folder}; relative folders start where the command is run"
        report(DataError(f"no such folder: {part.subset.name!r}", where=where, hint=hint))
        return []
    try:
        names = sorted(entry.name for entry in os.scandir(part.folder) if not entry.name.startswith("."))
    except OSError as error:
        report(unreadable(part.folder, error))
        return []
    if not any(os.path.splitext(name)[1].lower() in KOHYA_SUFFIXES for name in names):
        inner = next((name for name in names if (part.folder / name).is_dir()), None)
        below = None if inner is None else f"pictures lie right in it; there are folders, such as {inner}"
        report(DataError(f"no pictures in {part.subset.name!r}", where=where, hint=below))
    return names


def _common(folders: Sequence[Path]) -> Path:
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:  # On several drives.
        return folders[0]


def _below(root: Path, path: Path) -> str:
    """The path relative to the root where it is below it, with slashes."""
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
