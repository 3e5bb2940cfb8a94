"""``trainkit prepare``: measure every picture once, and write the manifest that runs start from."""

from __future__ import annotations

import argparse
import errno
import json
import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from trainkit.commands.whole_number import positive

_EXAMPLES = """examples:
  trainkit prepare pictures -o manifest                    a folder with sidecars; any data captionkit reads
  trainkit prepare 'shards/pic-{000..099}.tar' -o manifest pictures stay in their tars
  trainkit prepare posts.jsonl --root pictures -o manifest a table, and where its paths begin
  trainkit prepare pictures -o manifest --untagged         pictures of which nothing is known yet
  trainkit prepare pictures -o manifest --decode --near    decode every pixel; find what looks alike
  trainkit prepare pictures -o manifest --leave-out duplicate --leave-out too-small --quarantine
The same command again reads only what changed; a killed one goes on. No picture is ever touched.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    does = "measure every picture once and write the manifest that runs start from"
    parser = commands.add_parser(
        "prepare",
        help=does,
        description=f"{does[0].upper()}{does[1:]}.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flag = parser.add_argument
    flag("data", metavar="DATA", help="a folder of pictures, tars, a table: all that captionkit reads")
    flag("-o", "--out", type=Path, required=True, metavar="FOLDER", help="folder of the manifest")
    flag("--from", dest="format", metavar="FORMAT", help="what DATA is, where its name does not tell")
    flag("--root", type=Path, metavar="FOLDER", help="where the pictures' paths begin (default: DATA's own)")
    flag(
        "--stored-at",
        metavar="URL",
        help="where training will find the root, of which DATA is a copy or a mount: s3://bucket/pictures",
    )
    flag(
        "--processes",
        type=positive,
        metavar="N",
        help="that read pictures (default: one a core); what is written does not depend on it",
    )
    flag(
        "--untagged",
        action="store_true",
        help="also take pictures without tags and captions, for trainkit tagger and trainkit caption",
    )
    flag("--decode", action="store_true", help="decode every pixel: finds damage in the middle of a file")
    flag("--near", action="store_true", help="find pictures that look alike, by their perceptual hash")
    _setting(parser, "--near-distance", int, "BITS", "bits of 64 in which hashes of these may differ (4)")
    _setting(parser, "--min-side", int, "PX", "a shorter side below is remarked as too small (256)")
    _setting(parser, "--max-aspect", float, "RATIO", "longer over shorter; beyond is remarked (4)")
    _setting(parser, "--max-pixels", int, "N", "a picture of more is left out (89,478,485)")
    flag(
        "--leave-out",
        action="append",
        default=[],
        metavar="REMARK",
        help="leave such pictures out: mislabelled, too-small, extreme-aspect, animated, duplicate, "
        "near-duplicate; may be repeated",
    )
    flag("--quarantine", action="store_true", help="also list in quarantine.txt what should be looked at")
    flag("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_run)


def _setting(parser: argparse.ArgumentParser, name: str, kind: Any, letter: str, says: str) -> None:
    parser.add_argument(name, type=kind, default=argparse.SUPPRESS, metavar=letter, help=says)


def _run(options: argparse.Namespace) -> int:
    from captionkit import CaptionkitError
    from captionkit.readers.open import FORMATS
    from trainkit.errors import ConfigError, TrainkitError
    from trainkit.prepare import prepare
    from trainkit.prepare.table import describe, summary

    if options.format is not None and options.format not in FORMATS:
        raise ConfigError("--from", [f"is {options.format!r}, must be one of {', '.join(FORMATS)}"])
    config = _config(options)
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        prepared = prepare(
            options.data,
            options.out,
            config,
            format=options.format,
            processes=options.processes,
            show=not options.json,
        )
    except KeyboardInterrupt:
        return _stopped(options.out, 130)
    except SystemExit as ended:
        return _stopped(options.out, int(ended.code or 0))
    except (OSError, CaptionkitError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(cause, OSError) or cause.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise TrainkitError(_full(options.out, cause)) from error
    finally:
        signal.signal(signal.SIGTERM, before)
    if options.json:
        print(json.dumps(summary(prepared), indent=2))
        return 0
    print(describe(prepared))
    print(_next(options.out))
    return 0


def _next(out: Path) -> str:
    """What to do now: look at the pictures first when of none of them anything is known."""
    from trainkit.manifest import Manifest

    manifest, place = Manifest(out), shlex.quote(str(out))
    if manifest.num_untold() < len(manifest):
        return f"next: trainkit check run.toml data.path={place}"
    return (
        "no picture has tags or captions yet\n"
        f"next: trainkit tagger apply TAGGER {place}\n"
        f"  or: trainkit caption caption.toml data={place}\n"
        f"  or: trainkit tagger review {place} --tag NAME, to label some yourself and train a tagger"
    )


def _config(options: argparse.Namespace) -> Any:
    """The settings. Raises ConfigError with every flag that is wrong."""
    from pydantic import ValidationError

    from trainkit.errors import ConfigError
    from trainkit.prepare import PrepareConfig

    given = {name: value for name, value in vars(options).items() if name in PrepareConfig.model_fields}
    given["leave_out"] = [remark.replace("-", " ") for remark in options.leave_out]
    try:
        return PrepareConfig.model_validate(given)
    except ValidationError as error:
        problems = [
            f"--{str(problem['loc'][0]).replace('_', '-')}: is {problem['input']!r}, "
            + problem["msg"].replace("Input should be ", "must be ").removeprefix("Value error, ")
            for problem in error.errors()
        ]
        raise ConfigError("prepare", problems) from None


def _terminated(number: int, frame: object) -> NoReturn:
    """End as Ctrl-C does, with everything tidied up; schedulers ask for it with SIGTERM."""
    del frame
    raise SystemExit(128 + number)


def _full(out: Path, error: OSError) -> str:
    from trainkit.amounts import gigabytes

    free = gigabytes(shutil.disk_usage(out).free)
    return (
        f"{out} could not be written: {error.strerror} ({free} are free there); a manifest takes 100 to "
        "1,000 bytes a picture, by its tags and captions, twice that while it is written. What was measured "
        "is kept: free some space, and the same command goes on"
    )


def _stopped(out: Path, status: int) -> int:
    print(
        f"\ntrainkit: stopped; {out} is as it was, and what was measured is kept: the same command goes on",
        file=sys.stderr,
    )
    return status
