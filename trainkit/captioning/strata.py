"""A sample of which no tag gets less than its part, without a separate draw for each.

All tags order their pictures by the same number, the hash of the picture. A tag of n pictures wants the first
``part * n`` of its own, to the nearest whole one; as the order is common to all, these are mostly the same
pictures for every tag. This is the coordinated bottom-k sampling of Cohen and Kaplan, "Summarizing data using
bottom-k sketches" (2007). Unlike a greedy choice from the rarest tag on, a larger sample holds the smaller,
and it does not depend on the order of tags or pictures; for that it is larger than the part, by what rare
tags lack in the pictures of the others: docs/captioning.md has figures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def lowest_ranks(
    hashes: NDArray[np.uint64],
    sizes: NDArray[np.uint32],
    tags: NDArray[np.uint32],
    *,
    min_pictures: int,
    at_least: int,
) -> NDArray[np.float64]:
    """[N]: for each picture the lowest of its ranks among the pictures of its tags, as a part of them:
    0.5 / n the first of n, 1.5 / n for the second.

    ``sizes`` [N] is how many tags each picture has, ``tags`` the numbers of their tags one after the other.
    Tags of fewer than ``min_pictures`` pictures do not count; pictures that are left with none are a tag of
    their own. The first ``at_least`` pictures of a tag get a rank from -1 to 0.
    """
    num = len(hashes)
    if num == 0:
        return np.empty(0, dtype=np.float64)
    by_hash = np.argsort(hashes, kind="stable")
    places = np.empty(num, dtype=np.uint64)
    places[by_hash] = np.arange(num, dtype=np.uint64)
    counts = np.bincount(tags) if len(tags) else np.zeros(0, dtype=np.int64)
    stands = counts[tags] >= min_pictures
    owners = np.repeat(np.arange(num, dtype=np.uint32), sizes)[stands]
    # The tag above, the place below: one sort brings every tag's pictures together, in their order.
    posts = (tags[stands].astype(np.uint64) + np.uint64(1)) << np.uint64(32) | places[owners]
    alone = np.ones(num, dtype=np.bool_)
    alone[owners] = False
    del owners, stands
    posts = np.concatenate((places[alone], posts))
    posts.sort()
    lowest = np.ones(num, dtype=np.float64)
    starts = np.flatnonzero(np.diff(posts >> np.uint64(32), prepend=np.uint64((1 << 64) - 1)))
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(posts)], strict=True):
        at = (posts[start:end] & np.uint64(0xFFFFFFFF)).astype(np.int64)
        ranks = (np.arange(end - start) + 0.5) / (end - start)
        if posts[start] >> np.uint64(32):  # Not the pictures without a tag, of which nobody asks so many.
            first = min(at_least, end - start)
            ranks[:first] = np.arange(first) / max(at_least, 1) - 1
        lowest[at] = np.minimum(lowest[at], ranks)  # No picture is twice in one tag.
    priorities = np.empty(num, dtype=np.float64)
    priorities[by_hash] = lowest
    return priorities
