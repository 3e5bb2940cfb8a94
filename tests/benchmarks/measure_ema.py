"""How exact averages made after the run are, and what keeping the tracks costs.

Usage: python tests/benchmarks/measure_ema.py [--threads 1]

Prints the figures of docs/ema.md. The trajectory is a walk of 5,000 weights over 4,096 steps as AdamW makes
it: steps of about the learning rate, which falls to 0, with a drift, from weights of standard deviation 0.03.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from trainkit.ema import Ema
from trainkit.ema_tracks import EmaConfig, PowerTrack, gamma_of
from trainkit.posthoc import fit, inner_product, read_snapshots, reconstruct

STEPS, GROUP, WEIGHTS = 4096, 256, 5000
WIDTHS = (0.02, 0.03, 0.04, 0.05, 0.075, 0.10, 0.15, 0.20, 0.25)
COUNTS = (8, 16, 32, 64)
CPU = torch.device("cpu")


def walk(folders: dict[tuple[int, str], Path]) -> dict[float, Tensor]:
    """Run the walk; snapshots by (number, dtype) into folders. Returns the averages kept directly."""
    g = torch.Generator().manual_seed(0)
    model = nn.Linear(WEIGHTS, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(0.03 * torch.randn(1, WEIGHTS, generator=g))
    drift = 0.1 * torch.randn(1, WEIGHTS, generator=g)
    direct = Ema(EmaConfig(sigma_rel=WIDTHS), model, CPU)
    kept = {
        key: Ema(EmaConfig.model_validate({"sigma_rel": [0.05, 0.1], "snapshot_dtype": key[1]}), model, CPU)
        for key in folders
    }
    for step in range(1, STEPS + 1):
        with torch.no_grad():
            noise = torch.randn(1, WEIGHTS, generator=g)
            model.weight += 2.7e-5 * (1 - step / STEPS) * (noise + drift)  # 4e-6 x sqrt(190,000 / 4,096)
        direct.update(model, step * GROUP, GROUP)
        for (count, dtype), ema in kept.items():
            ema.update(model, step * GROUP, GROUP)
            if step % (STEPS // count) == 0:
                ema.snapshot(folders[count, dtype], step * GROUP)
    with tempfile.TemporaryDirectory() as out:
        for track in direct.tracks:
            direct.write_weights(Path(out) / track, track, {})
        return {width: load_file(Path(out) / f"{width:.3f}")["weight"] for width in WIDTHS}


def table() -> None:
    """Per width: the fit's residual, and the error on the walk beside that of the nearer kept track."""
    with tempfile.TemporaryDirectory() as out:
        folders = {(n, d): Path(out) / f"{n}-{d}" for n in COUNTS for d in ("float32", "float16")}
        direct = walk(folders)
        print(
            "| sigma_rel | residual 8 / 16 / 32 / 64 snapshots | error 8 / 16 / 32 / 64, float32 |", end=" "
        )
        print("error 8 / 16 / 32 / 64, float16 | nearer track |")
        for width in WIDTHS:
            residuals, errors = [], {"float32": [], "float16": []}  # type: ignore[var-annotated]
            size = direct[width].norm()
            for (_, dtype), folder in folders.items():
                plan = fit(read_snapshots(folder), width, STEPS * GROUP)
                off = reconstruct(plan)["weight"] - direct[width]
                errors[dtype].append(float(off.norm() / size))
                if dtype == "float32":
                    residuals.append(plan.residual)
            nearer = min(float((direct[track] - direct[width]).norm() / size) for track in (0.05, 0.10))
            row = [" / ".join(f"{v:.2%}" for v in residuals)]
            row += [" / ".join(f"{v:.0e}" for v in errors[d]) for d in ("float32", "float16")]
            print(f"| {width:.3f} | " + " | ".join(row) + f" | {nearer:.0e} |")


def unbound() -> None:
    """What least squares without the bond on the sum would add up to, 8 snapshots of 0.05 and of 0.10."""
    t = np.repeat(np.arange(1, 9) / 8, 2)
    gamma = np.tile([gamma_of(0.05), gamma_of(0.10)], 8)
    gram = inner_product(t[:, None], gamma[:, None], t, gamma)
    for width in (0.075, 0.25):
        total = np.linalg.solve(gram, inner_product(t, gamma, 1.0, gamma_of(width))).sum()
        print(f"unbound sum of the coefficients for {width}: {total:.4f}")


def rounding(steps: int = 190_000, weights: int = 2000) -> None:
    """A float32 track of 0.10 against one in float64, over as many steps as the recipe has."""
    g = torch.Generator().manual_seed(1)
    theta = 0.03 * torch.randn(weights, generator=g, dtype=torch.float64)
    drift = 0.05 * torch.randn(weights, generator=g, dtype=torch.float64).sign()
    exact, rounded, track = theta.clone(), theta.float(), PowerTrack(0.10)
    for step in range(1, steps + 1):
        theta += 4e-6 * (1 - step / steps) * (torch.randn(weights, generator=g) + drift)
        beta = track.beta(step * GROUP, GROUP)
        exact.lerp_(theta, 1 - beta)
        rounded.lerp_(theta.float(), 1 - beta)
    off = float((rounded - exact).norm() / exact.norm())
    print(f"{steps} steps at 4e-6: a float32 track is {off:.0e} of the weights off the float64 one")


def cost(device: torch.device, where: str, weights: int) -> None:
    """Seconds of one update of two tracks."""
    model = nn.ModuleList([nn.Linear(1000, 1000, bias=False) for _ in range(weights // 10**6)]).to(device)
    ema = Ema(EmaConfig.model_validate({"sigma_rel": [0.05, 0.1], "device": where}), model, device)
    seconds = []
    for step in range(1, 8):
        begin = time.perf_counter()
        ema.update(model, step * GROUP, GROUP)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    best = sorted(seconds)[len(seconds) // 2]
    print(
        f"two tracks of {weights // 10**6} M weights, model on {device.type}, ema.device = {where!r}:",
        end=" ",
    )
    print(f"{best * 1000:.0f} ms per update (median of 7), {best / weights * 975.5e6:.2f} s for SD 1.5")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args().threads)
    table()
    unbound()
    rounding()
    cost(CPU, "cpu", 100 * 10**6)
    if torch.cuda.is_available():
        for where in ("cpu", "device"):
            cost(torch.device("cuda"), where, 975 * 10**6)


if __name__ == "__main__":
    main()
