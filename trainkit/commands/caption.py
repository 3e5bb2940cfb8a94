"""``trainkit caption``: let a vision-language model caption pictures of a manifest."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from trainkit.commands.whole_number import positive

_EXAMPLES = """examples:
  trainkit caption caption.toml --dry-run            which pictures, and three prompts as they would be sent
  trainkit caption caption.toml --preview 20         caption 20 of them and show them on a page
  trainkit caption caption.toml                      caption all; the same command goes on where it stopped
  trainkit caption caption.toml choose.share=0.2     some more
  torchrun --nproc_per_node 4 -m trainkit caption caption.toml     one model on each of four GPUs
Cleaning and gate may change afterwards: the same command judges again what it has, without asking the model.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    does = "let a vision-language model caption pictures of a manifest"
    parser = commands.add_parser(
        "caption",
        help=does,
        description=f"{does[0].upper()}{does[1:]}.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flag = parser.add_argument
    flag("run_file", type=Path, metavar="caption.toml")
    flag(
        "overrides", nargs="*", metavar="key=value", help="settings by dotted path, such as choose.share=0.2"
    )
    flag(
        "--preview",
        type=positive,
        metavar="N",
        help="caption N of the chosen pictures, write a page of them, and change nothing",
    )
    flag("--dry-run", action="store_true", help="say what would be done; no model is loaded")
    flag("--restart", action="store_true", help="ask everything anew, also what was answered before")
    flag("--retry-failed", action="store_true", help="ask again about pictures that had no answer")
    flag("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from trainkit.signals import Stop

    finishing = "what is on its way (once more: end at once; what was written stays)"
    with Stop(finishing, "while no caption was being made").listening() as stop:
        from trainkit.captioning.config import load_caption_run

        config = load_caption_run(options.run_file, options.overrides)
        if options.dry_run:
            return _dry_run(options, config)
        if options.preview is not None:
            return _preview(options, config, stop)
        from trainkit.captioning.report import write_report
        from trainkit.captioning.run import caption

        result = caption(
            config,
            stop,
            restart=options.restart,
            retry_failed=options.retry_failed,
            show=not options.json,
        )
        if result is None:  # Several processes: one speaks.
            return 0
        path = write_report(config, result)
    if options.json:
        print(json.dumps({**result.summary(), "report": str(path)}, indent=2))
        return 0
    print(result.describe())
    print(f"the report is {path}")
    if not result.tally.captioned and result.tally.refused:
        print(
            f"no caption passed: look at the report, change [gate] or [clean], and see what that does with\n"
            f"next: trainkit caption-clean {_again(options)}"
        )
    elif not result.tally.captioned:
        print(
            "no answer came: mend what is said above, then\n"
            f"next: trainkit caption {_again(options)} --retry-failed"
        )
    else:
        print(f"next: trainkit check run.toml data.path={shlex.quote(str(config.data))}")
    return 0


def _dry_run(options: argparse.Namespace, config: Any) -> int:
    from trainkit.captioning.dry_run import dry_run

    told = dry_run(config)
    print(json.dumps(told.summary(), indent=2) if options.json else told.describe())
    if not options.json:
        print(f"next: trainkit caption {_again(options)} --preview 20")
    return 0


def _preview(options: argparse.Namespace, config: Any, stop: Any) -> int:
    from trainkit.captioning.preview import preview

    path = options.run_file.with_suffix(".preview.html")
    shown = preview(config, options.preview, path, stop, show=not options.json)
    if options.json:
        print(json.dumps(shown.summary(), indent=2))
        return 0
    print(shown.describe())
    _open_page(path)
    print(f"next: trainkit caption {_again(options)}")
    return 0


def _again(options: argparse.Namespace) -> str:
    return shlex.join([str(options.run_file), *options.overrides])


def _open_page(path: Path) -> None:
    """Show a page in the browser, where somebody sits before one."""
    import os
    import webbrowser

    display = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if sys.stdout.isatty() and display:
        webbrowser.open(path.resolve().as_uri())
