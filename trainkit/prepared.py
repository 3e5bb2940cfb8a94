"""manifest.json: what a prepared folder says of itself, and what is believed of it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from trainkit.errors import TrainkitError
from trainkit.file_hash import blake2b_of

SUMMARY = "manifest.json"
DIGEST = 16
"""Bytes of BLAKE2b over a part."""

_MOST_BYTES = 1 << 26
_Count = Annotated[int, Field(ge=0, le=1 << 48)]
_Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{8,128}$")]


class PreparedPart(BaseModel):
    """One Arrow file of a prepared folder."""

    model_config = ConfigDict(frozen=True, strict=True, use_attribute_docstrings=True)

    file: str
    """Its name in the folder."""
    rows: _Count
    bytes: _Count
    digest: _Hex
    """BLAKE2b over the file. A run does not look at it, as that would read all of it; `trainkit check`
    does."""

    @field_validator("file")
    @classmethod
    def _lies_in_the_folder(cls, file: str) -> str:
        if not file or file != Path(file).name or file.startswith(".") or "\0" in file or "\\" in file:
            raise ValueError(f"is {file!r}, must be the name of a file in the folder")
        return file


class Added(BaseModel):
    """What became of one addition."""

    model_config = ConfigDict(frozen=True, strict=True, use_attribute_docstrings=True)

    digest: _Hex
    """BLAKE2b of 16 bytes over its file."""
    pictures: _Count = 0
    """Lines for pictures that are rows, and still the ones that they were made from."""
    tags: _Count = 0
    """That it added."""
    captions: _Count = 0
    known: _Count = 0
    """Tags that were there already, under another source."""
    denied: _Count = 0
    """Tags that were not added as a person says they are wrong; of a person's corrections, all such words."""
    stale: _Count = 0
    """Lines that were made from a picture that has changed since."""
    gone: _Count = 0
    """Lines for pictures that are no row."""
    damaged: _Count = 0
    """Lines that cannot be read."""

    def described(self) -> str:
        """The same in words."""
        pictures = some(self.pictures, "picture")
        told = [f"{some(self.tags, 'tag')} and {some(self.captions, 'caption')} for {pictures}"]
        for count, what, why in (
            (self.known, "tag", "there already"),
            (self.denied, "tag", "wrong, says a person"),
            (self.stale, "picture", "changed since, left out: make them again"),
            (self.gone, "picture", "not here"),
            (self.damaged, "line", "damaged"),
        ):
            told += [f"{some(count, what)} {why}"] if count else []
        return "; ".join(told)


class Prepared(BaseModel):
    """The content of manifest.json. What a later version adds is passed over."""

    model_config = ConfigDict(frozen=True, strict=True, use_attribute_docstrings=True)

    format: Literal[1]
    root: str = Field(max_length=4096)
    """Where paths of pictures begin: relative to the folder, absolute, or a URL."""
    rows: _Count
    parts: tuple[PreparedPart, ...]
    fingerprint: _Hex
    """A hash of all that is trained from it: ids, digests, sizes, records."""
    ids_distinct: bool
    """Whether no id stands there twice; else it is looked for at every start."""
    captionkit: str = ""
    """The version that wrote it."""
    settings: dict[str, Any] = {}
    """How it was prepared."""
    found: dict[str, int] = {}
    """How often each problem was found."""
    additions: dict[str, Added] = {}
    """The additions that are in it (`trainkit.additions`), by name."""

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        file, count = max(Counter(part.file for part in self.parts).items(), key=_times, default=("", 0))
        if count > 1:
            raise ValueError(f"parts name {file!r} {count} times")
        if (total := sum(part.rows for part in self.parts)) != self.rows:
            raise ValueError(f"rows is {self.rows}, but its parts have {total}")
        if "\0" in self.root:
            raise ValueError(f"root is {self.root!r}, must be a path or a URL")
        return self

    def root_from(self, folder: Path) -> str:
        """The root as a path or URL that no longer hangs on the folder."""
        return self.root if "://" in self.root else str(folder / self.root)


def some(count: int, what: str) -> str:
    """A number of things, in words."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _times(counted: tuple[str, int]) -> int:
    return counted[1]


def is_prepared(folder: Path) -> bool:
    """Whether a folder says that `prepare` wrote it.

    A manifest.json may also be the sidecar of a picture: it then names no parts, and no Arrow file is there.
    """
    summary = folder / SUMMARY
    if not summary.is_file():
        return False
    if any(folder.glob("*.arrow")):
        return True
    try:
        content = json.loads(_content(summary))
    except (TrainkitError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and "parts" in content


def read_prepared(folder: Path) -> Prepared:
    """What manifest.json says. Raises TrainkitError for all that cannot be meant."""
    summary = folder / SUMMARY
    try:
        return Prepared.model_validate_json(_content(summary))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        why = first["msg"].removeprefix("Value error, ")
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise TrainkitError(
            f"data.path: {summary}: {place + ': ' if place else ''}{why}{more}; prepare the folder again"
        ) from error


def changed_parts(folder: Path) -> list[str]:
    """The parts of a prepared folder that are not as they were written, each with what to do; reads all of
    them. Raises TrainkitError as `read_prepared` does, and when a part cannot be read."""
    found = []
    for part in read_prepared(folder).parts:
        path = folder / part.file
        try:
            digest = blake2b_of(path, DIGEST)
        except OSError as error:
            raise TrainkitError(f"data.path: {path} cannot be read: {error.strerror or error}") from error
        if digest != part.digest:
            found.append(f"data.path: {path} is not as it was written; copy it again, or prepare again")
    return found


def _content(summary: Path) -> bytes:
    try:
        with summary.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise TrainkitError(f"data.path: {summary} cannot be read: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise TrainkitError(f"data.path: {summary} is larger than {_MOST_BYTES >> 20} MiB; prepare it again")
    return content
