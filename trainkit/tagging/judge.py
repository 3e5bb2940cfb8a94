"""How good a network is on held-out pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from trainkit.tagging.calibration import fit_sigmoid, fit_softmax
from trainkit.tagging.measure import average_precision
from trainkit.tagging.outputs import Outputs, Temperatures, sigmoid, softmax
from trainkit.tagging.source import TaggerSource
from trainkit.tagging.training_data import TrainingData


@dataclass(frozen=True)
class Verdict:
    """What was found on held-out pictures."""

    pictures: int
    mean_average_precision: float
    """Over labels that a held-out picture has, those in groups too; NaN where there are none. Pictures of
    which it is not known whether they have a label do not count for it."""
    accuracy: float
    """Mean over groups; NaN where there are none."""
    by_group: dict[str, float]
    """Share of the pictures of which exactly one tag of the group is known (or none, where that may be) whose
    first choice is right."""
    majority: dict[str, float]
    """The same, of who always says what is most frequent among these very pictures."""

    def metric(self, name: str, outputs: Outputs) -> float:
        """What decides which weights are best; -infinity where it cannot be said."""
        if name == "auto":
            name = "mean_average_precision" if len(outputs.singles) else "accuracy"
        value = self.accuracy if name == "accuracy" else self.mean_average_precision
        return value if math.isfinite(value) else -math.inf


@torch.no_grad()
def held_out_logits(
    network: Callable[[Tensor], Tensor],
    source: TaggerSource,
    data: TrainingData,
    accelerator: Accelerator,
    batch: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The held-out pictures that can be had, and their logits [H, O]. Processes share the work."""
    own = data.test[accelerator.process_index :: accelerator.num_processes]
    most = -(-len(data.test) // accelerator.num_processes)
    logits = torch.zeros(most, data.outputs.count + 1)
    logits[:, -1] = -1  # The place of each picture, exact in float32 up to 16 million; -1 is none.
    sided = output_sides(data.outputs, data.sided)
    filled = 0
    for start in range(0, len(own), batch):
        places, views = source.views(own[start : start + batch].tolist())
        if not places:
            continue
        with accelerator.autocast():
            seen = [network(view.to(accelerator.device)).float().cpu() for view in views]
        stretch = slice(filled, filled + len(places))
        logits[stretch, :-1] = mean_of_views(seen, sided)
        logits[stretch, -1] = torch.tensor(places, dtype=torch.float32)
        filled += len(places)
    if accelerator.num_processes > 1:
        logits = accelerator.gather(logits.to(accelerator.device)).cpu()
    logits = logits[logits[:, -1] >= 0]
    logits = logits[torch.argsort(logits[:, -1])]
    return logits[:, -1].long().numpy(), logits[:, :-1].contiguous().numpy()


def output_sides(outputs: Outputs, sided: NDArray[np.bool_]) -> Tensor:
    """[O]: outputs whose mirrored view says nothing; in a group, all where one is."""
    marked = np.zeros(outputs.count, np.bool_)
    marked[: len(sided)] = sided
    for name, places in outputs.groups.items():
        if sided[places].any():
            marked[outputs.outputs_of(name)] = True
    return torch.from_numpy(marked)


def mean_of_views(views: Sequence[Tensor], sided_O: Tensor) -> Tensor:
    """Logits [B, O] of a picture and its mirror image, the mean; of the picture alone where sides matter."""
    if len(views) == 1:
        return views[0]
    return torch.where(sided_O, views[0], torch.stack(list(views)).mean(dim=0))


def judged(logits_HO: NDArray[np.float32], places: NDArray[np.int64], data: TrainingData) -> Verdict:
    """How good these logits are."""
    outputs = data.outputs
    scores = outputs.probabilities(logits_HO)
    present, known = _known(places, data)
    averages = [
        average_precision(scores[known[:, label], label], present[known[:, label], label])
        for label in range(len(outputs.labels))
        if present[:, label].any()
    ]
    by_group: dict[str, float] = {}
    majority: dict[str, float] = {}
    for name in outputs.groups:
        rows, right = _right_choice(name, places, data)
        if not len(rows):
            continue
        chosen = logits_HO[rows][:, outputs.outputs_of(name)].argmax(axis=1)
        by_group[name] = float((chosen == right).mean())
        majority[name] = float(np.bincount(right).max() / len(right))
    return Verdict(
        len(places),
        float(np.mean(averages)) if averages else math.nan,
        float(np.mean(list(by_group.values()))) if by_group else math.nan,
        by_group,
        majority,
    )


def fitted(logits_HO: NDArray[np.float32], places: NDArray[np.int64], data: TrainingData) -> Temperatures:
    """The temperatures at which held-out pictures are likeliest."""
    outputs = data.outputs
    present, known = (table[:, outputs.singles] for table in _known(places, data))
    tags = fit_sigmoid(sigmoid(logits_HO[:, outputs.singles])[known], present[known])
    groups = {}
    for name in outputs.groups:
        rows, right = _right_choice(name, places, data)
        groups[name] = fit_softmax(softmax(logits_HO[rows][:, outputs.outputs_of(name)]), right)
    return Temperatures(tags, groups)


def _known(places: NDArray[np.int64], data: TrainingData) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """[H, L] twice: which labels are there, and of which it is known whether they are."""
    present, certain = data.targets.dense(places.tolist())
    known = present | certain | ~data.targets.silent[places][:, None]
    for of in data.outputs.groups.values():
        known[:, of] |= present[:, of].any(axis=1, keepdims=True)
    return present, known


def _right_choice(
    group: str, places: NDArray[np.int64], data: TrainingData
) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """The rows of which the right output of a group is known, and which of the group's outputs that is."""
    present, certain = data.targets.dense(places.tolist())
    of = present[:, data.outputs.groups[group]]
    if group in data.outputs.none_of:
        # A picture without tags has none of them only where a person denied each.
        none = ~data.targets.silent[places] | certain[:, data.outputs.groups[group]].all(axis=1)
        of = np.concatenate([of, (none & ~of.any(axis=1))[:, None]], axis=1)
    rows = np.flatnonzero(of.sum(axis=1) == 1)
    return rows, of[rows].argmax(axis=1)
