"""Whole runs in this process: what they leave, what changes they accept, what stops them."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.numpy import load_file as load_numpy
from safetensors.torch import load_file

from tests.trainkit.ends import train_here, weights
from tests.trainkit.tiny import run_data
from trainkit.cache.shard import write_shard
from trainkit.checkpoint import latest_checkpoint, read_progress
from trainkit.errors import CheckpointError, ConfigError, TrainkitError
from trainkit.feed import Batch
from trainkit.log import read_log
from trainkit.loss import Losses
from trainkit.models import Denoiser, Model, load_model
from trainkit.reporter import Reporter
from trainkit.run_file import make_run
from trainkit.step import Stepper
from trainkit.stretches import Stretch
from trainkit.train import train


@pytest.fixture(autouse=True)
def _no_accelerator_left_over() -> None:
    """accelerate keeps one state per process and refuses to change its precision; a process trains once."""
    AcceleratorState._reset_state(True)


def test_a_frozen_part_stays_as_it_is(tmp_path: Path, tiny_model: Path, pictures: Path) -> None:
    optim = {"optimizer": "adamw", "lr": 1e-3, "text_encoder": {"freeze_until": {"epochs": 50}}}
    train_here(tmp_path / "out", tiny_model, pictures, samples=16, optim=optim)
    part = "text_encoder/model.safetensors"
    old, new = load_file(tiny_model / part), load_file(tmp_path / "out" / "model" / part)
    assert all(torch.equal(old[name], new[name]) for name in old)


def test_a_finished_run_started_again_trains_no_more(
    tmp_path: Path, tiny_model: Path, pictures: Path
) -> None:
    out = tmp_path / "out"
    first = train_here(out, tiny_model, pictures, preview={"prompts": ["red circle", ""], "steps": 2})
    assert (first.samples_seen, first.resumed_from) == (48, 0)
    assert [p.name for p in (out / "previews").iterdir()] == ["000000000048.png"]
    before, checkpoint = (
        weights(out),
        (out / "checkpoints" / "000000000048" / "state.json").stat().st_mtime_ns,
    )
    again = train_here(out, tiny_model, pictures, preview={"prompts": ["red circle", ""], "steps": 2})
    assert (again.samples_seen, again.resumed_from) == (48, 48)
    assert weights(out) == before
    assert (out / "checkpoints" / "000000000048" / "state.json").stat().st_mtime_ns == checkpoint
    assert len(read_log(out / "log.jsonl")) == 6


def test_previews_and_checkpoints_come_when_they_are_due(
    tmp_path: Path, tiny_model: Path, pictures: Path
) -> None:
    out = tmp_path / "out"
    settings: dict[str, Any] = {"checkpoint_every": 24, "keep_checkpoints": 9, "trackers": ["tensorboard"]}
    settings |= {"preview": {"prompts": ["red circle"], "every": 20, "steps": 1}}
    train_here(out, tiny_model, pictures, **settings)
    assert sorted(p.name for p in (out / "checkpoints").iterdir()) == ["000000000024", "000000000048"]
    assert sorted(p.stem for p in (out / "previews").iterdir()) == [
        "000000000024",
        "000000000040",
        "000000000048",
    ]
    assert list((out / "tensorboard").glob("events.*"))
    assert json.loads((out / "run.json").read_text())["optim"]["weight_decay"] == 0.01
    entry = read_log(out / "log.jsonl")[0]
    assert entry["lr_unet"] == 1e-3
    assert entry["lr_text_encoder"] == 1e-4
    shares = {"clipped", "clipped_share", "waited", "samples_per_s"}
    groups = {
        *(f"unet.{part}" for part in ("down", "mid", "text", "time", "up")),
        *(f"text_encoder.{part}" for part in ("embeddings", "lower", "upper")),
    }
    tenths = {name for name in entry if name.startswith("v_loss_t")}
    assert len(tenths) == 8  # Eight stratified samples over ten tenths.
    assert set(entry) == {
        *("samples", "epoch", "loss", "grad_norm", "lr_unet", "lr_text_encoder"),
        *shares,
        *tenths,
        *(f"grad_norm/{group}" for group in groups),
    }
    whole = sum(entry[f"grad_norm/{group}"] ** 2 for group in groups)
    assert whole**0.5 == pytest.approx(entry["grad_norm"], rel=1e-5)


def test_another_batch_goes_on_with_the_pictures_that_are_left(
    tmp_path: Path, tiny_model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    train_here(out, tiny_model, pictures, samples=16)
    train_here(out, tiny_model, pictures, samples=24, batch=2)
    said = "from here on an optimizer step has 2 micro-batches of 2 samples over all devices, before it had 2"
    assert said in capsys.readouterr().out
    last = train_here(out, tiny_model, pictures, samples=42, batch=1, accumulate=3)
    assert [(p.number, p.first_sample, p.group, p.end) for p in last.phases] == [
        (1, 0, 8, 16),
        (1, 16, 4, 24),
        (1, 24, 3, 42),
    ]
    newest = latest_checkpoint(out / "checkpoints")
    assert newest is not None
    assert read_progress(newest).history == (
        Stretch(1, 0, 4, 2),
        Stretch(1, 16, 2, 2),
        Stretch(1, 24, 1, 3),
    )
    drawn = Counter(
        (draw.picture, draw.epoch)
        for phase in last.phases
        for number in range(phase.steps * phase.accumulate)
        for draw in phase.plan[number].draws
    )
    # Two passes over 21 pictures, whatever the run was dealt in: with batches of one nothing is left over.
    assert drawn == Counter((picture, epoch) for picture in range(21) for epoch in range(2))


def test_other_pictures_or_a_past_that_is_not_the_run_s_do_not_go_on(
    tmp_path: Path, tiny_model: Path, own_pictures: Path
) -> None:
    out = tmp_path / "out"
    train_here(out, tiny_model, own_pictures, samples=16)
    phases = [{"samples": 8}, {"samples": 24}]
    with pytest.raises(CheckpointError, match=r"in a run with phase 1 .* this run file says .*; phase 2"):
        train_here(out, tiny_model, own_pictures, samples=None, phases=phases)
    (own_pictures / "004.png").unlink()
    (own_pictures / "004.json").unlink()
    with pytest.raises(ConfigError, match=r'data is "20 pictures, .* was made with "21 pictures, '):
        train_here(out, tiny_model, own_pictures, samples=32)


def test_a_changed_setting_is_used_and_said_aloud(
    tmp_path: Path, tiny_model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    train_here(out, tiny_model, pictures, samples=16)
    changed = {"optimizer": "adamw", "lr": 5e-4, "lr_text_encoder": 1e-4}
    train_here(out, tiny_model, pictures, samples=32, optim=changed)
    assert "note: optim.lr is 0.0005, the checkpoint was made with 0.001" in capsys.readouterr().out
    assert read_log(out / "log.jsonl")[2]["lr_unet"] == 5e-4 * 0.5


def test_changed_arguments_of_an_optimizer_are_used(tmp_path: Path, tiny_model: Path, pictures: Path) -> None:
    # They were told and then overwritten by those of the checkpoint.
    def optim(**arguments: float) -> dict[str, Any]:
        return {"optimizer": "torch.optim.SGD", "lr": 0.1, "schedule": "constant", "arguments": arguments}

    train_here(tmp_path / "one", tiny_model, pictures, samples=16, optim=optim(momentum=0.9))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    train_here(tmp_path / "one", tiny_model, pictures, samples=32, optim=optim(momentum=0.9))
    train_here(tmp_path / "two", tiny_model, pictures, samples=32, optim=optim())
    assert weights(tmp_path / "one") != weights(tmp_path / "two")


@pytest.mark.parametrize(
    "changes",
    [
        {"text": {"max_tokens": 150, "chunk_mode": "kohya", "clip_skip": 1}},
        {"model_extra": {"train_text_encoder": False}},
        {"model_extra": {"gradient_checkpointing": True}},
        {"data_extra": {"latents": "live"}},
        {"mixed_precision": "bf16"},
        {"schedule": {"zero_terminal_snr": False}, "objective": {"prediction": "epsilon"}},
    ],
    ids=str,
)
def test_every_kind_of_run_trains(
    tmp_path: Path, tiny_model: Path, pictures: Path, changes: dict[str, Any]
) -> None:
    data = run_data(tiny_model, pictures, tmp_path / "out", samples=16)
    for table in ("model", "data"):
        data[table] |= changes.get(f"{table}_extra", {})
    data |= {key: value for key, value in changes.items() if not key.endswith("_extra")}
    train(make_run(data, tmp_path, "test"))
    losses = [line["loss"] for line in read_log(tmp_path / "out" / "log.jsonl")]
    assert len(losses) == 2
    assert all(0 < loss < 2 for loss in losses)
    old = load_file(tiny_model / "text_encoder" / "model.safetensors")
    new = load_file(tmp_path / "out" / "model" / "text_encoder" / "model.safetensors")
    frozen = changes.get("model_extra") == {"train_text_encoder": False}
    assert all(torch.equal(old[name], new[name]) for name in old) is frozen


def test_live_and_cached_latents_train_about_the_same(
    tmp_path: Path, tiny_model: Path, pictures: Path
) -> None:
    train_here(tmp_path / "cached", tiny_model, pictures, samples=16)
    live = run_data(tiny_model, pictures, tmp_path / "live", samples=16)
    live["data"]["latents"] = "live"
    train(make_run(live, tmp_path, "test"))
    cached, encoded = (read_log(tmp_path / name / "log.jsonl") for name in ("cached", "live"))
    # Half precision of the cache is all the difference.
    assert [e["loss"] for e in encoded] == pytest.approx([e["loss"] for e in cached], rel=1e-3)
    assert not (tmp_path / "live" / "cache").exists()


def test_a_broken_picture_is_skipped_by_name(
    tmp_path: Path, tiny_model: Path, own_pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (own_pictures / "003.png").read_bytes()
    (own_pictures / "003.png").write_bytes(whole[: len(whole) // 2])
    data = run_data(tiny_model, own_pictures, tmp_path / "out", samples=8)
    with pytest.raises(TrainkitError, match=r"1 of 21 pictures cannot be used \(4\.8%(.|\n)*003\.png"):
        train(make_run(data, tmp_path, "test"))
    data["data"]["max_bad_share"] = 0.05
    result = train(make_run(data, tmp_path, "test"))
    assert len(result.data.pictures) == 20
    assert f"skipped {own_pictures / '003.png'}: cannot be decoded" in capsys.readouterr().out
    (skipped,) = read_log(tmp_path / "out" / "skipped.jsonl")
    assert skipped["name"] == str(own_pictures / "003.png")
    assert skipped["while"] == "reading"


def delete_after_first_step(monkeypatch: pytest.MonkeyPatch, paths: list[Path]) -> None:
    """While a run trains, these pictures vanish."""
    real = Reporter.step

    def step(self: Reporter, *arguments: Any) -> None:
        real(self, *arguments)
        for path in paths:
            path.unlink(missing_ok=True)

    monkeypatch.setattr(Reporter, "step", step)


@pytest.mark.parametrize("latents", ["cached", "live"])
def test_a_picture_that_vanishes_while_training_is_named_and_the_run_goes_on(
    tmp_path: Path,
    tiny_model: Path,
    own_pictures: Path,
    latents: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    delete_after_first_step(monkeypatch, [own_pictures / "002.png"])
    data = run_data(tiny_model, own_pictures, tmp_path / "out", samples=64)
    data["data"]["latents"] = latents
    assert train(make_run(data, tmp_path, "test")).samples_seen == 64
    assert f"skipped {own_pictures / '002.png'}: " in capsys.readouterr().out
    (skipped,) = read_log(tmp_path / "out" / "skipped.jsonl")
    assert (skipped["name"], skipped["while"]) == (str(own_pictures / "002.png"), "training")


def test_many_pictures_that_vanish_stop_the_run(
    tmp_path: Path, tiny_model: Path, own_pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete_after_first_step(monkeypatch, list(own_pictures.glob("*.png")))
    with pytest.raises(
        TrainkitError, match=r"1[1-4] pictures could not be read any more .* Is the disk still there\?"
    ):
        train_here(tmp_path / "out", tiny_model, own_pictures, samples=64)


def kept_model(monkeypatch: pytest.MonkeyPatch) -> list[Model]:
    """The models that are loaded from now on."""
    models: list[Model] = []

    def load(*arguments: Any) -> Model:
        models.append(load_model(*arguments))
        return models[-1]

    monkeypatch.setattr("trainkit.setup.load_model", load)
    return models


def test_a_loss_that_is_no_number_stops_before_the_weights_move(
    tmp_path: Path, tiny_model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = kept_model(monkeypatch)
    out = tmp_path / "out"
    train_here(out, tiny_model, pictures, samples=8)
    for path in (out / "cache").rglob("*x*-*.safetensors"):
        tensors = load_numpy(path)
        rows = np.full_like(tensors["rows"], float("nan"))
        write_shard(path, tensors["keys"], rows, tensors["failed"])
    before = {p.name: p.read_bytes() for p in (out / "checkpoints" / "000000000008").iterdir()}
    with pytest.raises(
        TrainkitError, match=r"after 8 samples the loss is nan .* Pictures of this step: 0\d\d"
    ):
        train_here(out, tiny_model, pictures, samples=16)
    assert {p.name: p.read_bytes() for p in (out / "checkpoints" / "000000000008").iterdir()} == before
    assert len(list((out / "checkpoints").iterdir())) == 1
    kept = load_file(out / "checkpoints" / "000000000008" / "unet.safetensors")
    assert all(torch.equal(kept[name], w) for name, w in models[-1].denoiser.unet.state_dict().items())


def test_bfloat16_runs_the_networks_and_never_touches_the_weights(
    tmp_path: Path, tiny_model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = []
    for precision in ("no", "bf16"):
        models = kept_model(monkeypatch)
        train_here(tmp_path / precision, tiny_model, pictures, samples=16, mixed_precision=precision)
        assert {p.dtype for p in models[0].denoiser.parameters()} == {torch.float32}
        losses.append([entry["loss"] for entry in read_log(tmp_path / precision / "log.jsonl")])
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_a_step_takes_the_mean_gradient_of_its_samples(
    tmp_path: Path, tiny_model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, calls, real = kept_model(monkeypatch), list[tuple[Stepper, Batch]](), Stepper.loss

    def loss(self: Stepper, denoiser: Denoiser, batch: Batch) -> Losses:
        calls.append((self, batch))
        return real(self, denoiser, batch)

    monkeypatch.setattr(Stepper, "loss", loss)
    still = {"optimizer": "adamw", "lr": 0.0, "lr_text_encoder": 0.0}
    train_here(tmp_path / "out", tiny_model, pictures, samples=16, optim=still)
    # The weights did not move, so both steps can be computed once more, each in one go.
    denoiser = models[0].denoiser
    for entry, step in zip(read_log(tmp_path / "out" / "log.jsonl"), (calls[:2], calls[2:]), strict=True):
        mean = torch.stack([real(stepper, denoiser, batch).total for stepper, batch in step]).sum() / 8
        gradients = torch.autograd.grad(mean, list(denoiser.parameters()))
        norm = torch.stack([g.norm() for g in gradients]).norm()
        assert entry["loss"] == pytest.approx(mean.item(), rel=1e-5)
        assert entry["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)


def test_a_run_that_explodes_says_so(tmp_path: Path, tiny_model: Path, pictures: Path) -> None:
    huge = {"optimizer": "adamw", "lr": 1e30, "lr_text_encoder": 1e-4}
    with pytest.raises(TrainkitError, match=r"after 8 samples the loss is (nan|inf) .* Lower optim\.lr"):
        train_here(tmp_path / "out", tiny_model, pictures, optim=huge)
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_a_prompt_that_is_too_long_is_told_before_training(
    tmp_path: Path, tiny_model: Path, pictures: Path
) -> None:
    with pytest.raises(TrainkitError, match=r"preview\.prompts\.0: has 200 tokens"):
        train_here(tmp_path / "out", tiny_model, pictures, preview={"prompts": ["a" * 200]})
    assert not (tmp_path / "out" / "log.jsonl").exists()
