"""What an evaluation finds, as ``evaluation.json`` keeps it and ``report.html`` shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainkit.tagging.calibration import Bin
from trainkit.tagging.confusion import Confusion
from trainkit.tagging.curves import EVALUATION, FORMAT, TagCurve, curve_entry
from trainkit.tagging.outputs import Temperatures
from trainkit.whole_file import write_whole


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a temperature does to the scores of a group, or of all tags by themselves (group "")."""

    group: str
    temperature: float
    """By which logits are divided; 1 leaves them. Found from all pictures, where ``tried`` helps."""
    tried: float
    """The temperature of one half of the pictures. The rest tells what it does to the other half."""
    pictures: int
    """In the other half."""
    before: tuple[Bin, ...]
    after: tuple[Bin, ...]
    error_before: float
    """Expected calibration error, 0 to 1."""
    error_after: float


@dataclass(frozen=True, slots=True)
class Means:
    """Figures over all tags; each with what guessing gets, a score that knows only how common a tag is."""

    macro_average_precision: float
    """Each tag counts the same."""
    macro_guess: float
    micro_average_precision: float
    """Each pair of picture and tag counts the same."""
    micro_guess: float
    macro_f1: float
    """Of each tag at its best threshold."""
    macro_f1_guess: float
    """Of saying every tag of every picture."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good a tagger is on pictures with known tags."""

    tagger: str
    manifest: str
    held_out: bool
    """Whether the pictures were kept from its training, as far as anyone knows."""
    pictures: int
    """That were judged."""
    without_tags: int
    """That were not, because their records say nothing."""
    labels: int
    """That the tagger knows."""
    curves: Mapping[str, TagCurve]
    """Of the tags that at least one picture has."""
    confusions: tuple[Confusion, ...]
    calibrations: tuple[Calibration, ...]
    calibrated: bool
    """Whether the curves are those of scores at these temperatures."""
    means: Means
    problems: tuple[str, ...]
    """Pictures that could not be seen."""

    @property
    def temperatures(self) -> Temperatures:
        """The temperatures that fit best."""
        found = {calibration.group: calibration.temperature for calibration in self.calibrations}
        return Temperatures(found.pop("", 1.0), found)

    def told(self) -> dict[str, Any]:
        """The object of ``evaluation.json``."""
        return {
            "format": FORMAT,
            "tagger": self.tagger,
            "manifest": self.manifest,
            "held_out": self.held_out,
            "pictures": self.pictures,
            "without_tags": self.without_tags,
            "labels": self.labels,
            "problems": len(self.problems),
            "means": asdict(self.means),
            "temperature": asdict(self.temperatures),
            "calibrated": self.calibrated,
            "calibration": [asdict(calibration) for calibration in self.calibrations],
            "groups": {
                confusion.group: {
                    "tags": confusion.tags,
                    "confusion": confusion.counts,
                    "accuracy": confusion.accuracy,
                    "interval": confusion.interval,
                    "balanced_accuracy": confusion.balanced_accuracy,
                    "majority": confusion.majority,
                }
                for confusion in self.confusions
            },
            "tags": {tag: curve_entry(curve) for tag, curve in self.curves.items()},
        }


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write ``evaluation.json`` into a folder, whole or not at all. Raises OSError."""
    write_whole(folder / EVALUATION, evaluation.told())
