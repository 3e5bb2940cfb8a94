"""Damaged files of every kind before whole commands: no hang, no traceback, no strange file touched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainkit.mutations import KINDS
from tests.trainkit.processes import environment

COUNT = 60


@pytest.mark.slow
def test_no_damaged_file_makes_a_command_crash_hang_or_touch_what_is_not_its_own(tmp_path: Path) -> None:
    """`python -m tests.trainkit.mutations --count 1000` runs more of them; it forks, so it is a process of
    one thread."""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.trainkit.mutations", f"--count={COUNT}", "--seed=0"],
        env=environment() | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    assert f"{COUNT} damaged inputs, 0 with faults" in ran.stdout


def test_every_kind_of_file_meets_a_command() -> None:
    assert all(kind.files and kind.commands for kind in KINDS.values())
