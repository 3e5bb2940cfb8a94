"""How a run is doing, from the files in its folder: while it trains, from another machine, or long after.

Nothing is locked, written or loaded but small ends of files. What is missing or damaged is said, not raised.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainkit.log import read_spread, read_tail
from trainkit.starts import read_starts
from trainkit.waiting import MUCH
from trainkit.whole_file import read_object

POINTS = 40
"""Places of the log whose losses make up the curve."""
_FRESH = 60.0
"""Seconds within which a process writes what it does at least once."""
_FLOCK = "hhqqi4x"
"""struct flock of Linux on 64 bits: type, whence, start, length, process."""


def run_status(out: Path) -> dict[str, Any]:
    """Everything there is to say, as JSON would have it; parts that are not known are left out.

    ``state`` is "running", "finished", "ended" (it said why: ``how`` and ``reason``), "gone" (killed, or a
    power cut) or "none" (no run here). ``problems`` are sentences about files that are missing or damaged.
    """
    problems: list[str] = []
    progress = _object(out / "progress.json", problems)
    ended = _object(out / "ended.json", problems)
    settings = _object(out / "run.json", problems)
    starts = read_starts(out)
    tail = read_tail(out / "log.jsonl", 100)
    if tail.damaged:
        problems.append(f"log.jsonl: {tail.damaged} damaged lines among the last {len(tail.entries)}")
    ranks = _ranks(out)
    alive = _alive(out, ranks)
    state = _state(out, bool(starts), ended, alive)
    if state != "none":
        for name, found in (("run.json", settings), ("starts.jsonl", starts)):
            if not found:
                problems.append(f"{name} is missing")
    status: dict[str, Any] = {"run": str(out), "state": state, "alive": alive}
    if state in ("ended", "finished"):
        status |= {name: ended[name] for name in ("how", "reason", "when") if name in ended}
    status |= _progress(progress, tail.entries, settings, state)
    status |= _losses(out, tail.entries)
    status |= {
        "checkpoint": _checkpoint(out / "checkpoints"),
        "skipped": _skipped(out / "skipped.jsonl"),
        "events": _events(out / "events.jsonl"),
        "ranks": ranks,
        "starts": len(starts),
        "start": starts[-1] if starts else None,
        "ends_before": dict(Counter(str(start.get("how")) for start in starts[:-1])),
    }
    doing = next((rank for rank in ranks if rank["rank"] == 0), None)
    if state == "running" and doing is not None:
        status["doing"] = doing["what"]
        status["idle_s"] = doing["idle_s"]
        stall = _number(_at(settings, "alerts", "stall_after")) or 1800.0
        status["stalled"] = not doing["patient"] and doing["idle_s"] > stall
    return {name: value for name, value in status.items() if value is not None} | {"problems": problems}


def is_well(status: dict[str, Any]) -> bool:
    """Whether nobody need be woken up: the run goes on, or is done."""
    return status["state"] == "finished" or (status["state"] == "running" and not status.get("stalled"))


def _state(out: Path, started: bool, ended: dict[str, Any], alive: bool) -> str:
    if alive:
        return "running"
    if ended:
        return "finished" if ended.get("how") == "finished" else "ended"
    return "gone" if started or (out / "log.jsonl").exists() else "none"


def _alive(out: Path, ranks: Sequence[dict[str, Any]]) -> bool:
    """Whether a process holds the run's lock; where that cannot be asked, whether one wrote lately."""
    held: bool | None = None
    try:
        with (out / ".lock").open("rb") as file:
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            held = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))[0] != fcntl.F_UNLCK
    except FileNotFoundError:
        return False
    except (OSError, struct.error):
        pass
    # A lock is not seen from another machine on every network disk; a note is.
    return bool(held) or any(
        rank["age_s"] < _FRESH and rank["what"] != "ended" and _may_live(rank) for rank in ranks
    )


def _may_live(rank: dict[str, Any]) -> bool:
    """Whether a process that wrote lately can still be there; of another machine's this is not known."""
    if rank["host"] != socket.gethostname() or not isinstance(rank["pid"], int) or rank["pid"] <= 0:
        return True
    try:
        os.kill(rank["pid"], 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _ranks(out: Path) -> list[dict[str, Any]]:
    """What every process does, as it last wrote it (trainkit.watchdog)."""
    found = []
    for path in sorted((out / "ranks").glob("*.json")):
        note = read_object(path)
        if not path.stem.isdecimal() or not isinstance(note.get("what"), str):
            continue
        age = max(0.0, time.time() - path.stat().st_mtime)
        idle = _number(note.get("idle")) or 0.0
        found.append(
            {
                "rank": int(path.stem),
                "what": note["what"],
                "age_s": round(age, 1),
                "idle_s": round(idle + age, 1),
                "patient": note.get("patient") is True,
                "host": str(note.get("host")),
                "pid": note.get("pid"),
            }
        )
    return sorted(found, key=lambda rank: int(rank["rank"]))


def _progress(
    progress: dict[str, Any], entries: Sequence[dict[str, Any]], settings: dict[str, Any], state: str
) -> dict[str, Any]:
    """Samples, phase, speed, time left, waiting."""
    last = entries[-1] if entries else {}
    told: dict[str, Any] = {
        "samples": last.get("samples", progress.get("samples")),
        "epoch": last.get("epoch", progress.get("epoch")),
        "updated_s": round(time.time() - when, 1) if (when := _number(progress.get("when"))) else None,
    }
    for name in ("phase", "phase_name", "phases", "total_samples", "processes"):
        told[name] = progress.get(name)
    for name in ("waited_share", "waited_share_lately", "gpu_memory_gb", "gpu_memory_of_gb"):
        told[name] = _number(progress.get(name))
    told["store_failures"] = progress.get("store_failures") or None
    told["store_waited_s"] = _number(progress.get("store_waited_s")) or None
    speeds = [speed for e in entries if (speed := _number(e.get("samples_per_s"))) and speed > 0]
    if speeds:
        told["samples_per_s_lately"] = round(len(speeds) / sum(1 / speed for speed in speeds), 3)
    samples, total = _number(told["samples"]), _number(told["total_samples"])
    seconds, began = _number(progress.get("seconds")), _number(progress.get("from"))
    seen = _number(progress.get("samples"))
    if seconds and seen is not None and began is not None and seen > began:
        told["samples_per_s"] = round((seen - began) / seconds, 3)  # With validation and checkpoints.
    if samples is not None and total:
        told["share"] = round(samples / total, 4)
        speed = told.get("samples_per_s") or told.get("samples_per_s_lately")
        if state == "running" and speed:
            told["seconds_left"] = round(max(0.0, total - samples) / speed)
    waited = told.get("waited_share_lately")
    told["waits_much"] = True if waited is not None and waited > MUCH else None
    told["workers"], told["latents"] = (_at(settings, "data", key) for key in ("workers", "latents"))
    return told


def _losses(out: Path, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Losses of training and validation over the whole run, and where they go."""
    found: dict[str, Any] = {}
    places = read_spread(out / "log.jsonl", POINTS)
    curve = [mean for place in places if (mean := _mean(e.get("loss") for e in place)) is not None]
    if entries and (loss := _mean(e.get("loss") for e in entries)) is not None:
        found["loss"] = {"lately": loss, "curve": curve}
    validation: dict[str, list[float]] = {}
    for entry in read_tail(out / "validation.jsonl", 1000).entries:
        texts = entry.get("texts")
        for kind, told in texts.items() if isinstance(texts, dict) else ():
            mean = _number(told.get("mean")) if isinstance(told, dict) else None
            if mean is not None:
                validation.setdefault(str(kind), []).append(mean)
    if validation:
        found["validation"] = validation
    return found


def _checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest one: samples, age in seconds, size in bytes; how many there are."""
    try:
        whole = sorted(p for p in folder.iterdir() if p.name.isdecimal() and (p / "state.json").is_file())
        if not whole:
            return None
        newest = whole[-1]
        return {
            "samples": int(newest.name),
            "age_s": round(max(0.0, time.time() - (newest / "state.json").stat().st_mtime)),
            "bytes": sum(p.stat().st_size for p in newest.iterdir() if p.is_file()),
            "kept": len(whole),
        }
    except OSError:  # Removed while it was looked at; the next look finds its successor.
        return None


def _skipped(path: Path) -> dict[str, Any] | None:
    """How many, and the most frequent reasons without what is special to one picture."""
    reasons: Counter[str] = Counter()
    training = 0
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    told = json.loads(line)
                    reasons[str(told["reason"]).partition("(")[0].partition(":")[0].strip()[:60]] += 1
                    training += told.get("while") == "training"
                except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                    continue
    except OSError:
        return None
    return {
        "pictures": sum(reasons.values()),
        "in_training": training,
        "reasons": dict(reasons.most_common(5)),
    }


def _events(path: Path) -> list[dict[str, Any]] | None:
    return [
        {name: event.get(name) for name in ("when", "samples", "text")}
        for event in read_tail(path, 5).entries
        if isinstance(event.get("text"), str)
    ] or None


def _object(path: Path, problems: list[str]) -> dict[str, Any]:
    """A file's object; a damaged file is a problem, none is not."""
    found = read_object(path)
    if not found and path.exists():
        problems.append(f"{path.name} is damaged")
    return found


def _at(settings: dict[str, Any], table: str, key: str) -> Any:
    inner = settings.get(table)
    return inner.get(key) if isinstance(inner, dict) else None


def _mean(values: Any) -> float | None:
    numbers = [number for value in values if (number := _number(value)) is not None]
    return round(sum(numbers) / len(numbers), 6) if numbers else None


def _number(value: Any) -> float | None:
    """A finite number, else None: files may hold anything."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e18
    return float(value) if good else None
