"""The lists of tags that taggers of others come with, in the forms in which they are published.

| form | of |
|---|---|
| CSV with a column ``name``, perhaps ``category`` and ``best_threshold`` | WD, Z3D, animetimm, PixAI |
| ``{"tag": number, ...}`` | JTP PILOT and PILOT2 (``tags.json``) |
| ``{"dataset_info": {"tag_mapping": {"idx_to_tag": ..., "tag_to_category": ...}}}`` | Camie |
| ``{"0": {"tag": ..., "category": ...}, ...}`` | cl_tagger (``tag_mapping.json``) |
| a JSON list of names, or a text file with a name a line | others |

A line number too much or too few would move every tag to another's score: nothing is passed over.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from trainkit.errors import ModelError
from trainkit.tagging.label import Label

Board = Literal["danbooru", "e621"]
"""Whose numbers of categories a list of tags uses."""

RATING = "rating"
"""The category, and the group, of ratings: one of them holds."""

_CATEGORIES: Mapping[Board, Mapping[str, str]] = {
    "danbooru": {
        "0": "general",
        "1": "artist",
        "3": "copyright",
        "4": "character",
        "5": "meta",
        "9": RATING,
    },
    "e621": {
        "0": "general",
        "1": "artist",
        "3": "copyright",
        "4": "character",
        "5": "species",
        "6": "invalid",
        "7": "meta",
        "8": "lore",
        "9": RATING,
    },
}
_ONLY_E621 = frozenset("678")
"""Numbers that Danbooru does not have: with one of them, 5 is a species and not meta."""

MOST_TAGS = 1_000_000
_MOST_BYTES = 256 << 20
_COLUMNS = ("name", "tag", "tag_name")
_THRESHOLDS = ("best_threshold", "threshold")


@dataclass(frozen=True, slots=True)
class ForeignTags:
    """What a tagger of others says, in the order of its outputs."""

    labels: tuple[Label, ...]
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """From which score a tag is said, where its list says so."""


def read_tags(path: Path, board: Board | None = None) -> ForeignTags:
    """The tags of a list; ``board`` says whose numbers its categories are, where they do not tell.

    Raises ModelError, with file and line, for what is no such list.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ModelError(f"{path}: is larger than {_MOST_BYTES >> 20} MiB, which no list of tags is")
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: is no UTF-8 text at byte {error.start}") from error
    suffix = path.suffix.lower()
    if suffix == ".csv":
        rows = _from_csv(text, path)
    elif suffix == ".json":
        rows = _from_json(text, path)
    else:
        rows = [_Row(name, "", None, f"{path}:{n}") for n, name in enumerate(text.splitlines(), 1)]
    return _tags_of(rows, board or ("e621" if path.name == "tags-selected.csv" else None), path)


@dataclass(frozen=True, slots=True)
class _Row:
    name: Any
    category: Any
    threshold: Any
    where: str


def _tags_of(rows: list[_Row], board: Board | None, path: Path) -> ForeignTags:
    if not rows:
        raise ModelError(f"{path}: holds no tags")
    if len(rows) > MOST_TAGS:
        raise ModelError(f"{path}: holds {len(rows):,} tags, at most {MOST_TAGS:,} are read")
    only_e621 = any(str(row.category).strip().removesuffix(".0") in _ONLY_E621 for row in rows)
    known = _CATEGORIES[board or ("e621" if only_e621 else "danbooru")]
    labels: list[Label] = []
    thresholds: dict[str, float] = {}
    seen: dict[str, str] = {}
    for row in rows:
        if not isinstance(row.name, str) or not row.name.strip():
            raise ModelError(f"{row.where}: the tag's name is {row.name!r}, must be text")
        name = row.name.strip()
        if name in seen:
            raise ModelError(f"{row.where}: the tag {name!r} stands there twice, first at {seen[name]}")
        seen[name] = row.where
        category = _category(row, known)
        labels.append(Label(name, category, RATING if category == RATING else None))
        if (threshold := _threshold(row)) is not None:
            thresholds[name] = threshold
    return ForeignTags(tuple(labels), thresholds)


def _category(row: _Row, known: Mapping[str, str]) -> str | None:
    text = str(row.category).strip().lower() if row.category is not None else ""
    if not text:
        return None
    if not any(sign.isdecimal() for sign in text) or any(sign.isalpha() for sign in text):
        return text
    number = text.removesuffix(".0")  # A table that lacked some was saved with fractions.
    if number not in known:
        raise ModelError(f"{row.where}: category is {text[:40]}, must be one of {', '.join(known)} or a word")
    return known[number]


def _threshold(row: _Row) -> float | None:
    if row.threshold is None or row.threshold == "":
        return None
    try:
        threshold = float(row.threshold)
    except (TypeError, ValueError):
        threshold = -1.0
    if not 0 <= threshold <= 1:
        raise ModelError(f"{row.where}: the threshold is {row.threshold!r}, must be a number from 0 to 1")
    return threshold


def _from_csv(text: str, path: Path) -> list[_Row]:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [cell.strip().lower() for cell in next(lines, [])]
        name = next((header.index(column) for column in _COLUMNS if column in header), None)
        if name is None:
            raise ModelError(
                f"{path}:1: the columns are {', '.join(header[:8])!r}, one must be {' or '.join(_COLUMNS)}"
            )
        if header.count(header[name]) > 1 or header.count("category") > 1:
            raise ModelError(f"{path}:1: a column stands there twice: {', '.join(header[:8])!r}")
        category = header.index("category") if "category" in header else None
        threshold = next((header.index(column) for column in _THRESHOLDS if column in header), None)
        rows = []
        for cells in lines:
            where = f"{path}:{lines.line_num}"
            if len(cells) != len(header):
                raise ModelError(f"{where}: has {len(cells)} cells, its header has {len(header)}")
            rows.append(
                _Row(
                    cells[name],
                    None if category is None else cells[category],
                    None if threshold is None else cells[threshold],
                    where,
                )
            )
    except csv.Error as error:
        raise ModelError(f"{path}:{lines.line_num}: is no CSV: {error}") from error
    return rows


def _from_json(text: str, path: Path) -> list[_Row]:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: is no JSON: {str(error)[:200]}") from error
    categories: Mapping[str, Any] = {}
    if isinstance(told, dict) and isinstance(mapping := _inner(told), dict):
        found = mapping.get("tag_to_category")
        categories = found if isinstance(found, dict) else {}
        told = mapping["idx_to_tag"]
    if isinstance(told, list):
        return [_row(n, entry, categories, path) for n, entry in enumerate(told)]
    if not isinstance(told, dict) or not told:
        raise ModelError(f"{path}: must be a list of names, or an object of names and their numbers")
    if all(isinstance(number, int) and not isinstance(number, bool) for number in told.values()):
        numbered = {number: name for name, number in told.items()}
    else:
        numbered = {int(key) if key.isdecimal() and len(key) < 10 else -1: v for key, v in told.items()}
    if len(numbered) != len(told) or sorted(numbered) != list(range(len(numbered))):
        raise ModelError(
            f"{path}: numbers its tags otherwise than from 0 to {len(told) - 1}, each of them once"
        )
    return [_row(n, numbered[n], categories, path) for n in range(len(numbered))]


def _inner(told: dict[str, Any]) -> Any:
    """The object that holds ``idx_to_tag``, in Camie's metadata or by itself; None when there is none."""
    for key in ("dataset_info", "tag_mapping", ""):
        if isinstance(told.get("idx_to_tag"), list | dict):
            return told
        inner = told.get(key)
        if not isinstance(inner, dict):
            continue
        told = inner
    return None


def _row(number: int, entry: Any, categories: Mapping[str, Any], path: Path) -> _Row:
    where = f"{path}: tag {number}"
    if isinstance(entry, dict):
        return _Row(entry.get("tag", entry.get("name")), entry.get("category"), entry.get("threshold"), where)
    return _Row(entry, categories.get(entry) if isinstance(entry, str) else None, None, where)
