"""The command line: ``trainkit train | check | sample | demo``.

torch and diffusers are imported inside the commands, so that ``--help`` and mistakes answer at once.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from pathlib import Path

from captionkit import CaptionkitError
from trainkit.errors import TrainkitError

_EXAMPLES = """examples:
  trainkit demo --out demo                            watch the whole recipe at work, in minutes, on a CPU
  trainkit check run.toml                             what would happen, and everything that is wrong
  trainkit train run.toml optim.lr=1e-6               train; the same command again goes on where it stopped
  torchrun --nproc_per_node 2 -m trainkit train run.toml
  trainkit sample runs/mine/model "red circle, black background" --out samples
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, or 2 for something the user can mend."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    # argparse does not know settings that come after an option, as in `check run.toml --json optim.lr=1e-6`.
    if rest and (options.run not in (_train, _check) or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides += rest
    _quiet_libraries()
    try:
        return int(options.run(options))
    except (TrainkitError, CaptionkitError) as error:
        print(f"trainkit: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(
            f"trainkit: the package {error.name!r} is missing; install everything with: pip install "
            "'captionkit[train]'",
            file=sys.stderr,
        )
        return 2
    except OSError as error:
        print(f"trainkit: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ntrainkit: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130


def _quiet_libraries() -> None:
    """Set what the libraries read when they are imported; above all, keep their notices (missing optional
    kernels, bars of half a second) out of our own output."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # Everything comes from given folders; never ask a hub.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trainkit",
        description="Fine-tune Stable Diffusion 1.5 with v-prediction and zero terminal SNR on tagged "
        "pictures.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train = commands.add_parser("train", help="train a run file; started again, it goes on where it stopped")
    train.add_argument("run_file", type=Path, metavar="run.toml")
    train.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings by dotted path, such as optim.lr=1e-6"
    )
    train.set_defaults(run=_train)
    check = commands.add_parser("check", help="read everything, touch nothing, tell what would happen")
    check.add_argument("run_file", type=Path, metavar="run.toml")
    check.add_argument("overrides", nargs="*", metavar="key=value")
    check.add_argument(
        "--devices", type=_positive, default=1, help="number of devices to plan for (default 1)"
    )
    check.add_argument("--json", action="store_true", help="print one JSON object")
    check.set_defaults(run=_check)
    sample = commands.add_parser("sample", help="pictures from a model folder")
    sample.add_argument("model", type=Path, metavar="MODEL", help="diffusers folder, such as runs/mine/model")
    sample.add_argument("prompts", nargs="+", metavar="PROMPT")
    sample.add_argument(
        "--out", type=Path, default=Path("samples"), help="folder for the pictures (default samples)"
    )
    sample.add_argument("--size", default=None, help="WIDTHxHEIGHT in pixels (default: the model's own)")
    sample.add_argument("--steps", type=int, default=25)
    sample.add_argument("--guidance", type=float, default=7.5)
    sample.add_argument("--guidance-rescale", type=float, default=0.7)
    sample.add_argument("--negative", default="")
    sample.add_argument("--seed", type=int, default=0)
    sample.add_argument(
        "--clip-skip", type=int, default=None, help="default: what the model was trained with, else 1"
    )
    sample.set_defaults(run=_sample)
    demo = commands.add_parser(
        "demo", help="the whole recipe on drawn scenes: data, training, samples, one page"
    )
    demo.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything (default demo)")
    demo.add_argument("--samples", type=int, default=None, help="length of the training in samples seen")
    demo.add_argument("--seed", type=int, default=0)
    demo.set_defaults(run=_demo)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"is {text!r}, must be a whole number of at least 1")
    return int(text)


def _train(options: argparse.Namespace) -> int:
    from trainkit.config import load_run

    run = load_run(options.run_file, options.overrides)
    from trainkit.train import train

    result = train(run)
    if os.environ.get("RANK", "0") == "0":  # Several processes: one speaks.
        print(f"the model is in {result.model} ({result.samples_seen} samples seen)")
    return 0


def _check(options: argparse.Namespace) -> int:
    from trainkit.check import check_run, describe
    from trainkit.config import load_run

    run = load_run(options.run_file, options.overrides)
    report, problems = check_run(run, devices=options.devices, progress=sys.stderr.isatty())
    if options.json:
        print(json.dumps({**report, "problems": problems}, indent=2))
    else:
        print(describe(report, run.out))
        for problem in problems:
            print(f"problem: {problem}", file=sys.stderr)
    return 2 if problems else 0


def _sample(options: argparse.Namespace) -> int:
    from trainkit.sample_cli import sample_to_folder

    sheet = sample_to_folder(options)
    print(f"{len(options.prompts)} pictures and the sheet {sheet}")
    return 0


def _demo(options: argparse.Namespace) -> int:
    from trainkit.demo.run import run_demo

    page = run_demo(options.out, samples=options.samples, seed=options.seed)
    print(f"open {page}")
    return 0
