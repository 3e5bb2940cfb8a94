"""The training of a tagger: assembled from the settings that each part declares beside its own code."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainkit.additions.addition import check_name
from trainkit.errors import TrainkitError
from trainkit.tagging.augment import AugmentConfig
from trainkit.tagging.backbone import BackboneConfig
from trainkit.tagging.features import FeaturesConfig
from trainkit.tagging.labels import LearnConfig
from trainkit.tagging.loss import LossConfig
from trainkit.tagging.optim import TaggerOptimConfig
from trainkit.tagging.sampling import SamplingConfig
from trainkit.tagging.split import SplitConfig
from trainkit.tagging.training_data import TaggerDataConfig


class TaggerConfig(BaseModel):
    """Everything that decides a tagger."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    out: Path
    """Folder of the tagger, and of what its training writes; the same command with the same folder goes on
    where it stopped."""
    name: str = ""
    """What the tags that it adds have as their source; the last part of ``out`` where it is empty."""
    seed: int = 0
    """Seed of the order of pictures, of their augmentation, and of weights that begin at random."""
    mode: Literal["finetune", "probe"] = "finetune"
    """"finetune" trains the whole network. "probe" trains only its head, on features that the backbone, as it
    is, makes once of every picture: minutes on a CPU."""
    epochs: float | None = Field(default=None, gt=0, le=2**20)
    """Passes over the pictures; give this or ``samples``."""
    samples: int | None = Field(default=None, ge=1, le=2**50)
    """Length in samples seen, rounded up to whole optimizer steps."""
    batch: int = Field(default=64, ge=1, le=2**20)
    """Samples per device and micro-batch."""
    accumulate: int = Field(default=1, ge=1, le=2**20)
    """Micro-batches per optimizer step."""
    evaluate_every: int = Field(default=0, ge=0)
    """Samples between two looks at the held-out pictures; 0 is one epoch."""
    metric: Literal["auto", "mean_average_precision", "accuracy"] = "auto"
    """What the best weights are best in, on held-out pictures. "auto" is the accuracy where all labels are in
    groups, else the mean over all tags, those in groups too, of average precision."""
    patience: int = Field(default=5, ge=0)
    """So many looks without a better one end the training; 0 never ends it early."""
    checkpoint_every: int = Field(default=0, ge=0)
    """Samples between two checkpoints; 0 is one epoch."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """How many of the newest checkpoints stay."""
    mirrored_too: bool = False
    """Judge and apply by the mean of a picture and its mirror image; labels that know left from right by the
    picture alone. Twice the time."""
    mixed_precision: Literal["auto", "no", "bf16"] = "auto"
    """"auto" runs the network in bfloat16 where the device has it."""
    data: TaggerDataConfig
    learn: LearnConfig
    split: SplitConfig = SplitConfig()
    backbone: BackboneConfig
    features: FeaturesConfig = FeaturesConfig()
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    sampling: SamplingConfig = SamplingConfig()
    optim: TaggerOptimConfig = TaggerOptimConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.epochs is None) == (self.samples is None):
            raise ValueError("give either epochs or samples, and not both")
        if self.mode == "probe" and self.backbone.kind is not None:
            raise ValueError(
                'mode = "probe" looks through a pretrained backbone: give backbone.base, or mode = "finetune"'
            )
        return self

    @model_validator(mode="after")
    def _name_can_be_a_source(self) -> Self:
        try:
            check_name(self.source)
        except TrainkitError as error:
            what = str(error).removeprefix("name ")
            raise ValueError(
                f"name: {what}" if self.name else f"out: its last part {what}; or set name"
            ) from None
        return self

    @property
    def source(self) -> str:
        """The name of the tagger."""
        return self.name or self.out.resolve().name
