"""What a person is asked about a picture, and which questions are worth asking.

A question is about one tag (does the picture have it?) or about a group of exclusive tags (which of them?).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainkit.manifest_pictures import ManifestPictures
from trainkit.tagging.choices import answer_scores, answers_of, right_answers
from trainkit.tagging.corrections import Corrections
from trainkit.tagging.curves import TagCurve
from trainkit.tagging.outputs import Outputs
from trainkit.tagging.truth import PRESENT, UNKNOWN, TruthTable


@dataclass(frozen=True, slots=True)
class Question:
    """One question about the picture of a row."""

    row: int
    subject: str
    """The tag or the group."""
    answers: tuple[str, ...] = ()
    """The tags of the group; empty for a tag by itself."""
    said: str | None = None
    """What the tagger says: a tag of the group, or "yes" or "no"; None when no tagger was asked."""
    labelled: str | None = None
    """The same of the record."""
    score: float | None = None
    """What the tagger gives to what it says, 0 to 1; for a tag by itself always that of the tag."""
    weight: float = 0.0
    """How much it is worth to ask; the higher, the sooner."""


def disagreements(
    outputs: Outputs,
    curves: Mapping[str, TagCurve],
    rows: NDArray[np.intp],
    scores: NDArray[np.float32],
    truth: TruthTable,
    *,
    most: int,
) -> list[Question]:
    """Where the tagger says the tag and the record does not, or denies it and it is there; a tag by itself is
    said from its best-F1 threshold. The surer the tagger, the higher the weight.

    ``rows`` [N] number the rows of ``scores`` and ``truth`` [N, L] in the manifest; at most the ``most``
    weighty questions of each subject are found.
    """
    found = []
    for place in outputs.singles.tolist():
        name = outputs.labels[place].name
        threshold = curves[name].best_f1_threshold if name in curves else None
        if threshold is None:
            continue
        given = scores[:, place]
        says, has = given >= threshold, truth[:, place] == PRESENT
        weights = np.where(says, given, 1.0 - given)
        weights[(says == has) | (truth[:, place] == UNKNOWN)] = -1.0
        for i in _heaviest(weights, most):
            word = _yes(says[i]), _yes(has[i])
            found.append(Question(int(rows[i]), name, (), *word, float(given[i]), float(weights[i])))
    for group in outputs.groups:
        answers = answers_of(outputs, group)
        known, right = right_answers(outputs, group, truth)
        table = answer_scores(outputs, group, scores[known])
        top, every = table.argmax(axis=1), np.arange(len(table))
        weights = np.where(top != right, table[every, top] - table[every, right], -1.0)
        for i in _heaviest(weights, most):
            word, score = (answers[top[i]], answers[right[i]]), float(table[i, top[i]])
            row = int(rows[known[i]])
            found.append(Question(row, group, _tags(outputs, group), *word, score, float(weights[i])))
    return found


def uncertain(
    outputs: Outputs,
    curves: Mapping[str, TagCurve],
    rows: NDArray[np.intp],
    scores: NDArray[np.float32],
    *,
    most: int,
) -> list[Question]:
    """What the tagger knows least about, whatever the records say: tags by themselves whose score is next to
    their threshold (0.5 where none was measured), groups whose two best answers are close (margin sampling;
    Settles, "Active learning literature survey", 2009)."""
    found = []
    for place in outputs.singles.tolist():
        name = outputs.labels[place].name
        best = curves[name].best_f1_threshold if name in curves else None
        threshold = 0.5 if best is None else best
        given = scores[:, place]
        weights = 1.0 - np.abs(given - threshold)
        for i in _heaviest(weights, most):
            word = _yes(given[i] >= threshold)
            found.append(Question(int(rows[i]), name, (), word, None, float(given[i]), float(weights[i])))
    for group in outputs.groups:
        answers = answers_of(outputs, group)
        table = answer_scores(outputs, group, scores)
        ranked, top = np.sort(table, axis=1), table.argmax(axis=1)
        weights = 1.0 - (ranked[:, -1] - ranked[:, -2])
        for i in _heaviest(weights, most):
            word, score = answers[top[i]], float(table[i, top[i]])
            row = int(rows[i])
            found.append(Question(row, group, _tags(outputs, group), word, None, score, float(weights[i])))
    return found


def worthiest(questions: Iterable[Question], count: int) -> list[Question]:
    """The ``count`` questions of most weight, the subjects taking turns, so that none fills the page; then
    subject by subject, because judging one tag at a time is quicker and surer."""
    by_subject: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        by_subject[question.subject].append(question)
    turns = [
        (turn, -question.weight, question)
        for asked in by_subject.values()
        for turn, question in enumerate(sorted(asked, key=_order)[:count])
    ]
    turns.sort(key=lambda entry: (entry[0], entry[1], entry[2].subject, entry[2].row))
    chosen = [question for _, _, question in turns[:count]]
    strongest = {subject: max(q.weight for q in asked) for subject, asked in by_subject.items()}
    return sorted(chosen, key=lambda q: (-strongest[q.subject], q.subject, *_order(q)))


def not_judged(
    questions: Iterable[Question], pictures: ManifestPictures, corrections: Corrections
) -> list[Question]:
    """The questions that no person has answered before."""
    left = []
    for question in questions:
        id = pictures.record(question.row).id
        tags = question.answers or (question.subject,)
        if any(corrections.get(id, tag) is None for tag in tags):
            left.append(question)
    return left


def _heaviest(weights: NDArray[np.floating], most: int) -> list[int]:
    """Where the largest weights are; those below 0 do not count."""
    first = np.argsort(-weights, kind="stable")[:most]
    return [int(i) for i in first if weights[i] >= 0]


def _order(question: Question) -> tuple[float, int]:
    return -question.weight, question.row


def _tags(outputs: Outputs, group: str) -> tuple[str, ...]:
    return tuple(outputs.labels[place].name for place in outputs.groups[group])


def _yes(word: object) -> str:
    return "yes" if word else "no"
