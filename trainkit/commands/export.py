"""``trainkit export``: a run's model as one file that front ends load, with its card."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from trainkit.errors import TrainkitError

if TYPE_CHECKING:
    from trainkit.export.source import Source

_EPILOG = """\
Beside model.safetensors it writes model.yaml, from which front ends learn that the model predicts v (not for
a model that predicts noise), model.README.md, the model card, and model.samples.png, the last preview sheet.

examples:
  trainkit export runs/mine -o fox.safetensors --dtype fp16 --title "Fox" --license creativeml-openrail-m
  trainkit export runs/mine -o fox-ema.safetensors --ema 0.05
  trainkit export models/stable-diffusion-v1-5 -o base.safetensors
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "export",
        help="a run's model as one .safetensors file, with metadata and a card",
        description="Write a run's model (or any Stable Diffusion 1.x folder of diffusers) as one file in "
        "the original layout, which the usual front ends load.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path, metavar="RUN", help="a run's folder, or a model folder")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="model.safetensors")
    parser.add_argument(
        "--dtype", choices=("fp32", "fp16", "bf16"), default="fp32", help="of all weights (default fp32)"
    )
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument(
        "--weights", type=Path, metavar="FILE", help="take the weights that this file holds from there"
    )
    weights.add_argument(
        "--ema",
        type=float,
        metavar="LENGTH",
        help="the run's average of this length: 0.05 is ema/0.050.safetensors",
    )
    parser.add_argument(
        "--marker-keys",
        action="store_true",
        help="add the empty tensors v_pred and ztsnr, by which some front ends know such a model",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there already")
    parser.add_argument("--no-card", action="store_true", help="write no model card")
    about = parser.add_argument_group("what only you know")
    about.add_argument("--title", default="", help="default: the file's name")
    about.add_argument("--author", default="")
    about.add_argument("--license", default="", help="short name, such as creativeml-openrail-m, or a link")
    about.add_argument("--trigger", default="", help="words that a prompt needs")
    about.add_argument("--description", default="")
    about.add_argument(
        "--tag", action="append", default=[], metavar="WORD", help="may be given several times"
    )
    about.add_argument(
        "--no-tag-frequency", action="store_true", help="do not tell which tags the data set holds"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    out: Path = options.out
    if out.suffix != ".safetensors":
        raise TrainkitError(f"-o is {str(out)!r}, must end in .safetensors")
    from trainkit.export.card import write_card
    from trainkit.export.front_end_config import front_end_config
    from trainkit.export.metadata import About, make_metadata
    from trainkit.export.single_file import find_weights, write_single_file
    from trainkit.export.source import find_source
    from trainkit.export.tensor_file import write_text

    source = find_source(options.source)
    overlay = options.weights if options.ema is None else _average(options.source, options.ema)
    about = About(
        title=options.title,
        author=options.author,
        license=options.license,
        trigger=options.trigger,
        description=options.description,
        tags=tuple(options.tag),
        tag_frequency=not options.no_tag_frequency,
    )
    config, card = out.with_suffix(".yaml"), out.with_suffix(".README.md")
    _refuse_to_overwrite(options.overwrite, out, config, *(() if options.no_card else (card,)))
    markers = _markers(source) if options.marker_keys else ()
    weights = find_weights(source.folder, overlay)
    metadata = make_metadata(source, about, out.stem, options.dtype)
    other = None if overlay is None else _what(overlay)
    if other is not None:
        metadata["trainkit.weights"] = other
    written = [out]
    if source.objective.prediction == "v_prediction":
        # Before the weights: without it they would be taken for those of a model that predicts noise.
        write_text(config, front_end_config(source))
        written.append(config)
    try:
        digest = write_single_file(out, weights, metadata, dtype=options.dtype, markers=markers)
    except TrainkitError:
        if not out.exists():
            config.unlink(missing_ok=True)
        raise
    if not options.no_card:
        written += write_card(
            card,
            source,
            about,
            model=out.name,
            dtype=options.dtype,
            markers=bool(markers),
            weights=other,
        )
    for path in written:
        print(f"{path} ({path.stat().st_size / 1000:,.0f} kB)")
    print(f"{len(weights)} weights, SHA-256 of them {digest}")
    return 0


def _what(weights: Path) -> str:
    """What a weights file holds, as its own metadata say."""
    from safetensors import safe_open

    with safe_open(weights, "pt") as file:
        told = file.metadata() or {}
    if "sigma_rel" in told:
        return f"a power-function average (EMA) of relative width {told['sigma_rel']}"
    if "decay" in told:
        return f"an exponential average (EMA) with decay {told['decay']}"
    return f"those of {weights.name}"


def _average(run: Path, length: float) -> Path:
    """The file of a run's average of a length. Raises TrainkitError naming those that are there."""
    path = run / "ema" / f"{length:.3f}.safetensors"
    if not path.is_file():
        there = sorted(p.stem for p in (run / "ema").glob("*.safetensors"))
        raise TrainkitError(
            f"--ema is {length:g}, but {run} has "
            + (
                f"averages of these lengths: {', '.join(there)}"
                if there
                else "no averages (ema/*.safetensors)"
            )
        )
    return path


def _markers(source: Source) -> tuple[str, ...]:
    """The marker keys that are true of this model."""
    from trainkit.export.single_file import MARKERS

    v, zero_snr = source.objective.prediction == "v_prediction", source.schedule.zero_terminal_snr
    if not v:
        raise TrainkitError("--marker-keys mark a model that predicts v; this one predicts noise (epsilon)")
    return MARKERS if zero_snr else MARKERS[:1]


def _refuse_to_overwrite(overwrite: bool, *paths: Path) -> None:
    there = [str(path) for path in paths if path.exists()]
    if there and not overwrite:
        raise TrainkitError(f"{', '.join(there)}: there already; choose another name, or give --overwrite")
