"""The figures of `captionkit stats`, as values: what lint, report, diff and JSON are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass

Z95 = 1.959963984540054
"""The normal distribution's two-sided 95 % point."""


@dataclass(frozen=True, slots=True)
class Share:
    """How many of how many. A share over drawn captions has an interval; one that was counted has none."""

    hits: int
    of: int
    exact: bool = False
    """Counted over everything there is, not over a sample."""
    spread: float = 1.0
    """By how much the variance is above that of independent draws: the draws of one record are alike
    (`captionkit.stats.spread`). Never below 1."""

    @property
    def value(self) -> float:
        """Between 0 and 1; 0 of nothing."""
        return self.hits / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true share lies in 95 cases of 100 (Wilson 1927, without continuity correction), for as
        many independent draws as tell as much as these (Kish 1965: their number, divided by `spread`)."""
        if self.exact:
            return self.value, self.value
        if not self.of:
            return 0.0, 1.0
        p, n, z2 = self.value, self.of / self.spread, Z95 * Z95
        middle = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        # At the ends the formula gives them exactly, but for rounding.
        low = middle - half if self.hits else 0.0
        high = middle + half if self.hits < self.of else 1.0
        return max(0.0, low), min(1.0, high)


@dataclass(frozen=True, slots=True)
class Alone:
    """How often a tag stands without any of the tags that it implies."""

    implies: tuple[str, ...]
    before: Share
    """Of the records that have the tag."""
    after: Share
    """Of the trained captions that say it."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The tag that comes most often with a tag, and how often it does. What the tag implies does not count:
    `Alone` tells of that. Of two that come equally often, the more frequent one."""

    name: str
    before: Share
    """Of the records that have the tag."""
    after: Share
    """Of the trained captions that say it."""


@dataclass(frozen=True, slots=True)
class TagStats:
    """One tag, by its folded name (no case, `_` as a space)."""

    name: str
    category: str | None
    """The commonest of its categories."""
    count: int
    """In how many records it is."""
    data: Share
    """Of all records."""
    trained: Share
    """Of all trained captions that say it, whatever their records."""
    kept: Share
    """Of the trained captions whose record has it, those that say it."""
    important: bool
    alone: Alone | None
    """None for a tag that implies nothing."""
    neighbour: Neighbour | None
    """None for a tag that no other comes with."""
    becomes: str | None = None
    """What the recipe's `rename_tags` and `prefix_tags` call it; None for a tag that they leave."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long trained captions are."""

    percentiles: tuple[tuple[int, int], ...]
    """(percent, tokens): 0, 5, 25, 50, 75, 95 and 100."""
    mean: float
    chunks: tuple[tuple[int, Share], ...]
    """(number of chunks of 75 tokens, share of the captions), ascending; an empty caption takes one."""
    histogram: tuple[tuple[int, int], ...]
    """(first number of tokens of a bin, captions in it), ascending, every bin of one width."""
    counter: str
    """What counted the tokens: "estimate", or the name of the caller's counter."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What the token budget cut away."""

    max_tokens: int | None
    cut: Share
    """Of the trained captions, those that lost something to it."""
    tags_lost: int
    sentences_lost: int
    """In all drawn captions together."""
    most_lost: tuple[tuple[str, int], ...]
    """The tags that were cut most often."""
    examples: tuple[str, ...] = ()
    """Ids of a few records of which a caption was cut."""


@dataclass(frozen=True, slots=True)
class Flips:
    """What may be mirrored."""

    may: Share
    """Of all records, exact."""
    forbidden_by: tuple[tuple[str, Share], ...]
    """(pattern, or what else forbids it; share of all records), most frequent first; counted by the first
    pattern that forbids."""
    mirrored: Share
    """Of the trained captions."""


@dataclass(frozen=True, slots=True)
class Unmatched:
    """Something in the recipe that nothing in the data answers to: often a typo."""

    where: str
    """The field: `flip.no_flip`, `important#0.tags`, `rename_tags#0.aliases`."""
    what: str
    near: tuple[str, ...]
    """What may have been meant: tags of the data that are nearly spelled so; for a pattern with `*` patterns
    that match; for `name=value` values of this fact; for a category or a source others of the data."""
    kind: str = "pattern"
    """What it is: "pattern", "tag", "fact" ... (`captionkit.stats.mentions.Answer`)."""


@dataclass(frozen=True, slots=True)
class Typo:
    """A rare tag that looks like a frequent one."""

    name: str
    count: int
    meant: str
    meant_count: int
    score: float = 0.0
    """How likely it is a typo: the logarithm (base 10) of how many times as frequent the other is, less what
    its kind takes off (`captionkit.stats.typos`). From 2 on most likely."""


@dataclass(frozen=True, slots=True)
class Oddity:
    """Something about the data that often is a mistake."""

    kind: str
    """What, one of those in `captionkit.stats.oddities`."""
    share: Share
    """Of the records, of the captions, or of all tags on all records."""
    examples: tuple[str, ...]
    """A few ids of records, tags, or beginnings of captions: which of them, the kind says."""


@dataclass(frozen=True, slots=True)
class Stats:
    """Everything that is known about one recipe over one set of data."""

    recipe: str
    data: str
    seed: int
    epoch: int
    samples: int
    """How many samples the run has seen, for what follows over = samples."""
    changes: bool
    """Whether the recipe changes over the run, so that other epochs and samples give other figures."""
    num_records: int
    num_repeated: int
    """Those of them that kohya takes several times in an epoch (fact `kohya.num_repeats` above 1). Each
    counts once in all figures."""
    num_skipped: int
    num_without_tags: int
    num_without_prose: int
    num_sampled: int
    """Over how many records captions were drawn."""
    draws: int
    """How many of each."""
    tags: tuple[TagStats, ...]
    """By their number of records, most frequent first, then by name; behind those of the data, with a count
    of 0, what the recipe adds."""
    num_tags: int
    """How many different tags the data has, those counted that `tags` leaves out."""
    sources: tuple[tuple[str, Share], ...]
    """(`Source` as a string, share of the trained captions), most frequent first."""
    empty: Share
    """Trained captions without any text."""
    lengths: Lengths
    budget: Budget
    flips: Flips
    unmatched: tuple[Unmatched, ...]
    typos: tuple[Typo, ...]
    oddities: tuple[Oddity, ...] = ()
    """By kind; those that do not occur are left out."""
    openings: tuple[tuple[str, Share], ...] = ()
    """(first three words, share of the trained captions that hold sentences), most frequent first; those of
    one caption alone are left out."""
    num_tags_on_records: int = 0
    """The tags of all records together."""
    categories: tuple[tuple[str | None, int], ...] = ()
    """(category, tags on records), most frequent first."""
    prose_sources: tuple[tuple[str, int], ...] = ()
    """(source of captions, captions), most frequent first."""
    skipped: tuple[str, ...] = ()
    """What was wrong with the first records that could not be read, and where."""
