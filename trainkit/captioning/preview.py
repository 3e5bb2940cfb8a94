"""A sample before the run: a few captions on a page, and what the whole will take."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainkit.captioning.captioner import Captioner
from trainkit.captioning.cards import Card, card_of
from trainkit.captioning.choose import Choice
from trainkit.captioning.config import CaptionConfig
from trainkit.captioning.estimate import Estimate
from trainkit.captioning.judged import Judge, state_of
from trainkit.captioning.meter import Meter
from trainkit.captioning.plan import choose_pictures, prompts_of
from trainkit.captioning.questions import Questions
from trainkit.captioning.run import check_some
from trainkit.manifest_pictures import ManifestPictures
from trainkit.pages.page import page
from trainkit.signals import Stop, Stopped
from trainkit.whole_file import replace_whole

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Preview:
    """What a preview showed."""

    path: Path
    """Of the page."""
    cards: tuple[Card, ...]
    estimate: Estimate

    def describe(self) -> str:
        """For people."""
        states = Counter(card.state for card in self.cards)
        faults = Counter(fault for card in self.cards for fault in card.faults)
        told = [f"{states['captioned']} of {len(self.cards)} captions pass"]
        if faults:
            told.append("refused: " + ", ".join(f"{fault} {count}" for fault, count in faults.most_common()))
        told += [f"{card.id}: {card.problem}" for card in self.cards if card.problem][:5]
        return "\n".join([*told, self.estimate.describe(), f"the page is {self.path}"])

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "page": str(self.path),
            "estimate": dataclasses.asdict(self.estimate),
            "captions": [
                {
                    "id": card.id,
                    "prompt": card.prompt,
                    "raw": card.raw,
                    "cleaned": card.cleaned,
                    "faults": list(card.faults),
                    "problem": card.problem,
                }
                for card in self.cards
            ],
        }


def preview(config: CaptionConfig, count: int, path: Path, stop: Stop, *, show: bool = True) -> Preview:
    """Caption ``count`` of the chosen pictures and write the page ``path``.

    Raises TrainkitError for what can be mended, Stopped when it was asked to stop.
    """
    pictures = ManifestPictures.open(config.data, transparent_as=config.transparent_as)
    choice = choose_pictures(pictures, config)
    check_some(choice, len(pictures), config.choose)
    rows = even_sample(choice.rows, count)
    todo = {row: tuple(prompt.name for prompt in prompts_of(config, pictures.record(row).id)) for row in rows}
    meter = Meter(sum(map(len, todo.values())), 0, show=show)
    with config.backend.open(config.sampling) as captioner, meter, meter.telling(captioner):
        model = captioner.model
        cards = _cards(config, pictures, captioner, todo, meter, stop)
    estimate = Estimate.of(meter, len(choice.rows) * config.num_per_picture, config)
    _write(path, config, choice, model, cards, estimate)
    return Preview(path, cards, estimate)


def even_sample(rows: Sequence[int], count: int) -> list[int]:
    """Rows at even distances; all when there are no more.

    >>> even_sample(range(100, 110), 3)
    [101, 105, 108]
    """
    if len(rows) <= count:
        return list(rows)
    return [rows[(2 * place + 1) * len(rows) // (2 * count)] for place in range(count)]


def _cards(
    config: CaptionConfig,
    pictures: ManifestPictures,
    captioner: Captioner,
    todo: dict[int, tuple[str, ...]],
    meter: Meter,
    stop: Stop,
) -> tuple[Card, ...]:
    """The cards of the answers, in the order of the pictures."""
    judge = Judge(config.clean, config.gate)
    questions = Questions(pictures, config, captioner.model, keep_images=True)
    places = {pictures.record(row).id: place for place, row in enumerate(todo)}
    found: list[tuple[int, str, Card]] = []
    try:
        for answer in stop.noting(
            captioner.answers(questions.requests(todo, lambda: stop.asked is not None))
        ):
            question = questions.answered(answer)
            addition = questions.addition(question, answer, judge)[1]
            card = card_of(addition, question.record, question.image)
            found.append((places[addition.id], question.prompt.name, card))
            meter.add(answer, state_of(addition))
    except Stopped as stopped:
        raise Stopped(stopped.number, "before the preview was whole") from None
    for _, addition in questions.failures():
        found.append((places[addition.id], "", card_of(addition, None, None)))
        meter.add_failure()
    return tuple(card for _, _, card in sorted(found, key=lambda one: one[:2]))


def _write(
    path: Path, config: CaptionConfig, choice: Choice, model: str, cards: tuple[Card, ...], estimate: Estimate
) -> None:
    states = Counter(card.state for card in cards)
    figures = [
        (str(states["captioned"]), "pass"),
        (str(states["refused"]), "refused by the gate"),
        *([(str(states["failed"]), "without an answer")] if states["failed"] else []),
        *estimate.figures(),
    ]
    text = page(
        _HERE / "preview.html",
        title=f"captions by {model}",
        model=model,
        data=config.data.name,
        chosen=len(choice.rows),
        cards=cards,
        figures=figures,
        prompts_open=True,
    )
    replace_whole(path, text.encode("utf-8", "replace"))
