"""Micro-batches in order, prepared ahead of the training by processes beside it.

Micro-batch n is a pure function of the feed and n, so it does not matter which process prepares it, or how
often: one that dies or hangs is replaced, and the replacement is asked for the same numbers again. Each has a
socket of its own. In a queue that they shared, one killed in the middle of a word would leave the others
waiting for its lock for ever.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from multiprocessing.util import Finalize
from pathlib import Path

import torch
from tqdm import tqdm

from trainkit.data_worker import ANSWER, Failure
from trainkit.errors import ConfigError, LoaderError, PictureError
from trainkit.feed import Batch, Feed
from trainkit.packed import unpack
from trainkit.worker_process import Worker, start_worker

_FORGIVEN_AFTER = 3600.0
"""Seconds after which the end of a worker no longer counts: it is the many in a short time that tell of too
little memory."""

_LOOK = 5.0
"""Seconds of waiting after which there is a look at what the workers say."""


def micro_batches(
    feed: Feed,
    first: int,
    end: int,
    *,
    workers: int,
    prefetch: int = 2,
    restarts: int = 3,
    patience: float = 900.0,
    say: Callable[[str], None] = tqdm.write,
) -> Iterator[Batch]:
    """Micro-batches ``first`` to ``end`` in order, each of ``workers`` processes ``prefetch`` ahead; without
    workers they are prepared when they are asked for.

    A worker that ends, or gives nothing for ``patience`` seconds while it is waited for, is replaced and
    ``say`` is told. Raises LoaderError when that happens more than ``restarts`` times in an hour, or when a
    micro-batch cannot be prepared.
    """
    if workers == 0:
        return _here(feed, first, end)
    feed.plan.prepare(first)
    return _Loader(feed, first, end, workers, prefetch, restarts, patience, say)


def _here(feed: Feed, first: int, end: int) -> Iterator[Batch]:
    """Prepared in this process, one when it is asked for."""
    for number in range(first, end):
        try:
            batch = feed[number]
        except Exception as error:
            raise _failed(feed, number, Failure.of(error)) from error
        yield _pinned(batch)


class _Loader(Iterator[Batch]):
    """The training process's side."""

    def __init__(
        self,
        feed: Feed,
        first: int,
        end: int,
        workers: int,
        prefetch: int,
        restarts: int,
        patience: float,
        say: Callable[[str], None],
    ) -> None:
        if "fork" not in multiprocessing.get_all_start_methods():
            raise ConfigError("run", ["data.workers: this system cannot fork processes; set it to 0"])
        self._feed, self._end, self._patience, self._say = feed, end, patience, say
        self._wanted = self._unasked = first
        """The next to give, and the next to ask for."""
        self._ahead = workers * prefetch
        self._restarts = restarts
        self._ends: deque[float] = deque()
        """When workers ended, within the last hour."""
        self._kills = _oom_kills()
        self._arrived: dict[int, Batch | Failure] = {}
        self._workers: list[Worker] = []
        self.close = Finalize(self, _end_all, (self._workers,), exitpriority=10)
        """Ends the workers; also when this is forgotten, and before the interpreter waits for them."""
        for number in range(1, min(workers, max(1, end - first)) + 1):
            self._workers.append(start_worker(number, self._feed, [w.ours for w in self._workers]))
        self._ask()

    def __next__(self) -> Batch:
        if self._wanted >= self._end:
            self.close()
            raise StopIteration
        self._receive(0)
        waited = 0.0
        while self._wanted not in self._arrived:
            # A process that was stopped and goes on must not take the pause for the worker's fault.
            step, began = min(_LOOK, self._patience), time.monotonic()
            if self._receive(step):
                waited = 0.0
                continue
            waited += min(step, time.monotonic() - began)
            self._relay()
            if waited >= self._patience:
                self._hung()
                waited = 0.0
        number, given = self._wanted, self._arrived.pop(self._wanted)
        self._wanted += 1
        if isinstance(given, Failure):
            self.close()
            raise _failed(self._feed, number, given)
        self._ask()
        return _pinned(given)

    def _ask(self) -> None:
        """Hand out the numbers up to ``_ahead`` before the one wanted, to whoever has least to do."""
        while self._unasked < min(self._end, self._wanted + self._ahead):
            worker = min(self._workers, key=lambda w: len(w.asked))
            worker.ask(self._unasked)
            self._unasked += 1

    def _receive(self, seconds: float) -> bool:
        """Take in what has arrived, waiting for the first so long; whether there was anything."""
        ready = wait([w.ours for w in self._workers], seconds)
        for worker in [w for w in self._workers if w.ours in ready]:
            try:
                message, files, _, _ = socket.recv_fds(worker.ours, ANSWER.size, 1)
            except ConnectionError:
                message, files = b"", []
            if len(message) < ANSWER.size:
                self._died(worker)
                continue
            number, header, failed = ANSWER.unpack(message)
            try:
                self._arrived[number] = (
                    Failure(**json.loads(os.pread(files[0], header, 0)))
                    if failed
                    else unpack(files[0], header)
                )
            finally:
                os.close(files[0])
            worker.asked.remove(number)
        return bool(ready)

    def _relay(self) -> None:
        """Nothing comes: say what the workers say, such as that a store does not answer."""
        for worker in self._workers:
            for line in worker.new_words():
                self._say(f"data worker {worker.number}: {line}")

    def _died(self, worker: Worker) -> None:
        """A worker's socket has ended, and so has it."""
        worker.process.join(10)
        self._replace(worker, self._cause(worker))

    def _cause(self, worker: Worker) -> str:
        code = worker.process.exitcode
        if code is None or code >= 0:
            return f"ended by itself with status {code}"
        by = signal.Signals(-code).name
        if by != "SIGKILL":
            return f"was ended by {by}"
        kills, self._kills = self._kills, _oom_kills()
        if self._kills > kills:
            return "was killed by the system's memory killer (SIGKILL)"
        return "was killed (SIGKILL), by hand or because memory ran out"

    def _hung(self) -> None:
        """The worker that owes the wanted micro-batch gives nothing."""
        worker = next(w for w in self._workers if self._wanted in w.asked)
        worker.show_stack()
        cause = f"gave nothing for {self._patience:g} s (data.worker_timeout) and was killed"
        worker.process.kill()
        worker.process.join(10)
        self._replace(worker, cause)

    def _replace(self, worker: Worker, cause: str) -> None:
        """Start another in a worker's place, with the same to do. Raises LoaderError when it is one too
        many."""
        on = worker.asked[0] if worker.asked else None
        doing = "with nothing to do" if on is None else f"on micro-batch {on} ({_names(self._feed, on)})"
        rank = f" of rank {self._feed.rank}" if self._feed.world > 1 else ""
        told = f"data worker {worker.number}{rank} (process {worker.process.pid}) {cause}, {doing}"
        words = worker.last_words()
        if words:
            told += "; its last words:\n  " + words.replace("\n", "\n  ")
        worker.end()
        now = time.monotonic()
        self._ends.append(now)
        while now - self._ends[0] > _FORGIVEN_AFTER:
            self._ends.popleft()
        if len(self._ends) > self._restarts:
            self.close()
            raise LoaderError(
                f"{told}\nThat was the {len(self._ends)}. end of a data worker within an hour "
                f"(data.worker_restarts allows {self._restarts}). Where memory is short, use fewer "
                f"(data.workers is {len(self._workers)}) or let them work less ahead (data.prefetch); where "
                "it was always the same micro-batch, look at its pictures. The same command goes on from the "
                "last checkpoint."
            )
        self._say(
            f"{told}\n  a new one prepares the same micro-batches ({len(self._ends)} of "
            f"{self._restarts} in an hour)"
        )
        others = [w.ours for w in self._workers if w is not worker]
        new = start_worker(worker.number, self._feed, others)
        self._workers[worker.number - 1] = new
        for number in worker.asked:
            new.ask(number)


def _end_all(workers: list[Worker]) -> None:
    for worker in workers:
        with contextlib.suppress(OSError):
            worker.ours.shutdown(socket.SHUT_RDWR)
    for worker in workers:
        worker.end()


def _pinned(batch: Batch) -> Batch:
    return batch.pin_memory() if torch.cuda.is_available() else batch


def _failed(feed: Feed, number: int, failure: Failure) -> LoaderError:
    told = f"micro-batch {number} ({_names(feed, number)}) could not be prepared: {failure.what}"
    if not failure.mendable:
        told += (
            "\nThis is a fault of trainkit or of a file it did not expect; leave these pictures out to go on."
        )
    return LoaderError(told, failure.trace)


def _names(feed: Feed, number: int, most: int = 8) -> str:
    """The records of a micro-batch in words."""
    names: list[str] = []
    try:
        draws = feed.plan[number].draws[feed.rank :: feed.world]
    except Exception:  # It is being told what went wrong already.
        return "unknown records"
    for draw in draws[:most]:
        try:
            names.append(feed.pictures[draw.picture].record.id)
        except PictureError as error:
            names.append(error.picture)
        except Exception:
            names.append(f"picture {draw.picture}")
    more = f" and {len(draws) - most} more" if len(draws) > most else ""
    return "records " + ", ".join(names) + more


def _oom_kills() -> int:
    """How many processes the system's memory killer has ended since it started; 0 where it does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
