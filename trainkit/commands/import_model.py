"""``trainkit import``: a single .safetensors file as a folder that can be trained, without a hub."""

from __future__ import annotations

import argparse
from pathlib import Path

from trainkit.errors import TrainkitError

_EPILOG = """\
examples:
  trainkit import sd15.safetensors -o models/sd15 --prediction epsilon
  trainkit import fox.safetensors -o models/fox            # one of `trainkit export` says everything itself
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "import",
        help="a single .safetensors file as a model folder",
        description="Make a folder in diffusers' format, as `model.base` and `trainkit sample` want it, of a "
        "Stable Diffusion 1.x model in a single file. Nothing is fetched.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="model.safetensors")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--prediction",
        choices=("v", "epsilon"),
        default=None,
        help="what the model predicts (default: what the file or the .yaml beside it says)",
    )
    parser.add_argument(
        "--zero-terminal-snr",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether it was trained with zero terminal SNR (default: what the file says, else no)",
    )
    parser.add_argument(
        "--tokenizer", type=Path, default=None, metavar="FOLDER", help="in place of CLIP's own 49,408 tokens"
    )
    parser.add_argument(
        "--like",
        type=Path,
        default=None,
        metavar="FOLDER",
        help="a model folder of the same architecture: take configurations and tokenizer from there",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a folder that is there already")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    out: Path = options.out
    if out.exists() and not options.overwrite:
        raise TrainkitError(f"{out} is there already; choose another folder, or give --overwrite")
    if options.file.is_dir():
        raise TrainkitError(f"{options.file} is a folder already; give a .safetensors file")
    from trainkit.export.folder import write_model_folder
    from trainkit.export.importing import read_single_file

    single = read_single_file(
        options.file,
        prediction=options.prediction,
        zero_terminal_snr=options.zero_terminal_snr,
        tokenizer=options.tokenizer,
        like=options.like,
    )
    for note in single.notes:
        print(note)
    write_model_folder(single, out)
    print(f"the model is in {out}")
    return 0
