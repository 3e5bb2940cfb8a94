"""How long captions are."""

from __future__ import annotations

from collections.abc import Mapping
from types import MethodType

from captionkit.pipeline import CaptionPipeline
from captionkit.render import estimate_tokens
from captionkit.stats.result import Lengths, Share

CHUNK = 75
"""Tokens that a text encoder of Stable Diffusion takes at once, begin and end marks not counted."""
PERCENTS = (0, 5, 25, 50, 75, 95, 100)
MOST_BINS = 40
_WIDTHS = (1, 3, 5, 15, 25, 75, 150, 375, 750)
"""Widths of bins whose borders are those of the chunks too."""


def lengths(tokens: Mapping[int, int], pipeline: CaptionPipeline) -> Lengths:
    """The figures of captions by their number of tokens: (tokens, captions)."""
    total, ordered = sum(tokens.values()), sorted(tokens.items())
    counter = pipeline.counter
    chunks: dict[int, int] = {}
    for number, captions in ordered:
        needed = max(1, -(-number // CHUNK))
        chunks[needed] = chunks.get(needed, 0) + captions
    return Lengths(
        percentiles=tuple((percent, percentile(tokens, percent)) for percent in PERCENTS),
        mean=sum(number * captions for number, captions in ordered) / total if total else 0.0,
        chunks=tuple((needed, Share(captions, total)) for needed, captions in chunks.items()),
        histogram=_histogram(ordered),
        counter="estimate" if counter is estimate_tokens else _name(counter),
    )


def percentile(tokens: Mapping[int, int], percent: float) -> int:
    """The smallest number that so many percent of the captions do not exceed; 0 for no captions.

    >>> percentile({2: 50, 9: 50}, 50), percentile({2: 50, 9: 50}, 51)
    (2, 9)
    """
    wanted, seen = percent / 100 * sum(tokens.values()), 0
    for number in sorted(tokens):
        seen += tokens[number]
        if seen >= wanted:
            return number
    return 0


def _histogram(ordered: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    longest = ordered[-1][0] if ordered else 0
    width = next((width for width in _WIDTHS if longest // width < MOST_BINS), longest // MOST_BINS + 1)
    bins = [0] * (longest // width + 1)
    for number, captions in ordered:
        bins[number // width] += captions
    return tuple((at * width, captions) for at, captions in enumerate(bins))


def _name(counter: object) -> str:
    """What a counter is called: a method by its class, as `WordMemory`."""
    if isinstance(counter, MethodType):
        return type(counter.__self__).__name__
    return str(getattr(counter, "__qualname__", type(counter).__name__))
