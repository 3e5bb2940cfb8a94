"""Every example of the docstrings and of docs/ about captionkit runs, and gives what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import captionkit
from captionkit import load_pipeline
from captionkit.policies import BUILT_IN
from captionkit.policy import kind_of

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("own-policy.md", "policies.md", "reproducibility.md")
MODULES = [
    "captionkit",
    *(m.name for m in pkgutil.walk_packages(captionkit.__path__, "captionkit.") if "__main__" not in m.name),
]


def _failures(examples: list[doctest.Example], name: str) -> str:
    """What the examples of a page say wrongly; they share one module, so that its classes can be pickled."""
    module = ModuleType(name)
    sys.modules[name] = module
    told: list[str] = []
    test = doctest.DocTest(examples, {}, name, name, 0, None)
    test.globs = module.__dict__
    try:
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=told.append, clear_globs=False)
    finally:
        del sys.modules[name]
    return "".join(told)


@pytest.mark.parametrize("page", PAGES)
def test_page(page: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    examples = [example for block in blocks for example in doctest.DocTestParser().get_examples(block)]
    assert examples
    assert _failures(examples, f"page_{PAGES.index(page)}") == ""


def test_the_check_itself_can_fail() -> None:
    examples = doctest.DocTestParser().get_examples(">>> 1 + 1\n3\n")
    assert "Expected:\n    3\nGot:\n    2" in _failures(examples, "wrong")


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name: str) -> None:
    for test in doctest.DocTestFinder().find(importlib.import_module(name), name):
        told: list[str] = []
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=told.append)
        assert "".join(told) == ""


def test_the_recipe_of_the_page_loads() -> None:
    recipes = re.findall(
        r"```toml\n(.*?)```", (DOCS / "policies.md").read_text(encoding="utf-8"), flags=re.DOTALL
    )
    assert [load_pipeline(tomllib.loads(recipe)).seed for recipe in recipes] == [1]


def test_every_kind_has_its_place_on_the_page() -> None:
    text = (DOCS / "policies.md").read_text(encoding="utf-8")
    assert [kind_of(policy) for policy in BUILT_IN if f"`{kind_of(policy)}`" not in text] == []
