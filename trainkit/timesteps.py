"""Which timesteps are drawn: how often each, and how the draws of one optimizer step are spread.

``uniform`` draws every timestep equally often and leaves it to the loss weights what counts. The two other
distributions put the work where the loss weight would be, by their density in lambda = log S, the log of the
signal-to-noise ratio:

    laplace        lambda ~ Laplace(location, scale)   (Hang et al. 2024, arXiv:2407.03297; there 0 and 0.5)
    logit_normal   lambda ~ Normal(location, scale)

The second is what flow matching calls logit-normal (Esser et al. 2024, arXiv:2403.03206): with
x_t = (1 - t) x_0 + t eps the SNR is ((1 - t) / t)^2, so lambda = -2 logit(t), and logit(t) ~ Normal(m, s) is
lambda ~ Normal(-2 m, 2 s). Stable Diffusion 3's m = 0, s = 1 is therefore location 0, scale 2 here.

A drawn density is importance sampling and takes the place of a loss weight: combine it with
``objective.weighting = "none"``. With both, a timestep counts by the product of the two, which is neither.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from trainkit.draws import generator
from trainkit.schedule import NoiseSchedule

_SCALES = {"laplace": 0.5, "logit_normal": 2.0}


class TimestepConfig(BaseModel):
    """How timesteps are drawn. With anything but "uniform", set ``objective.weighting = "none"``: the density
    is there instead of a loss weight, and both together count twice."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    distribution: Literal["uniform", "laplace", "logit_normal"] = "uniform"
    """Uniform over timesteps, or a density over log-SNR; see the module."""
    location: float = 0.0
    """Middle of the density over log-SNR; 0 is where signal and noise are equally strong (t = 337 in Stable
    Diffusion 1.5 with zero terminal SNR). Ignored by "uniform"."""
    scale: float | None = Field(default=None, gt=0)
    """Laplace: its scale b; logit_normal: standard deviation of log-SNR. None takes the papers' 0.5 and 2.
    Ignored by "uniform"."""
    terminal_share: float = Field(default=0.02, ge=0, lt=1)
    """Share of all draws that goes to the last timestep where its SNR is zero: log-SNR is minus infinity
    there, so a density gives it nothing and it would never be trained. The default is our own choice: about
    what the default weight_floor gives the last hundred timesteps under min-SNR weights (1.9 %), which a
    Laplace density hardly ever draws (4 in a million). Ignored by "uniform", which draws the last timestep
    once in T, and by schedules whose last SNR is not zero."""
    stratified: bool = True
    """Spread the draws of one optimizer step (all devices, all micro-batches) evenly over the distribution;
    false draws each by itself."""

    @property
    def spread(self) -> float:
        """The scale with the default filled in; 1 for "uniform", which has none."""
        return self.scale if self.scale is not None else _SCALES.get(self.distribution, 1.0)


def timestep_probabilities(config: TimestepConfig, schedule: NoiseSchedule) -> Tensor:
    """How often each timestep is drawn, shape [T], float64, sum 1.

    A timestep gets the mass of the density between the middles of log-SNR to its neighbours; the first and
    the last with an SNR get the tails as well.
    """
    T = schedule.num_timesteps
    if config.distribution == "uniform":
        return torch.full((T,), 1.0 / T, dtype=torch.float64)
    terminal = bool(schedule.snr[-1] == 0)
    log_snr = schedule.snr[: T - 1 if terminal else T].log()
    middles = (log_snr[:-1] + log_snr[1:]) / 2
    below = _cumulative(config, middles)  # Falls with t, as the SNR does.
    p = -torch.cat([below.new_ones(1), below, below.new_zeros(1)]).diff()
    if terminal:
        share = config.terminal_share
        p = torch.cat([p * (1.0 - share), p.new_full((1,), share)])
    return p


def _cumulative(config: TimestepConfig, log_snr: Tensor) -> Tensor:
    """P(lambda <= log_snr) under the configured density."""
    x = (log_snr - config.location) / config.spread
    if config.distribution == "laplace":
        tail = 0.5 * torch.exp(-x.abs())
        return torch.where(x < 0, tail, 1.0 - tail)
    return 0.5 * torch.erfc(-x / 2**0.5)


def draw_timesteps(config: TimestepConfig, probabilities: Tensor, seed: int, step: int, group: int) -> Tensor:
    """The timesteps of one optimizer step, shape [group], int64; ``probabilities`` [T] are the config's.

    ``group`` is the number of samples of the whole accumulated batch over all devices. Stratified, the unit
    interval is cut into ``group`` strata with one common random shift (Kingma et al. 2021, arXiv:2107.00630),
    the strata are dealt to the samples in random order, and each goes through the inverse of the cumulative
    distribution. Each timestep by itself has its probability, and any range of timesteps comes up within one
    of its expected number in every step. That brings the standard deviation of the mean min-SNR weight of 256
    uniform samples from 0.0145 to 0.00001.
    """
    rng = generator(seed, "timesteps", step)
    if config.stratified:
        u0 = torch.rand((), generator=rng, dtype=torch.float64)
        strata = torch.randperm(group, generator=rng).double() / group
        u = (u0 + strata) % 1.0
    else:
        u = torch.rand(group, generator=rng, dtype=torch.float64)
    T = len(probabilities)
    if config.distribution == "uniform":
        return (u * T).long().clamp(max=T - 1)
    cumulative = probabilities.cumsum(0)
    # Exactly 1 at the end, so that no rounding reaches a timestep of probability 0.
    t = torch.searchsorted(cumulative / cumulative[-1], u, right=True)
    return t.clamp(max=T - 1)
