"""trainkit status: true figures of whole runs, and something to say about any folder at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainkit.processes import PATIENCE, command, environment, kill_when, run, steps_logged, write_run
from trainkit.lock import only_here
from trainkit.log import read_spread
from trainkit.status import is_well, run_status
from trainkit.status_page import Screen, describe, one_line
from trainkit.whole_file import write_whole

FILES = (
    *("progress.json", "ended.json", "run.json", "starts.jsonl", "log.jsonl", "validation.jsonl"),
    *("skipped.jsonl", "events.jsonl", "ranks/0.json", ".lock", "checkpoints/000000000016/state.json"),
)


def write_folder(out: Path) -> None:
    """A run in its middle, on another machine."""
    (out / "ranks").mkdir(parents=True)
    (out / "checkpoints" / "000000000016").mkdir(parents=True)
    (out / "checkpoints" / "000000000016" / "state.json").write_text("x" * 2_500_000)
    lines = [
        {"samples": n, "epoch": n // 100, "loss": 2 - n / 800, "samples_per_s": 4.0} for n in range(8, 800, 8)
    ]
    (out / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    texts = [{"samples": n, "texts": {"tags": {"mean": 0.3 - n / 100}}} for n in range(5)]
    (out / "validation.jsonl").write_text("".join(json.dumps(line) + "\n" for line in texts))
    (out / "run.json").write_text(json.dumps({"data": {"workers": 2, "latents": "live"}}))
    starts: list[dict[str, Any]] = [
        {"event": "start", "start": 1, "when": "2026-01-01 00:00:00+0000", "host": "a", "pid": 1},
        {"event": "start", "start": 2, "when": "2026-01-02 00:00:00+0000", "host": "b", "pid": 2},
        {"event": "training", "start": 2, "from": 16, "total_samples": 1600},
    ]
    (out / "starts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in starts))
    skipped = [
        {"name": f"{n}.png", "reason": f"cannot be decoded ({n})", "while": "training"} for n in range(3)
    ]
    skipped += [{"name": "x.png", "reason": "no such file", "while": "reading"}]
    (out / "skipped.jsonl").write_text("".join(json.dumps(line) + "\n" for line in skipped))
    event = {
        "when": "2026-01-02 03:04:05+0000",
        "rank": 0,
        "samples": 8,
        "text": "data worker 1 \033[31mwas killed",
    }
    (out / "events.jsonl").write_text(json.dumps(event) + "\n")
    note = {"what": "backward pass of step 99", "idle": 1.0, "patient": False, "host": "b", "pid": 2}
    (out / "ranks" / "0.json").write_text(json.dumps(note))
    (out / ".lock").write_text("{}")
    progress: dict[str, Any] = {
        "when": float(int(time.time())),  # Of one length: the fuzz test draws where to cut.
        "samples": 792,
        "total_samples": 1600,
        "from": 16,
        "seconds": 388.0,
        "phases": 3,
    }
    progress |= {"phase": 2, "phase_name": "large", "waited_share": 0.4, "waited_share_lately": 0.34}
    progress |= {
        "gpu_memory_gb": 40.123,
        "gpu_memory_of_gb": 79.1,
        "store_failures": {"503": 12},
        "store_waited_s": 61,
    }
    write_whole(out / "progress.json", progress)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path / "out")
    return tmp_path / "out"


def test_a_run_in_its_middle(folder: Path) -> None:
    status = run_status(folder)
    assert (status["state"], status["samples"], status["share"]) == ("running", 792, 0.495)
    assert status["samples_per_s_lately"] == 4.0
    assert status["samples_per_s"] == 2.0
    assert status["seconds_left"] == 404
    assert status["checkpoint"]["samples"] == 16
    assert status["checkpoint"]["bytes"] == 2_500_000
    assert status["skipped"] == {
        "pictures": 4,
        "in_training": 3,
        "reasons": {"cannot be decoded": 3, "no such file": 1},
    }
    assert status["ends_before"] == {"killed": 1}
    assert status["loss"]["curve"][0] > status["loss"]["curve"][-1]
    assert status["problems"] == []
    assert is_well(status)
    page = describe(status, Screen(width=80))
    for told in (
        "49.5%",
        "backward pass of step 99",
        "792 of 1,600 samples, pass 8, phase 2 of 3 (large)",
        "4 samples/s, 2 with everything around; 6 min left",
        "falling (-",
        "at 16 samples, ",
        " s ago, 2.5 MB",
        "40% of the time for pictures, 34% lately: more data.workers (now 2)",
        "4 (3 in training): 3 cannot be decoded, 1 no such file",
        "503 12 times; waited 61 s",
        "40.1 of 79.1 GiB",
        "number 2, 2026-01-02 00:00 on b (process 2), from sample 16; before: 1 killed",
        "2026-01-02 03:04: data worker 1",
    ):
        assert told in " ".join(page.split()) or told in page, told
    assert "\033" not in page


@pytest.mark.parametrize("width", [20, 80, 120])
def test_no_line_is_wider_than_the_screen_and_colour_adds_nothing_to_read(folder: Path, width: int) -> None:
    import re

    status = run_status(folder)
    status["run"] = "/a/very/long/way/to" * 20
    plain = describe(status, Screen(width=width))
    assert max(map(len, plain.splitlines())) <= max(width, 34)
    coloured = describe(status, Screen(width=width, colour=True))
    assert "\033[32m" in coloured
    assert re.sub(r"\033\[\d*m", "", coloured) == plain
    describe(status, Screen(width=width, blocks=False)).encode("ascii")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data())
def test_no_damage_to_any_file_gives_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    out = tmp_path_factory.getbasetemp() / "fuzzed"
    shutil.rmtree(out, ignore_errors=True)
    write_folder(out)
    for name in data.draw(st.lists(st.sampled_from(FILES), min_size=1, max_size=4, unique=True)):
        path = out / name
        was = path.read_bytes() if path.exists() else b"{}"
        how = data.draw(st.sampled_from(["gone", "cut", "noise", "folder", "values"]))
        if how == "values":
            lines = []
            for line in was[:100_000].splitlines()[:20]:
                with contextlib.suppress(ValueError):
                    told = json.loads(line)
                    if isinstance(told, dict):
                        for key in data.draw(st.lists(st.sampled_from(sorted(told) or ["x"]), max_size=3)):
                            told[key] = data.draw(JSON)
                        lines.append(json.dumps(told).encode())
            path.write_bytes(b"\n".join(lines))
            continue
        path.unlink(missing_ok=True)
        if how == "cut":
            path.write_bytes(was[: data.draw(st.integers(0, max(0, len(was) - 1)))])
        elif how == "noise":
            path.write_bytes(data.draw(st.binary(max_size=200)))
        elif how == "folder":
            path.mkdir()
    status = run_status(out)
    json.dumps(status)
    one_line(status)
    is_well(status)
    page = describe(status, Screen(width=80))
    assert all(letter.isprintable() or letter == "\n" for letter in page)


def test_states(folder: Path) -> None:
    old = time.time() - 3600
    os.utime(folder / "ranks" / "0.json", (old, old))
    assert run_status(folder)["state"] == "gone"
    assert not is_well(run_status(folder))
    with only_here_elsewhere(folder):
        stalled = run_status(folder)
        assert (stalled["state"], stalled["stalled"]) == ("running", True)
        assert "gets no further" in describe(stalled, Screen())
        assert not is_well(stalled)
    write_whole(
        folder / "ended.json", {"how": "error", "reason": "the disk is full", "when": "2026-01-01 00:00:00"}
    )
    ended = run_status(folder)
    assert ended["state"] == "ended"
    assert one_line(ended).endswith("not running: error at 792 samples (the disk is full)")
    write_whole(folder / "ended.json", {"how": "finished", "reason": "the run is done"})
    assert is_well(run_status(folder))
    assert run_status(folder.parent)["state"] == "none"


@contextlib.contextmanager
def only_here_elsewhere(out: Path) -> Any:
    """Another process holds the lock: this one's own would not hinder it."""
    code = (
        "import sys, pathlib\nfrom trainkit.lock import only_here\n"
        "with only_here(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(out)]
    with subprocess.Popen(
        words, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.kill()


def test_looking_takes_no_lock(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with only_here_elsewhere(out):
        assert run_status(out)["alive"]
    assert not run_status(out)["alive"]
    with only_here(out):
        pass


def test_a_survey_of_a_log_meets_its_ends_and_reads_little(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({"samples": n}) + "\n" for n in range(50_000)))
    places = read_spread(path, 10, 1000)
    assert len(places) == 10
    assert places[0][0] == {"samples": 0}
    assert places[-1][-1] == {"samples": 49_999}
    assert sum(map(len, places)) < 1000
    assert read_spread(tmp_path / "none", 10) == []
    path.write_text('{"samples": 1}\n')
    assert read_spread(path, 10) == [[{"samples": 1}]]


def wait_for(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < end, "nothing happens"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_real_run_tells_of_itself_running_stopped_killed_and_finished(
    tmp_path: Path, tiny_model: Path, pictures: Path
) -> None:
    told = tmp_path / "told"
    told.mkdir()
    script = f"sh -c 'echo \"$HOW: $REASON at $SAMPLES\" > {told}/$EVENT'"
    path = write_run(
        tmp_path,
        tiny_model,
        pictures,
        samples=400,
        checkpoint_every=40,
        alerts={"on_failure": script, "on_finish": script, "on_skipped": "no-such-command"}
        | {"time_limit": PATIENCE},
        tracking={"project": "ours"},
    )
    out, words = tmp_path / "out", command("train", path, "data.workers=1")

    # Running, then asked to stop.
    with subprocess.Popen(
        words,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        wait_for(lambda: steps_logged(out) >= 3)
        process.send_signal(signal.SIGSTOP)  # Looking takes a busy machine as long as the whole run.
        status = json.loads(run(command("status", out, "--json")).stdout)
        os.killpg(process.pid, signal.SIGTERM)  # To its data worker too, which must not mind.
        process.send_signal(signal.SIGCONT)
        assert status["state"] == "running"
        assert status["samples"] >= 24
        assert status["start"]["pid"] == process.pid
        printed, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143, printed
    stopped = run(command("status", path, "--check"))
    assert (stopped.returncode, stopped.stderr) == (1, "")
    assert "not running: stopped" in stopped.stdout
    assert (told / "failure").read_text().startswith("stopped: SIGTERM: stopped after ")
    assert "data worker" not in printed
    # In a file a bar is lines.
    assert "\r" not in printed
    assert "\033" not in printed

    # Killed on the spot: nothing is written, and yet it is seen.
    before = steps_logged(out)
    kill_when(words, lambda: steps_logged(out) >= before + 3)
    gone = run(command("status", out))
    assert gone.returncode == 0, gone.stderr
    assert "not running: killed, or a power cut" in gone.stdout

    # A change, and to the end.
    (told / "failure").unlink()
    done = run([*words, "optim.lr=5e-4"])
    assert done.returncode == 0, done.stderr
    assert "did not end by itself (killed, or a power cut)" in done.stdout
    assert "of the time for pictures" in done.stdout
    assert (told / "finish").read_text() == "finished: the run is done at 400\n"
    assert not (told / "failure").exists()
    status = run_status(out)
    assert (status["state"], status["samples"], status["share"]) == ("finished", 400, 1.0)
    assert status["ends_before"] == {"stopped": 1, "killed": 1}
    start = status["start"]
    assert start["changes"] == {"optim.lr": [0.001, 0.0005]}
    assert start["from"] % 8 == 0
    assert start["from"] > 0
    assert start["total_samples"] == 400

    # The folder explains all that lies in it.
    readme = (out / "README.md").read_text()
    for file in out.iterdir():
        assert f"`{file.name}" in readme or file.name == "README.md", (
            f"README.md does not tell what {file.name} is"
        )
    assert json.loads((out / "environment.json").read_text())["packages"]["torch"]


@pytest.mark.slow
def test_an_error_before_the_training_is_written_down_and_told(
    tmp_path: Path, tiny_model: Path, pictures: Path
) -> None:
    alerts = {"on_failure": f"sh -c 'cat > {tmp_path}/told.json'", "time_limit": PATIENCE}
    path = write_run(tmp_path, tiny_model, pictures, alerts=alerts)
    done = run(command("train", path, f"data.path={tmp_path / 'nowhere'}"))
    assert done.returncode == 2
    told = json.loads((tmp_path / "told.json").read_text())
    assert (told["event"], told["how"], told["samples"]) == ("failure", "error", 0)
    assert "no such folder" in told["reason"]
    assert run_status(tmp_path / "out")["reason"] == told["reason"]


def test_mistakes_have_an_answer(tmp_path: Path) -> None:
    none = run(command("status", tmp_path / "nowhere"))
    assert (none.returncode, none.stdout) == (2, "")
    assert f"there is no folder {tmp_path / 'nowhere'}" in none.stderr
    empty = run(command("status", tmp_path))
    assert empty.returncode == 2
    assert "holds no run" in empty.stderr
