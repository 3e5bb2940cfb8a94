"""The files that name every picture with a problem."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from captionkit.readers.folder import PICTURE_SUFFIXES
from captionkit.readers.sidecars import SIDECAR_SUFFIXES
from trainkit.prepare.problems import Fault, Problem

_LINE = re.compile(r":\d+$")
_MOVABLE = PICTURE_SUFFIXES | frozenset(SIDECAR_SUFFIXES)


@contextlib.contextmanager
def problem_file(folder: Path, *, quarantine: bool) -> Iterator[Callable[[Problem], None]]:
    """Write problems.jsonl, and quarantine.txt if asked: what is to be called with every problem, in order.

    In quarantine.txt stands every file that has a problem, once, where it has its first. Both files are on
    the disk when the context is left.
    """
    with contextlib.ExitStack() as files:
        lines = files.enter_context(_whole(folder / "problems.jsonl"))
        names = files.enter_context(_whole(folder / "quarantine.txt")) if quarantine else None
        last = ""

        def tell(problem: Problem) -> None:
            nonlocal last
            lines.write(problem.line())
            if names is not None and (name := _file_of(problem)) not in ("", last):
                last = name  # The problems of one picture follow each other.
                names.write(_one_line(name) + "\n")

        yield tell


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[TextIO]:
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _file_of(problem: Problem) -> str:
    """The picture or sidecar that a problem is about, empty where there is no such file of its own."""
    if problem.problem in (Fault.MISSING, Fault.OUTSIDE, Fault.UNNAMED):
        return ""
    name = _LINE.sub("", problem.name)
    of_record = problem.problem in (Fault.RECORD, Fault.EMPTY)  # A row of a table cannot be moved.
    return "" if of_record and os.path.splitext(name)[1].lower() not in _MOVABLE else name


def _one_line(name: str) -> str:
    """A name may hold line ends, which would make two of it."""
    return name.replace("\n", "\\n").replace("\r", "\\r")
