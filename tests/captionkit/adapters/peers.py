"""Other people's trainers, as they lie in the package index, and what the tests of their adapters share."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

from captionkit import CaptionPipeline, FlipRule, Record, load_pipeline, parse_tags
from captionkit.adapters.lookup import Records

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 600
"""Seconds after which a process that does not get on is taken for stuck; a busy machine takes its time."""

RECIPE = """
seed = 7
[flip]
p = 0.5
no_flip = ["text*"]
mirror = "swap"
[[steps]]
kind = "shuffle_tags"
[[steps]]
kind = "drop_tags"
rate = 0.3
"""


def pipeline() -> CaptionPipeline:
    """Tags in many orders and numbers; a third of the records below may not be mirrored."""
    return load_pipeline(tomllib.loads(RECIPE))


def pictures(count: int = 12) -> list[Record]:
    """Pictures `set/0.png` and on; each third has writing on it."""
    text = "fox, snow, running, left arm up, tree, day, sky, red"
    return [
        Record(
            f"set/{number}",
            parse_tags(f"{text}, number {number}" + (", text on sign" if number % 3 == 0 else "")),
            image=f"set/{number}.png",
        )
        for number in range(count)
    ]


def records(count: int = 12) -> Records:
    """The pictures below the root `/data`."""
    return Records(pictures(count), root="/data")


def never_mirrored() -> CaptionPipeline:
    """The pipeline for trainers that mirror nothing."""
    return pipeline().model_copy(update={"flip": FlipRule(p=0.0, no_flip=("text*",), mirror="swap")})


@cache
def unpacked(folder: Path, *requirements: str) -> Path:
    """A folder below this one with these wheels unpacked into it, none of them installed.

    They are downloaded once per session. Skips where pip has no index to get them from.
    """
    wheels, target = folder / "wheels", folder / f"peer {' '.join(requirements)}"
    for requirement in requirements:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
        why = "it does not answer"
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                [*command, "-d", str(wheels / requirement), requirement],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            why = (done.stderr.strip().rpartition("\n")[2] or "no reason given") if done.returncode else ""
        if why:
            pytest.skip(f"no package index: {requirement} cannot be downloaded: {why}")
        for wheel in (wheels / requirement).glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(target)
    return target


def run_apart(script: str, paths: Iterable[Path], folder: Path) -> str:
    """What a script prints in a Python of its own, which has these folders and the checkout to import from.

    The peers change what they meet (`warnings.warn`, `sys.modules`), so they are never imported here.
    """
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [*paths, ROOT]))}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=env,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
