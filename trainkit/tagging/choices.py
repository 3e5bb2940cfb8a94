"""A group of exclusive tags as one question with several answers, "none of them" perhaps being the last."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainkit.tagging.outputs import Outputs
from trainkit.tagging.truth import PRESENT, UNKNOWN, TruthTable

NONE = "none of them"


def answers_of(outputs: Outputs, group: str) -> tuple[str, ...]:
    """The names of a group's K answers."""
    names = tuple(outputs.labels[place].name for place in outputs.groups[group])
    return (*names, NONE) if group in outputs.none_of else names


def answer_scores(outputs: Outputs, group: str, scores_NL: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N, K]: the scores of the answers; that of none is what the tags leave of 1."""
    table = scores_NL[:, outputs.groups[group]]
    if group not in outputs.none_of:
        return table
    rest = np.clip(1.0 - table.sum(axis=1, keepdims=True), 0.0, 1.0)
    return np.concatenate([table, rest.astype(np.float32)], axis=1)


def right_answers(
    outputs: Outputs, group: str, truth: TruthTable
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The pictures whose answer is known, and the number of each one's answer."""
    table = truth[:, outputs.groups[group]]
    known = (table != UNKNOWN).all(axis=1) & ((table == PRESENT).sum(axis=1) <= 1)
    has_one = (table == PRESENT).any(axis=1)
    if group not in outputs.none_of:
        known &= has_one
    rows = np.flatnonzero(known)
    return rows, np.where(has_one[rows], (table[rows] == PRESENT).argmax(axis=1), table.shape[1])
