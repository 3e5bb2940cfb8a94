#!/usr/bin/env python
"""Mutation testing: break the code in one place at a time, and see whether a test notices.

Usage:
    python scripts/mutate.py                          # 12 mutants of every module that mutants.toml lists
    python scripts/mutate.py --sample 40 draws curves # more of some
    python scripts/mutate.py --all draws              # every one

Works in a copy of the tree; the working tree is only read. A mutant is killed when a test fails or hangs.
tests/captionkit/mutants.toml says which tests may kill the mutants of a module, in order, and which mutants
are equivalent: they change no behaviour, so no test can notice. Texts are left alone: they are messages,
mostly. The exit status is 1 when a mutant survived that is not named there.
"""

from __future__ import annotations

import argparse
import compileall
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import sqrt
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from mutants import Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "tests/captionkit/mutants.toml"
COPIED = ("captionkit", "tests", "pyproject.toml", "docs", "examples", "scripts")
SAID = "output.txt"
EXAMPLES = 40  # Of each hypothesis test: the same that the profile `fast` has.

# --------------------------------------------------------------------------------------------- running tests


def survives(mutant: Mutant | None, tests: Sequence[str], place: Path, seconds: int) -> bool:
    """Whether all tests pass with the mutant in the copy at `place`, or without any."""
    target = place / mutant.module if mutant else None
    sound = target.read_text(encoding="utf-8") if target else ""
    if target and mutant:
        target.write_text(mutant.source, encoding="utf-8")
        # The compiled module may be as old, to the second, and as long.
        for compiled in (target.parent / "__pycache__").glob(f"{target.stem}.*"):
            compiled.unlink()
    try:
        child = os.fork()
        if child == 0:
            _run(tests, place, seconds)
        return os.waitpid(child, 0)[1] == 0
    finally:
        if target:
            target.write_text(sound, encoding="utf-8")


def _run(tests: Sequence[str], place: Path, seconds: int) -> None:
    """In a child process: pytest over the copy, and out."""
    signal.alarm(seconds)  # Nobody catches it: the process ends, and that is a kill too.
    sys.dont_write_bytecode = True
    os.chdir(place)
    sys.path.insert(0, str(place))
    said = os.open(place / SAID, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    for stream in (0, 1, 2):
        os.dup2(said, stream)
    code = 1
    try:
        # Hypothesis is loaded already, which pytest would complain about.
        quiet = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
        code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *quiet, *tests])
    finally:
        os._exit(int(code))


def prepare() -> None:
    """Load what every child needs, and a profile with few examples; never captionkit itself."""
    hypothesis.settings.register_profile(
        "mutants",
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    )
    os.environ["HYPOTHESIS_PROFILE"] = "mutants"


def copied() -> Path:
    """A copy of what the tests need."""
    place = Path(tempfile.mkdtemp(prefix="mutants-"))
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, place / name)
    compileall.compile_dir(place / "captionkit", quiet=2)
    return place


# ------------------------------------------------------------------------------------------------- reporting


def wilson(hits: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share."""
    if total == 0:
        return 0.0, 1.0
    z, p = 1.96, hits / total
    middle, half = p + z * z / (2 * total), z * sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    return (middle - half) / (1 + z * z / total), (middle + half) / (1 + z * z / total)


def main() -> int:
    """Make the mutants, run the tests, say what survived."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("modules", nargs="*", help="parts of paths, such as draws; without any, all of them")
    parser.add_argument("--sample", type=int, default=12, help="mutants of each module (12)")
    parser.add_argument("--all", action="store_true", help="every mutant")
    parser.add_argument("--seed", type=int, default=0, help="which sample")
    parser.add_argument("--jobs", type=int, default=1, help="copies at work side by side (1)")
    parser.add_argument("--seconds", type=int, default=600, help="after which a test run has hung (600)")
    asked = parser.parse_args()

    listed = tomllib.loads(LIST.read_text(encoding="utf-8"))["module"]
    modules = [m for m in listed if not asked.modules or any(part in m["path"] for part in asked.modules)]
    prepare()
    copies = [copied() for _ in range(asked.jobs)]
    killed = total = unnamed = 0
    try:
        if not survives(None, sorted({test for m in modules for test in tests_of(m)}), copies[0], 3600):
            print((copies[0] / SAID).read_text(encoding="utf-8")[-2000:])
            sys.exit("the tests fail without any mutant; mend that first")
        for module in modules:
            hits, survivors, number = _judge(module, asked, copies)
            killed, total = killed + hits, total + number
            named = [mutant for mutant in survivors if mutant.label in module.get("equivalent", {})]
            unnamed += len(survivors) - len(named)
            print(f"{module['path']}: {hits} of {number} killed, {len(named)} survivors are equivalent")
            for mutant in [each for each in survivors if each not in named]:
                print(f"    line {mutant.line}: {mutant.label}", flush=True)
    finally:
        for place in copies:
            shutil.rmtree(place, ignore_errors=True)
    low, high = wilson(killed, total)
    judged = total - (total - killed - unnamed)
    print(f"{killed} of {total} killed: {killed / max(total, 1):.1%} (95 % interval {low:.1%} to {high:.1%})")
    print(f"without the equivalent ones: {killed} of {judged}, {killed / max(judged, 1):.1%}")
    return 1 if unnamed else 0


def tests_of(module: dict[str, Any]) -> list[str]:
    """The test files of a module, the nearest first."""
    return [f"tests/captionkit/test_{name}.py" for name in module["tests"]]


def _judge(
    module: dict[str, Any], asked: argparse.Namespace, copies: list[Path]
) -> tuple[int, list[Mutant], int]:
    """How many mutants of a module were killed, which survived, and how many there were."""
    path, tests = str(module["path"]), tests_of(module)
    every = mutants_of(ROOT, path)
    chosen = every if asked.all else random.Random(asked.seed).sample(every, min(asked.sample, len(every)))
    free = list(copies)
    begun = time.monotonic()

    def lives(mutant: Mutant) -> bool:
        place = free.pop()
        try:
            return survives(mutant, tests, place, asked.seconds)
        finally:
            free.append(place)

    with ThreadPoolExecutor(len(copies)) as pool:
        alive = list(pool.map(lives, chosen))
    survivors = [mutant for mutant, living in zip(chosen, alive, strict=True) if living]
    print(f"{path}: {len(chosen)} of {len(every)} mutants, {time.monotonic() - begun:.0f} s", flush=True)
    return len(chosen) - len(survivors), survivors, len(chosen)


if __name__ == "__main__":
    sys.exit(main())
