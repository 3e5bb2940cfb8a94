"""What may change between the start of a run and its resume, and what may not.

Everything that decides a run stands in its checkpoints, flat: the run file with all defaults as it is in the
checkpoint's phase, the caption pipeline that came of it, and fingerprints of the pictures and of the base
model. What is not named here may change, and is said aloud.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from captionkit import CaptionPipeline
from trainkit.config import RunConfig
from trainkit.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for a setting, or for all settings of a table."""

    path: str
    """Dotted, as in the run file; ``data``, ``model`` and ``captions`` by themselves mean what the pictures,
    the base model and the caption recipe are, wherever they lie."""
    may: Literal["change", "accept", "never"]
    """"accept": only when ``--accept PATH`` says that it is meant."""
    why: str


RULES = (
    Rule("seed", "never", "captions, noise, timesteps and the order of pictures are drawn from it"),
    Rule("data", "accept", "the order of pictures and their captions belong to the pictures that there were"),
    Rule("data.buckets", "never", "the order of pictures comes of it; another phase may have other buckets"),
    Rule("data.chunk_window", "never", "the order of pictures comes of it"),
    Rule("data.repeats", "never", "the order of pictures comes of it"),
    Rule("data.repeats_by", "never", "the order of pictures comes of it"),
    Rule("data.balance", "never", "the order of pictures comes of it"),
    Rule("data.transparent_as", "accept", "transparent pictures would look different"),
    Rule("data.vae", "accept", "the network would be shown other latents"),
    Rule("data.masks", "accept", "other parts of the pictures would count"),
    Rule("data.mask_floor", "accept", "other parts of the pictures would count"),
    Rule("data.weights", "accept", "pictures would count differently"),
    Rule("model", "never", "VAE, tokenizer and all that is not trained come from it"),
    Rule("model.train_text_encoder", "never", "the checkpoint holds other weights"),
    Rule("text.clip_skip", "never", "other layers of the text encoder are trained"),
    Rule("text", "accept", "the network has learned to read captions that are cut in this way"),
    Rule("captions", "accept", "the texts would be drawn by another recipe; another phase may have its own"),
    Rule("schedule", "never", "a timestep would mean another amount of noise"),
    Rule("objective.prediction", "never", "the network would be asked for something else"),
    Rule(
        "optim.optimizer", "never", "its memory fits no other one; another phase may have another optimizer"
    ),
    Rule(
        "optim.unet.layers", "never", "the optimizer's memory is of other weights; so may another phase's be"
    ),
    Rule("optim.text_encoder.layers", "never", "the same"),
    Rule("adapter", "never", "the checkpoint holds weights of another form"),
    Rule("adapter.dropout", "change", "nothing that is kept depends on it"),
    Rule("ema.sigma_rel", "never", "an average over the run cannot begin in its middle"),
    Rule("ema.decay", "never", "an average over the run cannot begin in its middle"),
    Rule("ema.warmup_power", "never", "the average so far was made with it"),
    Rule("validation.share", "never", "it says which pictures are not trained"),
    Rule("validation.seed", "never", "it says which pictures are not trained"),
)
"""The most exact path decides."""

FREE = Rule("", "change", "what was learned so far stays what it is")
"""For everything else."""

_LEFT_OUT = (
    "captions",
    "data.recipe",
    "data.path",
    "model.base",
    "phases",
    "data.store",
    "alerts",
    "tracking",
)
"""Settings for which something else stands, and those that decide nothing and may hold secrets."""
_SHOWN = 12
"""Problems that an error names."""
_TOLD_IN_FULL = 300
"""Characters of a value that is kept as it is; of a longer one its hash is kept."""


def rule_of(path: str) -> Rule:
    """The rule for a setting."""
    found = [rule for rule in RULES if _inside(path, rule.path)]
    # Where the pictures, the model and the recipe lie and how they are read is their tables' business.
    found = [rule for rule in found if rule.path not in ("data", "model") or path == rule.path or "@" in path]
    return max(found, key=lambda rule: len(rule.path), default=FREE)


def settings_of_run(
    run: RunConfig, pipeline: CaptionPipeline, pictures: str, base: Mapping[str, str]
) -> dict[str, Any]:
    """Everything that decides a run, by dotted path, as JSON holds it.

    ``pictures`` is the data set's fingerprint, ``base`` that of each part of the base model.
    """
    plain = {k: v for k, v in _flat(run.model_dump(mode="json")) if not _is_left_out(k)}
    texts = {f"captions.{k}": v for k, v in _flat(pipeline.model_dump(mode="json", exclude={"seed"}))}
    files = {f"model.@{part}": digest for part, digest in base.items()}
    return {k: _short(v) for k, v in (plain | texts | files | {"data": pictures}).items()}


def compare(
    where: str, then: Mapping[str, Any], now: Mapping[str, Any], accepted: Collection[str] = ()
) -> tuple[list[str], list[tuple[str, Any, Any]]]:
    """What changed: notes for what may, and (path, then, now) of what was forbidden and accepted.

    A setting that an older version of trainkit did not have is no change. Raises ConfigError with every
    forbidden change, and for an ``accepted`` path that there is not or that nobody may accept.
    """
    known = {rule.path for rule in RULES} | now.keys()
    problems = [f"--accept {path}: no such setting" for path in accepted if path not in known]
    problems += [
        f"--accept {path}: cannot be accepted; {rule_of(path).why}"
        for path in accepted
        if path in known and rule_of(path).may == "never"
    ]
    notes: list[str] = []
    taken: list[tuple[str, Any, Any]] = []
    for path in _changed(then, now):
        old, new, rule = then.get(path), now.get(path), rule_of(path)
        told = f"{path} is {_told(new)}, the checkpoint was made with {_told(old)}"
        if rule.may == "change":
            notes.append(f"note: {told}")
        elif rule.may == "accept" and any(_inside(path, name) for name in accepted):
            notes.append(f"note: {told} (accepted)")
            taken.append((path, old, new))
        else:
            way = f" --accept {rule.path} if it is meant," if rule.may == "accept" else ""
            problems.append(f"{told}: {rule.why}; put it back,{way} or give another `out` folder")
    if problems:
        shown = problems[:_SHOWN] + [f"and {len(problems) - _SHOWN} more"] * (len(problems) > _SHOWN)
        raise ConfigError(f"this run cannot go on from {where}", shown)
    return notes, taken


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Paths with another value. One that only one side has counts where its table came, went or has another
    shape: a recipe of fewer steps, an adapter where there was none."""
    changed = [path for path in now if path in then and then[path] != now[path]]
    for path in sorted(then.keys() ^ now.keys()):
        if path.startswith(("captions.", "adapter", "model.@")):
            changed.append(path)
    return [path for path in changed if path not in ("out",)]


def _inside(path: str, table: str) -> bool:
    return path == table or path.startswith(f"{table}.")


def _is_left_out(path: str) -> bool:
    return any(_inside(path, name) for name in _LEFT_OUT)


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, value) of everything in nested tables and lists of tables."""
    inner: Sequence[tuple[str, Any]] = ()
    if isinstance(value, dict):
        inner = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        inner = [(str(number), item) for number, item in enumerate(value)]
    if not inner:
        yield path, value
    for key, item in inner:
        yield from _flat(item, f"{path}.{key}" if path else key)


def _short(value: Any) -> Any:
    text = json.dumps(value)
    if len(text) <= _TOLD_IN_FULL:
        return value
    return f"@{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}, {len(text)} characters"


def _told(value: Any) -> str:
    return json.dumps(value) if value is not None else "not set"
