"""``trainkit status``: how a run is doing, also while it runs and from another machine."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
import time
import tomllib
from pathlib import Path

from trainkit.errors import TrainkitError


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("status", help="how a run is doing; only reads files")
    parser.add_argument("folder", type=Path, metavar="RUN", help="a run's folder, or its run file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--watch", type=_seconds, metavar="SECONDS", help="look again every so many seconds until it ends"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="one line; exit status 1 when the run neither goes on nor is done (for cron and systemd)",
    )
    parser.set_defaults(run=_run)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"is {text!r}, must be 0.1 to 86400 seconds")
    return seconds


def _run(options: argparse.Namespace) -> int:
    from trainkit.status import is_well, run_status
    from trainkit.status_page import Screen, describe, one_line

    out = _folder(options.folder)
    _refuse_others(out)
    while True:
        status = run_status(out)
        if options.json:
            print(json.dumps(status), flush=True)
        elif options.check:
            print(one_line(status), flush=True)
        else:
            terminal = sys.stdout.isatty()
            screen = Screen(
                width=shutil.get_terminal_size((100, 24)).columns,
                colour=terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb",
                blocks="utf" in (sys.stdout.encoding or "").lower(),
            )
            page = describe(status, screen)
            print(f"\033[H\033[J{page}" if options.watch and terminal else page, flush=True)
        if options.watch is None or status["state"] != "running":
            break
        time.sleep(options.watch)
    if options.check:
        return 0 if is_well(status) else 1
    if status["state"] == "none":
        raise TrainkitError(f"{out} holds no run; give the `out` folder of a run file")
    return 0


def _folder(given: Path) -> Path:
    """The run's folder; of a run file its `out`. Raises TrainkitError when there is none."""
    if given.suffix == ".toml" and given.is_file():
        try:
            out = tomllib.loads(given.read_text(encoding="utf-8")).get("out")
        except ValueError as error:
            raise TrainkitError(f"{given} is not valid TOML: {error}") from error
        if not isinstance(out, str):
            raise TrainkitError(f"{given} has no `out`; give the folder or the file of a training run")
        given = given.parent / out
    if not given.is_dir():
        raise TrainkitError(f"there is no folder {given}")
    return given


def _refuse_others(out: Path) -> None:
    """Raise TrainkitError for folders that trainkit fills, too, and say what tells of them."""
    from trainkit.prepared import is_prepared
    from trainkit.whole_file import read_object

    told = shlex.quote(str(out))
    if (out / "tagger.json").is_file():
        raise TrainkitError(
            f"{out} is a tagger, and its training is done; how good it is: "
            f"trainkit tagger evaluate {told} MANIFEST"
        )
    if "learn" in read_object(out / "run.json"):
        raise TrainkitError(
            f"{out} is the training of a tagger; log.jsonl has its steps, and the same trainkit tagger train "
            "goes on where it stopped"
        )
    if is_prepared(out):
        raise TrainkitError(
            f"{out} is a manifest, no run; report.html tells what was found, and additions/*.html what "
            "taggers and caption models added"
        )
