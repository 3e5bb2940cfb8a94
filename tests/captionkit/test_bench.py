"""`captionkit bench`: what it prints and that the plain loop does what it says. No time is tested here."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from captionkit.bench import plain_caption
from captionkit.cli import main

LINES = [{"id": str(index), "tags": ["solo", "fox", "tree", f"tag {index}"]} for index in range(8)]


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return str(path)


def test_it_says_how_fast_and_where_the_time_goes(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "hyperfusion", data]) == 0
    out = capsys.readouterr().out
    assert out.startswith("8 records of 4.0 tags, one thread\nthis recipe ")
    assert [
        word
        for word in ("plain loop", "ratio", "clean_captions#0", "short prompt", "text")
        if word not in out
    ] == []


def test_as_json(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "hyperfusion", data, "--json", "-n", "3"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["num_records"] == 3
    assert told["ratio"] == pytest.approx(told["captions"] / told["plain"])
    assert told["slowest"] <= told["captions"] <= told["fastest"]
    assert dict(told["steps"])["drop_implied#0"] > 0.0


def test_no_record_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    assert main(["bench", "hyperfusion", str(empty)]) == 2
    assert "no record" in capsys.readouterr().err


def test_the_plain_loop_keeps_three_and_drops_15_percent_of_the_rest() -> None:
    random.seed(0)
    tags = [f"tag {index}" for index in range(40)]
    drawn = [plain_caption(" , ".join(tags)).split(", ") for _ in range(2000)]
    assert all(one[:3] == tags[:3] and set(one) <= set(tags) for one in drawn)
    # 74,000 coins: five standard errors are 0.0066, a false alarm one in 1.7 million; the seed is fixed.
    assert sum(len(one) - 3 for one in drawn) / (37 * 2000) == pytest.approx(0.85, abs=0.0066)
    assert len({tuple(one) for one in drawn}) == 2000
