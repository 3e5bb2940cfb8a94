"""A run's status as a screen shows it."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainkit.amounts import gigabytes
from trainkit.waiting import remedy

_BARS = "▁▂▃▄▅▆▇█"
_LABEL = 12
_COLOURS = {"running": "32", "finished": "32", "ended": "31", "gone": "31", "none": "33"}


@dataclass(frozen=True)
class Screen:
    """What the text is for."""

    width: int = 80
    colour: bool = False
    blocks: bool = True
    """Whether it shows more than ASCII."""


def describe(status: dict[str, Any], screen: Screen) -> str:
    """The status in lines no wider than the screen."""
    lines = [_headline(status, screen)]
    if "share" in status:
        lines.append(_bar(status["share"], screen))
    rows = [
        ("ended", _end(status)),
        ("doing", _doing(status)),
        ("phase", _phase(status)),
        ("speed", _speed(status)),
        ("loss", _curve(status.get("loss"), screen)),
        *_validation(status, screen),
        ("checkpoint", _checkpoint(status)),
        ("waiting", _waiting(status)),
        ("skipped", _skipped(status)),
        ("stores", _stores(status)),
        ("memory", _memory(status)),
        ("start", _start(status)),
        *(("trouble", f"{_day(event['when'])}: {event['text']}") for event in status.get("events", [])[-3:]),
        *(("missing", problem) for problem in status["problems"]),
    ]
    for label, text in rows:
        if text:
            lines += _row(label, text, screen)
    return "\n".join(lines)


def one_line(status: dict[str, Any]) -> str:
    """The state, for a log or a mail's subject."""
    told = f"{status['run']}: {_state(status)}"
    if "samples" in status:
        told += f" at {_count(status['samples'])} samples"
    reason = " ".join(str(status.get("reason", "")).split())
    return f"{told} ({reason[:200]})" if reason and status["state"] == "ended" else told


def _state(status: dict[str, Any]) -> str:
    match status["state"]:
        case "running":
            return "gets no further" if status.get("stalled") else "running"
        case "finished":
            return "finished"
        case "ended":
            return f"not running: {status.get('how', 'ended')}"
        case "gone":
            return "not running: killed, or a power cut"
        case _:
            return "no run here"


def _headline(status: dict[str, Any], screen: Screen) -> str:
    state = _state(status)
    room = max(10, screen.width - len(state) - 2)
    name = status["run"] if len(status["run"]) <= room else "..." + status["run"][3 - room :]
    colour = "31" if status.get("stalled") else _COLOURS[status["state"]]
    return f"{name}: {_painted(state, colour, screen)}"


def _bar(share: float, screen: Screen) -> str:
    width = max(10, min(60, screen.width - 10))
    full = min(width, int(width * share))
    done, left = ("█", "░") if screen.blocks else ("#", ".")
    return f"{done * full}{left * (width - full)} {share:6.1%}"


def _end(status: dict[str, Any]) -> str:
    if status["state"] == "gone":
        return "nothing was written about it; the same command goes on from the last checkpoint"
    if status["state"] not in ("ended", "finished"):
        return ""
    return f"{_day(status.get('when'))}: {status.get('reason', '?')}"


def _doing(status: dict[str, Any]) -> str:
    if "doing" not in status:
        return ""
    idle = status.get("idle_s", 0.0)
    return f"{status['doing']}" + (f", for {_span(idle)}" if idle > 60 else "")


def _phase(status: dict[str, Any]) -> str:
    if "samples" not in status:
        return ""
    told = f"{_count(status['samples'])} samples"
    if "total_samples" in status:
        told = f"{_count(status['samples'])} of {_count(status['total_samples'])} samples"
    if isinstance(epoch := status.get("epoch"), int):
        told += f", pass {epoch + 1}"
    if (phases := status.get("phases", 1)) != 1:
        told += f", phase {status.get('phase', '?')} of {phases}"
        if status.get("phase_name"):
            told += f" ({status['phase_name']})"
    return told


def _speed(status: dict[str, Any]) -> str:
    if "samples_per_s_lately" not in status:
        return ""
    told = f"{status['samples_per_s_lately']:.4g} samples/s"
    if "samples_per_s" in status:
        told += f", {status['samples_per_s']:.4g} with everything around"
    if "seconds_left" in status:
        end = time.strftime("%a %d %b %H:%M", time.localtime(time.time() + status["seconds_left"]))
        told += f"; {_span(status['seconds_left'])} left, until {end}"
    return told


def _curve(loss: dict[str, Any] | None, screen: Screen) -> str:
    if loss is None:
        return ""
    return f"{loss['lately']:.4f} {_trend(loss['curve'], screen)}".rstrip()


def _validation(status: dict[str, Any], screen: Screen) -> list[tuple[str, str]]:
    found = status.get("validation", {})
    widest = max((len(kind) for kind in found), default=0)
    return [
        ("validation" if i == 0 else "", f"{kind:<{widest}} {means[-1]:.4f} {_trend(means, screen)}".rstrip())
        for i, (kind, means) in enumerate(sorted(found.items()))
    ]


def _trend(values: Sequence[float], screen: Screen) -> str:
    """A curve, and by how much the second half lies over or under the first."""
    if len(values) < 2:
        return ""
    half = len(values) // 2
    before, after = sum(values[:half]) / half, sum(values[half:]) / (len(values) - half)
    change = (after - before) / before if before else 0.0
    told = f"{'falling' if change < 0 else 'rising'} ({change:+.1%})" if abs(change) > 0.001 else "level"
    return f"{told} {_spark(values, screen)}".rstrip()


def _spark(values: Sequence[float], screen: Screen) -> str:
    if not screen.blocks:
        return ""
    room = max(8, screen.width - _LABEL - 36)
    shown = [values[i * len(values) // room] for i in range(room)] if len(values) > room else list(values)
    low, high = min(shown), max(shown)
    span = high - low or 1.0
    return "".join(_BARS[min(7, int(8 * (value - low) / span))] for value in shown)


def _checkpoint(status: dict[str, Any]) -> str:
    found = status.get("checkpoint")
    if found is None:
        return "" if status["state"] == "none" else "none yet"
    kept = f", {found['kept']} kept" if found["kept"] > 1 else ""
    told = f"at {_count(found['samples'])} samples, {_span(found['age_s'])} ago"
    return f"{told}, {gigabytes(found['bytes'])}{kept}"


def _waiting(status: dict[str, Any]) -> str:
    if "waited_share" not in status:
        return ""
    told = f"{status['waited_share']:.0%} of the time for pictures"
    if "waited_share_lately" in status:
        told += f", {status['waited_share_lately']:.0%} lately"
    if status.get("waits_much") and "workers" in status:
        told += f": {remedy(status['workers'], str(status.get('latents')))}"
    return told


def _skipped(status: dict[str, Any]) -> str:
    found = status.get("skipped")
    if not found or not found["pictures"]:
        return ""
    reasons = ", ".join(f"{count} {reason}" for reason, count in found["reasons"].items())
    return f"{_count(found['pictures'])} ({found['in_training']} in training): {reasons}"


def _stores(status: dict[str, Any]) -> str:
    failures = status.get("store_failures")
    if not isinstance(failures, dict):
        return ""
    told = ", ".join(f"{what} {count} times" for what, count in failures.items())
    return f"{told}; waited {status.get('store_waited_s', 0):.0f} s"


def _memory(status: dict[str, Any]) -> str:
    if "gpu_memory_gb" not in status:
        return ""
    whole = f" of {status['gpu_memory_of_gb']:.4g}" if "gpu_memory_of_gb" in status else ""
    return f"{status['gpu_memory_gb']:.3g}{whole} GiB of the GPU at most"


def _start(status: dict[str, Any]) -> str:
    start = status.get("start")
    if not start:
        return ""
    told = f"number {start.get('start', '?')}, {_day(start.get('when'))} on {start.get('host', '?')}"
    told += f" (process {start.get('pid', '?')})"
    if start.get("from"):
        told += f", from sample {_count(start['from'])}"
    if changes := start.get("changes"):
        told += f", with {len(changes)} changed settings (starts.jsonl)"
    if before := status.get("ends_before"):
        told += "; before: " + ", ".join(f"{count} {how}" for how, count in before.items())
    return told


def _row(label: str, text: str, screen: Screen) -> list[str]:
    """A label and wrapped text; lines of a text stay lines. Nothing that steers a terminal gets through."""
    lines: list[str] = []
    for line in text.splitlines():
        clean = "".join(letter if letter.isprintable() else " " for letter in line)
        lines += textwrap.wrap(clean, max(20, screen.width - _LABEL), break_on_hyphens=False) or [""]
    told = f"{label:<{_LABEL}}"
    return [
        (_painted(told, "2", screen) if i == 0 else " " * _LABEL) + line for i, line in enumerate(lines[:8])
    ]


def _painted(text: str, colour: str, screen: Screen) -> str:
    return f"\033[{colour}m{text}\033[0m" if screen.colour else text


def _count(number: Any) -> str:
    return f"{number:,}" if isinstance(number, int) else str(number)


def _span(seconds: float) -> str:
    """Two units at most: "3 d 4 h", "12 min"."""
    seconds = int(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def _day(when: Any) -> str:
    """A moment without its seconds and zone."""
    return str(when)[:16] if isinstance(when, str) else "?"
