"""The text of one picture as kohya sd-scripts finds it in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from captionkit.errors import DataError
from captionkit.readers.kohya_config import KohyaSubset
from captionkit.readers.kohya_options import FACT
from captionkit.readers.mixed import parse_caption
from captionkit.readers.separators import part_at_separators
from captionkit.readers.text import read_text
from captionkit.record import Fact, Prose, Tag, parse_tags

FACE_PARTS = 4
"""The tool that cuts out faces adds so many numbers to a name: `fox_200_180_64_64.png`."""


class Text(NamedTuple):
    """What a caption says."""

    tags: tuple[Tag, ...] = ()
    prose: tuple[Prose, ...] = ()
    num_lines: int = 0
    from_class: bool = False
    """Whether it is the subset's `class_tokens`."""

    def facts(self) -> dict[str, Fact]:
        """What there is to know about where it comes from: `kohya.lines`, `kohya.caption_from`."""
        facts: dict[str, Fact] = {f"{FACT}lines": self.num_lines} if self.num_lines > 1 else {}
        return facts | ({f"{FACT}caption_from": "class_tokens"} if self.from_class else {})


@dataclass(frozen=True)
class KohyaCaptions:
    """How the texts of a folder's pictures are found and read; it can be pickled."""

    folder: Path
    extension: str
    names: frozenset[str]
    """Those files of the folder that are captions."""
    class_tokens: str | None
    all_lines: bool
    """`enable_wildcard`: every line is a caption; else only the first is read."""
    separator: str
    keep_separator: str
    sentences: bool
    other: str | None = None
    """Another end that texts in the folder have."""

    @classmethod
    def of(
        cls, subset: KohyaSubset, folder: Path, names: frozenset[str], sentences: bool = True
    ) -> KohyaCaptions:
        """Those of a subset; `names` are the names of all files in its folder."""
        extension = subset.get("caption_extension")
        extension = extension if extension.startswith(".") or not extension else "." + extension
        return cls(
            folder,
            extension,
            frozenset(name for name in names if name.endswith(extension)),
            subset.get("class_tokens"),
            subset.get("enable_wildcard"),
            subset.get("caption_separator"),
            subset.get("keep_tokens_separator"),
            sentences,
            next((end for end in (".txt", ".caption") if end != extension and _any_ends(names, end)), None),
        )

    def read(self, stem: str) -> Text:
        """The text of a picture: of the file beside it, or else `class_tokens`.

        Raises `DataError` for a picture with neither, and for a file that is empty or not UTF-8.
        """
        file = next((name for name in self._candidates(stem) if name in self.names), None)
        if file is None:
            if not (self.class_tokens or "").strip():
                hint = "sd-scripts trains it with an empty text; write one, or set caption_extension"
                if self.other is not None:
                    hint = (
                        f'texts that end in {self.other} stand there: set caption_extension = "{self.other}"'
                    )
                raise DataError(
                    f"has no text {stem}{self.extension} beside it, and the subset no class_tokens",
                    where=str(self.folder / stem),
                    hint=hint,
                )
            return self.parse([self.class_tokens or ""])._replace(from_class=True)
        path = self.folder / file
        lines = read_text(path).splitlines()
        lines = [line.strip() for line in lines if line.strip()] if self.all_lines else lines[:1]
        text = self.parse(lines)
        if not text.tags and not text.prose:
            what = "holds no caption" if self.all_lines or not lines else "its first line holds no caption"
            raise DataError(what, where=f"{path}:1", hint="write one, or delete the file")
        return text

    def parse(self, lines: list[str]) -> Text:
        """The first line's tags and sentences, and each other line as a caption as it stands."""
        return parse_lines(lines, self.separator, self.keep_separator, self.sentences)

    def _candidates(self, stem: str) -> list[str]:
        parts = stem.split("_")
        face = len(parts) > FACE_PARTS and all(part.isdecimal() for part in parts[-FACE_PARTS:])
        return [stem + self.extension, *(["_".join(parts[:-FACE_PARTS]) + self.extension] if face else [])]


def _any_ends(names: frozenset[str], end: str) -> bool:
    return any(name.endswith(end) for name in names)


def parse_lines(
    lines: Sequence[str], separator: str = ",", keep_separator: str = "", sentences: bool = True
) -> Text:
    """The first line's tags, with commas also its sentences, and each other line as a caption as it stands.

    >>> text = parse_lines(["fox, snow", "A fox, in the snow"])
    >>> [tag.name for tag in text.tags], [piece.text for piece in text.prose]
    (['fox', 'snow'], ['A fox, in the snow'])
    """
    if not lines:
        return Text()
    first = lines[0].strip()
    if separator == "," and sentences:
        tags, among = parse_caption(first)
    else:
        tags, among = parse_tags(first, separator=separator or ","), ()
    others = tuple(Prose(line) for line in lines[1:])
    return Text(parted(tags, keep_separator), among + others, len(lines))


def parted(tags: tuple[Tag, ...], separator: str) -> tuple[Tag, ...]:
    """The tags with each keep separator as a tag of its own, also where it is another than `|||`.

    >>> [tag.name for tag in parted(parse_tags("a, b $$ c, d $$ e"), "$$")]
    ['a', 'b', '$$', 'c', 'd', '$$ $$', 'e']
    """
    separator = separator.strip()
    if not separator or separator == "|||":
        return part_at_separators(tags)
    out: list[Tag] = []
    count = 0
    for tag in tags:
        for number, piece in enumerate(tag.name.split(separator)):
            if number > 0:
                count += 1
                out.append(Tag(separator if count == 1 else f"{separator} {separator}"))
            if piece.strip():
                out.append(Tag(piece))
    return tuple(out)
