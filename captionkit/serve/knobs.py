"""What can be moved on the page: every rate and weight of a recipe, and both ends of every range."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from captionkit.compare.settings import settings_of
from captionkit.pipeline import CaptionPipeline


@dataclass(frozen=True, slots=True)
class Knob:
    """One number that can be moved."""

    address: str
    """As `with_settings` takes it."""
    end: int | None
    """0 for the lower end of a range, 1 for the upper one; None for a single number."""
    value: float
    """What the recipe says."""
    most: float
    """1 for a rate; more for a weight, which may be larger."""

    @property
    def label(self) -> str:
        """What stands beside it."""
        said = self.address.replace("#0", "")
        return said if self.end is None else f"{said}, {'up to' if self.end else 'from'}"


def knobs(pipeline: CaptionPipeline) -> tuple[Knob, ...]:
    """All of them, in the order of the recipe. What follows a curve is not among them."""
    return tuple(_knobs(pipeline))


def _knobs(pipeline: CaptionPipeline) -> Iterator[Knob]:
    rates = pipeline.rates()
    for address, written in settings_of(pipeline):
        value = rates.get(address)
        if isinstance(value, float):
            yield Knob(address, None, value, _most(value))
        elif _is_range(address, written):
            for end, one in enumerate(written):
                yield Knob(address, end, float(one), _most(float(one)))


def _is_range(address: str, written: Any) -> bool:
    pair = isinstance(written, list | tuple) and len(written) == 2
    return address.endswith("_range") and pair and all(isinstance(one, int | float) for one in written)


def _most(value: float) -> float:
    return 1.0 if value <= 1.0 else 2.0 * value


def moved(pipeline: CaptionPipeline, all_knobs: Sequence[Knob], values: Sequence[float]) -> CaptionPipeline:
    """The pipeline with the knobs at these values. `RecipeError` for values that do not go together."""
    return pipeline.with_settings(_settings(all_knobs, values))


def _settings(all_knobs: Sequence[Knob], values: Sequence[float]) -> Mapping[str, Any]:
    settings: dict[str, Any] = {}
    ranges: dict[str, list[float]] = {}
    changed: set[str] = set()
    for knob, value in zip(all_knobs, values, strict=True):
        if float(value) != knob.value:
            changed.add(knob.address)
        if knob.end is None:
            settings[knob.address] = float(value)
        else:
            ranges.setdefault(knob.address, []).append(float(value))
    settings |= {address: tuple(ends) for address, ends in ranges.items()}
    return {address: value for address, value in settings.items() if address in changed}
