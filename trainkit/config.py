"""A run: assembled from the settings that each part declares beside its own code.

A run may have phases: stretches that differ in resolution, batch, optimizer or captions. `phase_runs` makes a
whole run of each.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from captionkit import CaptionkitError, CaptionPipeline, load_pipeline, preset
from trainkit.adapters import AdapterConfig
from trainkit.alerts import AlertConfig
from trainkit.data_config import DataConfig
from trainkit.ema_tracks import EmaConfig
from trainkit.errors import ConfigError
from trainkit.loss import ObjectiveConfig
from trainkit.models import ModelConfig
from trainkit.optim import OptimConfig
from trainkit.probe import ProbeConfig
from trainkit.sample import PreviewConfig
from trainkit.schedule import ScheduleConfig
from trainkit.settings import explain_problem
from trainkit.text import TextConfig
from trainkit.tracking import Tracker, TrackingConfig
from trainkit.validation import ValidationConfig


class PhaseConfig(BaseModel):
    """A stretch of the run, and what is different in it. What it does not name is as in the run itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    name: str = ""
    """What reports call it; its number where it is empty."""
    epochs: int | None = Field(default=None, ge=1, le=2**30)
    """Its length in passes over the data; give this or ``samples``."""
    samples: int | None = Field(default=None, ge=1, le=2**50)
    """Its length in samples seen, rounded up to whole optimizer steps."""
    batch: int | None = Field(default=None, ge=1, le=2**20)
    """In place of the run's."""
    accumulate: int | None = Field(default=None, ge=1, le=2**20)
    """In place of the run's."""
    captions: dict[str, Any] = {}
    """Caption settings by address, besides the run's; see RunConfig.captions."""
    data: dict[str, Any] = {}
    """Of the table ``data``: ``recipe``, and settings of ``buckets``."""
    objective: dict[str, Any] = {}
    """Settings of ``objective``, all but ``prediction``. ``weighting = "none"`` in a first phase leads an
    epsilon model over to v."""
    optim: dict[str, Any] = {}
    """Settings of ``optim``. Another optimizer starts with fresh state."""

    @model_validator(mode="after")
    def _can_change(self) -> Self:
        if (self.epochs is None) == (self.samples is None):
            raise ValueError("give either epochs or samples, and not both")
        for table, allowed in (("data", {"recipe", "buckets"}), ("objective", _OBJECTIVE_OF_A_PHASE)):
            if wrong := sorted(set(getattr(self, table)) - allowed):
                raise ValueError(
                    f"{table}.{wrong[0]} cannot change from phase to phase; these can: "
                    f"{', '.join(sorted(allowed))}"
                )
        return self


_OBJECTIVE_OF_A_PHASE = set(ObjectiveConfig.model_fields) - {"prediction"}


class RunConfig(BaseModel):
    """Everything that decides a run."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    out: Path
    """Folder of everything the run writes; the same command with the same folder goes on where it stopped."""
    seed: int = 0
    """Seed of captions, noise, timesteps and the order of pictures."""
    epochs: int | None = Field(default=None, ge=1, le=2**30)
    """Length of the run in passes over the data; give this, ``samples`` or ``phases``."""
    samples: int | None = Field(default=None, ge=1, le=2**50)
    """Length of the run in samples seen, rounded up to whole optimizer steps."""
    batch: int = Field(default=8, ge=1, le=2**20)
    """Samples per device and micro-batch."""
    accumulate: int = Field(default=16, ge=1, le=2**20)
    """Micro-batches per optimizer step. An optimizer step sees batch x accumulate x devices samples."""
    phases: tuple[PhaseConfig, ...] = ()
    """Stretches of the run that differ in resolution, batch, optimizer, captions; their lengths make up the
    run's."""
    captions: dict[str, Any] = {}
    """Settings of the caption recipe changed by their address, such as { "empty_caption.p" = 0.05,
    "short prompt/otherwise.rate" = 0.1 }: `captionkit explain` shows the addresses."""
    checkpoint_every: int = Field(default=25_600, ge=0)
    """Samples seen between two checkpoints; 25,600 are 100 optimizer steps of the recipe. 0 means only at the
    end: a killed run then starts over."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """How many of the newest checkpoints stay on the disk. When one is damaged, the run goes on from the one
    before it."""
    checkpoint_keep_every: int = Field(default=0, ge=0)
    """Besides these, the first checkpoint at or behind every multiple of so many samples stays for ever; 0
    keeps none."""
    stop_within: float = Field(default=20.0, ge=0)
    """Seconds after SIGTERM, SIGUSR1 or Ctrl-C in which the optimizer step may still end; then it is given
    up, and the checkpoint holds what was before it. Several processes always end their step."""
    hang_timeout: int = Field(default=1800, ge=0)
    """Seconds without any progress after which a run of one or several processes ends, naming the process
    that hangs and what it was doing (<out>/ranks). 0 never ends it."""
    mixed_precision: Literal["auto", "no", "bf16"] = "auto"
    """"auto" runs the networks in bfloat16 where the device has it; the weights themselves are always
    float32."""
    tf32: bool = True
    """On GPUs that have it, multiply float32 matrices in TF32: 10 bits of mantissa, several times the speed.
    Only what runs outside of bfloat16 is concerned."""
    trackers: tuple[Tracker, ...] = ("tensorboard",)
    """Where the figures of log.jsonl also go: "tensorboard" (<out>/tensorboard), "wandb", "trackio"."""
    model: ModelConfig
    data: DataConfig
    text: TextConfig = TextConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optim: OptimConfig = OptimConfig()
    adapter: AdapterConfig | None = None
    """LoRA or LoCon in place of training the networks themselves."""
    ema: EmaConfig = EmaConfig()
    validation: ValidationConfig = ValidationConfig()
    probe: ProbeConfig = ProbeConfig()
    preview: PreviewConfig = PreviewConfig()
    tracking: TrackingConfig = TrackingConfig()
    alerts: AlertConfig = AlertConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if sum((self.epochs is not None, self.samples is not None, bool(self.phases))) != 1:
            raise ValueError("give one of epochs, samples and phases, and not more")
        if self.text.cached_variants is not None and self.model.train_text_encoder:
            raise ValueError(
                "text.cached_variants needs a text encoder that stays as it is in the whole run: set "
                "model.train_text_encoder = false, or leave cached_variants out"
            )
        if self.objective.prediction == "epsilon" and self.schedule.zero_terminal_snr:
            raise ValueError(
                'objective.prediction = "epsilon" cannot be used with schedule.zero_terminal_snr: at zero '
                "SNR the noise says nothing about the picture; set zero_terminal_snr = false or predict v"
            )
        return self

    @property
    def preview_size(self) -> tuple[int, int]:
        """(width, height) of previews, the default filled in."""
        side = self.data.buckets.resolution
        return self.preview.width or side, self.preview.height or side


def phase_runs(run: RunConfig, where: str = "run") -> tuple[RunConfig, ...]:
    """One run for every phase, with the phase's settings and length; the run itself when it has no phases.

    Raises ConfigError with every phase's problems.
    """
    if not run.phases:
        return (run,)
    whole = run.model_dump(exclude={"phases", "epochs", "samples"})
    runs: list[RunConfig] = []
    problems: list[str] = []
    for number, phase in enumerate(run.phases):
        own = phase.model_dump(exclude={"name"}, exclude_unset=True)
        changed = own.get("optim", {}).get("optimizer", run.optim.optimizer) != run.optim.optimizer
        base = {**whole, "optim": {**whole["optim"], **_FRESH}} if changed else whole
        try:
            runs.append(RunConfig.model_validate(_merged(base, own)))
        except ValidationError as error:
            problems += [
                f"phases.{number}.{explain_problem(problem, RunConfig)}" for problem in error.errors()
            ]
    if problems:
        raise ConfigError(where, problems)
    return tuple(runs)


_FRESH: dict[str, Any] = {"arguments": {}, "betas": None, "eps": None, "fused": False}
"""Settings that belong to one optimizer and are not handed on to another."""


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Tables in tables; a recipe or an optimizer's arguments are replaced as a whole."""
    merged = dict(base)
    for key, value in own.items():
        inside = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merged(base[key], value) if inside and key not in ("recipe", "arguments") else value
    return merged


def caption_pipeline(run: RunConfig) -> CaptionPipeline:
    """The run's caption pipeline with the run's seed, its token budget no larger than text.max_tokens.

    Raises ConfigError when the recipe is not valid.
    """
    recipe = run.data.recipe
    try:
        pipeline = (
            preset(recipe)
            if isinstance(recipe, str) and not is_recipe_file(recipe)
            else load_pipeline(recipe)
        )
    except CaptionkitError as error:
        raise ConfigError("data.recipe", str(error).splitlines()) from error
    try:
        pipeline = pipeline.with_settings(run.captions)
    except CaptionkitError as error:
        raise ConfigError("captions", str(error).splitlines()) from error
    budget = pipeline.text.max_tokens
    if budget is None or budget > run.text.max_tokens:
        pipeline = pipeline.model_copy(
            update={"text": pipeline.text.model_copy(update={"max_tokens": run.text.max_tokens})}
        )
    return pipeline.with_seed(run.seed)


def is_recipe_file(recipe: str) -> bool:
    """Whether a recipe given as text is a file's path, and not a preset's name."""
    return recipe.endswith((".toml", ".json"))


def write_resolved(run: RunConfig, path: Path) -> None:
    """Write the whole configuration, defaults and overrides included, as JSON beside the results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(run.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
