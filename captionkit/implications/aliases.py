"""Aliases: other names of a tag, each chain followed to its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from captionkit.errors import CaptionkitError, ImplicationsError
from captionkit.implications.exports import read_pairs
from captionkit.record import fold


def read_aliases(path: Path) -> dict[str, str]:
    """Old name (folded) to new (as spelled) of the active rows of an export of aliases.

    Raises `ImplicationsError` naming the file for what cannot be read and for aliases that contradict each
    other.
    """
    try:
        return resolve_aliases(read_pairs(path).active)
    except ImplicationsError:
        raise
    except CaptionkitError as error:
        raise ImplicationsError(error.what, where=str(path)) from error


def resolve_aliases(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Old name (folded) to the name where its chain of aliases ends (as spelled).

    >>> resolve_aliases([("Kitsune", "vulpes"), ("vulpes", "red fox")])
    {'kitsune': 'red fox', 'vulpes': 'red fox'}

    Raises `CaptionkitError` for an empty name, for a name with two new ones, and for a cycle, naming it.
    """
    direct: dict[str, str] = {}
    for old, new in pairs:
        key = fold(old)
        if not key or not fold(new):
            raise CaptionkitError(f"a name is empty: {old!r} to {new!r}")
        if direct.setdefault(key, new) != new:
            raise CaptionkitError(f"{old!r} has two new names: {direct[key]!r} and {new!r}")
    return {old: _follow(old, direct) for old in direct}


def _follow(old: str, direct: Mapping[str, str]) -> str:
    """Where a chain of aliases ends."""
    seen = [old]
    name = direct[old]
    # A name that is only spelled anew ends its own chain.
    while (key := fold(name)) in direct and key != seen[-1]:
        if key in seen:
            raise CaptionkitError(f"aliases run in a cycle: {' -> '.join(map(repr, [*seen, key]))}")
        seen.append(key)
        name = direct[key]
    return name
