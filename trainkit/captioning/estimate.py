"""What a whole run will take, by what the first captions took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainkit.captioning.meter import Meter, duration


@dataclass(frozen=True, slots=True)
class Estimate:
    """Time and money."""

    captions: int
    """Of the whole run."""
    asked: int
    """From which the rest is estimated."""
    seconds: float
    """For all."""
    tokens_in: int
    """Of all prompts and pictures; 0 when unknown."""
    tokens_out: int
    cost: float | None
    """In the currency of the prices; None without prices."""

    @classmethod
    def of(cls, meter: Meter, captions: int, backend: Any) -> Estimate:
        """By what a meter has seen; of a server's prices if it has any."""
        part = captions / max(meter.asked, 1)
        tokens_in, tokens_out = round(meter.tokens_in * part), round(meter.tokens_out * part)
        return cls(
            captions,
            meter.asked,
            meter.seconds * part if meter.asked else 0.0,
            tokens_in,
            tokens_out,
            cost_of(backend, tokens_in, tokens_out),
        )
