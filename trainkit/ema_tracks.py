"""Averages of the weights over the run, kept beside the weights that are trained.

A *track* is one average. The tracks of Karras et al. 2023 (arXiv:2312.02696, section 3.1) are power functions
of time: after t samples the average is

    theta_hat(t) = integral over tau in [0, t] of p(tau; t) theta(tau)
    p(tau; t)    = (gamma+1) tau^gamma / t^(gamma+1)

Its width sigma_rel is the standard deviation of p as a share of t: a track of 0.05 looks back over about the
last tenth of the run, however long the run is. Such a track needs no warm-up curve of its
own, for the start of the run loses its weight by itself.

Time is samples seen. One optimizer step leads from t' = samples_seen - group to t = samples_seen, and the
weights after it hold over (t', t]. Splitting the integral at t' gives

    theta_hat(t) = beta theta_hat(t') + (1 - beta) theta,   beta = (t'/t)^(gamma+1) = (1 - group/t)^(gamma+1)

which is their update rule, here for steps of any size: a run whose batch changes half way is averaged right,
and the factor is a pure function of the run's clock. The first step has beta = 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainkit.errors import TrainkitError

_UNIFORM = 12**-0.5
"""sigma_rel of gamma = 0, the plain mean over the whole run."""

_Width = Annotated[float, Field(ge=0.001, le=0.288)]


@dataclass(frozen=True)
class PowerTrack:
    """The power-function average of relative width ``sigma_rel``."""

    sigma_rel: float

    @property
    def name(self) -> str:
        """What its files and the run file call it."""
        return f"{self.sigma_rel:.3f}"

    def beta(self, samples_seen: int, group: int) -> float:
        """The factor of the old average in the step of ``group`` samples that ends at ``samples_seen``."""
        return float((1 - group / samples_seen) ** (gamma_of(self.sigma_rel) + 1))

    def describe(self) -> dict[str, str]:
        """Its settings, as its files carry them."""
        return {"sigma_rel": repr(self.sigma_rel)}


@dataclass(frozen=True)
class ExponentialTrack:
    """The exponential average of factor ``decay`` per optimizer step, with diffusers' warm-up.

    After n steps the next one's factor is at most 1 - (1 + n)^(-warmup_power). With 2/3 that reaches 0.999
    after 31,600 steps and 0.9999 after 1,000,000; with 3/4 after 10,000 and 215,000.
    """

    decay: float
    warmup_power: float

    @property
    def name(self) -> str:
        """What its files and the run file call it."""
        return f"decay-{self.decay:g}"

    def beta(self, samples_seen: int, group: int) -> float:
        """The factor of the old average; n is samples_seen / group - 1, so that it needs only the clock."""
        return min(self.decay, 1 - float((samples_seen / group) ** -self.warmup_power))

    def describe(self) -> dict[str, str]:
        """Its settings, as its files carry them."""
        return {"decay": repr(self.decay), "warmup_power": repr(self.warmup_power)}


Track = PowerTrack | ExponentialTrack


class EmaConfig(BaseModel):
    """Averages of the weights. Off unless ``sigma_rel`` or ``decay`` is given."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    sigma_rel: tuple[_Width, ...] = ()
    """Relative widths of power-function tracks, such as [0.05, 0.10]; each costs 4 bytes per trained weight.
    Two of them with snapshots let ``trainkit ema`` make any other width after the run."""
    decay: float | None = Field(default=None, gt=0, lt=1)
    """One more track: the usual exponential average, this factor per optimizer step, such as 0.9999."""
    warmup_power: float = Field(default=0.75, gt=0, le=1)
    """Warm-up of the ``decay`` track: the factor is at most 1 - (1 + steps)^-warmup_power."""
    device: Literal["cpu", "device"] = "cpu"
    """Where the averages lie: "cpu" is main memory, "device" is beside the trained weights (faster)."""
    snapshot_every: int = Field(default=0, ge=0)
    """Samples seen between two snapshots of the power-function tracks, for ``trainkit ema``; 0 means none."""
    snapshot_dtype: Literal["float16", "float32"] = "float16"
    """Numbers in the snapshots. float16 takes half of the disk; docs/ema.md says what that costs."""

    shown: str | None = None
    """Name of the track whose weights previews, validation and the probe look at, such as "0.050" for a
    sigma_rel of 0.05; None looks at the trained weights."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = [track.name for track in self.tracks]
        if self.shown is not None and self.shown not in names:
            raise ValueError(f"shown is {self.shown!r}, must be one of the tracks: {names}")
        if len(set(names)) < len(names):
            raise ValueError(f"sigma_rel is {self.sigma_rel}; no two may agree to three decimals")
        if self.snapshot_every and not self.sigma_rel:
            raise ValueError(
                "snapshot_every needs power-function tracks; set sigma_rel, such as [0.05, 0.10]"
            )
        return self

    @property
    def tracks(self) -> tuple[Track, ...]:
        """All tracks, the power-function ones first."""
        power = tuple(PowerTrack(width) for width in self.sigma_rel)
        return power if self.decay is None else (*power, ExponentialTrack(self.decay, self.warmup_power))


def gamma_of(sigma_rel: float) -> float:
    """The exponent gamma >= 0 of a relative width in (0, 12^-0.5].

    With x = gamma + 2 the definition sigma_rel^2 = (gamma+1) / ((gamma+2)^2 (gamma+3)) is the cubic
    x^3 + x^2 - s x + s = 0, s = sigma_rel^-2. It has three real roots there, and the largest is the only one
    with gamma >= 0; it is written down by Viete's formula.
    """
    if not 0 < sigma_rel <= _UNIFORM:
        raise TrainkitError(f"sigma_rel is {sigma_rel}, must be greater than 0 and at most {_UNIFORM:.4f}")
    s = sigma_rel**-2
    p, q = -(s + 1 / 3), 2 / 27 + 4 * s / 3
    angle = math.acos(3 * q / (2 * p) * math.sqrt(-3 / p))
    return 2 * math.sqrt(-p / 3) * math.cos(angle / 3) - 1 / 3 - 2
