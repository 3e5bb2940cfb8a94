"""How wrong logits are about what is known of pictures.

Legend: B pictures, O outputs (labels, then "none of them" of groups), L labels; p = sigmoid(logit);
y 1 where a label is there. A picture's loss is the sum over its groups of the cross-entropy, plus the sum
over its single labels of the binary one, divided by how many single labels a picture has on average: neither
outweighs the other, however many labels there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from captionkit.record import fold
from trainkit.tagging.outputs import Outputs


class LossConfig(BaseModel):
    """What counts how much."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    kind: Literal["bce", "focal", "asymmetric"] = "bce"
    """Of single labels. "bce": binary cross-entropy. "focal" (Lin et al. 2017): what is right already counts
    less. "asymmetric" (Ridnik et al. 2021): the same, more strongly for labels that are not there, and not at
    all for those that the network is sure are not."""
    gamma: float = Field(default=2.0, ge=0, le=10)
    """Of "focal": the power of 1 - p. Of "asymmetric" that of labels which are not there; 4 in the paper."""
    gamma_present: float = Field(default=0.0, ge=0, le=10)
    """Of "asymmetric", for labels that are there; 0 or 1 in the paper."""
    margin: float = Field(default=0.05, ge=0, lt=1)
    """Of "asymmetric": p less than this of a label that is not there costs nothing."""
    positive_weight: Literal["none", "balanced"] = "none"
    """"balanced": a label that is there counts (pictures without it / pictures with it) times, and classes of
    a group by their rarity. Finds more of what is rare, and makes scores too high."""
    most_weight: float = Field(default=20.0, ge=1)
    """The most that "balanced" may weigh."""
    absent_is: float = Field(default=0.0, ge=0, lt=0.5)
    """Label smoothing towards "unknown": the chance that a tag is there although nobody wrote it. 0.05 to 0.1
    suits boards."""
    absent_weight: float = Field(default=1.0, ge=0, le=1)
    """How much a tag that nobody wrote counts beside one that somebody wrote; what a person has corrected
    always counts in full."""
    group_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of a group's truth that is spread over all of it (Szegedy et al. 2016)."""
    priors: dict[str, float] = {}
    """Positive-unlabelled learning (Kiryo et al. 2017, nnPU), by tag: the share of all pictures that truly
    have it. Pictures without the tag then are not ones that lack it, but ones of which nothing is known."""

    @model_validator(mode="after")
    def _priors_are_shares(self) -> Self:
        if wrong := next((tag for tag, prior in self.priors.items() if not 0 < prior < 1), None):
            raise ValueError(f"priors.{wrong} is {self.priors[wrong]}, must be between 0 and 1")
        return self


@dataclass(frozen=True)
class Truth:
    """What is known of a batch."""

    present_BL: Tensor
    """bool: the label is there."""
    certain_BL: Tensor
    """bool: a person said so, or that it is not."""
    unknown_BL: Tensor
    """bool: nothing is known in this draw (a picture without tags; a mirrored one and a label that knows left
    from right)."""


class TaggerLoss:
    """The loss of a run."""

    def __init__(
        self,
        config: LossConfig,
        outputs: Outputs,
        counts: NDArray[np.int64],
        pictures: int,
        judged: NDArray[np.int64] | None = None,
    ) -> None:
        """``counts`` [L] says how many of ``pictures`` have each label, ``judged`` [L] of how many that is
        known: of all, where it is None. Raises ValueError for a prior of no single label."""
        self.config, self.outputs = config, outputs
        self._singles = torch.from_numpy(outputs.singles)
        folded = {fold(outputs.labels[place].name): at for at, place in enumerate(outputs.singles.tolist())}
        self._priors = {folded[fold(tag)]: p for tag, p in config.priors.items() if fold(tag) in folded}
        if len(self._priors) < len(config.priors):
            lost = next(tag for tag in config.priors if fold(tag) not in folded)
            raise ValueError(f"loss.priors: {lost!r} is no tag that is learned by itself")
        mean_tags = counts[outputs.singles].sum() / max(pictures, 1)
        self._per_tag = 1.0 / max(1.0, float(mean_tags))
        ratio = ((pictures if judged is None else judged) - counts) / np.maximum(counts, 1)
        balanced = config.positive_weight == "balanced"
        weights = np.clip(ratio, 1.0 / config.most_weight, config.most_weight) if balanced else ratio * 0 + 1
        self._positive = torch.from_numpy(weights[outputs.singles].astype(np.float32))
        self._groups = [_Group(name, outputs, counts, config) for name in outputs.groups]

    def __call__(self, logits_BO: Tensor, truth: Truth) -> Tensor:
        """The loss of each picture, [B]."""
        logits = logits_BO.float()
        losses = logits.new_zeros(len(logits))
        for group in self._groups:
            losses = losses + group.loss(logits, truth)
        if len(self._singles):
            losses = losses + self._of_singles(logits, truth) * self._per_tag
        return losses

    def _of_singles(self, logits_BO: Tensor, truth: Truth) -> Tensor:
        at = self._singles.to(logits_BO.device)
        x = logits_BO[:, at]
        there, certain, unknown = (
            known[:, at] for known in (truth.present_BL, truth.certain_BL, truth.unknown_BL)
        )
        y = there.float()
        guessed = ~there & ~certain
        y = torch.where(guessed, torch.full_like(y, self.config.absent_is), y)
        element = self._element(x, y)
        weight = torch.where(guessed, self.config.absent_weight, 1.0)
        weight = weight * torch.where(there & ~certain, self._positive.to(x.device), 1.0)
        element = element * weight.masked_fill(unknown, 0.0)
        for place, prior in self._priors.items():
            column = nnpu(x[:, place], there[:, place], prior, certain[:, place], ~unknown[:, place])
            element = torch.cat([element[:, :place], column[:, None], element[:, place + 1 :]], dim=1)
        return element.sum(dim=1)

    def _element(self, x: Tensor, y: Tensor) -> Tensor:
        """The loss of each label, [B, L'], by a truth from 0 to 1."""
        config = self.config
        there, absent = F.softplus(-x), F.softplus(x)  # -log p and -log(1 - p).
        if config.kind == "focal":
            p = torch.sigmoid(x)
            there, absent = (1 - p) ** config.gamma * there, p**config.gamma * absent
        elif config.kind == "asymmetric":
            p = torch.sigmoid(x)
            shifted = (p - config.margin).clamp(min=0)
            there = (1 - p) ** config.gamma_present * there
            absent = -(shifted**config.gamma) * torch.log1p(-shifted.clamp(max=1 - 1e-6))
        return y * there + (1 - y) * absent


class _Group:
    """The cross-entropy within one group."""

    def __init__(self, name: str, outputs: Outputs, counts: NDArray[np.int64], config: LossConfig) -> None:
        self._places = torch.from_numpy(outputs.groups[name])
        self._outputs = torch.from_numpy(outputs.outputs_of(name))
        self._has_none = name in outputs.none_of
        self._config = config
        own = np.maximum(counts[outputs.groups[name]], 1)
        balanced = config.positive_weight == "balanced"
        weights = np.clip(own.mean() / own, 1 / config.most_weight, config.most_weight)
        self._weights = torch.from_numpy((weights if balanced else weights * 0 + 1).astype(np.float32))

    def loss(self, logits_BO: Tensor, truth: Truth) -> Tensor:
        """[B]; 0 where nothing is known of the group."""
        device = logits_BO.device
        places = self._places.to(device)
        log_p = logits_BO[:, self._outputs.to(device)].log_softmax(dim=1)
        there = truth.present_BL[:, places]
        denied = truth.certain_BL[:, places] & ~there
        number = there.sum(dim=1)

        # One of them is there: cross-entropy, the truth smoothed. Two that are there share it.
        share = there.float() / number.clamp(min=1)[:, None]
        smooth = self._config.group_smoothing
        certain = (truth.certain_BL[:, places] & there).any(dim=1)
        hard = -(share * log_p[:, : len(places)]).sum(dim=1)
        smoothed = (1 - smooth) * hard - smooth * log_p.mean(dim=1)
        weight = torch.where(certain, 1.0, (share * self._weights.to(device)).sum(dim=1))
        found = torch.where(certain, hard, smoothed) * weight

        # None is there: where that is a class of its own, that one; else only what a person denied is known.
        p_denied = (log_p[:, : len(places)].exp() * denied).sum(dim=1)
        not_those = -torch.log1p(-p_denied.clamp(max=1 - 1e-6))
        not_those = torch.where(denied.any(dim=1) & ~denied.all(dim=1), not_those, 0.0)
        lacking = not_those
        if self._has_none:
            none = -log_p[:, -1]
            lacking = torch.where(
                denied.all(dim=1),
                none,
                not_those + torch.where(denied.any(dim=1), 0.0, self._absent(none, log_p)),
            )
        losses = torch.where(number > 0, found, lacking)
        # A picture without tags, or a mirrored one of a group that knows left from right.
        return losses.masked_fill(truth.unknown_BL[:, places].any(dim=1), 0.0)

    def _absent(self, none: Tensor, log_p: Tensor) -> Tensor:
        """Nobody wrote any of the tags."""
        smooth = max(self._config.group_smoothing, self._config.absent_is)
        return self._config.absent_weight * ((1 - smooth) * none - smooth * log_p.mean(dim=1))


def nnpu(x: Tensor, labelled: Tensor, prior: float, certain: Tensor, known: Tensor) -> Tensor:
    """The non-negative risk of Kiryo et al. (2017), equation 6 and algorithm 1 (beta 0, gamma 1), of one
    label, as a part for each picture, [B]; the sum over pictures is B times the risk.

    R = prior E_P[l(x, 1)] + max(0, E_U[l(x, 0)] - prior E_P[l(x, 0)]) with the logistic loss. Labelled
    pictures are among the unlabelled ones: they were found among all. Of what a person denied, l(x, 0) is
    added in full. Expectations are over the pictures of this micro-batch.
    """
    present = (labelled & known).float()
    every = known.float()
    denied = (certain & ~labelled & known).float()
    num_present, num_all = present.sum().clamp(min=1), every.sum().clamp(min=1)
    positive = prior * present * F.softplus(-x) / num_present
    negative = every * F.softplus(x) / num_all - prior * present * F.softplus(x) / num_present
    # Where the risk of the negatives falls under 0 the network overfits: one step back.
    part = torch.where(negative.sum() >= 0, positive + negative, -negative)
    return len(x) * part + denied * F.softplus(x)
