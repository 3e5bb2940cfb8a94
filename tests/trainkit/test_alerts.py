"""Alerts: real commands, started without a shell, whose own failures end nothing."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.trainkit.processes import PATIENCE, alive
from trainkit.alerts import AlertConfig, alert

FACTS: dict[str, Any] = {
    "run": "/runs/a b",
    "reason": "$(touch HACKED) `id` \0 ; rm -rf x",
    "samples": 8,
    "loss": None,
}


def script(folder: Path, code: str) -> str:
    path = folder / "a command.py"
    path.write_text(code)
    return f"{sys.executable} '{path}' 'two words'"


def test_a_command_gets_variables_json_and_its_words(tmp_path: Path) -> None:
    code = f"""
import json, os, sys
told = {{"words": sys.argv[1:], "stdin": json.load(sys.stdin), "env": dict(os.environ)}}
open({str(tmp_path / "told.json")!r}, "w").write(json.dumps(told))
"""
    assert alert(AlertConfig(on_failure=script(tmp_path, code)), "failure", FACTS) is None
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["words"] == ["two words"]
    assert told["stdin"] == {"event": "failure", **FACTS}
    env = told["env"]
    assert (env["EVENT"], env["RUN"], env["SAMPLES"]) == ("failure", "/runs/a b", "8")
    assert env["REASON"].startswith("$(touch HACKED) `id`")
    assert "LOSS" not in env
    assert env["PATH"] == os.environ["PATH"]


def test_without_a_command_nothing_happens() -> None:
    assert alert(AlertConfig(on_finish="false"), "failure", FACTS) is None


@pytest.mark.parametrize("shell", [False, True])
def test_a_shell_only_when_told_to(tmp_path: Path, shell: bool) -> None:
    out = tmp_path / "out"
    config = AlertConfig(on_stall=f'echo "$SAMPLES" > {out}', shell=shell)
    assert alert(config, "stall", FACTS) is None
    assert out.exists() is shell
    if shell:
        assert out.read_text() == "8\n"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("no-such-command-here --now", "could not be started"),
        (
            f"{sys.executable} -c 'print(\"the reason\"); raise SystemExit(3)'",
            "ended with status 3: the reason",
        ),
        ("false", "ended with status 1"),
    ],
)
def test_a_command_that_fails_is_told_and_ends_nothing(command: str, told: str) -> None:
    problem = alert(AlertConfig(on_skipped=command), "skipped", FACTS)
    assert problem is not None
    assert problem.startswith("alerts.on_skipped: ")
    assert problem.endswith(told) or told in problem


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    # The child holds the pipe open after its parent is gone.
    file = tmp_path / "pid"
    command = f"sleep 3600 & echo $! > {file}; sleep 600"
    for limit in (1, 5, 25, 125):  # A busy machine may take long to start a shell.
        problem = alert(AlertConfig(on_stall=command, shell=True, time_limit=limit), "stall", FACTS)
        assert problem is not None
        assert f"was killed after {limit} s (alerts.time_limit)" in problem
        if file.exists() and file.read_text().endswith("\n"):
            break
    child, end = int(file.read_text()), time.monotonic() + PATIENCE
    while alive(child):
        assert time.monotonic() < end, "the child lives on"
        time.sleep(0.02)


@pytest.mark.parametrize("command", ["", "   ", "say 'something"])
def test_commands_that_are_none_are_refused(command: str) -> None:
    with pytest.raises(ValidationError, match=r"is empty|cannot be split into words: No closing quotation"):
        AlertConfig(on_failure=command)
