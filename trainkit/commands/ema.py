"""``trainkit ema``: an average of the weights of any width, made after the run from its snapshots."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from trainkit.errors import ConfigError, TrainkitError

if TYPE_CHECKING:
    from trainkit.adapters import AdapterConfig
    from trainkit.loss import Prediction
    from trainkit.posthoc import Snapshot

_GAIN = 3.0
"""Above this, rounding to float16 reaches 6e-4 of the weights, three times that of a model in float16."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("ema", help="average the weights of a finished run over any length")
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder of a run with EMA snapshots")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--sigma-rel",
        type=float,
        metavar="WIDTH",
        help="relative width, such as 0.075: the standard deviation of the average in time, as a share of "
        "the run",
    )
    what.add_argument("--list", action="store_true", help="name the snapshots and what can be made of them")
    parser.add_argument(
        "-o", "--out", type=Path, metavar="FILE", help="weights file (default RUN/ema/WIDTH.safetensors)"
    )
    parser.add_argument(
        "--at", type=int, metavar="SAMPLES", help="as of so many samples seen (default: the newest snapshot)"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from trainkit.posthoc import read_snapshots

    snapshots = read_snapshots(options.folder / "ema" / "snapshots")
    last = max(s.samples_seen for s in snapshots)
    at = last if options.at is None else options.at
    if at > last:
        raise TrainkitError(f"--at is {at}, the newest EMA snapshot is at {last} samples")
    if options.list:
        _list(snapshots, at)
    else:
        _make(options, snapshots, at, newest=at == last)
    return 0


def _list(snapshots: list[Snapshot], at: int) -> None:
    """Print the tracks and the widths that their snapshots can make."""
    from trainkit.posthoc import TOLERANCE, reach

    for sigma_rel in sorted({s.sigma_rel for s in snapshots}):
        times = [s.samples_seen for s in snapshots if s.sigma_rel == sigma_rel]
        print(f"track {sigma_rel:.3f}: {len(times)} snapshots, {times[0]} to {times[-1]} samples")
    found = reach(snapshots, at)
    if found is None:
        print(f"after {at} samples no width can be made within {TOLERANCE:.0%}; more snapshots are needed")
    else:
        print(f"after {at} samples: --sigma-rel {found[0]:.3f} to {found[1]:.3f} within {TOLERANCE:.0%}")


def _make(options: argparse.Namespace, snapshots: list[Snapshot], at: int, *, newest: bool) -> None:
    """Write the weights file and say how good it is."""
    from trainkit.posthoc import TOLERANCE, fit, reach, reconstruct
    from trainkit.weights_file import write_weights

    plan = fit(snapshots, options.sigma_rel, at)
    name = f"{options.sigma_rel:.3f}" if newest else f"{options.sigma_rel:.3f}-{at:012d}"
    adapter = _adapter_of(options.folder)
    default = f"adapter-ema-{name}.safetensors" if adapter else f"ema/{name}.safetensors"
    out: Path = options.out or options.folder / default
    if _is_track(out):
        raise TrainkitError(
            f"{out} is the average that the run itself kept, exact to float32; give -o FILE to write one "
            "made of snapshots"
        )
    metadata = {
        "format": "pt",
        "kind": "ema-posthoc",
        "sigma_rel": repr(options.sigma_rel),
        "samples_seen": str(at),
        "snapshots": str(len(plan.snapshots)),
        "residual": f"{plan.residual:.3g}",
    }
    if adapter:
        from trainkit.adapter_file import write_adapter

        write_adapter(out, reconstruct(plan), *adapter, metadata=metadata)
    else:
        write_weights(out, reconstruct(plan), metadata)
    print(f"{out}: sigma_rel {options.sigma_rel:g} after {at} samples, from {len(plan.snapshots)} snapshots")
    print(f"residual of the fit: {plan.residual:.2%}")
    if plan.residual > TOLERANCE:
        found = reach(snapshots, at)
        able = f"they can make {found[0]:.3f} to {found[1]:.3f}" if found else "they can make none well"
        print(
            f"warning: sigma_rel {options.sigma_rel:g} lies outside of what these snapshots can make within "
            f"{TOLERANCE:.0%}; {able}. A shorter ema.snapshot_every widens that",
            file=sys.stderr,
        )
    if plan.gain > _GAIN and _is_float16(plan.snapshots[-1].path):
        print(
            f"warning: the sum multiplies the rounding of its float16 snapshots by {plan.gain:.1f}; for so "
            'short an average set ema.snapshot_dtype = "float32", or take a greater width',
            file=sys.stderr,
        )


def _is_float16(path: Path) -> bool:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        names = file.keys()
        return any(file.get_slice(name).get_dtype() == "F16" for name in names)


def _adapter_of(run: Path) -> tuple[AdapterConfig, Prediction] | None:
    """What a run with adapters writes its files by: then an average is an adapter too, in the form that front
    ends read. None for other runs, and for snapshots that lie alone."""
    from pydantic import ValidationError

    from trainkit.config import RunConfig
    from trainkit.settings import explain_problem

    path = run / "run.json"
    if not path.is_file():
        return None
    try:
        config = RunConfig.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ConfigError(
            str(path), [explain_problem(problem, RunConfig) for problem in error.errors()]
        ) from None
    return None if config.adapter is None else (config.adapter, config.objective.prediction)


def _is_track(path: Path) -> bool:
    """Whether the file is a track that the run wrote at its end."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return False
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("kind") == "ema"
    except (OSError, SafetensorError):
        return False
