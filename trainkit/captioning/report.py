"""The page of a run that has ended: its figures, what was refused, and samples with their pictures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trainkit.additions.addition import Addition
from trainkit.additions.finished import read_additions
from trainkit.additions.places import FOLDER
from trainkit.additions.rows import NO_ROW, RowIndex
from trainkit.captioning.cards import Card, card_of
from trainkit.captioning.config import CaptionConfig
from trainkit.captioning.estimate import money
from trainkit.captioning.judged import state_of
from trainkit.captioning.meter import duration
from trainkit.captioning.run import Result
from trainkit.errors import StoreError
from trainkit.keys import key_of
from trainkit.manifest_pictures import ManifestPictures
from trainkit.pages.page import page
from trainkit.whole_file import replace_whole

_HERE = Path(__file__).parent
_PASSED, _OF_A_FAULT = 12, 6


@dataclass(slots=True)
class Samples:
    """A few additions of each group, the same whatever the order: those of the smallest keys."""

    groups: dict[str, list[tuple[int, Addition]]] = field(default_factory=dict)

    def add(self, addition: Addition) -> None:
        """Take one in, perhaps in another's place."""
        state = state_of(addition)
        if state == "failed":
            return
        name = (
            "captioned" if state == "captioned" else str(next(iter(addition.detail.get("faults") or ()), "?"))
        )
        group = self.groups.setdefault(name, [])
        group.append((key_of(addition.id), addition))
        if len(group) >= 64:
            self._prune(name)

    def chosen(self) -> Iterable[tuple[str, list[Addition]]]:
        """The groups, captions that passed first."""
        for name in sorted(self.groups, key=lambda name: (name != "captioned", name)):
            self._prune(name)
            yield name, [addition for _, addition in self.groups[name]]

    def _prune(self, name: str) -> None:
        most = _PASSED if name == "captioned" else _OF_A_FAULT
        self.groups[name] = sorted(self.groups[name], key=lambda one: one[0])[:most]


def write_report(config: CaptionConfig, result: Result) -> Path:
    """Write the page beside the additions, and return its path. Raises OSError."""
    samples, models = Samples(), dict[str, None]()
    for source in config.sources:
        for addition in read_additions(config.data, source):
            samples.add(addition)
            models.setdefault(str(addition.detail.get("model")))
    tally = result.tally
    text = page(
        _HERE / "report.html",
        title=f"captions {config.name}",
        name=config.name,
        model=", ".join(models),
        data=config.data.name,
        seen=result.choice.seen,
        chosen=len(result.choice.rows),
        figures=_figures(result),
        faults=tally.faults.most_common(),
        answered=max(tally.answered, 1),
        problems=tally.problems,
        failed=tally.failed,
        groups=_groups(config, samples),
        prompts_open=False,
    )
    path = config.data / FOLDER / f"{config.name}.html"
    replace_whole(path, text.encode("utf-8", "replace"))
    return path


def _figures(result: Result) -> list[tuple[str, str]]:
    tally = result.tally
    told = [
        (f"{tally.captioned:,}", "captions in the manifest"),
        (f"{tally.refused:,}", "refused by the gate"),
        *([(f"{tally.failed:,}", "without an answer")] if tally.failed else []),
        (f"{tally.mended:,}", "changed by cleaning"),
        (f"{tally.mean_words:.0f}", "words a caption"),
        *([(f"{tally.mean_tokens:.0f}", "tokens an answer")] if tally.tokens_out else []),
    ]
    if result.asked:
        rate = result.asked / max(result.seconds, 1e-9)
        told.append((duration(result.seconds), f"for the last {result.asked:,}, {rate:.2f} a second"))
    if result.cost is not None:
        told.append((money(result.cost), "by the server's prices"))
    return told


def _groups(config: CaptionConfig, samples: Samples) -> list[tuple[str, list[Card]]]:
    """The cards of the samples; one whose picture cannot be had has none."""
    pictures = ManifestPictures.open(config.data, transparent_as=config.transparent_as)
    index = RowIndex.of(pictures.manifest)
    told = []
    for name, additions in samples.chosen():
        rows = index.rows(np.array([key_of(addition.id) for addition in additions], np.uint64)).tolist()
        there = [(row, addition) for row, addition in zip(rows, additions, strict=True) if row != NO_ROW]
        try:
            seen = list(pictures.images([row for row, _ in there]))
        except StoreError:
            seen = []  # The page does without.
        cards = [
            card_of(addition, *((seen[at].record, seen[at].image) if seen else (None, None)))
            for at, (_, addition) in enumerate(there)
        ]
        told.append(("Samples" if name == "captioned" else f"Refused: {name}", cards))
    return told
