"""What trainkit may lean on, and what its import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import captionkit
import trainkit
from tests.trainkit.processes import environment

FOLDER = Path(trainkit.__file__).parent
FILES = sorted(FOLDER.rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(module, names taken from it) of every import statement, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.module or "", [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)


AROUND_DATA = ("captionkit.readers", "captionkit.writers", "captionkit.pictures")
"""What `prepare` reads and writes with: formats, not captions. Beside these trainkit knows the front door."""
PUBLIC = ("captionkit.policies", "captionkit.prose.agreement")
"""Public modules that the front door leaves out, because they cost time to import."""
ONE_BY_ONE = {
    # How tags are matched and spelled, for counting millions of them by the column.
    ("captionkit.patterns", "Patterns"),
    ("captionkit.patterns", "compile_patterns"),
    ("captionkit.record", "Fact"),
    ("captionkit.record", "fold"),
    ("captionkit.record", "folded_names"),
    ("captionkit.emoticons", "is_emoticon"),
    ("captionkit.implications", "Implications"),
    # How captions are looked at: the gate sees sentences and quotations as the cleaner and the linter do.
    ("captionkit.prose.quotes", "hide_quotes"),
    ("captionkit.prose.sentences", "split_sentences"),
    ("captionkit.stats.oddities", "placeholder"),
    ("captionkit.stats.oddities", "unreadable"),
}
"""Names inside captionkit that trainkit may take, each for its reason."""


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(FOLDER)))
def test_only_names_that_captionkit_exports_are_used(path: Path) -> None:
    for module, names in imports(path):
        if module.split(".")[0] != "captionkit":
            continue
        if module == "captionkit":
            assert set(names) <= set(captionkit.__all__)
        elif module.startswith(AROUND_DATA + PUBLIC):
            assert not [name for name in names if name.startswith("_")], f"{path.name}: {module}"
        else:
            assert {(module, name) for name in names} <= ONE_BY_ONE, f"{path.name} reaches into {module}"


def test_the_files_form_no_circle() -> None:
    names = {path: ".".join(("trainkit", *path.relative_to(FOLDER).with_suffix("").parts)) for path in FILES}
    known = set(names.values())
    wanted = {
        name: known
        & {m for module, taken in imports(path) for m in (module, *(f"{module}.{n}" for n in taken))}
        for path, name in names.items()
    }
    done: set[str] = set()
    while ready := {name for name, needs in wanted.items() if name not in done and needs <= done}:
        done |= ready
    assert known - done == set()


def test_importing_trainkit_is_cheap() -> None:
    code = (
        "import sys, trainkit; print([m for m in ('torch', 'numpy', 'PIL', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True
    )
    assert done.stdout == "[]\n"
