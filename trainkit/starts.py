"""The starts of a run: when, where, with what changes, and how each of them ended.

``starts.jsonl`` has a line when a start begins, one when its training begins and one when it ends. A start
without the last one was killed, or its machine lost power. ``ended.json`` tells of the last end; a run that
goes on has none.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from trainkit.alerts import AlertConfig, alert
from trainkit.errors import TrainkitError
from trainkit.log import read_tail
from trainkit.moment import time_stamp
from trainkit.signals import Stopped, own_command
from trainkit.whole_file import read_object, write_whole

How = Literal["finished", "stopped", "error", "out of memory", "hung"]

_SAID = ("torch", "python", "host", "gpus", "driver", "captionkit")
"""Of the environment: what is told when it changes between two starts."""


class Start:
    """Writes the lines of one start, on the main process."""

    def __init__(self, out: Path, alerts: AlertConfig) -> None:
        self._out, self._alerts = out, alerts
        self._path = out / "starts.jsonl"
        lines = _lines(self._path)
        self.number = 1 + max((n for line in lines if isinstance(n := line.get("start"), int)), default=0)
        """Of this start, from 1."""
        last = lines[-1] if lines else None
        self.killed_before = last is not None and last.get("event") != "end"
        """Whether the start before this one had no time to say how it ended."""

    def begin(
        self,
        settings: Mapping[str, Any],
        surroundings: Mapping[str, Any],
        world: int,
    ) -> None:
        """A start begins: by what command, and with what that is different from the last one."""
        changes = _changes(read_object(self._out / "run.json"), settings) if self.number > 1 else {}
        before = read_object(self._out / "environment.json")
        moved = _changes(
            {k: before[k] for k in _SAID if k in before}, {k: surroundings.get(k) for k in _SAID}
        )
        (self._out / "ended.json").unlink(missing_ok=True)
        self._add(
            "start",
            host=socket.gethostname(),
            pid=os.getpid(),
            processes=world,
            command=own_command(),
            folder=os.getcwd(),
            changes=changes,
            **({"surroundings_changed": moved} if before and moved else {}),
            **({"before": "did not end by itself: killed, or a power cut"} if self.killed_before else {}),
        )

    def training(self, samples_seen: int, total_samples: int, pictures: int, fingerprint: str) -> None:
        """The training of this start begins."""
        told = {"from": samples_seen, "total_samples": total_samples, "pictures": pictures}
        self._add("training", **told, **({"fingerprint": fingerprint} if fingerprint else {}))

    @contextlib.contextmanager
    def to_the_end(self) -> Iterator[None]:
        """Whatever ends this start is written down, and the command for it started."""
        try:
            yield
        except BaseException as error:
            self.ended(*_told(error))
            raise
        self.ended("finished", "the run is done")

    def ended(self, how: How, reason: str, details: str = "") -> None:
        """Write down an end and alert whom it may concern. Raises nothing."""
        tail = read_tail(self._out / "log.jsonl", 1).entries
        last = tail[0] if tail else {}
        told = {"how": how, "reason": reason, "samples": last.get("samples", 0)}
        self._add("end", **told)
        with contextlib.suppress(OSError):
            extra = {"details": details} if details else {}
            write_whole(
                self._out / "ended.json", {**told, "start": self.number, "when": time_stamp(), **extra}
            )
        progress = read_object(self._out / "progress.json")
        facts = {
            "run": str(self._out.resolve()),
            **told,
            "start": self.number,
            "host": socket.gethostname(),
            "total_samples": progress.get("total_samples"),
            **{name: last.get(name) for name in ("epoch", "phase", "loss")},
        }
        if problem := alert(self._alerts, "finish" if how == "finished" else "failure", facts):
            tqdm.write(problem)

    def _add(self, event: str, **told: Any) -> None:
        """One line, handed to the system at once. A full disk is told by what matters more than this."""
        line = json.dumps({"event": event, "start": self.number, "when": time_stamp(), **told})
        with contextlib.suppress(OSError), self._path.open("ab+") as file:
            if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
                file.write(b"\n")  # Behind a line that was cut off.
            file.write(line.encode() + b"\n")


def read_starts(out: Path) -> list[dict[str, Any]]:
    """One dictionary for every start, oldest first, with what its lines say; "how" is "killed" for one that
    another followed without an end."""
    starts: dict[int, dict[str, Any]] = {}
    for line in _lines(out / "starts.jsonl"):
        number = line.get("start")
        if isinstance(number, int):
            told = {k: v for k, v in line.items() if k != "event"}
            if line.get("event") == "end":
                told["until"] = told.pop("when", None)
            elif line.get("event") == "training":
                told.pop("when", None)
            starts[number] = starts.get(number, {}) | told
    numbers = sorted(starts)
    for number in numbers[:-1]:
        starts[number].setdefault("how", "killed")
    return [starts[number] for number in numbers]


def _lines(path: Path) -> list[dict[str, Any]]:
    return list(read_tail(path, 100_000).entries)


def _told(error: BaseException) -> tuple[How, str, str]:
    """An end by an exception in words; the traceback of what is no mendable error."""
    if isinstance(error, (Stopped, KeyboardInterrupt)):
        return "stopped", str(error) or "interrupted", ""
    details = "" if isinstance(error, TrainkitError) else "".join(traceback.format_exception(error))
    # torch's, by its name: whoever reads a history need not load torch.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory", str(error).strip() or "out of memory", details
    if isinstance(error, TrainkitError):
        return "error", str(error), str(getattr(error, "trace", ""))
    return "error", f"{type(error).__name__}: {error}", details


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """{dotted name: [before, now]} of everything that is different; nothing when there is no before."""
    if not before:
        return {}
    old, new = dict(_flat(before)), dict(_flat(after))
    return {
        name: [old.get(name), new.get(name)]
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    }


def _flat(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value
