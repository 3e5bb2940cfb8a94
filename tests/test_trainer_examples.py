"""The examples for data loaders run as they are, each in a process of its own, and say what they promise."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "examples" / "trainers"
MAX_LINES = 60

# Every warning is an error, but for these of the libraries.
FEW_CORES = "ignore:This DataLoader will create:UserWarning"  # PyTorch, of two workers on one core.
FILTERS = {
    "torchdata_loader": ["ignore:'set_vital' is deprecated:UserWarning"],  # torchdata 0.11 on torch 2.13.
    "webdataset_map": ["ignore:unclosed file:ResourceWarning"],  # WebDataset 1.0 leaves its tars open.
    "ray_data": ["ignore::DeprecationWarning:ray.data.context"],  # Ray 2.60, of its own settings.
}
NAMES = ["torch_dataset", "hf_datasets", "webdataset_map", "torchdata_loader", "ray_data", "diffusers_script"]


def output_of(name: str) -> str:
    """What an example prints, run from a folder of its own, which is its home as well."""
    options = [option for rule in ("error", FEW_CORES, *FILTERS.get(name, [])) for option in ("-W", rule)]
    # Not pytest's folder: the paths of Ray's sockets would be too long in it. What Ray still writes there
    # when it has ended is no error.
    with tempfile.TemporaryDirectory(prefix="ck", ignore_cleanup_errors=True) as folder:
        env = os.environ | {"PYTHONPATH": str(ROOT), "HOME": folder, "RAY_TMPDIR": folder}
        process = subprocess.run(
            [sys.executable, *options, FOLDER / f"{name}.py"],
            cwd=folder,
            env=env | {"HF_HOME": f"{folder}/hf", "RAY_USAGE_STATS_ENABLED": "0"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    assert process.returncode == 0, process.stderr
    if name != "ray_data":  # Ray tells there what it does.
        assert process.stderr == ""
    return process.stdout


@pytest.mark.parametrize("name", NAMES)
def test_it_is_short_and_says_how_to_run_it(name: str) -> None:
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) <= MAX_LINES
    assert f"\n    python examples/trainers/{name}.py" in (ast.get_docstring(ast.parse(source)) or "")


def texts(said: str, epoch: int) -> list[str]:
    """The lines of one epoch."""
    part = said.split(f"epoch {epoch}")[1]
    return re.findall(r"^  (.*)$", part.split("\nepoch")[0], re.MULTILINE)


def test_torch_dataset() -> None:
    said = output_of("torch_dataset")
    assert said.count("0 and 2 workers agree") == 2
    assert "DIFFER" not in said
    assert texts(said, 0) != texts(said, 1)
    dealt = said.partition("each time that it is dealt:\n")[2].splitlines()
    assert len(set(dealt)) > 1


def test_hf_datasets() -> None:
    said = output_of("hf_datasets")
    assert said.count("streamed: the same") == 2
    assert "the same recipe: same fingerprint\nanother seed: other fingerprint" in said
    assert texts(said, 0) != texts(said, 1)


def test_webdataset_map() -> None:
    said = output_of("webdataset_map")
    epochs = [texts(said, epoch) for epoch in range(3)]
    assert [len(lines) for lines in epochs] == [4, 4, 4]
    assert len({tuple(lines) for lines in epochs}) == 3
    assert all("(mirrored: False)" in lines[1] for lines in epochs)


def test_torchdata_loader() -> None:
    said = output_of("torchdata_loader")
    assert said.endswith("the same as without a restart\n")
    assert said.count("  pictures [") == 4


def test_diffusers_script() -> None:
    said = output_of("diffusers_script")
    assert len(texts(said, 0)) == len(texts(said, 1)) == 4
    assert texts(said, 0) != texts(said, 1)


@pytest.mark.slow  # Starting and stopping a cluster alone takes ten seconds.
def test_ray_data() -> None:
    said = output_of("ray_data")
    assert said.endswith("the cluster and this process agree\n")
    assert len(re.findall(r"^\w+: .* \| .*$", said, re.MULTILINE)) == 6
