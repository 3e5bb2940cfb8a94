"""The same captions in one process and in several."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor

from captionkit.pipeline import CaptionPipeline
from captionkit.record import Record, Rendered


def check_processes(
    pipeline: CaptionPipeline,
    records: Iterable[Record],
    *,
    workers: Sequence[int] = (1, 4),
    methods: Sequence[str] = ("spawn", "fork"),
    draws: int = 3,
) -> None:
    """Whoever renders a record, the result is the same: this process, or any of 1 and of 4 workers.

    A fresh process ("spawn") has another salt for `hash()` and has seen no record yet; a forked one has all
    that this process has. The pipeline goes to them pickled, so its classes must stand at the top level of
    modules that can be imported. Methods that the system does not know are passed over.

    Raises `AssertionError` with the first record whose captions differ.
    """
    whole = list(records)
    here = _render((pipeline, whole, draws))
    for method in [name for name in methods if name in multiprocessing.get_all_start_methods()]:
        context = multiprocessing.get_context(method)
        for number in workers:
            # Dealt out in turn, so that neighbours meet in no process, and back to front.
            hands = [whole[start::number][::-1] for start in range(number)]
            with ProcessPoolExecutor(number, mp_context=context) as pool:
                dealt = list(pool.map(_render, [(pipeline, hand, draws) for hand in hands]))
            there = [dealt[at % number][::-1][at // number] for at in range(len(whole))]
            for record, one, other in zip(whole, here, there, strict=True):
                assert one == other, (
                    f"record {record.id!r} has other captions in one of {number} processes ({method})"
                )


def _render(task: tuple[CaptionPipeline, list[Record], int]) -> list[list[Rendered]]:
    pipeline, records, draws = task
    return [
        [pipeline.render(record, epoch=draw, draw=draw, samples=draw) for draw in range(draws)]
        for record in records
    ]
