"""One function over the blocks of a source: the same results and reports in any number of processes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from captionkit.errors import CaptionkitError, DataError
from captionkit.readers.jsonl import BYTES_PER_BLOCK, JsonlSource
from captionkit.readers.parallel import map_blocks
from captionkit.readers.source import Block, Report, strict

LINE = json.dumps({"id": "x", "tags": [f"tag {index}" for index in range(40)]})


def ids(block: Block, report: Report) -> list[str]:
    """The ids of a block's records."""
    return [record.id for record in block.records(report)]


def die(block: Block, report: Report) -> None:
    """What the system's memory killer does."""
    os.kill(os.getpid(), signal.SIGKILL)


def large(folder: Path) -> Path:
    """A file of eight blocks and more, every 500th line of which is bad."""
    num_lines = 8 * BYTES_PER_BLOCK // len(LINE) + 8
    lines = [LINE.replace('"x"', '""' if number % 500 == 7 else f'"{number}"') for number in range(num_lines)]
    (folder / "a.jsonl").write_text("\n".join(lines))
    return folder / "a.jsonl"


def test_processes_change_nothing(tmp_path: Path) -> None:
    source = JsonlSource(large(tmp_path))
    seen = []
    for processes in (1, 2, 3):
        errors: list[CaptionkitError] = []
        results = list(map_blocks(ids, source, processes=processes, report=errors.append))
        seen.append((results, [str(error) for error in errors], [error.where for error in errors]))
    assert seen[0] == seen[1] == seen[2]
    results, messages, _ = seen[0]
    assert len(results) > 6
    assert sum(amount for amount, _ in results) == source.total()
    assert messages[0].startswith(f"{source.file}:8: id: must be a text or a whole number")
    assert [record_id for _, some in results for record_id in some] == [
        record.id for record in source.records(lambda error: None)
    ]


def test_a_report_that_raises_ends_it(tmp_path: Path) -> None:
    source = JsonlSource(large(tmp_path))
    for processes in (1, 2):
        with pytest.raises(DataError, match=r"a\.jsonl:8: id: must be"):
            list(map_blocks(ids, source, processes=processes, report=strict))


def test_a_process_that_dies_is_an_error_that_says_so(tmp_path: Path) -> None:
    source = JsonlSource(large(tmp_path))
    with pytest.raises(DataError, match=r"one of the processes that read it died .*memory killer"):
        list(map_blocks(die, source, processes=2, report=strict))


def test_stopping_early_leaves_no_process(tmp_path: Path) -> None:
    results = map_blocks(ids, JsonlSource(large(tmp_path)), processes=2, report=lambda error: None)
    assert next(results)[1][0] == "0"
    results.close()  # type: ignore[attr-defined]
