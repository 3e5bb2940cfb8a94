"""One process at a time in a run's folder; the lock is gone with its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainkit.processes import environment
from trainkit.errors import LockError
from trainkit.lock import only_here

HOLDER = """
import multiprocessing, sys, time
from pathlib import Path
from trainkit.lock import only_here

with only_here(Path(sys.argv[1])):
    # A worker of the loader, which may outlive its parent.
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), daemon=True)
    worker.start()
    print(worker.pid, flush=True)
    time.sleep(600)
"""


def holder(out: Path) -> tuple[subprocess.Popen[str], int]:
    """A process that holds a folder, and the process id of its worker."""
    words = [sys.executable, "-c", HOLDER, str(out)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment())
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_a_second_process_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "mine"
    process, worker = holder(out)
    try:
        with (
            pytest.raises(LockError, match=rf"is in use by process {process.pid} on .* since 20\d\d-"),
            only_here(out),
        ):
            pass
        # Killed, it holds nothing any more, though its worker still lives.
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.kill(worker, 0)
        with only_here(out):
            pass
    finally:
        process.kill()
        os.kill(worker, signal.SIGKILL)  # It holds the pipe open.
        process.communicate()


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000, '{"pid": "x"}', "\0"])
def test_what_stands_in_the_file_does_not_matter(tmp_path: Path, content: str) -> None:
    (tmp_path / ".lock").write_text(content)
    with only_here(tmp_path):
        assert f'"pid": {os.getpid()}' in (tmp_path / ".lock").read_text()
    with only_here(tmp_path):
        pass


def test_a_folder_that_cannot_be_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(LockError, match=r"cannot be written to: (Not a directory|File exists)"),
        only_here(tmp_path / "file"),
    ):
        pass
