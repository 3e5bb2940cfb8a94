"""What a tagger gives back of tags that were taken away, on pictures that it did not learn from.

Usage: PYTHONPATH=. python tests/benchmarks/measure_tagger.py TAGGER MANIFEST GROUP

For one group of exclusive tags: how often the likeliest tag is right, beside always saying the commonest; and
how many of the tags come back at a precision of 0.9, where the score from which a tag is said is found on one
half of the held-out pictures and judged on the other, both ways round.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from captionkit.record import fold
from trainkit.manifest_pictures import ManifestPictures
from trainkit.tagging.trained import TrainedTagger

PRECISION = 0.9


def main(tagger_folder: str, manifest: str, group: str) -> None:
    """Judge one group."""
    tagger = TrainedTagger(Path(tagger_folder))
    pictures = ManifestPictures.open(Path(manifest))
    places = [place for place, label in enumerate(tagger.labels) if label.group == group]
    names = [fold(tagger.labels[place].name) for place in places]
    category = tagger.labels[places[0]].category

    split = tagger.about.split
    rows = [r for r in range(len(pictures)) if split.held_out(pictures.record(r).id, pictures.digest(r))]
    scores, truth, half = [], [], []
    for seen in pictures.images(rows):
        if seen.record is None or seen.image is None:
            continue
        tags = [tag for tag in seen.record.tags if category is None or tag.category == category]
        true = [names.index(fold(tag.name)) for tag in tags if fold(tag.name) in names]
        if true:
            scores.append(tagger.scores([tagger.prepare(seen.image)])[0][places])
            truth.append(true[0])
            half.append(hashlib.blake2b(f"half {seen.record.id}".encode()).digest()[0] & 1)
    sure = np.array(scores).max(axis=1)
    right = np.array(scores).argmax(axis=1) == np.array(truth)
    in_first = np.array(half) == 1

    commonest = np.bincount(truth).max() / len(truth)
    print(f"{len(truth)} held-out pictures with a tag of {group}: {right.mean():.1%} right")
    print(f"always the commonest: {commonest:.1%}")
    for chosen, judged in ((in_first, ~in_first), (~in_first, in_first)):
        said = judged & (sure >= threshold(sure[chosen], right[chosen]))
        print(
            f"score found on {chosen.sum()}, judged on {judged.sum()}: precision {right[said].mean():.1%}, "
            f"{(right & said).sum() / judged.sum():.1%} of the tags come back"
        )


def threshold(sure: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """The lowest score from which on 0.9 are right."""
    order = np.argsort(-sure)
    precision = right[order].cumsum() / np.arange(1, len(order) + 1)
    good = np.flatnonzero(precision >= PRECISION)
    return float(sure[order][good[-1]]) if len(good) else np.inf


if __name__ == "__main__":
    main(*sys.argv[1:])
