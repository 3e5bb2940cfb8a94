"""``trainkit train``: train a run file; the same command again goes on where it stopped."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("train", help="train a run file; started again, it goes on where it stopped")
    parser.add_argument("run_file", type=Path, metavar="run.toml")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings by dotted path, such as optim.lr=1e-6"
    )
    parser.add_argument(
        "--accept",
        action="append",
        default=[],
        metavar="SETTING",
        help="go on although this setting is not what the checkpoint was made with; docs/nothing-lost.md "
        "says which can be accepted",
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from trainkit.signals import Stop

    with Stop().listening() as stop:
        from trainkit.run_file import load_run

        run = load_run(options.run_file, options.overrides)
        from trainkit.train import train

        result = train(run, stop, options.accept, options.run_file.parent)
    if os.environ.get("RANK", "0") == "0":  # Several processes: one speaks.
        print(f"the model is in {result.model} ({result.samples_seen} samples seen)")
        if run.adapter is not None:
            print(f"the adapter for front ends is {run.out / 'adapter.safetensors'}")
        print(f"next: trainkit export {run.out} -o {run.out / 'model.safetensors'}")
    return 0
