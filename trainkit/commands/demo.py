"""``trainkit demo``: the whole recipe on drawn scenes."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "demo", help="the whole recipe on drawn scenes: data, training, samples, one page"
    )
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything (default demo)")
    parser.add_argument("--samples", type=int, default=None, help="length of the training in samples seen")
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from trainkit.demo.run import run_demo

    page = run_demo(options.out, samples=options.samples, seed=options.seed)
    print(f"open {page}")
    return 0
