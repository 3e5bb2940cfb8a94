"""Now and then another name of the same tag."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import compress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ValidationInfo

from captionkit.curves import Rate, value_at
from captionkit.draws import Draws, pick
from captionkit.errors import CaptionkitError
from captionkit.implications import read_aliases
from captionkit.kinds import resolve_path
from captionkit.naming import renamed
from captionkit.patterns import PatternList, compile_patterns
from captionkit.policy import Claim, Policy
from captionkit.record import Caption, fold


def _from_recipe(value: Any, info: ValidationInfo) -> Any:
    """A table of a tag's other names, or the active rows of an export of aliases the other way round."""
    names: dict[str, list[str]] = {}
    if isinstance(value, str | Path):
        for old, new in read_aliases(resolve_path(value, info)).items():
            names.setdefault(fold(new), []).append(old)
        return names
    if not isinstance(value, Mapping):
        return value
    for name, others in value.items():
        if not isinstance(others, list | tuple) or not others:
            raise CaptionkitError(f"{name!r} must have a list of other names, got {others!r}")
        if empty := [one for one in (name, *others) if not isinstance(one, str) or not fold(one)]:
            raise CaptionkitError(f"a name of {name!r} must be text and not empty, got {empty[0]!r}")
        names.setdefault(fold(name), []).extend(others)
    return names


class VaryNames(Policy):
    """Call each tag, with probability `rate`, by another of its names, so that a model learns them all.

    Every tag has a coin of its own, and its other names are equally likely. A name that is in the caption
    already is not given again. It stands behind implications, patterns and marks, which know the proper names
    only; an important tag stays important.
    """

    kind: Literal["vary_names"] = "vary_names"
    names: Annotated[
        dict[str, tuple[str, ...]],
        BeforeValidator(_from_recipe, json_schema_input_type=dict[str, list[str]] | str),
    ]
    """A tag's other names, `{"red fox" = ["vulpes vulpes"]}`, or the path of an export of aliases (a CSV with
    e621's columns, Danbooru's JSON lines), read the other way round."""
    rate: Rate = 0.2
    """The share of tags with other names that are called by one."""
    leave_out: PatternList = ()
    """Names that match one of these are never given, such as an export's misspellings."""

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption with some of its tags by another name."""
        rate = value_at(self.rate, draws)
        if rate == 0.0 or not caption.tags:
            return caption
        hit = list(compress(enumerate(caption.tags), draws.coins(rate, len(caption.tags))))
        chosen = [(at, tag.name) for at, tag in hit if fold(tag.name) in self.names]
        if not chosen:
            return caption
        drawn = draws.child("names").randoms(len(caption.tags))
        taken = {fold(tag.name) for tag in caption.tags}
        names: dict[str, str] = {}
        for at, name in chosen:
            other = self._other(name, drawn[at])
            if other is not None and fold(other) not in taken:
                names[name] = other
                taken.add(fold(other))
        return renamed(caption, names)

    def _other(self, name: str, drawn: float) -> str | None:
        others = self.names[fold(name)]
        if self.leave_out:
            unwanted = compile_patterns(self.leave_out)
            others = tuple([other for other in others if not unwanted.match(other)])
        return pick(others, drawn).strip() if others else None

    def claims(self) -> frozenset[Claim]:
        """Nothing to claim but that it can be turned off."""
        return frozenset({"off at zero"})
