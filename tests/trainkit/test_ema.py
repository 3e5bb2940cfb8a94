"""Averages of the weights: the right sums, exact through a checkpoint, harmless to the model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from trainkit import ema as ema_module
from trainkit.ema import Ema
from trainkit.ema_tracks import EmaConfig, ExponentialTrack, PowerTrack, gamma_of
from trainkit.errors import CheckpointError, TrainkitError
from trainkit.models import ModelConfig, load_model
from trainkit.text import TextConfig
from trainkit.weights_file import write_weights

CPU = torch.device("cpu")
widths = st.floats(0.001, 12**-0.5)
TWO = EmaConfig(sigma_rel=(0.05, 0.10), decay=0.999)


class Pair(nn.Module):
    """Two parameters, named as in a denoiser."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = nn.Linear(3, 2)
        self.text_encoder = nn.Linear(2, 2, bias=False)


def move(model: nn.Module, step: int) -> None:
    """Weights as an optimizer leaves them: another set for every step."""
    g = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=g))


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def weights_of(ema: Ema, track: str, folder: Path) -> dict[str, Tensor]:
    ema.write_weights(folder / "w.safetensors", track, {})
    return load_file(folder / "w.safetensors")


# --- what a track is ---


@given(widths)
def test_gamma_gives_back_the_width(sigma_rel: float) -> None:
    gamma = gamma_of(sigma_rel)
    assert gamma >= -1e-12
    assert math.sqrt(gamma + 1) / ((gamma + 2) * math.sqrt(gamma + 3)) == pytest.approx(sigma_rel, rel=1e-9)


def test_gammas_of_the_paper() -> None:
    # Karras et al. 2023, section 3.1: sigma_rel of 0.05 and 0.10 are gamma = 16.97 and 6.94.
    assert (round(gamma_of(0.05), 2), round(gamma_of(0.10), 2)) == (16.97, 6.94)


@pytest.mark.parametrize("sigma_rel", [0.0, -0.1, 0.3, math.nan])
def test_a_width_that_no_power_has_is_refused(sigma_rel: float) -> None:
    with pytest.raises(TrainkitError, match=r"sigma_rel is .*, must be greater than 0 and at most 0.2887"):
        gamma_of(sigma_rel)


steps = st.lists(st.integers(1, 500), min_size=1, max_size=30)


@given(widths, steps)
def test_the_weights_of_all_steps_are_the_profile_whatever_their_sizes(
    sigma_rel: float, groups: list[int]
) -> None:
    """Law: step k, over (t', t], ends with weight P(t) - P(t'), P(tau) = (tau/T)^(gamma+1)."""
    track, seen, kept = PowerTrack(sigma_rel), 0, [0.0]
    for group in groups:
        seen += group
        beta = track.beta(seen, group)
        kept = [weight * beta for weight in kept] + [1 - beta]
    ends = [sum(groups[:k]) / seen for k in range(len(groups) + 1)]
    power = gamma_of(sigma_rel) + 1
    expected = [after**power - before**power for before, after in itertools.pairwise(ends)]
    assert kept[1:] == pytest.approx(expected, abs=1e-9)
    assert sum(kept) == pytest.approx(1)


@given(st.floats(0.5, 0.99999), st.floats(0.1, 1), st.integers(1, 512))
def test_the_exponential_track_warms_up_from_0_to_its_decay(decay: float, power: float, group: int) -> None:
    track = ExponentialTrack(decay, power)
    betas = [track.beta(group * n, group) for n in (1, 2, 3, 10, 100, 10**9)]
    assert betas[0] == 0
    assert betas == sorted(betas)
    assert max(betas) <= decay


@pytest.mark.parametrize(
    ("power", "steps", "reached"),
    [(2 / 3, 31_622, 0.999), (2 / 3, 1_000_000, 0.9999), (0.75, 10_000, 0.999), (0.75, 215_443, 0.9999)],
)
def test_horizons_of_the_warm_up(power: float, steps: int, reached: float) -> None:
    assert ExponentialTrack(0.999999, power).beta(steps * 256, 256) == pytest.approx(reached, abs=1e-6)


# --- the averages ---


def test_a_track_is_the_integral_of_the_trajectory(tmp_path: Path) -> None:
    """Example: three steps of 8, 8 and 16 samples, by hand in float64."""
    model, seen = Pair(), 0
    ema = Ema(TWO, model, CPU)
    trajectory: list[tuple[int, Tensor]] = []
    for step, group in enumerate((8, 8, 16)):
        move(model, step)
        seen += group
        ema.update(model, seen, group)
        trajectory.append((seen, model.unet.weight.detach().double().clone()))
    power = gamma_of(0.10) + 1
    expected, before = torch.zeros(2, 3, dtype=torch.float64), 0
    for after, theta in trajectory:
        expected += ((after / seen) ** power - (before / seen) ** power) * theta
        before = after
    found = weights_of(ema, "0.100", tmp_path)["unet.weight"]
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-6)


def test_the_first_step_is_taken_whole(tmp_path: Path) -> None:
    model = Pair()
    ema = Ema(TWO, model, CPU)
    move(model, 0)
    ema.update(model, 4, 4)
    assert all(same(weights_of(ema, track, tmp_path), state(model)) for track in ema.tracks)


def test_a_small_chunk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for chunk in (1, 7, 10**9):
        monkeypatch.setattr(ema_module, "_CHUNK", chunk)
        torch.manual_seed(0)
        model = Pair()
        ema = Ema(TWO, model, CPU)
        for step in range(5):
            move(model, step)
            ema.update(model, 4 * (step + 1), 4)
        results.append(weights_of(ema, "0.050", tmp_path))
    assert same(results[0], results[1])
    assert same(results[0], results[2])


def test_only_what_is_trained_is_held(tmp_path: Path) -> None:
    model = Pair()
    ema = Ema(TWO, model, CPU, trained={"unet.weight", "unet.bias"})
    move(model, 0)
    ema.update(model, 4, 4)
    assert set(weights_of(ema, "0.050", tmp_path)) == {"unet.weight", "unet.bias"}


def test_off_is_off(tmp_path: Path) -> None:
    model = Pair()
    ema = Ema(EmaConfig(), model, CPU)
    ema.update(model, 4, 4)
    ema.save(tmp_path)
    ema.load(tmp_path)
    assert ema.snapshot(tmp_path, 4) == []
    assert list(tmp_path.iterdir()) == []


def test_layers_in_channels_last_are_averaged_and_written_in_order(tmp_path: Path) -> None:
    conv = nn.Conv2d(4, 3, 3)
    conv.weight.data = conv.weight.data.to(memory_format=torch.channels_last)
    ema = Ema(EmaConfig(sigma_rel=(0.1,)), conv, CPU)
    move(conv, 0)
    ema.update(conv, 4, 4)
    assert same(weights_of(ema, "0.100", tmp_path), state(conv))


def test_a_real_denoiser_is_held_whole(tiny_model: Path, tmp_path: Path) -> None:
    denoiser = load_model(ModelConfig(base=tiny_model), TextConfig()).denoiser
    ema = Ema(EmaConfig(sigma_rel=(0.05,)), denoiser, CPU)
    ema.update(denoiser, 4, 4)
    assert same(weights_of(ema, "0.050", tmp_path), state(denoiser))


# --- lent to the model ---


def test_the_model_has_the_track_inside_and_its_own_weights_after(tmp_path: Path) -> None:
    model = Pair()
    ema = Ema(TWO, model, CPU)
    for step in range(3):
        move(model, step)
        ema.update(model, 4 * (step + 1), 4)
    own, average = state(model), weights_of(ema, "0.100", tmp_path)
    with ema.applied(model, "0.100"):
        assert same(state(model), average)
    assert same(state(model), own)
    assert same(weights_of(ema, "0.100", tmp_path), average)


def test_an_exception_inside_costs_nothing(tmp_path: Path) -> None:
    model = Pair()
    ema = Ema(TWO, model, CPU)
    move(model, 0)
    own, average = state(model), weights_of(ema, "0.050", tmp_path)
    with pytest.raises(ZeroDivisionError), ema.applied(model, "0.050"):
        _ = 1 / 0
    assert same(state(model), own)
    assert same(weights_of(ema, "0.050", tmp_path), average)


def test_an_exception_half_way_into_the_exchange_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Pair()
    ema = Ema(TWO, model, CPU)
    move(model, 0)
    own, average, real = state(model), weights_of(ema, "0.050", tmp_path), ema_module._exchange
    calls: list[int] = []

    def second_fails(parameter: Tensor, weight: Tensor) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        real(parameter, weight)

    monkeypatch.setattr(ema_module, "_exchange", second_fails)
    with pytest.raises(RuntimeError, match="out of memory"), ema.applied(model, "0.050"):
        pass
    assert same(state(model), own)
    assert same(weights_of(ema, "0.050", tmp_path), average)


# --- through a checkpoint ---


def test_saved_and_loaded_it_goes_on_to_the_bit(tmp_path: Path) -> None:
    model = Pair()
    ema = Ema(TWO, model, CPU)
    for step in range(3):
        move(model, step)
        ema.update(model, 4 * (step + 1), 4)
    ema.save(tmp_path)
    names = ["ema-0.050.safetensors", "ema-0.100.safetensors", "ema-decay-0.999.safetensors"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    other = Pair()
    other.load_state_dict(model.state_dict())
    again = Ema(TWO, other, CPU)
    again.load(tmp_path)
    for step in range(3, 6):
        move(model, step)
        move(other, step)
        ema.update(model, 4 * (step + 1), 4)
        again.update(other, 4 * (step + 1), 4)
    assert all(
        same(weights_of(ema, track, tmp_path), weights_of(again, track, tmp_path)) for track in ema.tracks
    )


def saved(folder: Path, config: EmaConfig = TWO, model: nn.Module | None = None) -> None:
    Ema(config, model or Pair(), CPU).save(folder)


def wider() -> nn.Module:
    model = Pair()
    model.unet = nn.Linear(5, 2)
    return model


def without_text() -> nn.Module:
    model = Pair()
    del model.text_encoder
    return model


@pytest.mark.parametrize(
    ("config", "make", "message"),
    [
        (
            EmaConfig(sigma_rel=(0.07,)),
            Pair,
            r"EMA tracks of this checkpoint: 0.050, 0.100, decay-0.999\. Set",
        ),
        (EmaConfig(sigma_rel=(0.0501,)), Pair, r"sigma_rel is 0.0501, the checkpoint has 0.05\n"),
        (EmaConfig(decay=0.999, warmup_power=1), Pair, r"warmup_power is 1.0, the checkpoint has 0.75"),
        (TWO, wider, r"unet.weight is \(2, 5\) here and \(2, 3\) in the checkpoint"),
        (TWO, without_text, r"text_encoder.weight is not trained here and \(2, 2\) in the checkpoint"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused_and_nothing_changed(
    tmp_path: Path, config: EmaConfig, make: Callable[[], nn.Module], message: str
) -> None:
    saved(tmp_path)
    model = make()
    ema = Ema(config, model, CPU)
    track = next(iter(ema.tracks))
    before = weights_of(ema, track, tmp_path)
    with pytest.raises(CheckpointError, match=message):
        ema.load(tmp_path)
    assert same(weights_of(ema, track, tmp_path), before)


def test_a_cut_off_track_is_named(tmp_path: Path) -> None:
    saved(tmp_path)
    path = tmp_path / "ema-0.100.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"ema-0.100.safetensors cannot be read"):
        Ema(TWO, Pair(), CPU).load(tmp_path)


# --- files ---


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2**-11), ("float32", 0)])
def test_a_snapshot_is_the_track_at_that_time(tmp_path: Path, dtype: str, tolerance: float) -> None:
    config = EmaConfig.model_validate({"sigma_rel": [0.05, 0.1], "decay": 0.99, "snapshot_dtype": dtype})
    model = Pair()
    ema = Ema(config, model, CPU)
    move(model, 0)
    ema.update(model, 4, 4)
    paths = ema.snapshot(tmp_path / "ema" / "snapshots", 4)
    assert [p.name for p in paths] == ["0.050-000000000004.safetensors", "0.100-000000000004.safetensors"]
    with safe_open(paths[1], "pt") as file:
        told = {"format": "pt", "kind": "ema-snapshot", "samples_seen": "4", "sigma_rel": "0.1"}
        assert file.metadata() == told
    exact = weights_of(ema, "0.100", tmp_path)
    for name, tensor in load_file(paths[1]).items():
        assert tensor.dtype == getattr(torch, dtype)
        torch.testing.assert_close(tensor.float(), exact[name], rtol=tolerance, atol=1e-7 if tolerance else 0)


def test_a_weights_file_says_what_it_is(tmp_path: Path) -> None:
    ema = Ema(TWO, Pair(), CPU)
    ema.write_weights(tmp_path / "a" / "0.050.safetensors", "0.050", {"samples_seen": "12"})
    with safe_open(tmp_path / "a" / "0.050.safetensors", "pt") as file:
        told = {"format": "pt", "kind": "ema", "samples_seen": "12", "sigma_rel": "0.05"}
        assert file.metadata() == told


def test_a_file_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, {"a": torch.ones(2)}, {})

    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", disk_full)
    with pytest.raises(TrainkitError, match=r"w.safetensors could not be written: .*No space left"):
        write_weights(path, {"a": torch.zeros(2)}, {})
    assert torch.equal(load_file(path)["a"], torch.ones(2))
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_killed_writers_leftover_goes_with_the_next_write(tmp_path: Path) -> None:
    (tmp_path / ".w.safetensors.host-1.partial").write_bytes(b"half")
    write_weights(tmp_path / "w.safetensors", {"a": torch.ones(2)}, {})
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


# --- the settings ---


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma_rel": [0.0501, 0.0502]}, "no two may agree to three decimals"),
        ({"snapshot_every": 1000}, r"snapshot_every needs power-function tracks; set sigma_rel"),
        ({"sigma_rel": [0.3]}, "less than or equal to 0.288"),
        ({"decay": 1}, "less than 1"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EmaConfig.model_validate(settings)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_tracks_in_main_memory_are_those_on_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ema_module, "_CHUNK", 4)  # Several chunks on their way.
    device = torch.device("cuda")
    model = Pair().to(device)
    near = Ema(TWO.model_copy(update={"device": "device"}), model, device)
    far = Ema(TWO, model, device)
    for step in range(20):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(step)
        near.update(model, 4 * (step + 1), 4)
        far.update(model, 4 * (step + 1), 4)
    own = state(model)
    for track in near.tracks:
        for name, weight in weights_of(near, track, tmp_path).items():
            torch.testing.assert_close(weights_of(far, track, tmp_path)[name], weight, rtol=1e-6, atol=1e-6)
    with far.applied(model, "0.050"):
        pass
    assert same(state(model), own)
