"""What records, and a person's corrections, say of a tagger's labels when it is judged.

A record that lacks a tag is no proof that the picture does: most boards tag what somebody cared to tag. Here
such a tag counts as absent all the same, so that every precision is a lower bound; only pictures that have no
tag at all (or none but a person's answers), and pictures without a single tag of a group of which they must
have one, say nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from captionkit import Record
from trainkit.tagging.corrections import Corrections
from trainkit.tagging.outputs import Outputs
from trainkit.tagging.targets import Closing

UNKNOWN, ABSENT, PRESENT = -1, 0, 1

TruthTable = NDArray[np.int8]
"""[N, L]: `PRESENT`, `ABSENT` or `UNKNOWN`."""


class Truth:
    """Reads records for a tagger's labels."""

    def __init__(
        self,
        outputs: Outputs,
        closing: Closing,
        *,
        corrections: Corrections | None = None,
        unheard: Collection[str] = (),
    ) -> None:
        """Tags of the sources ``unheard``, such as the tagger itself, are no witnesses."""
        self._outputs = outputs
        self._closing = closing
        self._corrections = corrections or Corrections()
        self._unheard = frozenset(unheard)

    def of(self, record: Record) -> NDArray[np.int8]:
        """[L]: whether the picture has each tag."""
        tags = tuple(tag for tag in record.tags if tag.source not in self._unheard)
        said = [(correction.tag, correction.right) for correction in self._corrections.of(record.id)]
        known = self._closing.known(replace(record, tags=tags), said)
        truth = np.full(len(self._outputs.labels), UNKNOWN if known.silent else ABSENT, dtype=np.int8)
        certain = np.zeros(len(truth), dtype=np.bool_)
        certain[list(known.certain)] = True
        truth[certain] = ABSENT
        truth[list(known.present)] = PRESENT
        for group, places in self._outputs.groups.items():
            truth[places] = _settled(truth[places], certain[places], group in self._outputs.none_of)
        return truth


def _settled(truth: NDArray[np.int8], certain: NDArray[np.bool_], may_be_none: bool) -> NDArray[np.int8]:
    """What holds in a group: a picture has one of its tags, or perhaps none. What a person said is there
    outweighs what else is; where the tags contradict each other, only what a person denied is known."""
    sure = (truth == PRESENT) & certain
    present = sure if sure.any() else truth == PRESENT
    if present.sum() == 1:
        return np.where(present, PRESENT, ABSENT).astype(np.int8)
    denied = (truth == ABSENT) & certain
    none = not present.any() and (denied.all() or (may_be_none and bool((truth == ABSENT).all())))
    return np.where(denied | none, ABSENT, UNKNOWN).astype(np.int8)
