"""Does a run with sharded weights (FSDP2) do on this machine's GPUs what a plain run does?

A tiny model is trained in bfloat16: plainly, by ``accelerate launch`` with examples/accelerate/fsdp.yaml on
every GPU there is (one will do), and from the sharded run's checkpoint on as a plain run. Losses, weights,
averages and the exported model must be the same up to bfloat16. Without a GPU it does the same on the CPU.
Half a minute; exit status 1 when something differs.

    python tests/benchmarks/check_gpu_devices.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.trainkit.processes import write_run  # noqa: E402
from tests.trainkit.tiny import write_pictures, write_tiny_model  # noqa: E402
from trainkit.log import read_log  # noqa: E402

SETTINGS: dict[str, Any] = {
    "samples": 32,
    "accumulate": 2,
    "checkpoint_every": 16,
    "mixed_precision": "bf16",
    "optim": {"optimizer": "adamw", "lr": 1e-3, "lr_text_encoder": 1e-3, "eps": 1e-3, "schedule": "constant"},
    "ema": {"decay": 0.9, "device": "cpu"},
    "validation": {"share": 0.15, "timesteps": 2},
    "preview": {"prompts": ["a red square"], "steps": 2},
}
LOSS, WEIGHT = 2e-2, 2e-3
"""How far apart losses (relative) and weights (absolute; four steps of at most 1e-3 each) may be."""


def main() -> int:
    """Run all three; one line of JSON each."""
    gpus = torch.cuda.device_count()
    processes = max(1, gpus)
    print(
        json.dumps({"torch": torch.__version__, "gpus": [torch.cuda.get_device_name(i) for i in range(gpus)]})
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, data = write_tiny_model(folder / "base"), write_pictures(folder / "pictures", 21)
        plain = write_run(folder / "plain", model, data, **SETTINGS, batch=4)
        sharded = write_run(folder / "sharded", model, data, **SETTINGS, batch=4 // processes)
        after = write_run(folder / "after", model, data, **SETTINGS, batch=4)
        config = ROOT / "examples" / "accelerate" / "fsdp.yaml"
        accelerate = [
            "-m",
            "accelerate.commands.launch",
            "--config_file",
            str(config),
            "--main_process_port",
            "0",
        ]
        run("plain", ["-m", "trainkit", "train", str(plain)])
        run(
            f"FSDP2 on {processes}",
            [*accelerate, "--num_processes", str(processes), "-m", "trainkit", "train", str(sharded)],
        )
        half = Path("out/checkpoints/000000000016")
        shutil.copytree(sharded.parent / half, after.parent / half)
        run("plain from FSDP2's checkpoint", ["-m", "trainkit", "train", str(after)])
        problems = [
            *apart("FSDP2", plain.parent / "out", sharded.parent / "out", 0),
            *apart("plain from FSDP2", plain.parent / "out", after.parent / "out", 2),
        ]
    print(json.dumps({"same": not problems, "problems": problems}))
    return 1 if problems else 0


def run(what: str, words: list[str]) -> None:
    """One run in processes of its own; its memory is what torch had at most."""
    started = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        sys.exit(f"{what}: exit {done.returncode}\n{done.stderr[-4000:]}")
    print(json.dumps({"run": what, "seconds": round(time.perf_counter() - started, 1)}), flush=True)


def apart(what: str, ours: Path, theirs: Path, skipped: int) -> list[str]:
    """Where two runs differ by more than bfloat16 explains."""
    losses = [[line["loss"] for line in read_log(out / "log.jsonl")] for out in (ours, theirs)]
    found = [
        f"{what}: loss {b} and not {a}"
        for a, b in zip(losses[0][skipped:], losses[1], strict=True)
        if abs(a - b) > LOSS * a
    ]
    worst = 0.0
    for pattern in ("model/*/*.safetensors", "ema/*.safetensors"):
        for path in ours.glob(pattern):
            left, right = load_file(path), load_file(theirs / path.relative_to(ours))
            assert left.keys() == right.keys()
            worst = max(worst, *(float((left[k] - right[k]).abs().max()) for k in left))
    print(
        json.dumps(
            {"compared": what, "losses": losses[1], "plain": losses[0][skipped:], "weights apart": worst}
        )
    )
    return [*found, *([f"{what}: weights are {worst} apart"] if worst > WEIGHT else [])]


if __name__ == "__main__":
    sys.exit(main())
