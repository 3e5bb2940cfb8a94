"""What a data set holds, counted while its records pass by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from captionkit import Record

_MOST_FOLDERS = 64
"""More folders than this say nothing to a reader (pictures are then stored by number) and are counted as
one."""


def data_statistics(
    records: Iterable[Record],
    *,
    name: str = "data",
    sizes: ArrayLike = (),
    most_tags: int = 2000,
    most_sizes: int = 1000,
) -> dict[str, Any]:
    """Counts over a data set, as JSON has it. One pass; memory for every distinct tag of every folder.

    ``name`` stands for the data folder itself, ``sizes`` [N, 2] are width and height of the trained pictures
    in pixels. A tag that a record names twice counts once. Result:

        pictures, with_tags, with_prose    records; those with at least one tag, and with a caption in words
        prose_sources                      {source of captions: captions}
        tags, distinct_tags                tags in all, and how many different ones
        top_tags                           [[tag, records], ...], at most ``most_tags``, the most frequent
                                           first, ties by name
        folders                            {top folder: {"pictures": records, "tags": {tag: records}}}, each
                                           cut to ``most_tags``
        resolutions                        {"WIDTHxHEIGHT": pictures}, at most ``most_sizes``, the most
                                           frequent first
        distinct_resolutions               how many different ones
    """
    folders: dict[str, Counter[str]] = {}
    pictures: Counter[str] = Counter()
    prose: Counter[str] = Counter()
    with_tags = with_prose = tags_in_all = 0
    apart = True
    for record in records:
        folder = _folder(record.image, name) if apart else name
        pictures[folder] += 1
        names = [tag.name for tag in record.tags]
        if len(set(names)) < len(names):
            names = list(dict.fromkeys(names))
        counter = folders.get(folder)
        if counter is None:
            counter = folders[folder] = Counter()
        counter.update(names)
        tags_in_all += len(names)
        with_tags += bool(names)
        if sources := [piece.source for piece in record.prose if piece.text.strip()]:
            prose.update(sources)
            with_prose += 1
        if apart and len(folders) > _MOST_FOLDERS:
            folders, pictures = {name: _sum(folders)}, Counter({name: pictures.total()})
            apart = False
    every = _sum(folders) if len(folders) != 1 else next(iter(folders.values()))
    return {
        "pictures": pictures.total(),
        "with_tags": with_tags,
        "with_prose": with_prose,
        "prose_sources": dict(_ranked(prose)),
        "tags": tags_in_all,
        "distinct_tags": len(every),
        "top_tags": [list(pair) for pair in _ranked(every)[:most_tags]],
        "folders": {
            folder: {"pictures": pictures[folder], "tags": dict(_ranked(folders[folder])[:most_tags])}
            for folder in sorted(folders)
        },
        **_resolutions(np.asarray(sizes, dtype=np.int64).reshape(-1, 2), most_sizes),
    }


def _resolutions(sizes: NDArray[np.int64], most: int) -> dict[str, Any]:
    """A Python object for each of millions of sizes would take a minute and a gigabyte."""
    packed, counts = np.unique(sizes[:, 0] << 32 | sizes[:, 1], return_counts=True)
    first = np.argsort(-counts, kind="stable")[:most]
    pairs = zip(packed[first].tolist(), counts[first].tolist(), strict=True)
    found = Counter({f"{size >> 32}x{size & 0xFFFFFFFF}": count for size, count in pairs})
    return {"resolutions": dict(_ranked(found)), "distinct_resolutions": len(packed)}


def _folder(image: str | None, name: str) -> str:
    """The top folder a picture stands in, relative to the data; an absolute path tells only its last
    folder."""
    if image is None or ("/" not in image and "\\" not in image):
        return name
    path = PurePath(image.replace("\\", "/"))
    return (path.parent.name if path.is_absolute() else path.parts[0]) or name


def _sum(folders: dict[str, Counter[str]]) -> Counter[str]:
    every: Counter[str] = Counter()
    for counter in folders.values():
        every.update(counter)
    return every


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    """By count, then by name, so that the order does not hang on that of the records."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
