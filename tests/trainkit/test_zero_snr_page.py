"""docs/zero-snr.md: its code runs, and its tables are what the code says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.trainkit.tiny import ROOT
from trainkit.config import PhaseConfig
from trainkit.loss import ObjectiveConfig, loss_weights
from trainkit.models import scheduler_for
from trainkit.schedule import ScheduleConfig, make_schedule

PAGE = (ROOT / "docs" / "zero-snr.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def test_no_block_is_empty() -> None:
    assert len(blocks("python")) == 2
    assert all(block.strip() for block in blocks(".*?"))


def test_shares_of_the_work_are_what_the_code_prints(capsys: pytest.CaptureFixture[str]) -> None:
    exec(blocks("python")[0], {})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 4
    for line in printed:
        weighting, distribution, numbers = re.fullmatch(r"(\w+) (\w+) \[(.*)\]", line).groups()  # type: ignore[union-attr]
        row = re.search(rf"^\| {weighting}, {distribution}[^|]*\| (.*) \|$", PAGE, flags=re.MULTILINE)
        assert row is not None
        assert row.group(1).split(" | ") == numbers.split(", ")


def test_weights_are_those_of_the_table() -> None:
    schedule = make_schedule(ScheduleConfig())
    rows = re.findall(r"^\| soft, gamma 3, (.*?) \| (.*) \|$", PAGE, flags=re.MULTILINE)
    settings: list[dict[str, Any]] = [
        {"weight_floor": 0, "snr_source": "rescaled"},
        {"weight_floor": 0, "snr_source": "original"},
        {},
    ]
    assert len(rows) == 3
    for (_, row), chosen in zip(rows, settings, strict=True):
        weights = loss_weights(ObjectiveConfig.model_validate(chosen), schedule)
        expected = [weights[t].item() for t in (0, 100, 500, 900, 999)]
        assert [float(number) for number in row.split(" | ")] == pytest.approx(expected, rel=1e-4)


def test_the_phases_are_phases() -> None:
    (block,) = blocks("toml")
    run = tomllib.loads(block)
    assert ObjectiveConfig.model_validate(run["objective"]).weighting == "soft_min_snr"
    first, second = (PhaseConfig.model_validate(phase) for phase in run["phases"])
    assert first.objective == {"weighting": "none"}
    assert second.objective == {}


def test_the_pipeline_samples_as_the_page_says(own_model: Path) -> None:
    # What a run leaves behind in its model folder, as far as sampling goes: the trained schedule.
    scheduler_for(ScheduleConfig(), ObjectiveConfig()).save_pretrained(own_model / "scheduler")
    code = blocks("python")[1]
    assert '"runs/mine/model"' in code
    names: dict[str, Any] = {}
    exec(code.replace('"runs/mine/model"', repr(str(own_model))), names)
    assert names["image"].size == (64, 64)
    assert names["pipe"].scheduler.config.prediction_type == "v_prediction"
    assert int(names["pipe"].scheduler.timesteps[0]) == 999
