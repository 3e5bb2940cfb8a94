"""Trackers: the same run of theirs after a restart, and a run of ours that minds none of their failures."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate.state import PartialState
from pydantic import ValidationError

from tests.trainkit.processes import PATIENCE, environment
from trainkit.errors import ConfigError
from trainkit.tracking import Tracker, Trackers, TrackingConfig, require_trackers

CODE = """
import json, sys
from pathlib import Path
from accelerate.state import PartialState
from trainkit.tracking import Trackers, TrackingConfig
PartialState(cpu=True)
said = []
name, out, start, options = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
config = TrackingConfig.model_validate({"project": "ours", name: options})
trackers = Trackers((name,), config, out, start, {"optim.lr": 1e-6, "betas": [0.9, 0.99]}, said.append)
for step in range(start + 8, start + 25, 8):
    trackers.log({"loss": 1 / step, "clipped": True}, step)
trackers.close()
print(json.dumps(said))
"""


def track(name: str, out: Path, start: int, /, **variables: str) -> list[str]:
    """A process of its own that tracks three steps."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE, name, str(out), str(start), json.dumps({})],
        env=environment() | variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    # trackio says once more at the exit of the process that it ends.
    said: list[str] = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("[")))
    return said


def test_wandb_goes_on_with_the_same_run(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    for start in (0, 16):
        # Its own process has half a minute to start, which a busy machine may take.
        patient = {"WANDB__SERVICE_WAIT": f"{PATIENCE:g}", "WANDB_INIT_TIMEOUT": f"{PATIENCE:g}"}
        assert track("wandb", tmp_path, start, WANDB_MODE="offline", **patient) == []
    told = json.loads((tmp_path / "trackers.json").read_text())
    assert told["wandb"]["project"] == "ours"
    runs = [path.name for path in (tmp_path / "wandb").glob("offline-run-*")]
    assert len(runs) == 2
    assert all(name.endswith(told["wandb"]["id"]) for name in runs)


def test_trackio_goes_on_with_the_same_run(tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    for start in (0, 16):
        assert track("trackio", tmp_path, start, TRACKIO_DIR=str(tmp_path / "db")) == []
    name = json.loads((tmp_path / "trackers.json").read_text())["trackio"]["name"]
    (file,) = (tmp_path / "db").glob("ours*.db")
    with sqlite3.connect(file) as base:
        rows = base.execute("select run_name, step from metrics order by step").fetchall()
    base.close()
    assert {row[0] for row in rows} == {name}
    assert [row[1] for row in rows] == [8, 16, 24, 24, 32, 40]


class Broken:
    """What accelerate's tracker writes to, failing as a network does."""

    def __init__(self, writer: Any, fails: int) -> None:
        self.writer, self.left, self.steps = writer, fails, list[int]()

    def add_scalar(self, name: str, value: float, global_step: int) -> None:
        if self.left:
            self.left -= 1
            raise ConnectionError("503 Unavailable\nmore")
        self.steps.append(global_step)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.writer, name)


def test_a_tracker_that_fails_is_told_once_left_alone_and_told_when_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PartialState(cpu=True)
    clock = [1000.0]
    # Of this module alone: other threads of the process need the real one.
    monkeypatch.setattr("trainkit.tracking.time", SimpleNamespace(monotonic=lambda: clock[0]))
    said: list[str] = []
    trackers = Trackers(("tensorboard",), TrackingConfig(), tmp_path, 0, {}, said.append)
    tracker: Any = trackers._started["tensorboard"]
    broken = tracker.writer = Broken(tracker.writer, 3)
    for step in range(1, 31):
        clock[0] += 1.0
        trackers.log({"loss": 0.5}, step)
    trackers.close()
    assert said == [
        "tracker tensorboard failed, the run goes on and tries again: ConnectionError: 503 Unavailable",
        "tracker tensorboard works again; what it missed is in log.jsonl",
    ]
    # Asked at 1, after 2 seconds, after 4, after 8, and from then on at every step.
    assert broken.steps == list(range(15, 31))


def test_a_tracker_that_cannot_start_is_told_and_left_out(tmp_path: Path) -> None:
    PartialState(cpu=True)
    (tmp_path / "tensorboard").write_text("in the way")
    said: list[str] = []
    trackers = Trackers(("tensorboard",), TrackingConfig(), tmp_path, 0, {}, said.append)
    trackers.log({"loss": 1.0}, 8)
    trackers.close()
    assert len(said) == 1
    assert said[0].startswith("tracker tensorboard could not be started, the run goes on without it: ")


def test_a_tracker_that_is_not_installed_is_an_error_with_the_line_that_mends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names: tuple[Tracker, ...] = ("tensorboard", "wandb")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "wandb" else object())
    with pytest.raises(ConfigError, match=r'"wandb": is not installed; pip install "captionkit\[wandb\]"'):
        require_trackers(names)
    require_trackers(names[:1])


@pytest.mark.parametrize("options", [{"api_key": "x"}, {"server_url": "http://h/?write_token=x"}])
def test_secrets_do_not_belong_into_a_run_file(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="looks like a secret"):
        TrackingConfig(trackio=options)
