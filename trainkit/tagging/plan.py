"""A tagger made ready to write its tags: which, how they are spelled, and from which score."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from captionkit import ImplicationGraph
from captionkit.implications import Implications
from trainkit.additions.addition import can_be_kept, check_name
from trainkit.tagging.curves import TagCurve
from trainkit.tagging.decide import NEVER, Implied, Rules
from trainkit.tagging.spelling import ChosenConfig, chosen_labels
from trainkit.tagging.tagger import Tagger
from trainkit.tagging.thresholds import ThresholdConfig, thresholds_of


class ApplyConfig(BaseModel):
    """What is written into the manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str | None = None
    """The source of the tags; None takes the tagger's name."""
    thresholds: ThresholdConfig = ThresholdConfig()
    chosen: ChosenConfig = ChosenConfig()
    implications: Implications = ImplicationGraph({})
    """Which tag implies which, in any spelling."""
    implied: Implied = "written"
    """"written": with a tag come those that it implies, also where their own score is too low, as the boards
    do it; "left out": a tag that another one implies is not written."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What holds for every picture."""

    rules: Rules
    thresholds: str
    """Where thresholds come from, in words."""
    never: tuple[tuple[str, str], ...]
    """Tags that are wanted and are not written whatever their score, each with the reason."""
    mark: str
    """Of the tagger (`exact_mark_of`)."""
    settings: Mapping[str, Any]
    """All that decides the tags, as plain JSON: what was made by other settings is not gone on with."""

    @property
    def name(self) -> str:
        """The source of the tags."""
        return self.rules.source

    @property
    def num_tags(self) -> int:
        """Tags that may be written."""
        return int((self.rules.thresholds < NEVER).sum())


def make_plan(
    tagger: Tagger,
    config: ApplyConfig,
    *,
    curves: Mapping[str, TagCurve] | None = None,
    mark: str = "",
) -> Plan:
    """The plan of a tagger; ``curves`` are those of its evaluation, ``mark`` is that of its files.

    Raises TrainkitError for settings that do not fit the tagger.
    """
    name = config.name or tagger.name
    check_name(name)
    found = thresholds_of(tagger, config.thresholds, curves)
    chosen = chosen_labels(tagger.labels, config.chosen)
    kept = np.array([can_be_kept(label.name) for label in chosen.labels])
    values = np.where(chosen.wanted & kept, found.values, NEVER).astype(np.float32)
    wanted = {label.name for label, want in zip(tagger.labels, chosen.wanted, strict=True) if want}
    never = tuple((tag, why) for tag, why in found.never if tag in wanted)
    barred = [tagger.labels[at].name for at in np.flatnonzero(chosen.wanted & ~kept).tolist()]
    never += tuple((tag, "||| parts the tags of a record; --rename gives it another name") for tag in barred)
    rules = Rules(name, chosen.labels, values, implications=config.implications, implied=config.implied)
    written = [[label.name, label.category, label.group] for label in chosen.labels]
    settings = {
        **config.model_dump(mode="json", exclude={"name", "implications"}),
        "tagger": mark,
        "implications": _hash(config.implications.edges()),
        "tags and thresholds": _hash([written, values.astype(float).tolist()]),
    }
    return Plan(rules, found.says, never, mark, settings)


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
