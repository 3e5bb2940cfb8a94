"""Telling that a model repeats itself, from its tokens alone."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field


class LoopConfig(BaseModel):
    """When an answer that repeats itself is cut off: its end is one stretch of tokens, again and again."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    repeats: int = Field(default=4, ge=0)
    """How often the stretch must stand there in succession; below 2 no answer is ever cut off."""
    min_tokens: int = Field(default=32, ge=1)
    """How many tokens the repeated stretches must have together, so that "very, very, very big" passes."""
    max_period: int = Field(default=100, ge=1)
    """The longest stretch looked for, in tokens: about four sentences."""


def loop_period(tokens: Sequence[int], loop: LoopConfig) -> int | None:
    """The length of the stretch that ``tokens`` end in repeating, or None when they do not loop.

    >>> loop_period([7, 1, 2, 1, 2, 1, 2], LoopConfig(repeats=3, min_tokens=6))
    2
    """
    if loop.repeats < 2 or len(tokens) < loop.min_tokens:
        return None
    for period in range(1, min(loop.max_period, len(tokens) // loop.repeats) + 1):
        if tokens[-1] != tokens[-1 - period]:
            continue
        span = period * max(loop.repeats, -(-loop.min_tokens // period))
        if span <= len(tokens) and all(
            tokens[at] == tokens[at - period] for at in range(len(tokens) - span + period, len(tokens))
        ):
            return period
    return None
