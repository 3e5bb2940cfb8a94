"""From one path to the shards of a data set: a tar, a folder of tars, or a pattern with a range."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from captionkit.errors import DataError
from captionkit.readers.text import unreadable

SHARD_SUFFIXES = (".tar", ".tar.gz", ".tgz")
PACKED_SUFFIXES = (".gz", ".tgz")

MAX_SHARDS = 1_000_000
"""A pattern for more than these is a slip: `{0..99999999}`."""

_RANGE = re.compile(r"\{(\d{1,18})\.\.(\d{1,18})\}")


def find_shards(path: str | os.PathLike[str]) -> tuple[Path, tuple[Path, ...]]:
    """The folder at which the shards' paths begin, and the shards in order.

    `path` is a tar, a folder with tars right in it, or a pattern such as `shards/pic-{000000..000099}.tar`.
    Raises `DataError` when there is nothing; for a pattern it names the first shard that is missing.
    """
    text = os.fspath(path)
    place = Path(text)
    if place.is_dir():
        return place, _in_folder(place)
    if _RANGE.search(text) and not place.exists():
        shards = tuple(map(Path, expand(text)))
        missing = [shard for shard in shards if not shard.is_file()]
        if missing:
            raise DataError(
                f"{len(missing):,} of {len(shards):,} shards are missing, the first is {missing[0]}",
                where=text,
                hint="bring them here, or give a smaller range",
            )
        return Path(text[: text.index("{")]).parent if "{" in place.name else _before_braces(place), shards
    if not place.is_file():
        raise DataError("no such file or folder", where=text, hint=f"looked from {str(Path.cwd())!r}")
    return place.parent, (place,)


def expand(pattern: str) -> Iterator[str]:
    """Every path of a pattern; numbers are as wide as they are written.

    Raises `DataError` for a range that goes backwards, and for too many shards.

    >>> list(expand("a-{08..10}.tar"))
    ['a-08.tar', 'a-09.tar', 'a-10.tar']
    """
    texts = _RANGE.split(pattern)  # text, first, last, text, first, last, text
    ranges: list[list[str]] = []
    count = 1
    for first, last in zip(texts[1::3], texts[2::3], strict=True):
        size = int(last) - int(first) + 1
        if size < 1:
            raise DataError(f"the range {{{first}..{last}}} goes backwards", where=pattern)
        count *= size
        if count > MAX_SHARDS:
            raise DataError(f"stands for more than {MAX_SHARDS:,} shards", where=pattern)
        width = max(len(first), len(last)) if first.startswith("0") or last.startswith("0") else 0
        ranges.append([f"{number:0{width}d}" for number in range(int(first), int(last) + 1)])
    for numbers in product(*ranges):
        pieces = [texts[0]]
        for number, text in zip(numbers, texts[3::3], strict=True):
            pieces += [number, text]
        yield "".join(pieces)


def _before_braces(place: Path) -> Path:
    """The folder above the first one whose name has a brace."""
    for index, part in enumerate(place.parts):
        if "{" in part:
            return Path(*place.parts[:index])
    return place.parent


def _in_folder(folder: Path) -> tuple[Path, ...]:
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise unreadable(folder, error) from error
    shards = tuple(folder / name for name in names if name.lower().endswith(SHARD_SUFFIXES))
    if not shards:
        raise DataError("no tar in this folder", where=str(folder), hint=f"names end in {SHARD_SUFFIXES}")
    return shards
