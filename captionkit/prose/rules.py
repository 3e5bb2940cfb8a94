"""What a cleaning rule is: a name, what it does, where, and the examples that prove it. Rules are data."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from captionkit.policy import Config

Group = Literal["markup", "loops", "unfinished", "meta", "hedges", "lead_ins"]
"""What a rule is for; `clean_captions` has a switch for every group."""

PatternAction = Literal["drop sentence", "cut opening", "cut", "rewrite"]
"""What can be done where a pattern matches.

- drop sentence: a sentence that begins so goes
- cut opening: the words leave the beginning of a sentence; not where they are all of it
- cut: the words leave, wherever they stand
- rewrite: `replace` takes their place, wherever they stand
"""

Procedure = Literal[
    "remove bold",
    "remove emphasis",
    "join lines",
    "cut phrase loops",
    "drop repeats",
    "cut item loops",
    "drop unfinished",
    "say is",
    "say surely",
]
"""What no pattern can do; each stands in a file of its own beside this one."""


class Example(Config):
    """A text before and after a rule, which is alone."""

    before: str
    """What goes in."""
    after: str | None = None
    """What must come out; left out means that the text must stay as it is."""


class CleaningRule(Config):
    """One named rule: what it does, where, and the examples that prove it."""

    name: Annotated[str, Field(min_length=1)]
    """What `skip` calls it."""
    group: Group
    """Which switch of `clean_captions` it obeys."""
    about: str
    """What it does, in a sentence."""
    action: Literal[PatternAction, Procedure]
    """What is done: where a pattern matches, or by a procedure, which has no patterns."""
    patterns: tuple[str, ...] = ()
    """Regular expressions, whose case does not count; each is tried in turn."""
    replace: str = ""
    """What takes the place of a match, for `rewrite`; `\\1` is its first group."""
    only: Literal["first", "later"] | None = None
    """Only the first sentence of a caption, or only those after it."""
    unless: str | None = None
    """A sentence in which this regular expression is found is left alone."""
    needs: tuple[str, ...] = ()
    """Small letters of which some must stand in a sentence for a pattern to match at all; looking for them
    first is faster. Without them every sentence is tried."""
    examples: tuple[Example, ...] = ()
    """Its tests."""

    @model_validator(mode="after")
    def _fits_together(self) -> CleaningRule:
        by_pattern = self.action in get_args(PatternAction)
        if by_pattern and not self.patterns:
            raise ValueError(f"action {self.action!r} needs `patterns`")
        if not by_pattern and self.patterns:
            raise ValueError(f"action {self.action!r} is a procedure and has no `patterns`")
        if self.replace and self.action != "rewrite":
            raise ValueError(f"`replace` belongs to the action 'rewrite', not to {self.action!r}")
        for pattern in (*self.patterns, *([] if self.unless is None else [self.unless])):
            try:
                re.compile(pattern, re.IGNORECASE).sub(self.replace if pattern in self.patterns else "", "")
            except (re.error, IndexError) as error:
                raise ValueError(f"{pattern!r} is no regular expression that works here: {error}") from None
        return self
