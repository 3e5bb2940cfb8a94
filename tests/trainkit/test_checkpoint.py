"""Checkpoints: back to the last bit, whole or not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from tests.trainkit.test_optim import one_update
from trainkit.checkpoint import (
    Progress,
    _join,
    _split,
    latest_checkpoint,
    load_checkpoint,
    read_progress,
    remove_leftovers,
    save_checkpoint,
)
from trainkit.ema import Ema
from trainkit.ema_tracks import EmaConfig
from trainkit.errors import CheckpointError
from trainkit.models import Denoiser, ModelConfig, load_model
from trainkit.optim import OptimConfig, make_optimizer, set_learning_rates, trainable_parts
from trainkit.rates import Clock
from trainkit.text import TextConfig

Trained = tuple[Denoiser, torch.optim.Optimizer, Ema]


def fresh(base: Path, name: str = "adamw", *, text: bool = True, lr: float = 1e-3) -> Trained:
    denoiser = load_model(ModelConfig(base=base, train_text_encoder=text), TextConfig()).denoiser
    config = OptimConfig.model_validate({"optimizer": name, "lr": lr, "lr_text_encoder": lr})
    ema = Ema(EmaConfig(sigma_rel=(0.1,)), denoiser, torch.device("cpu"))
    return denoiser, make_optimizer(config, denoiser, trainable_parts(denoiser)), ema


def progress(samples: int) -> Progress:
    return Progress(samples, 0, 4, 21, {"seed": "0"})


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", ["adamw", "adamw8bit"])
@pytest.mark.parametrize("text", [True, False])
def test_a_loaded_checkpoint_goes_on_bit_for_bit(
    tmp_path: Path, tiny_model: Path, name: str, text: bool
) -> None:
    denoiser, optimizer, ema = fresh(tiny_model, name, text=text)
    for step in range(1, 4):
        one_update(denoiser, optimizer)
        ema.update(denoiser, 8 * step, 8)
    path = save_checkpoint(tmp_path, denoiser, optimizer, ema, progress(24), keep=1)
    assert read_progress(path) == progress(24)
    again, its, average = fresh(tiny_model, name, text=text)
    load_checkpoint(path, again, its, average)
    assert same(denoiser.state_dict(), again.state_dict())
    for step in range(4, 7):
        one_update(denoiser, optimizer)
        one_update(again, its)
        ema.update(denoiser, 8 * step, 8)
        average.update(again, 8 * step, 8)
    assert same(denoiser.state_dict(), again.state_dict())
    with ema.applied(denoiser, "0.100"), average.applied(again, "0.100"):
        assert same(denoiser.state_dict(), again.state_dict())
    assert {p.suffix for p in path.iterdir()} == {".safetensors", ".json"}


def test_the_run_decides_the_rates_not_the_checkpoint(tmp_path: Path, tiny_model: Path) -> None:
    # The optimizer's state dictionary once brought its old base rate with it: `optim.lr=...` changed nothing.
    path = save_checkpoint(tmp_path, *fresh(tiny_model, lr=1e-3), progress(8), keep=1)
    denoiser, optimizer, ema = fresh(tiny_model, lr=5e-5)
    load_checkpoint(path, denoiser, optimizer, ema)
    config, start = OptimConfig(lr=5e-5, lr_text_encoder=5e-5), Clock(0, 0, 100, 10)
    assert set_learning_rates(optimizer, config, start) == {"unet": 5e-5, "text_encoder": 5e-5}


def test_only_the_newest_are_kept(tmp_path: Path, tiny_model: Path) -> None:
    trained = fresh(tiny_model)
    for samples in (8, 16, 104, 1000):
        save_checkpoint(tmp_path, *trained, progress(samples), keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000000000104", "000000001000"]
    newest = latest_checkpoint(tmp_path)
    assert newest is not None
    assert newest.name == "000000001000"


def test_what_a_killed_process_left_is_no_checkpoint(tmp_path: Path, tiny_model: Path) -> None:
    assert latest_checkpoint(tmp_path / "none") is None
    whole = save_checkpoint(tmp_path, *fresh(tiny_model), progress(8), keep=2)
    (tmp_path / ".000000000016.partial-123").mkdir()
    (tmp_path / ".000000000016.partial-123" / "unet.safetensors").write_bytes(b"half")
    (tmp_path / "000000000024").mkdir()
    (tmp_path / "notes").mkdir()
    assert latest_checkpoint(tmp_path) == whole
    remove_leftovers(tmp_path)
    assert not list(tmp_path.glob(".*"))
    assert latest_checkpoint(tmp_path) == whole


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    path = save_checkpoint(tmp_path, *fresh(tiny_model), progress(8), keep=1)
    with pytest.raises(CheckpointError, match=r"does not fit this run(.|\n)*Start with another `out` folder"):
        load_checkpoint(path, *fresh(tiny_model, text=False))
    (path / "unet.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="does not fit this run"):
        load_checkpoint(path, *fresh(tiny_model))


def test_an_unreadable_state_names_the_way_out(tmp_path: Path, tiny_model: Path) -> None:
    path = save_checkpoint(tmp_path, *fresh(tiny_model), progress(8), keep=1)
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps(state | {"format": 99}))
    with pytest.raises(CheckpointError, match="has format 99, this version reads 2"):
        read_progress(path)
    (path / "state.json").write_text("{")
    with pytest.raises(CheckpointError, match="remove this checkpoint to use the one before"):
        read_progress(path)


plain = (
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
)
tensors = st.builds(
    lambda n, seed: torch.randn(n, generator=torch.Generator().manual_seed(seed)),
    st.integers(0, 3),
    st.integers(0, 99),
)
names = st.integers(0, 50) | st.text("abc/#", min_size=1, max_size=4).filter(lambda s: not s.startswith("#"))
states = st.recursive(
    plain | tensors,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return type(one) is type(other) and bool(one == other)


@given(states)
def test_any_state_survives_the_way_through_json(state: Any) -> None:
    found, rest = _split(state)
    assert equal(_join(found, json.loads(json.dumps(rest))), state)


def test_a_full_disk_spares_the_last_good_checkpoint(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same with a real limit on a real process is in test_train.py; here every file fails in turn.
    trained = fresh(tiny_model)
    good = save_checkpoint(tmp_path, *trained, progress(8), keep=1)
    before = {p.name: p.read_bytes() for p in good.iterdir()}
    for broken in ("unet.safetensors", "text_encoder.safetensors", "optimizer.safetensors"):

        def full(tensors: dict[str, Tensor], path: Path, broken: str = broken) -> None:
            if path.name == broken:
                raise OSError(28, "No space left on device")
            save_file(tensors, path)

        monkeypatch.setattr("trainkit.checkpoint.save_file", full)
        with pytest.raises(
            CheckpointError, match=r"No space left .*; the last good checkpoint is .*000000000008"
        ):
            save_checkpoint(tmp_path, *trained, progress(16), keep=1)
        assert [p.name for p in tmp_path.iterdir()] == [good.name]
        assert {p.name: p.read_bytes() for p in good.iterdir()} == before
