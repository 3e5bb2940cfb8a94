"""Texts that recur on a page, written once and named by their number."""

from __future__ import annotations


class Names:
    """Numbers for texts, in the order in which they are first asked for."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """The number of a text; a new one for a text that is new."""
        return self._numbers.setdefault(text, len(self._numbers))

    def list(self) -> list[str]:
        """All texts, each at its number."""
        return list(self._numbers)
