"""Patterns over columns of paths: the answers of fnmatch."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from trainkit.path_patterns import matching
from trainkit.picture import relative_path

FOLDER = Path("/data/a.b (c)")
paths = st.none() | st.text("ab/.é\n[](+\\", min_size=1, max_size=8).map(lambda p: p.lstrip("/") or "a")
steps = st.text("ab.é[]", min_size=1, max_size=3).map(lambda step: f"{step}x")
inside = st.lists(steps, min_size=1, max_size=3).map(lambda found: "/".join([str(FOLDER), *found]))


@given(st.lists(paths | inside, max_size=8), st.text("ab/.é*?[]!-(+\\\n", max_size=8))
@example(["a/b", "x/a/b", "a"], "*/b")
@example(["a", "b", "c", "]", "-"], "[!a-b]")
@example(["ab\n", "ab"], "ab")
@example(["aXbXc"], "a*b*c*")
def test_the_answers_are_those_of_fnmatch(images: list[str | None], pattern: str) -> None:
    expected = [image is not None and fnmatchcase(relative_path(image, FOLDER), pattern) for image in images]
    assert matching(pa.array(images, pa.string()), pattern, FOLDER).tolist() == expected
