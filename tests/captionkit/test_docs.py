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
from captionkit import Prose, Record, Tag, load_pipeline, parse_tags
from captionkit.policies import BUILT_IN
from captionkit.policy import kind_of

DOCS = Path(__file__).resolve().parents[2] / "docs"
FAMILIES = sorted(f"policies/{page.name}" for page in (DOCS / "policies").glob("*.md"))
PAGES = ("own-policy.md", "reproducibility.md", "formats.md", *FAMILIES)
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
def test_page(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
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


TABLE = (DOCS / "policies.md").read_text(encoding="utf-8")
ROW = re.compile(
    r"^\| \[`(\w+)`\]\((\S+)\) \| .* \| `?(.*?)`? \| `(.*)` \| (?:`(.*)`|\(empty\)) \|$", re.MULTILINE
)
ROWS = [tuple(cell.replace(r"\|", "|") for cell in row) for row in ROW.findall(TABLE)]


def _tag(text: str) -> Tag:
    """`someone (artist)`, or `tree (classifier 0.5)`."""
    known = re.fullmatch(r"(.*) \((\w+)(?: ([\d.]+))?\)", text)
    if known is None:
        return Tag(text)
    name, of, score = known.groups()
    return Tag(name, source=of, score=float(score)) if score is not None else Tag(name, of)


def _record(text: str) -> Record:
    """`fox, tree "A caption." [fact = value]`."""
    read = re.fullmatch(r'(.*?) ?(?:"(.*)")?(?: \[(\w+) = (.*)\])?', text)
    assert read is not None
    tags, caption, fact, value = read.groups()
    info = {} if fact is None else {fact: int(value) if value.isdigit() else value}
    prose = () if caption is None else (Prose(caption),)
    return Record("picture 1", tuple(_tag(tag.name) for tag in parse_tags(tags)), prose, info=info)


@pytest.mark.parametrize(("kind", "settings", "given", "result"), [(k, s, g, r) for k, _, s, g, r in ROWS])
def test_row(kind: str, settings: str, given: str, result: str) -> None:
    step = tomllib.loads(f"step = {{kind = '{kind}'{', ' if settings else ''}{settings}}}")["step"]
    rendered = load_pipeline({"steps": [step], "text": {"underscores": "keep"}}).render(_record(given))
    assert (f'"{rendered.text}"' if rendered.source == "caption" else rendered.text) == result


def test_every_kind_has_its_row() -> None:
    assert {kind for kind, *_ in ROWS} == {kind_of(policy) for policy in BUILT_IN}


@pytest.mark.parametrize("link", [link for _, link, *_ in ROWS])
def test_every_row_leads_to_its_section(link: str) -> None:
    page, section = link.split("#")
    headings = re.findall(r"^## (.*)$", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert section in [heading.lower().replace(" ", "-").strip("`") for heading in headings]
