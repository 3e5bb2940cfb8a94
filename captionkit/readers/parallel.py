"""One function over the blocks of a source, in this process or in several, with the same results in order."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar

from captionkit.errors import CaptionkitError, DataError
from captionkit.readers.source import Block, Report, Source

if TYPE_CHECKING:
    from concurrent.futures import Future

R = TypeVar("R")

MOST_PROCESSES = 256
AHEAD = 2
"""So many blocks wait for each process; more would only fill memory."""


def map_blocks(
    function: Callable[[Block, Report], R], source: Source, *, processes: int = 1, report: Report
) -> Iterator[tuple[int, R]]:
    """(amount of the block, `function(block, report)`) for every block of a source, in order.

    With more than one process, `function` and what it returns must be picklable; it is sent to each process
    once. A source of few blocks is read in this process whatever `processes` says. The results do not depend
    on `processes`, and neither does the order in which `report` hears of bad records.

    Raises what `report` and `source.blocks` raise, and `DataError` when a process dies, as one does that the
    system's memory killer chose.
    """
    processes = min(processes, MOST_PROCESSES)
    blocks = source.blocks(report)
    first = list(islice(blocks, AHEAD * processes)) if processes > 1 else []
    if len(first) < AHEAD * processes or processes <= 1:
        for block in chain(first, blocks):
            yield block.amount, function(block, report)
        return
    # Imported here, for every `import captionkit` would pay for it.
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    # Not forked: other threads of this process, such as pyarrow's, may hold locks at that moment.
    with ProcessPoolExecutor(processes, get_context("spawn"), _start, (function,)) as pool:
        waiting: deque[tuple[int, Future[tuple[Any, list[CaptionkitError]]]]] = deque()
        try:
            for block in chain(first, blocks):
                with _interrupts_held():
                    waiting.append((block.amount, pool.submit(_work, block)))
                if len(waiting) > AHEAD * processes:
                    yield _taken(*waiting.popleft(), report)
            while waiting:
                yield _taken(*waiting.popleft(), report)
        except BrokenProcessPool as error:
            raise DataError(
                "one of the processes that read it died",
                where=str(source.root),
                hint="often the system's memory killer: take fewer with --processes",
            ) from error
        finally:
            for _, future in waiting:
                future.cancel()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits until this is over. A process that is started meanwhile never hears it: one that was
    interrupted while it still imported left the pool waiting for it for ever."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows.
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _taken(amount: int, future: Future[tuple[R, list[CaptionkitError]]], report: Report) -> tuple[int, R]:
    result, errors = future.result()
    for error in errors:
        report(error)
    return amount, result


_function: Callable[[Block, Report], Any] | None = None
"""Of a worker process: what it does with every block."""


def _start(function: Callable[[Block, Report], Any]) -> None:
    global _function
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process ends the others.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _function = function


def _end_with_parent() -> None:
    """A first process that was killed ends nobody, and those that wait for its blocks would wait for ever."""
    from multiprocessing import parent_process

    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(block: Block) -> tuple[Any, list[CaptionkitError]]:
    errors: list[CaptionkitError] = []
    assert _function is not None
    return _function(block, errors.append), errors
