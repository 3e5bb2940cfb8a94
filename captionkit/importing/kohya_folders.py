"""A look into the folders of a kohya configuration: whether they are there, and what the texts need."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from captionkit.errors import DataError
from captionkit.readers.kohya_arguments import found
from captionkit.readers.kohya_config import KohyaSubset

LOOKED_AT = 1000
"""So many texts of a subset are read."""
LARGEST = 1 << 16
"""Of a text so many bytes are read; captions are shorter."""


@dataclass(frozen=True, slots=True)
class Texts:
    """What the texts of a subset have, as far as they were looked at; both where they could not be."""

    braces: bool = True
    lines: bool = True
    """Whether one has several lines."""


@dataclass(frozen=True, slots=True)
class Folder:
    """What is known about the folder of a subset."""

    texts: Texts = Texts()
    fault: DataError | None = None
    """That it is not there, or that its texts end otherwise."""


def look_into(subset: KohyaSubset, file: Path) -> Folder:
    """The folder of a subset of this configuration. Metadata is not read: it may be large."""
    name = subset.values.get("image_dir")
    if name is None:
        return Folder()
    where, path = subset.places["image_dir"], found(name, file)
    if not os.path.isdir(path):
        hint = f"looked for {path}; relative folders start where the command is run, or at the file"
        return Folder(fault=DataError(f"no such folder: {name!r}", where=where, hint=hint))
    if "metadata_file" in subset.values:
        return Folder()
    try:
        names = [entry.name for entry in os.scandir(path)]
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        return Folder(fault=DataError(f"{name!r} {what}", where=where, hint="check its permissions"))
    extension = "." + str(subset.get("caption_extension")).removeprefix(".")
    texts = sorted(one for one in names if one.endswith(extension))
    if not texts and (fault := _other_end(names, extension, where)) is not None:
        return Folder(fault=fault)
    return Folder(_texts(path, texts, subset))


def _other_end(names: list[str], extension: str, where: str) -> DataError | None:
    """That there are texts, and that they end otherwise than the configuration says."""
    ends = Counter(os.path.splitext(name)[1] for name in names)
    other = next((end for end in (".txt", ".caption") if ends[end]), None)
    if other is None:
        return None
    return DataError(
        f"no text ends in {extension}, {ends[other]:,} end in {other}",
        where=where,
        hint=f'write caption_extension = "{other}" into the file; the command line is not seen here',
    )


def _texts(folder: Path, names: list[str], subset: KohyaSubset) -> Texts:
    around = (subset.get("caption_prefix"), subset.get("caption_suffix"), subset.get("class_tokens") or "")
    braces, lines = any("{" in text for text in around), False
    for name in islice(names, LOOKED_AT):
        try:
            with (folder / name).open("rb") as file:
                data = file.read(LARGEST)
        except OSError:
            continue
        braces = braces or b"{" in data
        lines = lines or len([line for line in data.splitlines() if line.strip()]) > 1
        if braces and lines:
            break
    return Texts(braces, lines)
