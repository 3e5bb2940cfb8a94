"""Two processes train as one does, and a launch that went wrong is told."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.trainkit.processes import run, write_run
from trainkit.errors import LaunchError
from trainkit.log import read_log

WATCHED = """
import hashlib, json, os, sys
from pathlib import Path

import trainkit.setup
from trainkit.cli import main
from trainkit.step import Stepper

rank = os.environ.get("RANK", "0")
seen, models = [], []
real_loss, real_load = Stepper.loss, trainkit.setup.load_model

def loss(self, denoiser, batch):
    seen.append([batch.number, batch.samples, batch.records, batch.texts, list(batch.ids.shape)])
    return real_loss(self, denoiser, batch)

def load(*arguments):
    models.append(real_load(*arguments))
    return models[-1]

Stepper.loss, trainkit.setup.load_model = loss, load
status = main(["train", *sys.argv[2:]])
digest = hashlib.blake2b()
for name, value in sorted(models[0].denoiser.state_dict().items()):
    digest.update(name.encode() + value.numpy().tobytes())
Path(sys.argv[1], f"seen-{rank}.json").write_text(json.dumps({"seen": seen, "weights": digest.hexdigest()}))
sys.exit(status)
"""
"""Trains, and writes what this process saw and what its weights became."""


@pytest.mark.slow
def test_two_processes_do_together_what_one_does(tmp_path: Path, tiny_model: Path, pictures: Path) -> None:
    script = tmp_path / "watched.py"
    script.write_text(WATCHED)
    # A large epsilon: Adam turns rounding errors of gradients near zero into steps of full size.
    settings = {
        "samples": 40,
        "optim": {"optimizer": "adamw", "lr": 1e-3, "lr_text_encoder": 1e-3, "eps": 1e-3},
        "validation": {"share": 0.15, "timesteps": 2},
    }
    one = write_run(tmp_path / "one", tiny_model, pictures, **settings)
    two = write_run(tmp_path / "two", tiny_model, pictures, **settings, batch=2)
    alone = run([sys.executable, str(script), str(one.parent), str(one)])
    assert alone.returncode == 0, alone.stderr
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    pair = run([*torchrun, str(script), str(two.parent), str(two)])
    assert pair.returncode == 0, pair.stderr

    def seen(folder: Path, rank: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((folder / f"seen-{rank}.json").read_text())
        return found

    single, ranks = seen(one.parent, 0), [seen(two.parent, rank) for rank in (0, 1)]
    # The best-known trainer crashes here: a trained text encoder, clip skip 2, two processes.
    # The same samples in total, none twice, with the same captions, in the same shapes in the same step.
    together = [
        (s, r, t) for part in ranks for _, *row, _ in part["seen"] for s, r, t in zip(*row, strict=True)
    ]
    expected = [(s, r, t) for _, *row, _ in single["seen"] for s, r, t in zip(*row, strict=True)]
    assert sorted(together) == sorted(expected)
    assert sorted(s for s, _, _ in together) == list(range(40))
    for mine, other, all_of_it in zip(ranks[0]["seen"], ranks[1]["seen"], single["seen"], strict=True):
        assert mine[0] == other[0] == all_of_it[0]
        assert mine[4] == other[4] == [2, *all_of_it[4][1:]]
    # The replicas agree to the last bit, and with the single process up to the order of sums.
    assert ranks[0]["weights"] == ranks[1]["weights"]
    for part in ("unet/diffusion_pytorch_model", "text_encoder/model"):
        ours, theirs = (
            load_file(run_file.parent / "out" / "model" / f"{part}.safetensors") for run_file in (one, two)
        )
        start = load_file(tiny_model / f"{part}.safetensors")
        assert any(not torch.equal(ours[name], start[name]) for name in ours)
        for name in ours:
            torch.testing.assert_close(theirs[name], ours[name], rtol=1e-4, atol=1e-6)
    losses = [[e["loss"] for e in read_log(f.parent / "out" / "log.jsonl")] for f in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    # Each process measured its share of the held-out pictures; before the first step and after the last.
    alone_told, pair_told = (
        [[text["mean"] for text in e["texts"].values()] for e in read_log(f.parent / "out/validation.jsonl")]
        for f in (one, two)
    )
    assert len(alone_told) == len(pair_told) == 2
    for mean, other in zip(alone_told, pair_told, strict=True):
        assert other == pytest.approx(mean, rel=1e-4)


@pytest.mark.slow
def test_accelerate_launch_that_starts_one_process_for_two_is_refused(
    tmp_path: Path, tiny_model: Path, pictures: Path
) -> None:
    run_file = write_run(tmp_path, tiny_model, pictures)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    done = run([*launch, "-m", "trainkit", "train", str(run_file)])
    assert done.returncode != 0
    assert "accelerate launch was asked for several processes and started only this one" in done.stderr
    assert "torchrun --nproc_per_node 2 -m trainkit train run.toml" in done.stderr
    assert not (tmp_path / "out").exists()


def test_processes_that_do_not_know_of_each_other_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainkit import devices

    class Alone:
        num_processes = 1

        def __init__(self, **settings: Any) -> None:
            pass

    monkeypatch.setattr(devices, "Accelerator", Alone)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(LaunchError, match="2 processes were started, but each of them works alone"):
        devices.make_accelerator("no", tmp_path, tf32=True)


@pytest.mark.parametrize(
    ("variables", "refused"),
    [
        ({}, False),
        ({"ACCELERATE_MIXED_PRECISION": "no"}, False),
        ({"MASTER_ADDR": "127.0.0.1"}, False),
        ({"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": "2"}, False),
        ({"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1"}, True),
    ],
)
def test_traces_of_a_false_launch(variables: dict[str, str], refused: bool) -> None:
    from trainkit.devices import refuse_false_launch

    if refused:
        with pytest.raises(LaunchError):
            refuse_false_launch(variables)
    else:
        refuse_false_launch(variables)
