"""``trainkit caption-clean``: clean and judge the captions of a run again, and look at what came of it."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

from trainkit.commands.whole_number import positive

_EXAMPLES = """examples:
  trainkit caption-clean caption.toml                          a page: what is refused, what denies a tag
  trainkit caption-clean caption.toml 'clean.skip=["mood clause"]' gate.min_words=5
                                                               what other settings would change
  trainkit caption-clean caption.toml --write                  bring the change into the manifest
The model is not asked: its raw answers are kept. trainkit caption with changed settings does the same before
it asks for more.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    does = "clean and judge the captions of a run again, without the model, and show them on a page"
    parser = commands.add_parser(
        "caption-clean",
        help=does,
        description=f"{does[0].upper()}{does[1:]}.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flag = parser.add_argument
    flag("run_file", type=Path, metavar="caption.toml", help="the run file of trainkit caption")
    flag(
        "overrides", nargs="*", metavar="key=value", help="settings by dotted path, such as gate.min_words=5"
    )
    flag("-o", "--out", type=Path, metavar="PAGE", help="the page (default: beside the additions)")
    flag("-n", type=positive, default=30, metavar="N", help="captions of each sort on the page (default: 30)")
    flag("--write", action="store_true", help="bring what changes into the manifest")
    flag("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from trainkit.additions.merge import merge_additions
    from trainkit.additions.places import FOLDER, check_prepared
    from trainkit.captioning.config import load_caption_run
    from trainkit.captioning.judged import Judge
    from trainkit.captioning.quality import look
    from trainkit.captioning.quality_page import write_quality
    from trainkit.captioning.run import judge_again
    from trainkit.manifest_pictures import ManifestPictures

    config = load_caption_run(options.run_file, options.overrides)
    check_prepared(config.data)
    judge = Judge(config.clean, config.gate)
    pictures = ManifestPictures.open(config.data, transparent_as=config.transparent_as)
    quality = look(pictures, config.sources, judge, config.agreement, shown=options.n)
    if options.write and quality.changed:
        for source in config.sources:
            judge_again(config.data, source, judge)
        merge_additions(config.data, show=not options.json)
    path = options.out or config.data / FOLDER / f"{config.name}.quality.html"
    write_quality(config, pictures, quality, path, written=options.write)
    if options.json:
        print(json.dumps({**quality.summary(), "written": options.write, "page": str(path)}, indent=2))
        return 0
    _tell(options, quality, path)
    return 0


def _tell(options: argparse.Namespace, quality: Any, path: Path) -> None:
    print(f"{quality.captioned:,} captions pass, {quality.refused:,} are refused")
    for fault, count in quality.faults.most_common():
        print(f"  {fault}: {count:,}")
    print(f"{quality.denying:,} of {quality.compared:,} captions of tagged pictures deny a tag")
    if quality.changed and options.write:
        print(f"{quality.changed:,} captions changed; the manifest has what passes now")
    elif quality.changed:
        print(f"{quality.changed:,} captions would change with --write")
    else:
        print("the manifest has them so already")
    print(f"the page is {path}")
    if quality.changed and not options.write:
        again = shlex.join(
            ["trainkit", "caption-clean", str(options.run_file), *options.overrides, "--write"]
        )
        print(f"next: {again}")
