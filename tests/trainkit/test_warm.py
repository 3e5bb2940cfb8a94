"""A process that starts warm is what Python would have started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.trainkit.processes import PATIENCE, command, environment, steps_logged, warm, write_run


@pytest.mark.parametrize("words", [("status", "nowhere"), ("trian",), ("train", "--help")])
def test_it_says_and_ends_as_the_command_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    cold = subprocess.run(
        command(*words), capture_output=True, text=True, env=environment(), timeout=PATIENCE, check=False
    )
    with warm(command(*words)) as process:
        told = process.communicate(PATIENCE)
    assert (process.returncode, *told) == (cold.returncode, cold.stdout, cold.stderr)


def test_it_is_a_process_of_its_own(tmp_path: Path, tiny_model: Path, pictures: Path) -> None:
    run = write_run(tmp_path, tiny_model, pictures, samples=4000)
    with warm(command("train", run), max_file_bytes=10**9) as process:
        end = time.monotonic() + PATIENCE
        while steps_logged(tmp_path / "out") == 0:
            assert time.monotonic() < end
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.02)
        seen = Path("/proc", str(process.pid))
        assert os.getsid(process.pid) == process.pid != os.getsid(0)
        limits = (seen / "limits").read_text().splitlines()
        assert next(line.split()[3] for line in limits if line.startswith("Max file size")) == "1000000000"
        process.kill()
        assert process.wait(PATIENCE) == -signal.SIGKILL
        assert process.poll() == -signal.SIGKILL
