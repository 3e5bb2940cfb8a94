"""Validation: the loss on pictures that are never trained, in a way that two measurements can be compared.

Everything that varies while training is held fixed: the pictures, their noise and their draw from the VAE's
distribution, the timesteps, the text. Pictures are not mirrored, there is no input perturbation, no dropout,
no mask and no weight. So the difference between two measurements is a difference between two sets of weights,
and the same configuration means the same measurement in another run.

The loss is the plain mean squared error of what the network predicts: v-loss for a v-prediction model,
epsilon loss for an epsilon model (the two cannot be compared). Each kind of text is measured apart, since a
model can get better with tags while it gets worse with sentences.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Literal, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from captionkit import Caption, CaptionPipeline, Record, Rule, Source
from trainkit import latents
from trainkit.buckets import Size
from trainkit.draws import generator
from trainkit.errors import PictureError, TrainkitError
from trainkit.keys import mixed
from trainkit.loss import ObjectiveConfig, per_sample_error, target_of
from trainkit.schedule import NoiseSchedule
from trainkit.text import Tokens

TextKind = Literal["tags", "prose", "both", "empty"]

_AT_ONCE = 1 << 18
"""Keys that are mixed in one go, so that millions need no memory to speak of."""


class ValidationConfig(BaseModel):
    """Pictures held out of training, and how the loss on them is measured. One measurement is pictures x
    timesteps x texts forward passes, in batches."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    share: float = Field(default=0.0, ge=0, lt=1)
    """Share of all pictures that is held out of training; 0 turns validation off. Whether a picture is held
    out depends on its id alone, so a data set may grow and no picture changes sides."""
    every: int = Field(default=0, ge=0)
    """Samples seen between two measurements; 0 means only before the first step and at the end."""
    timesteps: int = Field(default=10, ge=2, le=50)
    """How many timesteps are measured, evenly spaced and always with the last: 99, 199 ... 999 for 10 of
    1000."""
    texts: tuple[TextKind, ...] = Field(default=("tags", "prose", "both", "empty"), min_length=1)
    """Kinds of text, each measured apart: all tags in the order of the record; the first caption; tags, then
    the first caption; no text. Pictures that have no such text do not count there."""
    batch: int = Field(default=8, ge=1)
    """Pictures per forward pass and device."""
    seed: int = 0
    """Seed of the choice of pictures and of the noise. Apart from the run's seed, so that runs that differ in
    theirs are measured on the same pictures with the same noise."""

    @field_validator("texts")
    @classmethod
    def _each_once(cls, texts: tuple[TextKind, ...]) -> tuple[TextKind, ...]:
        if len(set(texts)) < len(texts):
            raise ValueError(f"texts is {list(texts)}, must name each kind at most once")
        return texts


def held_out(keys: NDArray[np.uint64], config: ValidationConfig) -> NDArray[np.bool_]:
    """Which records are held out of training, by their keys; none when validation is off.

    A record is held out when its key, mixed with the seed (`mixed`), is below share x 2^64. Raises
    TrainkitError when the share holds out no picture at all, or leaves none to train.
    """
    if config.share == 0:
        return np.zeros(len(keys), dtype=np.bool_)
    limit = np.uint64(int(config.share * 2**64))
    chosen = np.empty(len(keys), dtype=np.bool_)
    for at in range(0, len(keys), _AT_ONCE):
        chosen[at : at + _AT_ONCE] = mixed(keys[at : at + _AT_ONCE], config.seed) < limit
    count = int(chosen.sum())
    if not 0 < count < len(keys):
        raise TrainkitError(
            f"validation.share = {config.share} holds out {count} of {len(keys)} pictures; at least one "
            "must be held out and one trained: choose another share, or 0 to turn validation off"
        )
    return chosen


def validation_timesteps(config: ValidationConfig, num_timesteps: int) -> tuple[int, ...]:
    """The measured timesteps, ascending: those of trailing sampling steps, so that the last is always T - 1.

    Raises TrainkitError when there are more of them than timesteps.
    """
    if config.timesteps > num_timesteps:
        raise TrainkitError(
            f"validation.timesteps is {config.timesteps}, at most schedule.num_timesteps = {num_timesteps}"
        )
    return tuple(round((i + 1) * num_timesteps / config.timesteps) - 1 for i in range(config.timesteps))


def fixed_text(record: Record, kind: TextKind, pipeline: CaptionPipeline) -> str | None:
    """The text of one kind, cleaned and cut to the token budget as the recipe's captions are; None when the
    record has none.

    Of the recipe's steps, those that draw nothing are applied (captionkit's ``Rule``, such as cleaning and
    renaming); what drops, shuffles and chooses is not.
    """
    if kind == "empty":
        return ""
    caption = Caption.of(record)
    for step in pipeline.steps:
        if isinstance(step, Rule):
            caption = step.rewrite(caption)
    tags = caption.tags if kind != "prose" else ()
    prose = caption.prose[:1] if kind != "tags" else ()
    if (kind != "prose" and not tags) or (kind != "tags" and not prose):
        return None
    source = {"tags": Source.TAGS, "prose": Source.CAPTION, "both": Source.BOTH_TAGS_FIRST}[kind]
    return pipeline.write(replace(caption, tags=tags, prose=prose, source=source))[1] or None


class TextResult(TypedDict):
    """What was measured with one kind of text."""

    mean: float
    """Mean loss over pictures and timesteps."""
    bins: dict[int, float]
    """Mean loss at each timestep."""
    x0_last: float | None
    """Mean squared error of the predicted latent at the last timestep: the v-loss itself at zero SNR, where v
    = -x0. None where an epsilon model predicts no latent (zero SNR)."""
    pictures: int
    """How many pictures had such a text and could be read."""


@dataclass(frozen=True)
class Validator:
    """Measures the loss on held-out pictures; on several processes each measures its share."""

    config: ValidationConfig
    schedule: NoiseSchedule
    objective: ObjectiveConfig
    pipeline: CaptionPipeline
    """With the counter and the budget of the run."""
    tokens: Tokens
    records: tuple[Record, ...]
    """The held-out pictures."""
    buckets: tuple[Size, ...]
    """The bucket of each; pictures of one bucket are measured together."""
    moments: Callable[[int], latents.Moments]
    """Mean and standard deviation [4, h, w] of held-out picture ``i``, not mirrored."""
    scaling_factor: float
    device: torch.device
    rank: int = 0
    world: int = 1

    @cached_property
    def timesteps(self) -> tuple[int, ...]:
        """The measured timesteps, ascending."""
        return validation_timesteps(self.config, self.schedule.num_timesteps)

    def measure(
        self, denoiser: nn.Module, reduce: Callable[[Tensor], Tensor] = lambda sums: sums
    ) -> dict[TextKind, TextResult]:
        """The losses by kind of text; a kind that no picture has is left out.

        ``denoiser`` is the bare module, not its DistributedDataParallel wrapper: processes do not run the
        same number of forward passes. Its modes are restored, its weights untouched. ``reduce`` adds a tensor
        up over the processes; every process must call this, and all get the same answer.
        """
        sums = torch.zeros(len(self.config.texts), len(self.timesteps) + 1, dtype=torch.float64)
        with evaluating(denoiser), torch.no_grad():
            for k, kind in enumerate(self.config.texts):
                for members, moments, ids in self._batches(kind):
                    losses = self._losses(denoiser, members, moments, ids)
                    sums[k, :-1] += losses.double().cpu().sum(dim=1)
                    sums[k, -1] += len(members)
        whole = reduce(sums.float().to(self.device)).double().cpu()
        return {
            kind: self._result(row) for kind, row in zip(self.config.texts, whole, strict=True) if row[-1] > 0
        }

    def _batches(self, kind: TextKind) -> Iterator[tuple[list[int], latents.Moments, Tensor]]:
        """This process's pictures in batches of one bucket and one number of chunks, with their moments and
        token ids.

        Texts of different lengths never stand together: a text padded to the longest of a batch is another
        input, and the loss of a picture must not depend on its company.
        """
        groups: dict[tuple[Size, int], list[tuple[int, Tensor]]] = {}
        for i in range(self.rank, len(self.records), self.world):
            if (text := fixed_text(self.records[i], kind, self.pipeline)) is not None:
                ids = self.tokens.chunks([text])[0]
                groups.setdefault((self.buckets[i], len(ids)), []).append((i, ids))
        for _, members in sorted(groups.items(), key=lambda item: item[0]):
            readable = self._readable(members)
            while batch := list(islice(readable, self.config.batch)):
                mean, std, ids = (
                    torch.stack(column).to(self.device)
                    for column in zip(*(row[1] for row in batch), strict=True)
                )
                yield [i for i, _ in batch], (mean, std), ids

    def _readable(
        self, members: list[tuple[int, Tensor]]
    ) -> Iterator[tuple[int, tuple[Tensor, Tensor, Tensor]]]:
        """(picture, (mean, standard deviation, token ids)) of those that can still be read."""
        for i, ids in members:
            with contextlib.suppress(PictureError):
                mean, std = self.moments(i)
                yield i, (mean, std, ids)

    def _losses(
        self, denoiser: nn.Module, members: list[int], moments: latents.Moments, ids: Tensor
    ) -> Tensor:
        """Loss of each picture at each timestep, [timesteps, B]."""
        x0 = latents.sample(moments, self._noise("validation vae", members, moments[0]), self.scaling_factor)
        losses = []
        for k, t in enumerate(self.timesteps):
            t_B = torch.full((len(members),), t)
            eps = self._noise("validation noise", members, x0, k)
            x_t = self.schedule.add_noise(x0, eps, t_B)
            target = target_of(self.objective, self.schedule, x0, eps, t_B)
            losses.append(per_sample_error(denoiser(x_t, t_B.to(self.device), ids), target))
        return torch.stack(losses)

    def _noise(self, purpose: str, members: list[int], like: Tensor, *index: int) -> Tensor:
        """Normal noise addressed by the picture's id, so that no picture's depends on the others."""
        names = (f"{purpose}/{self.records[i].id}" for i in members)
        streams = (generator(self.config.seed, name, *index) for name in names)
        return torch.stack([torch.randn(like.shape[1:], generator=rng) for rng in streams]).to(self.device)

    def _result(self, row: Tensor) -> TextResult:
        losses = row[:-1] / row[-1]
        S = float(self.schedule.snr[-1])
        v = self.objective.prediction == "v_prediction"
        # |v - v'|^2 = (S + 1) |x0 - x0'|^2 and |eps - eps'|^2 = S |x0 - x0'|^2.
        to_x0 = S + 1 if v else S
        return TextResult(
            mean=float(losses.mean()),
            bins={t: float(loss) for t, loss in zip(self.timesteps, losses, strict=True)},
            x0_last=float(losses[-1]) / to_x0 if to_x0 > 0 else None,
            pictures=int(row[-1]),
        )


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; afterwards every part is in the mode it was in."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
