"""Tags that the recipe adds, or says more often than the data has them."""

from __future__ import annotations

from collections.abc import Iterable

from captionkit.stats.result import TagStats

MORE_OFTEN = 1.5
"""A tag of the data counts as added when so many times as many captions say it as are of records that have
it."""


def added(tags: Iterable[TagStats]) -> tuple[TagStats, ...]:
    """Those that the data has not, and those said much more often than it has them; the most added first.

    Both sides are of the same drawn captions, so that no tag is among them by the chance of sampling.
    """
    found = [tag for tag in tags if not tag.count or tag.trained.hits > MORE_OFTEN * tag.kept.of]
    return tuple(sorted(found, key=lambda tag: tag.kept.of - tag.trained.hits))
