"""The errors a user of captionkit can meet.

Every message says what is wrong, the value we got, what is allowed, where it stands and what to do next.
"""

from __future__ import annotations


class CaptionkitError(ValueError):
    """Anything a user of captionkit did that we cannot work with.

    `str(error)` is the whole message, beginning with `where` when the place is known:

    >>> str(CaptionkitError("rate is 1.5, must be between 0 and 1", where="steps[2]", hint="15 % is 0.15"))
    'steps[2]: rate is 1.5, must be between 0 and 1 (15 % is 0.15)'
    """

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        message = what if where is None else f"{where}: {what}"
        super().__init__(message if hint is None else f"{message} ({hint})")
        self.what = what
        self.where = where
        self.hint = hint


class RecipeError(CaptionkitError):
    """A recipe (TOML, JSON, dict or a policy's arguments) that is not valid; lists every fault with its
    path."""


class DataError(CaptionkitError):
    """A record, or a file of records, that cannot be read; `where` is the file and line, or the record id."""


class ImplicationsError(CaptionkitError):
    """An implication graph that is not one: a missing column, a cycle, an unreadable file."""
