"""A run with phases goes on exactly, wherever it was interrupted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.trainkit.ends import exactly, train_here, weights
from tests.trainkit.processes import command, kill_when, run, write_run
from trainkit.log import read_log

PHASED: dict[str, Any] = {
    "samples": None,
    "phases": [
        {
            "name": "small",
            "samples": 24,
            "objective": {"weighting": "none"},
            "optim": {"betas": [0.8, 0.99], "weight_decay": 0.1},
        },
        {
            "name": "large",
            "samples": 32,
            "batch": 2,
            "data": {"buckets": {"resolution": 96, "max_side": 128}},
            "captions": {"empty_caption.p": 0.5},
        },
        {"samples": 24, "optim": {"optimizer": "adopt", "lr": 1e-3}},
    ],
    "optim": {
        "optimizer": "adamw8bit",
        "lr": 1e-3,
        "lr_text_encoder": 1e-4,
        "text_encoder": {"freeze_until": {"samples": 12}, "steps": [{"samples": 40, "factor": 0.1}]},
    },
    "ema": {"sigma_rel": [0.1], "snapshot_every": 16},
    "validation": {"share": 0.15, "every": 24, "timesteps": 2},
    "checkpoint_every": 8,
}
"""80 samples in steps of 8, 4 and 8: two sizes, two optimizers, the text encoder frozen at first."""


def killed_at(words: list[str], out: Path, samples: int) -> None:
    """Start it and kill it as soon as it has that checkpoint."""
    kill_when(words, lambda: (out / "checkpoints" / f"{samples:012d}").is_dir())


@exactly
@pytest.mark.slow
def test_phases_go_on_exactly_on_both_sides_of_every_border(
    tmp_path: Path, tiny_model: Path, pictures: Path
) -> None:
    whole = write_run(tmp_path / "whole", tiny_model, pictures, **PHASED)
    done = run(command("train", whole))
    assert done.returncode == 0, done.stderr
    assert "phase 3: the optimizer adopt starts with fresh state" in done.stdout
    assert "large: samples 24 to 56, resolution 96, 4 samples per step, adamw8bit" in done.stdout

    again = write_run(tmp_path / "again", tiny_model, pictures, **PHASED)
    words, out = command("train", again), tmp_path / "again" / "out"
    # Killed around both borders: the change of size, and the switch of the optimizer.
    for samples in (24, 56):
        killed_at(words, out, samples)
    finished = run(words)
    assert finished.returncode == 0, finished.stderr
    expected = tmp_path / "whole" / "out"
    assert weights(out) == weights(expected)
    for name in ("validation.jsonl", "data.json"):
        assert (out / name).read_bytes() == (expected / name).read_bytes()
    ema, its = (load_file(folder / "ema" / "0.100.safetensors") for folder in (out, expected))
    assert ema.keys() == its.keys()
    assert all(torch.equal(ema[key], its[key]) for key in ema)
    snapshots = sorted(p.name for p in (out / "ema" / "snapshots").iterdir())
    assert snapshots == sorted(p.name for p in (expected / "ema" / "snapshots").iterdir())
    log, told = (read_log(folder / "log.jsonl") for folder in (out, expected))
    for line in (*log, *told):
        del line["samples_per_s"], line["waited"]
    assert log == told
    assert [line["samples"] for line in log] == [8, 16, 24, *range(28, 57, 4), 64, 72, 80]
    assert [line["phase"] for line in log] == [1] * 3 + [2] * 8 + [3] * 3
    # Frozen, trained, and at a tenth of its rate; linear over the whole run.
    rates = {line["samples"]: line["lr_text_encoder"] for line in log}
    assert rates[8] == rates[16] == 0
    assert rates[24] == pytest.approx(1e-4 * (1 - 16 / 80))
    assert rates[44] == pytest.approx(1e-5 * (1 - 40 / 80))


@exactly
def test_any_checkpoint_of_a_run_with_phases_leads_to_the_same_end(
    tmp_path: Path, tiny_model: Path, pictures: Path
) -> None:
    phased = PHASED | {"keep_checkpoints": 99, "checkpoint_every": 4}
    train_here(tmp_path / "whole", tiny_model, pictures, **phased)
    made = sorted(p.name for p in (tmp_path / "whole" / "checkpoints").iterdir())
    assert [int(name) for name in made] == [8, 16, 24, *range(28, 57, 4), 64, 72, 80]
    # Before the thaw, at the first border, behind it, at the second, before and behind ADOPT's first step.
    for samples in (8, 24, 28, 56, 64):
        out, name = tmp_path / str(samples), f"{samples:012d}"
        shutil.copytree(tmp_path / "whole" / "checkpoints" / name, out / "checkpoints" / name)
        result = train_here(out, tiny_model, pictures, **phased)
        assert (result.resumed_from, result.samples_seen) == (samples, 80)
        assert weights(out) == weights(tmp_path / "whole"), samples
