"""What a run says while it trains: bars and lines, shares of waiting, stalls."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm

from trainkit.progress import bar_style, progress
from trainkit.stall import Stall
from trainkit.waiting import Waiting, remedy
from trainkit.whole_file import read_object, write_whole


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_in_a_file_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    clock = [1000.0]
    monkeypatch.setattr("tqdm.std.time", lambda: clock[0])
    with (
        tqdm(total=1000, desc="training", **bar_style(file)) as bar,
        tqdm(total=5, desc="inner", leave=False, **bar_style(file)) as inner,
    ):
        for _ in range(1000):
            clock[0] += 0.1
            bar.update()
        inner.update(5)
    text = file.getvalue()
    assert "\r" not in text
    assert "\033" not in text
    lines = text.splitlines()
    assert all(line.strip() for line in lines)
    # 100 seconds: at the beginning, after 30, 60 and 90, and at the end; and one of the inner bar.
    assert len([line for line in lines if line.startswith("training")]) == 5
    assert "1000/1000" in lines[-1]


@pytest.mark.parametrize(("seconds", "lines"), [(20, 0), (100, 3)])
def test_what_takes_long_is_told_of_in_a_file(
    seconds: int, lines: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A batch job that prepared three million pictures said nothing for hours."""
    clock = [1000.0]
    monkeypatch.setattr("tqdm.std.time", lambda: clock[0])
    with progress("reading", "pictures", 1000) as done:
        for _ in range(1000):
            clock[0] += seconds / 1000
            done(1)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == lines
    assert all(line.startswith("reading: ") and "/1000 [" in line for line in told)


def test_a_bar_on_a_terminal_is_a_bar() -> None:
    terminal = Terminal()
    with tqdm(total=3, **bar_style(terminal)) as bar:
        bar.update(3)
    assert "\r" in terminal.getvalue()


@given(st.lists(st.tuples(st.floats(1e-3, 100), st.floats(0, 100)), min_size=1, max_size=200))
def test_shares_of_waiting(steps: list[tuple[float, float]]) -> None:
    waiting = Waiting()
    for seconds, waited in steps:
        waiting.step(seconds, waited)
    share = sum(min(pair) for pair in steps) / sum(seconds for seconds, _ in steps)
    assert waiting.share == pytest.approx(share)
    last = steps[-100:]
    assert waiting.lately == pytest.approx(sum(map(min, last)) / sum(seconds for seconds, _ in last))
    assert 0 <= waiting.share <= 1 + 1e-9


@pytest.mark.parametrize(("waited", "hint"), [(1.0, False), (34.0, True)])
def test_much_waiting_comes_with_what_helps(waited: float, hint: bool) -> None:
    waiting = Waiting()
    assert waiting.in_words(2, "live") is None
    waiting.step(100.0, waited)
    told = waiting.in_words(2, "live")
    assert told is not None
    assert told.startswith(f"the device waited {waited:.0f}% of the time for pictures")
    assert ('data.latents = "cached"' in told) is hint
    assert "data.workers (now 2)" in remedy(2, "cached")


class Clock:
    """The clock of a `Stall`, which goes on when the test says so, and counts how often it is looked at."""

    def __init__(self) -> None:
        self.now, self.looks = 1000.0, 0

    def monotonic(self) -> float:
        self.looks += 1
        return self.now

    def looked_at(self, times: int) -> None:
        """Wait for so many looks more."""
        end = self.looks + times
        while self.looks < end:
            time.sleep(0.005)


def stalls(clock: Clock, out: Path, *, steps: bool) -> list[str]:
    """What is told of a second and more, looked at every quarter of one."""
    told: list[str] = []
    stall = Stall(out, 0.4, told.append)
    for _ in range(5):
        clock.now += 0.25
        if steps:
            stall.step()
        clock.looked_at(4)  # Two looks in a beat.
    stall.close()
    return told


def test_a_stall_is_told_once_and_not_while_the_run_may_take_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("trainkit.stall.time", clock)
    (tmp_path / "ranks").mkdir()
    note = {"what": "backward pass of step 7", "patient": False}
    write_whole(tmp_path / "ranks" / "0.json", note)
    (told,) = stalls(clock, tmp_path, steps=False)
    assert told.startswith("no optimizer step for ")
    assert told.endswith("(alerts.stall_after); it is in: backward pass of step 7")
    assert stalls(clock, tmp_path, steps=True) == []
    write_whole(tmp_path / "ranks" / "0.json", note | {"patient": True})
    assert stalls(clock, tmp_path, steps=False) == []


@given(st.dictionaries(st.text(max_size=3), st.text(max_size=3) | st.integers(), max_size=3))
def test_small_files_come_back_or_are_empty(
    tmp_path_factory: pytest.TempPathFactory, told: dict[str, object]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "whole"
    folder.mkdir(exist_ok=True)
    write_whole(folder / "a.json", told)
    if not any(0xD800 <= ord(c) < 0xE000 for c in json.dumps(told, ensure_ascii=False)):
        assert read_object(folder / "a.json") == told
    assert [p.name for p in folder.iterdir()] == ["a.json"]
    (folder / "a.json").write_bytes((folder / "a.json").read_bytes()[:-2])
    assert read_object(folder / "a.json") == {}
