"""Several processes, with whole and with sharded weights, do what one does: the same curve of losses, the
same samples, and checkpoints that go on in one another."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from tests.trainkit.processes import PATIENCE, environment, quiet_port, write_run
from tests.trainkit.tiny import run_data
from trainkit.config import RunConfig
from trainkit.log import read_log
from trainkit.train import train

SETTINGS: dict[str, Any] = {
    "hang_timeout": 600,
    "samples": 32,
    "checkpoint_every": 16,
    "keep_checkpoints": 4,
    # A large epsilon: Adam turns rounding errors of gradients near zero into steps of full size. Constant
    # rates: a run of half the length is the first half of the whole one.
    "optim": {
        "optimizer": "adamw",
        "lr": 1e-3,
        "lr_text_encoder": 1e-3,
        "eps": 1e-3,
        "schedule": "constant",
        "max_grad_norm": 0.1,
    },
    "ema": {"decay": 0.9},
    "validation": {"share": 0.15, "timesteps": 2},
    "preview": {"prompts": ["a red square"], "steps": 1},
}

MANY = """
import json, os, sys
from pathlib import Path
from accelerate.state import AcceleratorState
from trainkit.feed import Feed
from trainkit.run_file import load_run
from trainkit.train import train

rank, make = os.environ["RANK"], Feed.__getitem__
seen = []

def watched(feed, number):
    batch = make(feed, number)
    seen.extend(zip(batch.samples, batch.records, batch.texts))
    return batch

Feed.__getitem__ = watched
for path, environment in json.loads(sys.argv[1]):
    os.environ.update(environment)
    seen.clear()
    train(load_run(Path(path), []))
    Path(path).with_name(f"seen-{rank}.json").write_text(json.dumps(seen))
    AcceleratorState._reset_state(True)
"""
"""Several runs one after the other in the same processes, for importing takes longer than training; writes
what each process was given."""

FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
HYBRID = FSDP | {
    "ACCELERATE_USE_PARALLELISM_CONFIG": "true",
    "PARALLELISM_CONFIG_DP_REPLICATE_SIZE": "2",
    "FSDP_RESHARD_AFTER_FORWARD": "false",
}


@pytest.fixture(autouse=True)
def _no_accelerator_left_over() -> Iterator[None]:
    """The first Accelerator of a process decides for all later ones."""
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


def together(folder: Path, processes: int, runs: Sequence[tuple[Path, dict[str, str]]]) -> None:
    """Train the run files, each with what accelerate's launcher would put into the environment."""
    script = folder / "many.py"
    script.write_text(MANY)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    told = json.dumps([[str(path), settings | fresh_meeting()] for path, settings in runs])
    words = [*torchrun, "--nproc_per_node", str(processes), str(script), told]
    with subprocess.Popen(words, env=environment(), stderr=subprocess.PIPE, text=True) as launcher:
        try:
            _, told = launcher.communicate(timeout=3 * PATIENCE)
        finally:
            launcher.terminate()  # It ends the processes that it has started.
    assert launcher.returncode == 0, (
        told
    )  # All of it: the first to fail has said why, the others that it is gone.


def fresh_meeting() -> dict[str, str]:
    """A place of their own where the processes of a run meet: a second group of processes that meets where
    the first one did finds the addresses of the first."""
    return {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(quiet_port()),
        "TORCHELASTIC_USE_AGENT_STORE": "False",
    }


def losses(folder: Path) -> list[float]:
    """The loss, the norm of the gradient and its norm in the UNet's middle, of every step."""
    log = read_log(folder / "out" / "log.jsonl")
    return [entry[key] for entry in log for key in ("loss", "grad_norm", "grad_norm/unet.mid")]


def same(folder: Path, other: Path, pattern: str, *, atol: float = 1e-6) -> None:
    """Every tensor of the matching files is the same up to the order of sums."""
    files = sorted(path.relative_to(folder / "out") for path in (folder / "out").glob(pattern))
    assert files
    for file in files:
        ours, theirs = load_file(folder / "out" / file), load_file(other / "out" / file)
        assert ours.keys() == theirs.keys()
        for name, tensor in ours.items():
            told = f"{file} {name}: {(theirs[name] - tensor).abs().max()} apart"
            torch.testing.assert_close(theirs[name], tensor, rtol=1e-4, atol=atol, msg=told)


def seen(folder: Path, processes: int) -> list[list[Any]]:
    return [
        row for rank in range(processes) for row in json.loads((folder / f"seen-{rank}.json").read_text())
    ]


@pytest.mark.slow
def test_one_two_and_four_processes_whole_and_sharded(
    tmp_path: Path, tiny_model: Path, pictures: Path
) -> None:
    def prepare(name: str, batch: int, **changes: Any) -> Path:
        return write_run(tmp_path / name, tiny_model, pictures, **SETTINGS | {"batch": batch} | changes)

    def go_on(name: str, batch: int, other: str) -> Path:
        """A run that goes on from another's checkpoint at half of its way."""
        path = prepare(name, batch)
        half = Path("out/checkpoints/000000000016")
        shutil.copytree(tmp_path / other / half, path.parent / half)
        return path

    one = tmp_path / "one"
    train(RunConfig.model_validate(run_data(tiny_model, pictures, one / "out", **SETTINGS, batch=4)))
    adapter = {"adapter": {"rank": 2, "conv_rank": 2}, "samples": 8}
    train(
        RunConfig.model_validate(
            run_data(tiny_model, pictures, tmp_path / "lora" / "out", **SETTINGS | adapter)
        )
    )
    two = [
        (prepare("two sharded", 2), FSDP),
        (go_on("one, then two sharded", 2, "one"), FSDP),
        (prepare("two sharded lora", 2, **adapter), FSDP),
    ]
    together(tmp_path, 2, two)
    half: dict[str, Any] = {"samples": 16}
    four = [(prepare("four", 1, **half), {}), (prepare("four in two copies", 1, **half), HYBRID)]
    together(tmp_path, 4, four)
    AcceleratorState._reset_state(True)
    alone = go_on("two sharded, then one", 4, "two sharded").parent
    train(RunConfig.model_validate(run_data(tiny_model, pictures, alone / "out", **SETTINGS, batch=4)))

    whole = losses(one)
    assert len(whole) == 3 * 4
    for name, steps in (("two sharded", 4), ("four", 2), ("four in two copies", 2)):
        assert losses(tmp_path / name) == pytest.approx(whole[: 3 * steps], rel=1e-4), name
        same(tmp_path / name, one, "checkpoints/*/*.safetensors")
        assert len(list((tmp_path / name / "out" / "previews").iterdir())) == 1
        if steps < 4:
            continue
        same(one, tmp_path / name, "ema/*.safetensors")
        same(one, tmp_path / name, "model/*/*.safetensors")
        means = [
            [
                text["mean"]
                for line in read_log(folder / "out/validation.jsonl")
                for text in line["texts"].values()
            ]
            for folder in (one, tmp_path / name)
        ]
        assert means[1] == pytest.approx(means[0], rel=1e-4)
    for name in ("one, then two sharded", "two sharded, then one"):
        assert losses(tmp_path / name) == pytest.approx(whole[3 * 2 :], rel=1e-4), name
        same(one, tmp_path / name, "model/*/*.safetensors")
        same(one, tmp_path / name, "ema/*.safetensors")
    # An adapter is sharded with its frozen base.
    lora = tmp_path / "two sharded lora"
    assert losses(lora) == pytest.approx(losses(tmp_path / "lora"), rel=1e-4)
    same(tmp_path / "lora", lora, "*.safetensors")
    same(tmp_path / "lora", lora, "model/*/*.safetensors")

    # To the bit: the samples, their pictures and their texts, none twice, however many processes there are.
    two_saw, four_saw = seen(tmp_path / "two sharded", 2), seen(tmp_path / "four", 4)
    assert sorted(sample for sample, _, _ in two_saw) == list(range(32))
    assert sorted(sample for sample, _, _ in four_saw) == list(range(16))
    assert sorted(two_saw)[:16] == sorted(four_saw) == sorted(seen(tmp_path / "four in two copies", 4))
