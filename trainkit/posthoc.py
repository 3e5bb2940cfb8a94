"""An average of the weights of any width, made after the run from snapshots of two tracks.

Karras et al. 2023 (arXiv:2312.02696, section 3.2 and appendix C): a snapshot taken at t_i of a power-function
track with exponent gamma_i is the integral of the weights' trajectory against a known profile p_i. A weighted
sum of snapshots is the integral against the same sum of profiles, so the sum whose profile lies nearest to a
wanted profile p (least squares) gives nearly the wanted average, whatever the trajectory was.

One thing is added to the paper: the coefficients are bound to sum to 1. A fine-tune moves its weights by a
small part of themselves, and without the bond the fit scales them all: by +0.1 % for 0.075 from 8 snapshots
of 0.05 and of 0.10, by -6 % for 0.25. With it, what did not move comes out as it is, and the residual stays
the same to two figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from trainkit.ema_tracks import gamma_of
from trainkit.errors import TrainkitError

Floats = npt.NDArray[np.float64]

TOLERANCE = 0.05
"""A residual above this is worth a warning."""

_NOTHING = 1e-9
"""A coefficient that float32 does not see beside the others, such as those of a stored average."""


@dataclass(frozen=True, order=True)
class Snapshot:
    """One track at one time."""

    samples_seen: int
    sigma_rel: float
    path: Path


@dataclass(frozen=True)
class Fit:
    """The sum of snapshots that stands for a wanted average."""

    snapshots: tuple[Snapshot, ...]
    coefficients: tuple[float, ...]
    """One per snapshot; they sum to 1."""
    residual: float
    """Distance between the sum's profile and the wanted one, as a share of the wanted one's norm (L2)."""

    @property
    def gain(self) -> float:
        """What the rounding of single snapshots is multiplied by in the sum: the coefficients' L2 norm."""
        return math.hypot(*self.coefficients)


def read_snapshots(folder: Path) -> list[Snapshot]:
    """The snapshots of a folder by time, told by their own metadata.

    Raises TrainkitError when there is none, or one cannot be read.
    """
    found = []
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                told = file.metadata()
            found.append(Snapshot(int(told["samples_seen"]), float(told["sigma_rel"]), path))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise TrainkitError(f"{path} is no snapshot of an EMA track: {error!r}; remove it") from error
    if not found:
        raise TrainkitError(
            f"there are no EMA snapshots in {folder}. The run must have been trained with, say,\n"
            "  [ema]\n  sigma_rel = [0.05, 0.10]\n  snapshot_every = 256000\n"
            "so that about 16 to 64 snapshots fall into it (docs/ema.md)"
        )
    return sorted(found)


def inner_product(t_a: Any, gamma_a: Any, t_b: Any, gamma_b: Any) -> Any:
    """The integral of p_a p_b over time, for floats or arrays that go together.

    p_a p_b is a power of tau up to m = min(t_a, t_b), and so the integral is
    (gamma_a+1) (gamma_b+1) m^(gamma_a+gamma_b+1) / ((gamma_a+gamma_b+1) t_a^(gamma_a+1) t_b^(gamma_b+1)),
    here in shares of m that no float64 overflows on.
    """
    m = np.minimum(t_a, t_b)
    scale = (gamma_a + 1) * (gamma_b + 1) / (gamma_a + gamma_b + 1)
    return scale * (m / t_a) ** gamma_a * (m / t_b) ** gamma_b / np.maximum(t_a, t_b)


def fit(snapshots: Sequence[Snapshot], sigma_rel: float, samples_seen: int) -> Fit:
    """The least-squares sum for the average of width ``sigma_rel`` after ``samples_seen`` samples.

    Only snapshots up to then are used: what came later is no part of that average. Raises TrainkitError when
    there is none, or ``sigma_rel`` is out of range.
    """
    used = tuple(s for s in snapshots if s.samples_seen <= samples_seen)
    if not used:
        first = min((s.samples_seen for s in snapshots), default=None)
        raise TrainkitError(f"no EMA snapshot at or before {samples_seen} samples; the first is at {first}")
    t = np.array([s.samples_seen / samples_seen for s in used], dtype=np.float64)
    gamma = np.array([gamma_of(s.sigma_rel) for s in used], dtype=np.float64)
    wanted = gamma_of(sigma_rel)
    gram = inner_product(t[:, None], gamma[:, None], t, gamma)
    against = inner_product(t, gamma, 1.0, wanted)
    x = _solve(gram, against)
    norm2 = float(inner_product(1.0, wanted, 1.0, wanted))
    distance2 = float(x @ gram @ x - 2 * against @ x) + norm2
    return Fit(used, tuple(map(float, x)), math.sqrt(max(0.0, distance2) / norm2))


def _solve(gram: Floats, against: Floats) -> Floats:
    """The minimum of x.gram.x / 2 - against.x with sum(x) = 1, by a multiplier for the sum.

    Profiles are brought to norm 1 first; the matrix of 2 x 512 snapshots then has a condition number of 7e8,
    which float64 bears.
    """
    norm = np.sqrt(np.diag(gram))
    ones = norm.min() / norm
    system = np.block([[gram / norm[:, None] / norm, ones[:, None]], [ones, np.zeros((1, 1))]])
    right = np.append(against / norm, norm.min())
    solution: Floats = np.linalg.lstsq(system, right, rcond=1e-14)[0][:-1]
    return solution / norm


def reach(snapshots: Sequence[Snapshot], samples_seen: int) -> tuple[float, float] | None:
    """The least and the greatest width, in steps of 0.005, that can be made within TOLERANCE; None for
    none."""
    widths = [n / 200 for n in range(1, 58)]
    good = [width for width in widths if fit(snapshots, width, samples_seen).residual <= TOLERANCE]
    return (good[0], good[-1]) if good else None


def reconstruct(plan: Fit) -> dict[str, Tensor]:
    """The sum of snapshots that a fit names, float32. One snapshot is open at a time.

    Memory: 4 bytes per weight and one tensor more. Raises TrainkitError when a snapshot cannot be read or
    holds other weights than the first.
    """
    total: dict[str, Tensor] = {}
    for snapshot, x in zip(plan.snapshots, plan.coefficients, strict=True):
        if abs(x) > _NOTHING:
            _add(total, snapshot.path, x)
    return total


def _add(total: dict[str, Tensor], path: Path, x: float) -> None:
    """Add ``x`` times a snapshot to ``total``; an empty one takes the snapshot's names and shapes."""
    try:
        with safe_open(path, "pt") as file:
            names = file.keys()
            found = {name: tuple(file.get_slice(name).get_shape()) for name in names}
            if not total:
                total |= {name: torch.zeros(shape) for name, shape in found.items()}
            if found != {name: tuple(tensor.shape) for name, tensor in total.items()}:
                raise TrainkitError(
                    f"{path} holds other weights than the snapshots before it; remove those of another run"
                )
            for name, tensor in total.items():
                tensor.add_(file.get_tensor(name).float(), alpha=x)
    except (OSError, SafetensorError) as error:
        raise TrainkitError(f"{path} cannot be read: {error}; remove it and try again") from error
