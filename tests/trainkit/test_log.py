"""The log: every step once, also after a process was killed between two checkpoints."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainkit.log import JsonLog, Tail, read_log, read_tail


def write(path: Path, samples_seen: int, *steps: int) -> JsonLog:
    log = JsonLog(path, samples_seen)
    for samples in steps:
        log.write({"samples": samples, "loss": 0.5})
    log.close()
    return log


def samples(entries: Any) -> list[int]:
    return [entry["samples"] for entry in entries]


def test_a_resumed_log_goes_on_where_the_checkpoint_stands(tmp_path: Path) -> None:
    path = tmp_path / "new" / "log.jsonl"
    write(path, 0, 8, 16, 24)
    # Killed while writing a line; the checkpoint is from sample 16.
    path.write_text(path.read_text() + '{"samples": 32, "lo')
    assert samples(read_log(path)) == [8, 16, 24]
    assert write(path, 16, 24, 32).damaged == 0
    assert samples(read_log(path)) == [8, 16, 24, 32]


def test_a_fresh_run_starts_a_fresh_log(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write(path, 0, 8)
    write(path, 0, 8)
    assert samples(read_log(path)) == [8]
    assert [p.name for p in tmp_path.iterdir()] == ["log.jsonl"]


def test_a_line_without_its_line_feed_is_kept_and_gets_one(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"samples": 8}\n{"samples": 16}')
    write(path, 16, 24)
    assert path.read_text().splitlines()[1] == '{"samples": 16}'
    assert samples(read_log(path)) == [8, 16, 24]


JUNK = st.sampled_from([b"", b"\0" * 300, b"{", b"[]", b'"samples"', b"\xff\xfe", b"7", b"[" * 9])


@given(data=st.data())
def test_a_log_goes_on_from_any_sample_whatever_lies_in_it(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    steps = data.draw(st.integers(0, 12))
    padding = "x" * data.draw(st.sampled_from([0, 5, 30_000, 70_000]))
    lines: list[bytes] = []
    for step in range(1, steps + 1):
        lines += data.draw(st.lists(JUNK, max_size=2))
        lines.append(json.dumps({"samples": 8 * step, "text": padding}).encode())
    path.write_bytes(b"\n".join(lines) + data.draw(st.sampled_from([b"", b"\n", b'\n{"samples": 9'])))
    seen = 8 * data.draw(st.integers(0, steps))
    found = read_tail(path, 3)
    assert samples(found.entries) == list(range(8, 8 * steps + 1, 8))[-3:]
    write(path, seen, seen + 8)
    assert samples(read_log(path)) == list(range(8, seen + 9, 8))
    assert path.read_bytes().endswith(b"\n")


def test_damaged_lines_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write(path, 0, 8, 16, 24)
    path.write_bytes(path.read_bytes().replace(b'{"samples": 24', b'\0\0"samples": 24') + b"junk\n{")
    assert read_tail(path, 5) == Tail(tuple(read_log(path)), 2)
    assert samples(read_log(path)) == [8, 16]
    assert write(path, 16).damaged == 2
    assert read_tail(tmp_path / "none.jsonl", 5) == Tail()


def test_going_on_reads_the_end_only(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with path.open("w") as file:
        file.writelines(json.dumps({"samples": n, "loss": 0.123456}) + "\n" for n in range(200_000))
    tracemalloc.start()
    write(path, 199_000, 199_001)
    tail = read_tail(path, 100)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert samples(tail.entries)[-2:] == [199_000, 199_001]
    assert most < path.stat().st_size / 10
