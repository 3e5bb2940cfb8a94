"""Commands that a run starts when something happens to it.

What happened is in environment variables (RUN, EVENT, REASON, HOST, SAMPLES, TOTAL_SAMPLES, LOSS ...) and, as
one JSON object with the same names in small letters, on the standard input. A command is split into words as
a shell would split it, and started without one: nothing in a reason or a file's name is ever executed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Event = Literal["failure", "finish", "skipped", "stall"]


def _splits(command: str) -> str:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"{command!r} cannot be split into words: {error}") from None
    if not words:
        raise ValueError("is empty; leave it out to have no command")
    return command


Command = Annotated[str, AfterValidator(_splits)]


class AlertConfig(BaseModel):
    """Commands for what should wake somebody up. Each is given as it would be typed, "notify.sh --now"."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    on_failure: Command | None = None
    """When the run ends by an error, a signal or for want of memory. A process that is killed by SIGKILL or a
    power cut starts nothing any more: see docs/watching.md for the line that notices from outside."""
    on_finish: Command | None = None
    """When the run is done and its model written."""
    on_skipped: Command | None = None
    """When pictures could not be read in training, at most once in ``skipped_every`` seconds."""
    on_stall: Command | None = None
    """When no optimizer step was done for ``stall_after`` seconds; once, until steps go on."""
    stall_after: float = Field(default=1800.0, gt=0)
    """Seconds; longer than validation, previews and filling a cache take."""
    skipped_every: float = Field(default=3600.0, ge=0)
    """Seconds between two starts of ``on_skipped``."""
    time_limit: float = Field(default=30.0, gt=0)
    """Seconds after which a command is killed, with all that it started."""
    shell: bool = False
    """Hand the commands to /bin/sh, for pipes and variables ("... | mail -s \\"$REASON\\" me"). Quote the
    variables."""


def alert(config: AlertConfig, event: Event, facts: Mapping[str, Any]) -> str | None:
    """Start the command of an event and wait for its end; what went wrong with it, None where nothing did or
    there is none. Raises nothing: an alert that fails must not end a run."""
    command: str | None = getattr(config, f"on_{event}")
    if command is None:
        return None
    told = {"event": event, **facts}
    variables = {name.upper(): _text(value) for name, value in told.items() if value is not None}
    name = f"alerts.on_{event}"
    try:
        process = subprocess.Popen(
            command if config.shell else shlex.split(command),
            shell=config.shell,
            env=os.environ | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return f"{name}: {command!r} could not be started: {error}"
    try:
        printed, _ = process.communicate(json.dumps(told).encode() + b"\n", timeout=config.time_limit)
    except subprocess.TimeoutExpired:
        return f"{name}: {command!r} was killed after {config.time_limit:g} s (alerts.time_limit)"
    finally:
        with contextlib.suppress(OSError):  # What it left running holds our pipe open.
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
    if process.returncode != 0:
        last = printed.decode(errors="replace").strip()[-500:]
        return f"{name}: {command!r} ended with status {process.returncode}" + (f": {last}" if last else "")
    return None


def _text(value: Any) -> str:
    """A value for the environment, which takes no NUL and has a limit."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("\0", " ")[:8000]
