"""The command line: ``trainkit train | check | sample | export | import | ema | demo``.

torch and diffusers are imported inside the commands, so that ``--help`` and mistakes answer at once.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys

from captionkit import CaptionkitError
from trainkit.commands import (
    bench,
    cache,
    caption,
    caption_clean,
    check,
    demo,
    ema,
    export,
    import_model,
    prepare,
    sample,
    status,
    tagger,
    train,
)
from trainkit.errors import TrainkitError
from trainkit.hub import offline_by_default
from trainkit.signals import Stopped

_COMMANDS = (
    prepare,
    tagger,
    caption,
    caption_clean,
    train,
    status,
    check,
    sample,
    export,
    import_model,
    ema,
    cache,
    demo,
    bench,
)
"""In the order of ``--help``."""

_EXAMPLES = """examples:
  trainkit demo --out demo                            watch the whole recipe at work, in minutes, on a CPU
  trainkit import sd15.safetensors -o sd15 --prediction epsilon    the folder that a run starts from
  trainkit check run.toml --plot plan.png             what would happen, and everything that is wrong
  trainkit train run.toml optim.lr=1e-6               train; the same command again goes on where it stopped
  torchrun --nproc_per_node 2 -m trainkit train run.toml
  trainkit sample runs/mine "red circle, black background" --out samples
  trainkit export runs/mine -o mine.safetensors       the single file that front ends load
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, or 2 for something the user can mend."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    # argparse does not know settings that come after an option, as in `check run.toml --json optim.lr=1e-6`.
    if rest and (not hasattr(options, "overrides") or any(word.startswith("-") for word in rest)):
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
    except BrokenPipeError:  # The reader, such as `head`, has seen enough; let the last flush go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        print(f"trainkit: {error}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(f"trainkit: {stopped.explain()}", file=sys.stderr)
        return stopped.status
    except KeyboardInterrupt:
        print("\ntrainkit: stopped; what was written down stays, for the same command", file=sys.stderr)
        return 130


def _quiet_libraries() -> None:
    """Set what the libraries read when they are imported; above all, keep their notices (missing optional
    kernels, bars of half a second) out of our own output."""
    offline_by_default()  # Everything comes from given folders; a model of a hub must be named to be fetched.
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
    for module in _COMMANDS:
        module.add(commands)
    return parser
