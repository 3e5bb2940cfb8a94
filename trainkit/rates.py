"""Learning rates and what is frozen: pure functions of the samples seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Shape = Literal["linear", "constant", "cosine"]


class Moment(BaseModel):
    """A point of the run, in passes over the data or in samples seen; one of the two is given."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    epochs: float | None = Field(default=None, ge=0)
    """Passes over the data since the start of the run; one pass is as many samples as there are pictures."""
    samples: int | None = Field(default=None, ge=0)
    """Samples seen since the start of the run."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.epochs is None) == (self.samples is None):
            raise ValueError("give either epochs or samples, such as { epochs = 10 }")
        return self

    def at(self, epoch_samples: int) -> float:
        """This point in samples seen, where one pass over the data has ``epoch_samples``."""
        return float(self.samples) if self.samples is not None else (self.epochs or 0.0) * epoch_samples


class RateStep(Moment):
    """From this moment on the rate is multiplied by ``factor``, in place of any earlier step's."""

    factor: float = Field(ge=0)
    """0.1 turns 1e-6 into 1e-7."""


class PartConfig(BaseModel):
    """How one part (the UNet, the text encoder) is trained where it differs from the rest of ``optim``."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    schedule: Shape | None = None
    """In place of optim.schedule."""
    warmup_samples: int | None = Field(default=None, ge=0)
    """In place of optim.warmup_samples."""
    steps: tuple[RateStep, ...] = ()
    """Sudden changes of the rate, such as [{ epochs = 10, factor = 0.1 }]."""
    weight_decay: float | None = Field(default=None, ge=0)
    """In place of optim.weight_decay."""
    layers: tuple[str, ...] = ("*",)
    """Which weights are trained, as patterns over their names inside the part, such as "*.attn2.*"; the
    others stay as they are."""
    freeze_until: Moment | None = None
    """Before this moment the part stays as it is."""
    freeze_after: Moment | None = None
    """From this moment on the part stays as it is."""

    @model_validator(mode="after")
    def _steps_ascend(self) -> Self:
        for kind in ("epochs", "samples"):
            places = [getattr(step, kind) for step in self.steps if getattr(step, kind) is not None]
            if places != sorted(set(places)):
                raise ValueError(f"steps must ascend, got {kind} {places}")
        return self

    def is_frozen(self, samples_seen: int, epoch_samples: int) -> bool:
        """Whether the part stays as it is in the step that begins after ``samples_seen``."""
        early = self.freeze_until is not None and samples_seen < self.freeze_until.at(epoch_samples)
        late = self.freeze_after is not None and samples_seen >= self.freeze_after.at(epoch_samples)
        return early or late


@dataclass(frozen=True, slots=True)
class Clock:
    """Where a run stands: everything that learning rates depend on."""

    samples_seen: int
    """Samples seen before the step."""
    start: int
    """Samples seen where the schedule begins: 0, or the phase's first sample with optim.span = "phase"."""
    length: int
    """Samples over which the schedule runs."""
    epoch_samples: int
    """Samples of one pass over the data: the number of pictures."""


def rate_factor(shape: Shape, warmup_samples: int, steps: tuple[RateStep, ...], clock: Clock) -> float:
    """What a base learning rate is multiplied by: schedule x warm-up x the last step that has been reached.

    >>> half = Clock(samples_seen=50, start=0, length=100, epoch_samples=10)
    >>> rate_factor("linear", 0, (RateStep(epochs=4, factor=0.1),), half)
    0.05
    """
    since = clock.samples_seen - clock.start
    done = min(1.0, max(0.0, since / clock.length))
    warm = min(1.0, since / warmup_samples) if warmup_samples else 1.0
    reached = [(place, s.factor) for s in steps if (place := s.at(clock.epoch_samples)) <= clock.samples_seen]
    factor = max(reached)[1] if reached else 1.0
    return factor * warm * _shape(shape, done)


def _shape(shape: Shape, done: float) -> float:
    match shape:
        case "constant":
            return 1.0
        case "linear":
            return 1.0 - done
        case "cosine":
            return 0.5 + 0.5 * math.cos(math.pi * done)
