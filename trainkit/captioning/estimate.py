"""What a whole run will take, by what the first captions took."""

from __future__ import annotations

from dataclasses import dataclass

from trainkit.captioning.config import CaptionConfig
from trainkit.captioning.meter import Meter, duration
from trainkit.captioning.server import ServerConfig


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
    def of(cls, meter: Meter, captions: int, config: CaptionConfig) -> Estimate:
        """By what a meter has seen; of a server's prices if it has any."""
        part = captions / max(meter.asked, 1)
        tokens_in, tokens_out = round(meter.tokens_in * part), round(meter.tokens_out * part)
        return cls(
            captions,
            meter.asked,
            meter.seconds * part if meter.asked else 0.0,
            tokens_in,
            tokens_out,
            cost_of(config, tokens_in, tokens_out),
        )

    def figures(self) -> list[tuple[str, str]]:
        """For the top of a page: a figure and what it is."""
        if not self.asked:
            return []
        each = self.seconds / max(self.captions, 1)
        told = [
            (duration(self.seconds), f"for {self.captions:,} captions, at {1 / max(each, 1e-9):.2f} a second")
        ]
        if self.tokens_out:
            told.append((f"{self.tokens_out / max(self.captions, 1):.0f}", "tokens a caption"))
        if self.cost is not None:
            told.append((money(self.cost), "by the server's prices"))
        return told

    def describe(self) -> str:
        """In a line."""
        if not self.asked:
            return "no answer came, so that nothing can be estimated"
        told = f"all {self.captions:,} captions would take about {duration(self.seconds)}"
        if self.tokens_in or self.tokens_out:
            told += f", {amount(self.tokens_in)} tokens read and {amount(self.tokens_out)} written"
        return told + (f", a price of {money(self.cost)}" if self.cost is not None else "")


def cost_of(config: CaptionConfig, tokens_in: int, tokens_out: int) -> float | None:
    """What so many tokens cost; None where there are no prices."""
    backend = config.backend
    return backend.cost(tokens_in, tokens_out) if isinstance(backend, ServerConfig) else None


def amount(count: int) -> str:
    """A number in words.

    >>> amount(950), amount(12_345), amount(45_600_000)
    ('950', '12,345', '45.6 million')
    """
    return f"{count:,}" if count < 1_000_000 else f"{count / 1e6:,.1f} million"


def money(cost: float) -> str:
    """A price; small ones with their first digits."""
    return f"{cost:,.2f}" if cost >= 1 else f"{cost:.2g}"
