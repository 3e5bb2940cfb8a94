"""All that a person said that matters when a tagger is judged, and what of it falls flat."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainkit.keys import key_of
from trainkit.manifest_pictures import ManifestPictures
from trainkit.tagging.corrections import Correction, Corrections
from trainkit.tagging.kept import kept_corrections
from trainkit.tagging.learned import LEARNED, learned_corrections


def all_said(pictures: ManifestPictures, given: Corrections, tagger: Path | None) -> Corrections:
    """What a person said: kept in a manifest, learned by the tagger of a folder, ``given`` now; what is later
    in this row outweighs. Says on stderr where those come from that nobody gave.

    Raises TrainkitError when one cannot be read.
    """
    manifest = pictures.manifest.path
    kept = tuple(kept_corrections(manifest))
    learned = () if tagger is None else tuple(learned_corrections(tagger, pictures))
    if kept:
        _say(f"corrections: {len(kept):,} that are kept in {manifest} hold")
    if learned and tagger is not None:
        _say(f"corrections: {len(learned):,} of {tagger / LEARNED} hold, from the tagger's training")
    return Corrections([*kept, *learned, *given])


def say_unmet(given: Iterable[Correction], keys: NDArray[np.uint64], knows: Callable[[str], bool]) -> None:
    """Say on stderr which corrections change nothing; see `unmet`."""
    for line in unmet(given, keys, knows):
        _say(line)


def unmet(
    given: Iterable[Correction], keys: NDArray[np.uint64], knows: Callable[[str], bool]
) -> tuple[str, ...]:
    """Which corrections are of no picture, or of no tag that somebody ``knows``, in words; ``keys`` are those
    of all pictures."""
    every = tuple(given)
    at = np.isin(np.array([key_of(said.id) for said in every], np.uint64), keys)
    nowhere = [said for said, met in zip(every, at.tolist(), strict=True) if not met]
    unknown = [said for said, met in zip(every, at.tolist(), strict=True) if met and not knows(said.tag)]
    told = []
    if nowhere:
        told.append(
            f"corrections: {len(nowhere):,} of {len(every):,} are of pictures that the manifest does not "
            f"have, the first of {_short(nowhere[0].id)}"
        )
    if unknown:
        told.append(
            f"corrections: {len(unknown):,} of {len(every):,} are of tags that the tagger does not know, the "
            f"first {_short(unknown[0].tag)} of {_short(unknown[0].id)}"
        )
    return tuple(told)


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
