"""Names that are nearly spelled alike: one letter more, less, other or in the neighbour's place."""

from __future__ import annotations

from collections.abc import Iterable


class Near:
    """Names by the spellings that one letter less leaves of them (a deletion neighbourhood).

    Two names are near when one edit makes one of the other: a letter more, less or another, or two
    neighbouring letters exchanged; also when they hold the same words in another order.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._by_part: dict[str, list[str]] = {}
        self._by_words: dict[str, list[str]] = {}
        for name in names:
            for part in _parts(name):
                self._by_part.setdefault(part, []).append(name)
            if " " in name:
                self._by_words.setdefault(_words(name), []).append(name)

    def to(self, name: str) -> list[str]:
        """The names that are near this one, itself left out, in the order they were given."""
        found: dict[str, None] = {}
        for part in _parts(name):
            for other in self._by_part.get(part, ()):
                if other not in found and other != name and one_edit(name, other):
                    found[other] = None
        if " " in name:
            found |= dict.fromkeys(other for other in self._by_words.get(_words(name), ()) if other != name)
        return list(found)


def one_edit(one: str, other: str) -> bool:
    """Whether one edit makes one of the other.

    >>> [one_edit("blue hair", other) for other in ("bleu hair", "blue hiar", "blu hair", "bluehair", "red")]
    [True, True, True, True, False]
    """
    if len(one) > len(other):
        one, other = other, one
    if len(other) - len(one) > 1 or one == other:
        return False
    start = 0
    while start < len(one) and one[start] == other[start]:
        start += 1
    if len(one) < len(other):
        return one[start:] == other[start + 1 :]
    if one[start + 1 :] == other[start + 1 :]:
        return True
    swapped = one[start + 1 : start + 2] + one[start : start + 1]
    return one[start + 2 :] == other[start + 2 :] and swapped == other[start : start + 2]


def _parts(name: str) -> set[str]:
    return {name, *(name[:at] + name[at + 1 :] for at in range(len(name)))}


def _words(name: str) -> str:
    return " ".join(sorted(name.split()))
