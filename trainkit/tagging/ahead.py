"""A thread that works ahead of whoever takes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def worked_ahead(
    make: Callable[[Item], Result], items: Iterable[Item], most: int
) -> Generator[Result, None, None]:
    """``make`` of each item, in order, in one thread that is at most ``most`` results ahead.

    Close the iterator to end the thread. What ``make`` raises is raised where its result would have come.
    """
    done: queue.Queue[tuple[Result | None, BaseException | None] | None] = queue.Queue(max(most, 1))
    ending = threading.Event()

    def put(result: tuple[Result | None, BaseException | None] | None) -> None:
        while not ending.is_set():
            try:
                return done.put(result, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                if ending.is_set():
                    return
                put((make(item), None))
        except BaseException as error:
            put((None, error))
        put(None)

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while (result := done.get()) is not None:
            made, error = result
            if error is not None:
                raise error
            yield made  # type: ignore[misc]
    finally:
        ending.set()
        thread.join()
