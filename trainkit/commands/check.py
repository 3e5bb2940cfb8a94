"""``trainkit check``: read everything, touch nothing, tell what would happen."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from trainkit.commands.whole_number import positive


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("check", help="read everything, touch nothing, tell what would happen")
    parser.add_argument("run_file", type=Path, metavar="run.toml")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument(
        "--devices", type=positive, default=1, metavar="N", help="number of devices to plan for (default 1)"
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="draw learning rates, phases and caption rates over the run, and buckets (.png, .svg or .pdf)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from trainkit.check import check_run, describe
    from trainkit.run_file import load_run

    run = load_run(options.run_file, options.overrides)
    report, problems, phases = check_run(run, devices=options.devices, progress=sys.stderr.isatty())
    if options.json:
        print(json.dumps({**report, "problems": problems}, indent=2))
    else:
        print(describe(report, str(run.out)))
        for problem in problems:
            print(f"problem: {problem}", file=sys.stderr)
    if options.plot is not None and phases:
        from trainkit.check_plot import draw_plan

        draw_plan(run, phases, report["phases"], options.plot)
        if not options.json:
            print(f"the plan is drawn in {options.plot}")
    return 2 if problems else 0
