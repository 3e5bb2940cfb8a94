"""A finished addition: one file, in the order of the manifest, that is there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from trainkit.additions.addition import Addition, check_name
from trainkit.additions.lines import LINE, Header, Lines, header_of
from trainkit.additions.places import FOLDER, check_prepared, file_of
from trainkit.additions.rows import NO_ROW, RowIndex, newest
from trainkit.errors import TrainkitError
from trainkit.keys import key_of
from trainkit.manifest import Manifest
from trainkit.whole_file import whole_file


def write_additions(
    manifest: Path, name: str, settings: Mapping[str, Any], additions: Iterable[Addition]
) -> Path:
    """Write a whole addition at once, such as a person's corrections under the name `PERSON`; one of that
    name is replaced. All of them are in memory.

    Raises TrainkitError for a name that is none, for a folder that `prepare` did not write, and when it
    cannot be written.
    """
    check_name(name, person=True)
    check_prepared(manifest)
    index = RowIndex.of(Manifest(manifest))
    last = {key_of(addition.id): addition for addition in additions}
    keys = np.array(sorted(last), np.uint64)
    rows = index.rows(keys)
    order = np.lexsort((keys, rows == NO_ROW, rows))
    (manifest / FOLDER).mkdir(exist_ok=True)
    path = file_of(manifest, name)
    header = Header(name, settings)
    _replace(path, header, (last[int(keys[at])].line().encode("ascii") for at in order))
    return path


def write_finished(path: Path, header: Header, lines: Lines, manifest: Manifest) -> None:
    """Write the newest line of each picture, in the order of the manifest; those of pictures that it has no
    more come last, for it may have them again. Raises TrainkitError when it cannot be written.
    """
    index = RowIndex.of(manifest)
    found = lines.found
    rows = index.rows(found["key"])
    chosen = newest(found["key"], index.fit(rows, found["digest"]))
    found, rows = found[chosen], rows[chosen]
    order = np.lexsort((found["key"], rows, rows == NO_ROW))
    _replace(path, header, raw_lines(lines, found[order]))


def read_additions(manifest: Path, name: str) -> Iterator[Addition]:
    """A finished addition, line by line. Raises TrainkitError when there is none, or one cannot be read."""
    path = file_of(manifest, name)
    if header_of(path) is None:
        raise TrainkitError(f"{path} is not there: nothing was finished under this name")
    with path.open("rb") as file:
        file.readline()
        for number, line in enumerate(file, 2):
            yield Addition.of_line(line, f"{path}: line {number}")


def raw_lines(lines: Lines, found: np.typing.NDArray[np.void]) -> Iterator[bytes]:
    """The bytes of some lines, in their order."""
    assert found.dtype == LINE
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("rb")).fileno() for path in lines.files]
        for begin in range(0, len(found), 1 << 14):
            some = found[begin : begin + (1 << 14)]
            places = zip(*(some[name].tolist() for name in ("file", "offset", "length")), strict=True)
            for file, offset, length in places:
                yield os.pread(files[file], length, offset)


def _replace(path: Path, header: Header, lines: Iterable[bytes]) -> None:
    try:
        with whole_file(path, flushed=True, alone=True) as partial, partial.open("wb") as file:
            file.write(header.line())
            for line in lines:
                file.write(line)
    except OSError as error:
        raise TrainkitError(
            f"{path} cannot be written: {error.strerror or error}; what was made is kept: free some space, "
            "and the same command goes on"
        ) from error
