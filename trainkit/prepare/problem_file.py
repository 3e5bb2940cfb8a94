"""The files that name every picture with a problem."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from trainkit.prepare.problems import Problem


@contextlib.contextmanager
def problem_file(folder: Path, *, quarantine: bool) -> Iterator[Callable[[Problem], None]]:
    """Write problems.jsonl, and quarantine.txt if asked: what is to be called with every problem, in order.

    In quarantine.txt each name stands once, where it has its first problem. Both files are on the disk when
    the context is left.
    """
    with contextlib.ExitStack() as files:
        lines = files.enter_context(_whole(folder / "problems.jsonl"))
        names = files.enter_context(_whole(folder / "quarantine.txt")) if quarantine else None
        last = ""

        def tell(problem: Problem) -> None:
            nonlocal last
            lines.write(problem.line())
            if names is not None and problem.name != last:  # Those of one picture follow each other.
                last = problem.name
                names.write(_one_line(last) + "\n")

        yield tell


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[TextIO]:
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _one_line(name: str) -> str:
    """A name may hold line ends, which would make two of it."""
    return name.replace("\n", "\\n").replace("\r", "\\r")
