"""The log: every step once, also after a process was killed between two checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainkit.log import JsonLog, read_log


def write(path: Path, samples_seen: int, *steps: int) -> None:
    log = JsonLog(path, samples_seen)
    for samples in steps:
        log.write({"samples": samples, "loss": 0.5})
    log.close()


def test_a_resumed_log_goes_on_where_the_checkpoint_stands(tmp_path: Path) -> None:
    path = tmp_path / "new" / "log.jsonl"
    write(path, 0, 8, 16, 24)
    # Killed while writing a line; the checkpoint is from sample 16.
    path.write_text(path.read_text() + '{"samples": 32, "lo')
    assert [line["samples"] for line in read_log(path)] == [8, 16, 24]
    write(path, 16, 24, 32)
    assert [line["samples"] for line in read_log(path)] == [8, 16, 24, 32]


def test_a_fresh_run_starts_a_fresh_log(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write(path, 0, 8)
    write(path, 0, 8)
    assert [line["samples"] for line in read_log(path)] == [8]
    assert [p.name for p in tmp_path.iterdir()] == ["log.jsonl"]


@given(st.data())
def test_a_log_cut_off_anywhere_keeps_its_whole_lines(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    lines = [
        json.dumps({"samples": n, "loss": n / 7})
        for n in data.draw(st.lists(st.integers(0, 999), max_size=5))
    ]
    text = "".join(line + "\n" for line in lines)
    cut = data.draw(st.integers(0, len(text)))
    path = tmp_path_factory.getbasetemp() / "cut.jsonl"
    path.write_text(text[:cut])
    whole = text[:cut].count("\n") + (text[cut : cut + 1] == "\n")
    assert read_log(path) == [json.loads(line) for line in lines[:whole]]
