"""The objective: what the network must predict, how wrong it is, and how much each timestep counts.

Weights are written for the loss on the network's own output and in closed form, without a division by S =
SNR, so that the terminal step (S = 0) is finite with finite gradients. With S the SNR and g gamma:

                   x0-weight       of a v-loss            of an epsilon loss
    none           S + 1 | S       1                      1
    min_snr        min(S, g)       min(S, g) / (S + 1)    min(1, g / S)       Hang et al. 2023, 2303.09556
    soft_min_snr   S g / (S + g)   S g / (S + g) / (S+1)  g / (S + g)         Crowson et al. 2024, 2401.11605
    debiased       1 | sqrt(S)     1 / (S + 1)            1 / sqrt(S)         Yu et al. 2023, 2310.08442

since |v - v'|^2 = (S + 1) |x0 - x0'|^2 and |eps - eps'|^2 = S |x0 - x0'|^2 (Salimans & Ho 2022). In
soft-min-SNR g = sigma_data^-2.

"debiased" is two conventions under one name, not one weight: the paper's is 1 / sqrt(S) for an epsilon loss,
which through x0 would be sqrt(S) / (S + 1) for v; what the best-known trainer does for v is 1 / (S + 1), an
x0-weight of 1, and that is what stands here. OneTrainer's for v is 1 / sqrt(S + 1), a third one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from trainkit.errors import TrainkitError
from trainkit.schedule import NoiseSchedule
from trainkit.timesteps import TimestepConfig

Prediction = Literal["v_prediction", "epsilon"]


class ObjectiveConfig(BaseModel):
    """What the network learns to predict and how the error is weighted."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    prediction: Prediction = "v_prediction"
    """What the network predicts. A base model of either kind can be continued as v_prediction."""
    weighting: Literal["none", "min_snr", "soft_min_snr", "debiased"] = "soft_min_snr"
    """Loss weight over timesteps; see the module's table."""
    gamma: float = Field(default=3.0, gt=0)
    """gamma of both min-SNR weights; the hyperfusion recipe uses 3, the min-SNR paper 5."""
    snr_source: Literal["rescaled", "original"] = "rescaled"
    """Which SNR the weights see. "original" is what the best-known trainer does: it fills its table before
    the zero-terminal rescale, so steps t >= 900 get 0.33 to 0.46 % of the weight instead of 0.04 to 0.05
    %."""
    weight_floor: float = Field(default=0.05, ge=0, le=1)
    """No timestep counts less than this. Without a floor min-SNR gives the terminal step weight 0, and a
    model may never learn pure black and white pictures. 0 turns it off. Ignored by weighting = "none"."""
    timesteps: TimestepConfig = TimestepConfig()
    """Which timesteps are drawn, and how they are spread over the samples of an optimizer step."""
    ip_noise_gamma: float = Field(default=0.02, ge=0, le=1)
    """Input perturbation (Ning et al. 2023, arXiv:2301.11706): this much extra noise in the network's input
    and none of it in the target. The recipe's 0.02 changes the input's variance by 0.04 %."""
    ip_noise_random_strength: bool = False
    """Draw the strength of every sample evenly from 0 to ``ip_noise_gamma``. The best-known trainer's option
    of this name draws one strength for a whole batch."""


def loss_weights(config: ObjectiveConfig, schedule: NoiseSchedule) -> Tensor:
    """The weight of every timestep for the configured prediction, shape [T], float64, finite everywhere.

    Raises TrainkitError where there is no finite one: debiased epsilon loss at zero SNR.
    """
    S = schedule.snr if config.snr_source == "rescaled" else schedule.snr_original
    g = config.gamma
    v = config.prediction == "v_prediction"
    match config.weighting:
        case "none":
            return torch.ones_like(S)
        case "min_snr":
            # min(S, g) / S is written min(1, g / S), and g / 0 = inf is harmless inside the minimum.
            weight = S.clamp(max=g) / (S + 1) if v else (g / S).clamp(max=1.0)
        case "soft_min_snr":
            weight = S * g / ((S + g) * (S + 1)) if v else g / (S + g)
        case "debiased":
            weight = 1 / (S + 1) if v else S.rsqrt()
    if not torch.isfinite(weight).all():
        raise TrainkitError(
            'objective.weighting = "debiased" divides an epsilon loss by the square root of the SNR, which '
            "is zero at the last timestep; set schedule.zero_terminal_snr = false or "
            'objective.prediction = "v_prediction"'
        )
    return weight.clamp(min=config.weight_floor)


def target_of(
    config: ObjectiveConfig, schedule: NoiseSchedule, x0: Tensor, eps: Tensor, t_B: Tensor
) -> Tensor:
    """What the network must predict, float32; made of the clean noise only."""
    return schedule.velocity(x0, eps, t_B) if config.prediction == "v_prediction" else eps.float()


def per_sample_error(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared error of every sample, shape [B], float32.

    With a mask [B, 1, h, w] in [0, 1] it is the mean over the mask: sum(mask error^2) / sum(mask) over pixels
    and channels. Divided by the mask's own area, half a mask does not halve the loss, as it does in the
    best-known trainer, which divides by the picture's area. A mask of nothing gives 0.
    """
    error = (prediction.float() - target.float()).square()
    if mask is None:
        return error.flatten(1).mean(dim=1)
    mask = mask.to(error).expand_as(error)
    area_B = mask.flatten(1).sum(dim=1)
    return (error * mask).flatten(1).sum(dim=1) / torch.where(area_B > 0, area_B, 1.0)


@dataclass(frozen=True, slots=True)
class Losses:
    """What one micro-batch says on one device."""

    total: Tensor
    """Sum of the weighted losses of the samples; the scalar to backpropagate."""
    unweighted_B: Tensor
    """Plain mean squared error of each sample (inside its mask), [B], float32, detached, on the device."""
    counted_B: Tensor
    """[B]: 1, or 0 for a sample that says nothing: weight 0 or a mask of nothing."""
    t_B: Tensor
    """Timestep of each sample, [B], int64, on the CPU."""

    def deciles(self, num_timesteps: int) -> Tensor:
        """Sum and number of the unweighted losses in each tenth of the timesteps; see decile_sums."""
        return decile_sums(self.t_B, self.unweighted_B, self.counted_B, num_timesteps)


def decile_sums(t_B: Tensor, unweighted_B: Tensor, weight_B: Tensor | None, num_timesteps: int) -> Tensor:
    """[2, 10], float32, on the losses' device: their sum, and how many there are, in each tenth of the
    timesteps.

    A sample of weight 0 does not count; any other counts whole. Two results add up, over micro-batches and
    over devices. Nothing waits for the device.
    """
    device = unweighted_B.device
    decile_B = (t_B * 10 // num_timesteps).to(device, non_blocking=True)
    member = torch.nn.functional.one_hot(decile_B, 10).float()
    if weight_B is not None:
        member = member * (weight_B.to(device, non_blocking=True) > 0)[:, None]
    # A blank may have any loss; where() keeps what does not count out even if it is not finite.
    losses = torch.where(member > 0, unweighted_B.float()[:, None], 0.0)
    return torch.stack([losses.sum(dim=0), member.sum(dim=0)])


def decile_entries(sums: Tensor, config: ObjectiveConfig, num_timesteps: int) -> dict[str, float]:
    """Mean unweighted loss of each tenth of the timesteps that had samples, by the tenth's first timestep:
    ``{"v_loss_t000": ..., "v_loss_t900": ...}`` with T = 1000; ``eps_loss_...`` for epsilon models."""
    name = "v" if config.prediction == "v_prediction" else "eps"
    total, count = sums.tolist()
    return {
        f"{name}_loss_t{-(-decile * num_timesteps // 10):03d}": total[decile] / count[decile]
        for decile in range(10)
        if count[decile] > 0
    }
