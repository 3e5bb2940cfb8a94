"""Every `captionkit ...` that a page, an example or a help text shows is taken by the command line.

Nothing is run here: what the commands then do is for the tests of each page.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from captionkit.cli import _parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCES = sorted((ROOT / "examples").rglob("*.py"))

LINE = re.compile(r"^(?:\$ |time )?captionkit (?=[a-z]+(?: |$))(.*)$")
"""A line of a shell; `captionkit: ...` is an answer."""
INLINE = re.compile(r"`captionkit ([a-z][^`\n]+)`")


def _lines(text: str) -> Iterator[str]:
    """The lines of a text, of which those that end in a backslash go on."""
    for line in re.sub(r"[ ]*\\+\n\s*", " ", text).splitlines():
        if (found := LINE.match(line.strip())) is not None:
            yield found[1]


def _shell(page: str) -> str:
    """What a page shows as typed: its indented lines and fenced blocks."""
    fenced = re.findall(r"^```(?:bash|text)?\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    return "\n".join([*re.findall(r"^    .*(?:\\\n.*)*$", page, flags=re.MULTILINE), *fenced])


def _commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser's commands, and theirs."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield inner
                yield from _commands(inner)


def _shown() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for line in _lines(_shell(text)):
            yield page.relative_to(ROOT).as_posix(), line
        for told in INLINE.findall(text):
            if len(told.split()) > 2:  # `captionkit bake` alone is a name.
                yield page.relative_to(ROOT).as_posix(), told
    for source in SOURCES:
        for line in _lines(source.read_text(encoding="utf-8")):
            yield source.relative_to(ROOT).as_posix(), line
    for command in (whole := _parser(), *_commands(whole)):
        # Behind two spaces or more stands what it does.
        for line in _lines(command.epilog or ""):
            yield f"{command.prog} --help", re.split(r" {2,}", line)[0]


SHOWN = list(dict.fromkeys(_shown()))


def _taken(line: str) -> str:
    """What the parser says against the line; nothing when it takes it."""
    words = shlex.split(line, comments=True)
    for end in ("|", ">", "2>", "..."):
        words = words[: words.index(end)] if end in words else words
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            _parser().parse_args(words)
        except SystemExit:
            return said.getvalue() or "asks for help"
    return ""


@pytest.mark.parametrize(("place", "line"), SHOWN)
def test_a_line_is_taken(place: str, line: str) -> None:
    assert _taken(line) == "", f"{place}: captionkit {line}"


def test_lines_are_found_everywhere_and_wrong_ones_told() -> None:
    places = {place for place, _ in SHOWN}
    assert {"README.md", "docs/trainers/simpletuner.md", "examples/trainers/kohya.py"} <= places
    assert {"docs/seeing.md", "captionkit bake --help", "captionkit --help"} <= places
    assert len(SHOWN) > 80
    assert "the following arguments are required: -o" in _taken("bake recipe.toml pictures/ -k 8")
    assert list(_lines("$ captionkit stats a.toml \\\n   b --json\ncaptionkit: error\n")) == [
        "stats a.toml b --json"
    ]
