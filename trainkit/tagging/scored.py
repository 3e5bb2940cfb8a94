"""Pictures with a tagger's scores, in order: threads read, decode and prepare them ahead of the network."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainkit.manifest_pictures import ManifestPictures, Seen
from trainkit.tagging.tagger import Tagger


@dataclass(frozen=True, slots=True)
class Scored:
    """One row with what the tagger says of it."""

    seen: Seen
    scores: NDArray[np.float32] | None
    """[L]; None when the picture has a problem."""
    problem: str | None = None
    """What is wrong with the picture."""


def scored(
    pictures: ManifestPictures, rows: Iterable[int], tagger: Tagger, *, batch: int = 16, threads: int = 2
) -> Iterator[Scored]:
    """Each row, in their order, with its scores or its problem; ``batch`` pictures are scored at a time.

    Raises StoreError when the store does not answer, ModelError when the network fails.
    """
    waiting: deque[tuple[Seen, Future[NDArray[np.float32]] | None]] = deque()
    pool = ThreadPoolExecutor(threads, "prepare")
    try:
        for seen in pictures.images(rows, threads=threads, ahead=2 * batch):
            job = None if seen.image is None else pool.submit(tagger.prepare, seen.image)
            waiting.append((seen, job))
            # One batch is prepared while another is scored.
            if len(waiting) >= 2 * batch:
                yield from _batch([waiting.popleft() for _ in range(batch)], tagger)
        while waiting:
            yield from _batch([waiting.popleft() for _ in range(min(batch, len(waiting)))], tagger)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _batch(some: list[tuple[Seen, Future[NDArray[np.float32]] | None]], tagger: Tagger) -> list[Scored]:
    ready: list[NDArray[np.float32]] = []
    told: list[tuple[Seen, str | None]] = []
    for seen, job in some:
        try:
            if job is not None:
                ready.append(job.result())
            told.append((seen, seen.problem if job is None else None))
        except (ValueError, OverflowError, MemoryError) as error:  # A strip that no square can be made of.
            told.append((seen, f"{_name(seen)}: the tagger cannot take it: {str(error)[:200]}"))
    scores = iter(tagger.scores(ready)) if ready else iter(())
    return [Scored(seen, None, problem) if problem else _of(seen, next(scores)) for seen, problem in told]


def _of(seen: Seen, scores: NDArray[np.float32]) -> Scored:
    if np.isfinite(scores).all():
        return Scored(seen, scores)
    # Half precision may overflow.
    return Scored(seen, None, f"{_name(seen)}: the tagger's scores are no numbers")


def _name(seen: Seen) -> str:
    return seen.record.id if seen.record is not None else f"row {seen.row}"
