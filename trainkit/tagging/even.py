"""Questions for labelling from nothing: an even sample of pictures, the same one every time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from trainkit.errors import PictureError
from trainkit.keys import mixed
from trainkit.manifest_pictures import ManifestPictures
from trainkit.tagging.questions import Question

Judged = Callable[[str, str], bool | None]
"""By id and tag, what a person said before."""


def sample_questions(
    pictures: ManifestPictures,
    tags: Sequence[str],
    groups: Mapping[str, tuple[str, ...]],
    *,
    count: int,
    seed: int,
    judged: Judged,
) -> list[Question]:
    """Questions about an even sample of pictures of which not all was said before: subject by subject, about
    ``count`` pictures each.

    The order of pictures is a function of their ids and the seed, so that a smaller sample is the beginning
    of a larger one, and the next sample goes on where the corrections of this one end.
    """
    order = np.argsort(mixed(pictures.keys, seed), kind="stable").tolist()
    found: list[Question] = []
    for subject, answers in [*groups.items(), *((tag, ()) for tag in tags)]:
        asked = 0
        for row in order:
            if asked == count:
                break
            try:
                id = pictures.record(row).id
            except PictureError:
                continue
            if any(judged(id, tag) is None for tag in (answers or (subject,))):
                found.append(Question(row, subject, answers))
                asked += 1
    return found
