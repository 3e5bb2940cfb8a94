"""Pictures with a tagger's scores, of which those that are kept are not looked at again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from trainkit.errors import PictureError
from trainkit.manifest_pictures import ManifestPictures, Seen
from trainkit.tagging.kept_scores import KeptScores
from trainkit.tagging.scored import Scored, scored
from trainkit.tagging.tagger import Tagger

_RELEASED = 4096
"""After so many rows the pages of mapped files are given back."""


def scored_once(
    pictures: ManifestPictures,
    rows: Iterable[int],
    tagger: Tagger,
    kept: KeptScores | None,
    *,
    batch: int = 16,
    threads: int = 2,
) -> Iterator[Scored]:
    """Each row with its scores or its problem: first those whose scores are kept, without a picture, then the
    others, whose scores are kept from now on; both in their order.

    Raises TrainkitError as `scored`, and when scores cannot be written.
    """
    if kept is None:
        yield from scored(pictures, rows, tagger, batch=batch, threads=threads)
        return
    others: list[int] = []
    for count, row in enumerate(rows, 1):
        one = _known(pictures, row, kept)
        if one is None:
            others.append(row)
        else:
            yield one
        if count % _RELEASED == 0:
            pictures.manifest.release()
    for one in scored(pictures, others, tagger, batch=batch, threads=threads):
        key = pictures.picture_key(one.seen.row)
        if one.scores is not None and key is not None:
            kept.add(key, one.scores)
        yield one


def _known(pictures: ManifestPictures, row: int, kept: KeptScores) -> Scored | None:
    key = pictures.picture_key(row)
    scores = kept.find(key) if key is not None else None
    if scores is None:
        return None
    try:
        return Scored(Seen(row, pictures.record(row), None), scores)
    except PictureError as error:
        return Scored(Seen(row, None, None, str(error)), None, str(error))
