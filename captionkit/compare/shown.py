"""A comparison as text for a terminal and as JSON values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from difflib import SequenceMatcher
from typing import Any

from captionkit.compare.paired import TOKENS
from captionkit.compare.result import Change, Comparison, Difference, Example
from captionkit.screen import Mark, Piece, Screen
from captionkit.tables import Column, table

MAX_ITEMS = 12
"""So many entries of a list or a table are named."""


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """The same as values; every difference with whether it is clear."""
    values = asdict(comparison)
    for key, differences in (("figures", comparison.figures), ("tags", comparison.tags)):
        values[key] = [asdict(one) | {"by": one.by, "clear": one.clear} for one in differences]
    return values


def comparison_text(comparison: Comparison, screen: Screen, *, top: int) -> str:
    """Settings, texts, figures, tags and examples; `top` tags at the most."""
    parts = [
        _head(comparison, screen),
        _settings(comparison.settings, screen),
        _texts(comparison, screen),
        _figures(comparison, screen),
        _tags(comparison, screen, top),
        *(_example(example, screen) for example in comparison.examples),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _head(comparison: Comparison, screen: Screen) -> list[str]:
    drawn = f"{comparison.num_sampled:,} of {comparison.num_records:,} records, {comparison.draws} draws each"
    pieces = [
        Piece(comparison.recipe_a, Mark.HEAD),
        Piece("→"),
        Piece(comparison.recipe_b, Mark.HEAD),
        Piece(f"· {comparison.data} · {drawn}", Mark.QUIET),
    ]
    return [screen.paragraph(pieces, rest="  ")]


def _settings(settings: tuple[Change, ...], screen: Screen) -> list[str]:
    lines = [screen.paragraph([Piece("settings", Mark.HEAD)])]
    if not settings:
        lines.append("  the same in both")
    for change in settings:
        address = [Piece(change.address.replace("#0", ""), Mark.PLAIN, ":")]
        lines.append(screen.paragraph([*address, *_values(change.a, change.b)], first="  ", rest="      "))
    return lines


def _values(a: Any, b: Any) -> Iterator[Piece]:
    """Two values; of lists and tables only the entries that differ."""
    if isinstance(a, list) and isinstance(b, list) and a and b and not _same_entries(a, b):
        yield from _entries(
            [_said(one) for one in a if one not in b], [_said(one) for one in b if one not in a]
        )
    elif isinstance(a, dict) and isinstance(b, dict) and a and b:
        gone = [f"{key} = {_said(value)}" for key, value in a.items() if b.get(key) != value]
        come = [f"{key} = {_said(value)}" for key, value in b.items() if a.get(key) != value]
        yield from _entries(gone, come)
    else:
        yield Piece("nothing" if a is None else _said(a), Mark.GONE)
        yield Piece("nothing" if b is None else _said(b), Mark.NEW)


def _same_entries(a: list[Any], b: list[Any]) -> bool:
    return all(one in b for one in a) and all(one in a for one in b)


def _entries(gone: list[str], come: list[str]) -> Iterator[Piece]:
    for entries, mark in ((gone, Mark.GONE), (come, Mark.NEW)):
        yield from (Piece(entry, mark) for entry in entries[:MAX_ITEMS])
        if len(entries) > MAX_ITEMS:
            yield Piece(f"and {len(entries) - MAX_ITEMS:,} more", Mark.QUIET)


def _said(value: Any) -> str:
    """A JSON value as a recipe writes it, cut to a readable length."""
    if isinstance(value, dict) and len(value) > MAX_ITEMS:
        return f"a table of {len(value):,} entries"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else text[:160] + "…"


def _texts(comparison: Comparison, screen: Screen) -> list[str]:
    share = 100 * comparison.texts_changed / comparison.num_texts
    of = f"{comparison.texts_changed:,} of {comparison.num_texts:,} texts changed ({share:.1f} %)"
    flips = f"; {comparison.flips_changed:,} mirrored otherwise" if comparison.flips_changed else ""
    lines = [screen.paragraph([Piece(of + flips, Mark.HEAD)])]
    if comparison.may_flip_a != comparison.may_flip_b:
        may = (
            f"may be mirrored: {comparison.may_flip_a:,} → {comparison.may_flip_b:,} "
            f"of {comparison.num_sampled:,} records"
        )
        lines.append(screen.paragraph([Piece(may)], first="  "))
    return lines


def _figures(comparison: Comparison, screen: Screen) -> list[str]:
    if not comparison.texts_changed and not comparison.flips_changed:
        return []
    clear = [one for one in comparison.figures if one.clear]
    within = [one.name for one in comparison.figures if not one.clear and one.a != one.b]
    lines = _table("figures", clear, screen) if clear else []
    if within:
        told = f"different within what the draws' chance makes: {', '.join(within)}"
        lines.append(screen.paragraph([Piece(told, Mark.QUIET)], first="  "))
    return lines


def _tags(comparison: Comparison, screen: Screen, top: int) -> list[str]:
    if not comparison.texts_changed:
        return []
    if not comparison.tags:
        told = f"of {comparison.num_tags:,} tags none is clearly said more or less often"
        return [screen.paragraph([Piece(told, Mark.QUIET)])]
    lines = _table("tags, said of those that have them", comparison.tags[:top], screen)
    told = f"{len(comparison.tags):,} of {comparison.num_tags:,} tags are clearly said more or less often"
    more = f"; {top} are shown" if len(comparison.tags) > top else ""
    lines.append(screen.paragraph([Piece(told + more, Mark.QUIET)], first="  "))
    return lines


def _table(title: str, rows: tuple[Difference, ...] | list[Difference], screen: Screen) -> list[str]:
    names = Column(title, [row.name for row in rows], right=False)
    columns = [
        Column("before", [_number(row, row.a) for row in rows]),
        Column("after", [_number(row, row.b) for row in rows]),
        Column("by", [_by(row) for row in rows]),
        Column("records", [f"{row.num_records:,}" for row in rows], spare=1),
    ]
    return table(names, columns, screen)


def _number(row: Difference, value: float) -> str:
    return f"{value:.1f}" if row.name == TOKENS else f"{100 * value:.1f} %"


def _by(row: Difference) -> str:
    times = 1 if row.name == TOKENS else 100
    return f"{times * row.by:+.1f} ± {times * (row.high - row.low) / 2:.1f}"


def _example(example: Example, screen: Screen) -> list[str]:
    head = [Piece(example.id, Mark.HEAD), Piece(f"· draw {example.draw}", Mark.QUIET)]
    tags, prose = list(_tag_pieces(example)), list(_prose_pieces(example))
    between = [Piece("·", Mark.QUIET)] if tags and prose else []
    pieces = prose + between + tags if example.prose_first else tags + between + prose
    if not example.text_b:
        pieces.append(Piece("(empty)", Mark.QUIET))
    elif not any(piece.mark in (Mark.GONE, Mark.NEW) for piece in pieces):
        pieces.append(Piece("(in another order or spelling)", Mark.QUIET))
    return [screen.paragraph(head, rest="  "), screen.paragraph(pieces, first="  ")]


def _tag_pieces(example: Example) -> Iterator[Piece]:
    """The tags of the second text, new ones marked, then those that only the first has."""
    gone = [name for name in example.tags_a if name not in example.tags_b]
    line = [(name, Mark.PLAIN if name in example.tags_a else Mark.NEW) for name in example.tags_b]
    line += [(name, Mark.GONE) for name in gone]
    for at, (name, mark) in enumerate(line):
        yield Piece(name, mark, "," if at + 1 < len(line) else "")


def _prose_pieces(example: Example) -> Iterator[Piece]:
    """The captions, word by word."""
    old, new = example.prose_a.split(), example.prose_b.split()
    if len(old) * len(new) > 1_000_000:  # Comparing costs their product.
        yield Piece(example.prose_a, Mark.GONE)
        yield Piece(example.prose_b, Mark.NEW)
        return
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            yield Piece(" ".join(old[a:b]))
            continue
        if b > a:
            yield Piece(" ".join(old[a:b]), Mark.GONE)
        if d > c:
            yield Piece(" ".join(new[c:d]), Mark.NEW)
