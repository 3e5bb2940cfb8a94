"""Every example runs, is short, says how to run it, and prints what it promises."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from captionkit import read_records

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("[0-9][0-9]_*.py"))
MAX_LINES = 60
FEW_CORES = "ignore:This DataLoader will create:UserWarning"
"""What PyTorch says of two workers on one core."""


def output_of(example: Path, cwd: Path) -> str:
    """What an example prints, run as its docstring says but from a folder of its own."""
    process = subprocess.run(
        [sys.executable, "-W", "error", "-W", FEW_CORES, example],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    return process.stdout


def test_there_are_examples() -> None:
    assert [example.name[:2] for example in EXAMPLES] == [
        f"{number:02}" for number in range(1, len(EXAMPLES) + 1)
    ]
    assert len(EXAMPLES) >= 2


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_an_example_is_short_and_says_how_to_run_it(example: Path) -> None:
    source = example.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= MAX_LINES
    assert f"Usage:\n    python examples/{example.name}" in (ast.get_docstring(ast.parse(source)) or "") or (
        f"\n    python examples/{example.name}" in source
    )
    assert example.name in (ROOT / "examples/README.md").read_text(encoding="utf-8")


def test_captions_alone_prints_the_same_on_every_run_and_explains(tmp_path: Path) -> None:
    example = ROOT / "examples/01_captions_alone.py"
    said = output_of(example, tmp_path)
    assert said == output_of(example, tmp_path)
    assert "fox: may be mirrored" in said
    assert "sign: must not be mirrored" in said
    assert "important: solo" in said[said.index("why fox") :]


def test_workers_see_the_same_text_and_epochs_do_not(tmp_path: Path) -> None:
    said = output_of(ROOT / "examples/02_inside_a_pytorch_dataset.py", tmp_path)
    assert said.count("0 and 2 workers agree") == 2
    assert "DIFFER" not in said
    first, second = said.split("epoch 1:")
    assert first.splitlines()[1:] != second.splitlines()[1:]


def test_a_policy_of_ones_own_is_tested_and_used(tmp_path: Path) -> None:
    said = output_of(ROOT / "examples/04_own_policy.py", tmp_path).splitlines()
    assert said[0] == "keeps every law"
    assert 0 < sum("someone" in line for line in said[1:]) < len(said[1:]) == 6


@pytest.mark.slow
def test_from_pictures_of_which_nothing_is_known_to_a_trained_model(tmp_path: Path) -> None:
    """The commands of docs/from-pictures.md, on drawn pictures, with real small models."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    words = [str(ROOT / "examples/from_pictures/chain.sh"), str(tmp_path / "chain"), "300"]
    chain = subprocess.run(
        words, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=3600, check=False
    )
    assert chain.returncode == 0, chain.stdout + chain.stderr
    assert "Traceback" not in chain.stderr

    records = list(read_records(tmp_path / "chain/manifest"))
    assert len(records) == 300
    by_source = Counter(tag.source for record in records for tag in record.tags)
    assert by_source["human"] == 300  # Of half of them a person said ground and number.
    assert by_source["tagger"] > 100
    for record in records:  # What the classifier added is right in about nine of ten.
        assert len({tag.name for tag in record.tags if tag.name.endswith("background")}) <= 1
    captioned = [record for record in records if record.prose]
    assert 60 < len(captioned) < 140
    assert {prose.source for record in captioned for prose in record.prose} == {"tiny"}
    assert sum("background" in record.prose[0].text for record in captioned) > len(captioned) / 2

    assert (tmp_path / "chain/run/model/unet/diffusion_pytorch_model.safetensors").is_file()
    assert (tmp_path / "chain/samples/sheet.png").is_file()
