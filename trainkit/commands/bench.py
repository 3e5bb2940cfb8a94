"""``trainkit bench startup``: what it costs until a run could begin, on a user's own manifest."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("bench", help="what a start costs on your data: seconds, memory, workers")
    kinds = parser.add_subparsers(required=True, metavar="WHAT")
    startup = kinds.add_parser(
        "startup",
        help="until buckets are assigned and the first batch is planned",
        description="Opens the data in fresh processes and tells the seconds until buckets are assigned and "
        "the first batch is planned, the memory over the bare process, and the memory of worker processes. "
        "Nothing is written and no picture is opened. Linux only.",
    )
    startup.add_argument("data", type=Path, metavar="MANIFEST", help="what data.path of a run may be")
    startup.add_argument("--workers", type=_count, default=8, metavar="N", help="(default 8; 0: none)")
    startup.add_argument("--resolution", type=_count, default=768, metavar="PIXELS", help="(default 768)")
    startup.add_argument("--batch", type=_count, default=8, metavar="N", help="per micro-batch (default 8)")
    startup.add_argument(
        "--validation", type=float, default=0.0, metavar="SHARE", help="held out of training (default 0)"
    )
    startup.add_argument(
        "--micro-batches", type=_count, default=1000, metavar="N", help="each prepares (default 1000)"
    )
    startup.add_argument("--runs", type=_count, default=3, metavar="N", help="fresh processes (default 3)")
    startup.add_argument("--json", action="store_true", help="print one JSON object; sizes are bytes")
    startup.set_defaults(run=_startup)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > 1 << 20:
        raise argparse.ArgumentTypeError(f"is {text!r}, must be a whole number up to {1 << 20:,}")
    return int(text)


def _startup(options: argparse.Namespace) -> int:
    from trainkit.bench.memory import require_linux
    from trainkit.bench.startup import describe, measure_startup

    require_linux()
    report = measure_startup(
        options.data,
        workers=options.workers,
        resolution=options.resolution,
        batch=max(1, options.batch),
        validation=options.validation,
        micro_batches=options.micro_batches,
        runs=max(1, options.runs),
    )
    print(json.dumps(report, indent=2) if options.json else describe(report))
    return 0
