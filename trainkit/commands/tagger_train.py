"""``trainkit tagger train``: train a tagger from a manifest; the same command again goes on."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

_EXAMPLES = """examples:
  trainkit tagger train tagger.toml                        the same command again goes on where it stopped
  trainkit tagger train tagger.toml optim.lr=1e-4          any setting by its dotted path
  trainkit tagger train tagger.toml --restart              anew, as after new corrections
  torchrun --nproc_per_node 2 -m trainkit tagger train tagger.toml
What a run file may say: docs/tagger.md, and trainkit/tagging/config.py.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    does = "train a tagger from a manifest; started again, it goes on where it stopped"
    parser = commands.add_parser(
        "train",
        help=does,
        description=f"{does[0].upper()}{does[1:]}.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_file", type=Path, metavar="tagger.toml")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings by dotted path, such as optim.lr=1e-4"
    )
    parser.add_argument(
        "--restart", action="store_true", help="begin anew in the same folder, as after new corrections"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from trainkit.signals import Stop

    with Stop().listening() as stop:
        from trainkit.tagging.run_file import load_tagger_run

        run = load_tagger_run(options.run_file, options.overrides)
        from trainkit.tagging.train import train_tagger

        result = train_tagger(run, stop, restart=options.restart)
    if os.environ.get("RANK", "0") == "0":  # Several processes: one speaks.
        print(result.describe())
        words = (str(result.folder), str(run.data.path))
        print(f"next: trainkit tagger evaluate {' '.join(map(shlex.quote, words))}")
    return 0
