"""A small run with everything in it, of which tests damage copies; and the real command line on a copy, in a
process of its own that is forked, so that the imports are done already."""

from __future__ import annotations

import faulthandler
import io
import json
import os
import signal
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from captionkit import dump_toml, preset
from tests.trainkit.processes import toml_text
from tests.trainkit.tiny import run_data, write_pictures, write_tiny_model
from trainkit.cli import main as trainkit_main

SECONDS = 600
"""A command that takes longer hangs, also on a busy machine."""

_FORMATS = ("png", "jpg", "webp", "gif", "tiff", "bmp")


def write_whole_run(folder: Path) -> None:
    """Model, pictures with sidecars and masks, a tar of them, prepared manifests of both, tables; ``out``, a
    run with cached latents and texts, averages, validation and checkpoints; ``adapted``, one with an adapter;
    and the first one's result as a single file. All paths in it are relative."""
    torch.set_num_threads(1)
    write_tiny_model(folder / "model", layers=2)
    _write_data(folder)
    for data, manifest in (("data", "manifest"), ("shards", "packed")):
        _well(["prepare", data, "-o", manifest, "--min-side", "16", "--near"], folder)
    run = run_data(Path("model"), Path("manifest"), Path("out"), samples=16, checkpoint_every=8)
    run |= {
        "validation": {"share": 0.2, "every": 8, "timesteps": 2, "texts": ["tags"]},
        "ema": {"sigma_rel": [0.05, 0.1], "snapshot_every": 8},
        "text": {"max_tokens": 75, "cached_variants": 2},
    }
    run["data"] |= {"recipe": "recipe.toml", "max_bad_share": 0.9}
    run["model"] |= {"train_text_encoder": False}
    (folder / "run.toml").write_text(toml_text(run))
    adapted = run_data(Path("model"), Path("data"), Path("adapted"), samples=16, checkpoint_every=8)
    adapted |= {"adapter": {"rank": 2}, "text": {"max_tokens": 75}}
    adapted["data"] |= {"masks": "file", "max_bad_share": 0.9, "latents": "live"}
    (folder / "adapted.toml").write_text(toml_text(adapted))
    _well(["train", "run.toml"], folder)
    _well(["train", "adapted.toml"], folder)
    _well(["export", "out", "-o", "single.safetensors"], folder)


def _write_data(folder: Path) -> None:
    data = write_pictures(folder / "data", 8)
    for i, suffix in enumerate(_FORMATS):
        Image.effect_noise((70 + i, 60), 50).convert("RGB").save(data / f"noise{i}.{suffix}")
        (data / f"noise{i}.txt").write_text(f"noise, number {i}\nA picture of noise.\n")
    for i in range(3):
        Image.new("L", Image.open(data / f"{i:03d}.png").size, 200).save(data / f"{i:03d}-masklabel.png")
    (folder / "shards").mkdir()
    with tarfile.open(folder / "shards" / "noise.tar", "w") as tar:
        for path in sorted(data.glob("noise*")):
            info = tarfile.TarInfo(path.name)
            info.size = path.stat().st_size
            tar.addfile(info, io.BytesIO(path.read_bytes()))
    lines: list[dict[str, Any]] = [
        {"image": f"data/{p.name}", "tags": ["noise", p.stem], "caption": "A picture."}
        for p in sorted(data.glob("noise*"))
        if p.suffix != ".txt"
    ]
    (folder / "table.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = [line | {"width": 70 + i, "height": 60} for i, line in enumerate(lines)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "table.parquet")
    (folder / "recipe.toml").write_text(dump_toml(preset("hyperfusion")))


def _well(words: list[str], folder: Path) -> None:
    """Run a command that must succeed."""
    code, output = run_in_child(words, folder)
    if code:
        raise RuntimeError(f"trainkit {' '.join(words)} ended with {code}:\n{output}")


def run_in_child(words: list[str], folder: Path) -> tuple[int, str]:
    """(exit code, all it said) of ``trainkit WORDS`` in a folder; minus the signal that ended it, SIGKILL for
    one that hung."""
    with tempfile.TemporaryFile() as file:
        pid = os.fork()
        if pid == 0:
            _child(words, folder, file.fileno())
        code = _wait(pid)
        file.seek(0)
        return code, file.read().decode("utf-8", "replace")


def _child(words: list[str], folder: Path, output: int) -> None:
    """Never comes back."""
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
        faulthandler.enable(sys.stderr)
        code = trainkit_main(words)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(pid: int) -> int:
    """The exit code of a child; minus the signal that ended it. One that hangs is killed."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -int(signal.SIGKILL)
