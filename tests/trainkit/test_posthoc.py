"""Averages made after the run: the algebra against integrals, the sums against averages kept directly."""

from __future__ import annotations

import argparse
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from trainkit.commands import ema as command
from trainkit.ema import Ema
from trainkit.ema_tracks import EmaConfig, gamma_of
from trainkit.errors import TrainkitError
from trainkit.posthoc import Snapshot, fit, inner_product, reach, read_snapshots, reconstruct
from trainkit.weights_file import write_weights

widths = st.floats(0.01, 0.28)
times = st.floats(0.01, 1)


def evenly(count: int, *tracks: float, last: int = 2**20) -> list[Snapshot]:
    """Snapshots of some tracks, evenly over a run."""
    return [
        Snapshot(last * n // count, track, Path(f"{track}-{n}"))
        for n in range(1, count + 1)
        for track in tracks
    ]


# --- the algebra ---


@given(times, widths, times, widths)
def test_the_inner_product_is_the_integral(t_a: float, s_a: float, t_b: float, s_b: float) -> None:
    """Law, by the midpoint rule on 20,000 points of [0, min(t_a, t_b)]."""
    g_a, g_b = gamma_of(s_a), gamma_of(s_b)
    m = min(t_a, t_b)
    tau = (np.arange(20_000) + 0.5) * (m / 20_000)
    p_a = (g_a + 1) / t_a * (tau / t_a) ** g_a
    p_b = (g_b + 1) / t_b * (tau / t_b) ** g_b
    assert inner_product(t_a, g_a, t_b, g_b) == pytest.approx(float((p_a * p_b).sum()) * m / 20_000, rel=1e-3)


def test_an_inner_product_by_hand() -> None:
    # gamma 1 up to 1 is 2 tau, gamma 0 up to 2 is 1/2: the integral of tau over [0, 1].
    assert inner_product(1.0, 1.0, 2.0, 0.0) == pytest.approx(0.5)


@given(st.integers(1, 24), st.sampled_from([(0.05, 0.10), (0.05,), (0.03, 0.07, 0.15)]), widths)
def test_coefficients_sum_to_one(count: int, tracks: tuple[float, ...], sigma_rel: float) -> None:
    plan = fit(evenly(count, *tracks), sigma_rel, 2**20)
    assert sum(plan.coefficients) == pytest.approx(1, abs=1e-9)


@given(st.integers(1, 24), st.integers(1, 24), st.sampled_from([0.05, 0.10]))
def test_a_stored_average_is_its_snapshot(count: int, chosen: int, track: float) -> None:
    """Law: wanting what is there takes that snapshot and nothing else."""
    snapshots = evenly(count, 0.05, 0.10)
    wanted = snapshots[2 * (min(chosen, count) - 1) + (track == 0.10)]
    plan = fit(snapshots, track, wanted.samples_seen)
    for snapshot, x in zip(plan.snapshots, plan.coefficients, strict=True):
        assert x == pytest.approx(float(snapshot == wanted), abs=1e-8)
    assert plan.residual < 1e-6


@pytest.mark.parametrize("sigma_rel", [0.02, 0.03, 0.075, 0.15, 0.25])
def test_denser_snapshots_fit_better(sigma_rel: float) -> None:
    residuals = [fit(evenly(count, 0.05, 0.10), sigma_rel, 2**20).residual for count in (4, 8, 16, 32, 64)]
    assert all(later < 0.8 * earlier for earlier, later in itertools.pairwise(residuals))


@given(st.integers(2, 16), widths)
def test_a_second_track_never_fits_worse(count: int, sigma_rel: float) -> None:
    one = fit(evenly(count, 0.05), sigma_rel, 2**20).residual
    assert fit(evenly(count, 0.05, 0.10), sigma_rel, 2**20).residual <= one + 1e-6


@given(st.integers(1, 12), widths)
def test_the_residual_is_the_distance_of_the_profiles(count: int, sigma_rel: float) -> None:
    """Law, by the midpoint rule on 20,000 points."""
    plan = fit(evenly(count, 0.05, 0.10), sigma_rel, 2**20)
    tau = (np.arange(20_000) + 0.5) / 20_000
    made = np.zeros_like(tau)
    for snapshot, x in zip(plan.snapshots, plan.coefficients, strict=True):
        t, g = snapshot.samples_seen / 2**20, gamma_of(snapshot.sigma_rel)
        made += x * np.where(tau <= t, (g + 1) / t * (tau / t) ** g, 0)
    g = gamma_of(sigma_rel)
    wanted = (g + 1) * tau**g
    distance = math.sqrt(float(((made - wanted) ** 2).sum() / (wanted**2).sum()))
    assert plan.residual == pytest.approx(distance, rel=0.02, abs=0.005)


def test_the_fit_at_an_earlier_time_uses_nothing_later() -> None:
    plan = fit(evenly(8, 0.05, 0.10, last=800), 0.075, 500)
    assert {s.samples_seen for s in plan.snapshots} == {100, 200, 300, 400, 500}
    with pytest.raises(TrainkitError, match="no EMA snapshot at or before 99 samples; the first is at 100"):
        fit(evenly(8, 0.05, last=800), 0.075, 99)


def test_short_averages_multiply_rounding() -> None:
    gains = [fit(evenly(32, 0.05, 0.10), width, 2**20).gain for width in (0.02, 0.03, 0.05, 0.075, 0.25)]
    assert gains == pytest.approx([13.9, 5.3, 1.0, 0.94, 0.48], rel=0.02)


def test_reach_grows_with_the_snapshots() -> None:
    assert reach(evenly(8, 0.05, 0.10), 2**20) == (0.04, 0.17)
    assert reach(evenly(32, 0.05, 0.10), 2**20) == (0.02, 0.255)
    assert reach([Snapshot(10, 0.05, Path("a"))], 1000) is None


# --- on a trajectory ---


def walk(folder: Path, extra: tuple[float, ...], dtype: str = "float32") -> dict[float, Tensor]:
    """A run of 960 steps of 8 samples: weights that start at 1, drift, and shake as under a learning rate
    that falls to 0, with 24 snapshots of 0.05 and 0.10 in ``folder``. Returns averages of the widths
    ``extra``, kept directly (samples_seen 7,680 at the end)."""
    g = torch.Generator().manual_seed(0)
    model = nn.Linear(2000, 1, bias=False)
    nn.init.ones_(model.weight)
    drift = torch.randn(2000, generator=g) * 1e-4
    kept = Ema(
        EmaConfig.model_validate({"sigma_rel": [0.05, 0.10], "snapshot_dtype": dtype}),
        model,
        torch.device("cpu"),
    )
    direct = Ema(EmaConfig(sigma_rel=extra), model, torch.device("cpu"))
    for step in range(1, 961):
        rate = 1 - step / 961
        noise = torch.randn(2000, generator=g)
        with torch.no_grad():
            model.weight += rate * (drift + 3e-4 * noise)
        kept.update(model, 8 * step, 8)
        direct.update(model, 8 * step, 8)
        if step % 40 == 0:
            kept.snapshot(folder, 8 * step)
    for name in direct.tracks:
        direct.write_weights(folder.parent / f"direct-{name}", name, {})
    return {width: load_file(folder.parent / f"direct-{width:.3f}")["weight"] for width in extra}


@pytest.mark.parametrize("sigma_rel", [0.03, 0.075, 0.15, 0.25])
def test_a_reconstruction_is_the_average_kept_directly(tmp_path: Path, sigma_rel: float) -> None:
    """The error of the sum is at most residual x |p| x |trajectory around its start| (Cauchy-Schwarz); and it
    is far below what the nearest kept track would be off by."""
    direct = walk(tmp_path / "snapshots", (sigma_rel,))[sigma_rel]
    snapshots = read_snapshots(tmp_path / "snapshots")
    plan = fit(snapshots, sigma_rel, 7680)
    made = reconstruct(plan)["weight"]
    error = float((made - direct).norm())
    kept = [load_file(s.path)["weight"] for s in snapshots if s.samples_seen == 7680]
    nearest = min(float((track - direct).norm()) for track in kept)
    assert error < 0.1 * nearest
    gamma = gamma_of(sigma_rel)
    length = math.sqrt(inner_product(1.0, gamma, 1.0, gamma))
    moved = float((direct - 1).norm())
    assert error <= plan.residual * length * 2 * moved + 1e-5


def test_a_kept_track_comes_back_as_its_snapshot(tmp_path: Path) -> None:
    walk(tmp_path / "snapshots", ())
    snapshots = read_snapshots(tmp_path / "snapshots")
    for track in (0.05, 0.10):
        kept = load_file(tmp_path / "snapshots" / f"{track:.3f}-000000003840.safetensors")["weight"]
        made = reconstruct(fit(snapshots, track, 3840))["weight"]
        torch.testing.assert_close(made, kept, rtol=0, atol=1e-6)


def test_weights_that_never_moved_come_out_as_they_are(tmp_path: Path) -> None:
    # Without the bond on the sum, 3 snapshots and 0.25 would scale all weights by some per cent.
    for n in (1, 2, 3):
        told = {"samples_seen": str(n), "sigma_rel": "0.05"}
        write_weights(tmp_path / f"{n}.safetensors", {"w": torch.full((4,), 3.0)}, told)
    plan = fit(read_snapshots(tmp_path), 0.25, 3)
    torch.testing.assert_close(reconstruct(plan)["w"], torch.full((4,), 3.0), rtol=1e-6, atol=0)


# --- files that do not fit ---


def test_no_snapshots_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(TrainkitError, match=r"no EMA snapshots in .*snapshots(.|\n)*snapshot_every = 256000"):
        read_snapshots(tmp_path / "snapshots")


def test_another_file_among_the_snapshots_is_named(tmp_path: Path) -> None:
    write_weights(tmp_path / "odd.safetensors", {"w": torch.ones(1)}, {"kind": "ema"})
    with pytest.raises(TrainkitError, match=r"odd.safetensors is no snapshot of an EMA track"):
        read_snapshots(tmp_path)


@pytest.mark.parametrize("other", [{"w": torch.ones(3)}, {"v": torch.ones(2)}, {}])
def test_snapshots_of_two_runs_do_not_mix(tmp_path: Path, other: dict[str, Tensor]) -> None:
    for n, tensors in ((1, {"w": torch.ones(2)}), (2, other)):
        told = {"samples_seen": str(n), "sigma_rel": "0.05"}
        write_weights(tmp_path / f"{n}.safetensors", tensors, told)
    with pytest.raises(
        TrainkitError, match=r"2.safetensors holds other weights than the snapshots before it"
    ):
        reconstruct(fit(read_snapshots(tmp_path), 0.1, 2))


# --- the command ---


def call(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers())
    options = parser.parse_args(["ema", *words])
    return int(options.run(options))


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    walk(folder / "ema" / "snapshots", (), dtype="float16")
    return folder


def test_the_command_writes_a_weights_file(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(str(run_folder), "--sigma-rel", "0.075") == 0
    out = run_folder / "ema" / "0.075.safetensors"
    with safe_open(out, "pt") as file:
        told = file.metadata()
    assert told.pop("residual").startswith("0.00")
    assert told == {
        "format": "pt",
        "kind": "ema-posthoc",
        "samples_seen": "7680",
        "sigma_rel": "0.075",
        "snapshots": "48",
    }
    said = capsys.readouterr()
    assert f"{out}: sigma_rel 0.075 after 7680 samples, from 48 snapshots" in said.out
    assert "residual of the fit: 0.16%" in said.out
    assert said.err == ""


def test_the_command_warns_of_what_the_tracks_cannot_do(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "short.safetensors"
    assert call(str(run_folder), "--sigma-rel", "0.01", "-o", str(out), "--at", "3840") == 0
    assert out.is_file()
    said = capsys.readouterr().err
    assert "warning: sigma_rel 0.01 lies outside of what these snapshots can make" in said
    assert "warning: the sum multiplies the rounding of its float16 snapshots by" in said
    assert call(str(run_folder), "--sigma-rel", "0.06", "--at", "3840") == 0
    assert (run_folder / "ema" / "0.060-000000003840.safetensors").is_file()


def test_the_command_lists(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(str(run_folder), "--list") == 0
    assert capsys.readouterr().out.splitlines() == [
        "track 0.050: 24 snapshots, 320 to 7680 samples",
        "track 0.100: 24 snapshots, 320 to 7680 samples",
        "after 7680 samples: --sigma-rel 0.025 to 0.250 within 5%",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--sigma-rel", "0.4"), r"sigma_rel is 0.4, must be greater than 0 and at most 0.2887"),
        (("--sigma-rel", "0.1", "--at", "9999"), r"--at is 9999, the newest EMA snapshot is at 7680 samples"),
    ],
)
def test_the_command_refuses(run_folder: Path, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(TrainkitError, match=message):
        call(str(run_folder), *words)


def test_the_runs_own_track_is_not_written_over(run_folder: Path) -> None:
    path = run_folder / "ema" / "0.050.safetensors"
    write_weights(path, {"w": torch.ones(1)}, {"kind": "ema"})
    with pytest.raises(TrainkitError, match=r"is the average that the run itself kept"):
        call(str(run_folder), "--sigma-rel", "0.05")
    assert torch.equal(load_file(path)["w"], torch.ones(1))
