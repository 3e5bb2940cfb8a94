"""Which pictures get a caption: a filter, then an order of what is left, then how many of it.

Every picture has a priority, a number from 0 to 1 (below 0 for those that ``at_least`` asks for), and the
lowest are chosen: "random" those below the share, so that no picture minds another; the other ways so many
that they are the share. A larger share always holds the smaller one, whatever the way, and the order in which
pictures come does not count.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from captionkit import PatternList, Record
from captionkit.patterns import Patterns, compile_patterns
from captionkit.record import folded_names
from trainkit.captioning.strata import lowest_ranks
from trainkit.keys import key_of, mixed

_RECIPE = 0.12
"""The share of pictures that the recipe captions."""


class ChooseConfig(BaseModel):
    """Which pictures get a caption."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    any: PatternList = ()
    """Only pictures with a tag that fits one of these patterns; empty means all pictures."""
    none: PatternList = ()
    """No picture with a tag that fits one of these."""
    skip: Literal["captioned", "captioned by a person", "nothing"] = "captioned"
    """Which pictures are passed over: those with any caption already, those with one of source "human", or
    none. Captions that this very run wrote before do not count."""
    way: Literal["random", "stratified", "fewest tags"] = "random"
    """Which come first: "random", by a draw for each picture by itself; "stratified", so that every tag gets
    the same part of its pictures or more; "fewest tags", those of which the least is known."""
    share: Annotated[float, Field(ge=0, le=1)] | None = None
    """Which share of what the filter leaves is chosen, 0 to 1. With neither ``share`` nor ``count`` it is the
    recipe's 0.12."""
    count: Annotated[int, Field(ge=1)] | None = None
    """At most so many pictures."""
    at_least: Annotated[int, Field(ge=0)] = 0
    """For "stratified": so many captioned pictures of every tag, also where that is more than ``share``; all
    of a tag that has fewer."""
    min_pictures: Annotated[int, Field(ge=1)] = 20
    """For "stratified": tags of fewer pictures than this do not count, else every misspelt tag is one."""
    strata: PatternList = ("*",)
    """For "stratified": only tags that fit one of these patterns count."""
    seed: int = 0
    """Another seed chooses other pictures."""

    @model_validator(mode="after")
    def _fits_the_way(self) -> ChooseConfig:
        given = self.model_fields_set & {"at_least", "min_pictures", "strata"}
        if given and self.way != "stratified":
            raise ValueError(f'{min(given)} only works with way = "stratified", way is "{self.way}"')
        return self

    @property
    def wanted(self) -> float:
        """The share, 0 to 1: as given, the recipe's, or all where only a number was given."""
        if self.share is not None:
            return self.share
        return _RECIPE if self.count is None else 1.0


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and of how many."""

    rows: tuple[int, ...]
    """The chosen rows, ascending."""
    seen: int
    """Pictures looked at."""
    left: int
    """Pictures that the filter left to choose from."""
    captioned: int
    """Pictures passed over because they have a caption."""


def choose(
    pictures: Iterable[tuple[int, Record]], config: ChooseConfig, *, own: str | None = None
) -> list[int]:
    """The rows of the pictures that get a caption, ascending; see `choice_of`."""
    return list(choice_of(pictures, config, own=own).rows)


def choice_of(
    pictures: Iterable[tuple[int, Record]], config: ChooseConfig, *, own: str | None = None
) -> Choice:
    """Choose among pictures, each a row and its record; they are gone through once.

    ``own`` is the source of the captions that this run writes: they do not count as captions, nor does it
    matter that an earlier start of the run has put some into the manifest.
    """
    field = _Field(config, own)
    for row, record in pictures:
        field.add(row, record)
    return field.choice()


class _Field:
    """What is remembered of the pictures that the filter leaves: 20 bytes each, and 4 a tag if stratified."""

    def __init__(self, config: ChooseConfig, own: str | None) -> None:
        self._config, self._own = config, own
        self._any, self._none = _patterns(config.any), _patterns(config.none)
        self._strata = _patterns(config.strata) if config.way == "stratified" else None
        self._rows, self._keys, self._sizes = array("q"), array("Q"), array("I")
        self._tags, self._numbers = array("I"), dict[str, int]()
        self._seen = self._captioned = 0

    def add(self, row: int, record: Record) -> None:
        """Look at a picture, and remember it if the filter leaves it."""
        self._seen += 1
        if self._any is not None and not self._any.among({tag.name for tag in record.tags}):
            return
        if self._none is not None and self._none.among({tag.name for tag in record.tags}):
            return
        if self._is_captioned(record):
            self._captioned += 1
            return
        folded = set(folded_names(record.tags)) if self._config.way != "random" else set()
        if self._strata is not None:
            folded = set(self._strata.among(folded))
            self._tags.extend([self._numbers.setdefault(name, len(self._numbers)) for name in folded])
        self._rows.append(row)
        self._keys.append(key_of(record.id))
        self._sizes.append(len(folded))

    def choice(self) -> Choice:
        """The pictures of the lowest priority."""
        rows = np.frombuffer(self._rows, dtype=np.int64)
        hashes = mixed(np.frombuffer(self._keys, dtype=np.uint64), self._config.seed)
        priorities = self._priorities(hashes)
        if self._config.way == "random":
            num = int((priorities < self._config.wanted).sum())
        else:
            num = max(round(self._config.wanted * len(rows)), int((priorities < 0).sum()))
        if self._config.count is not None:
            num = min(num, self._config.count)
        chosen = np.lexsort((hashes, priorities))[:num]
        return Choice(tuple(np.sort(rows[chosen]).tolist()), self._seen, len(rows), self._captioned)

    def _priorities(self, hashes: NDArray[np.uint64]) -> NDArray[np.float64]:
        """[N]: the lowest come first; those below 0 are chosen at any share."""
        way, sizes = self._config.way, np.frombuffer(self._sizes, dtype=np.uint32)
        if way == "random":
            return (hashes >> np.uint64(11)) / np.float64(1 << 53)  # Below 1, to the last bit.
        if way == "fewest tags":
            ranks = np.empty(len(sizes), dtype=np.float64)
            ranks[np.lexsort((hashes, sizes))] = np.arange(len(sizes))
            return ranks / max(len(sizes), 1)
        tags = np.frombuffer(self._tags, dtype=np.uint32)
        return lowest_ranks(
            hashes, sizes, tags, min_pictures=self._config.min_pictures, at_least=self._config.at_least
        )

    def _is_captioned(self, record: Record) -> bool:
        skip = self._config.skip
        return skip != "nothing" and any(
            piece.text.strip()
            and (piece.source == "human" if skip != "captioned" else piece.source != self._own)
            for piece in record.prose
        )


def _patterns(patterns: tuple[str, ...]) -> Patterns | None:
    return compile_patterns(patterns) if patterns else None
