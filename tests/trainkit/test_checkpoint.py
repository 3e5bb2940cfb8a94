"""Checkpoints: back to the last bit, whole or not there."""

from __future__ import annotations

import contextlib
import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from tests.trainkit.test_optim import one_update
from trainkit.checkpoint import (
    Progress,
    _join,
    _split,
    latest_checkpoint,
    load_checkpoint,
    newest_good,
    read_progress,
    remove_leftovers,
    save_checkpoint,
    superfluous,
)
from trainkit.ema import Ema
from trainkit.ema_tracks import EmaConfig
from trainkit.errors import CheckpointError
from trainkit.models import Denoiser, ModelConfig, load_model
from trainkit.optim import OptimConfig, make_optimizer, set_learning_rates, trainable_parts
from trainkit.rates import Clock
from trainkit.sealed import INDEX, damage, write_tensors
from trainkit.stretches import Stretch
from trainkit.text import TextConfig

Trained = tuple[Denoiser, torch.optim.Optimizer, Ema]


def fresh(base: Path, name: str = "adamw", *, text: bool = True, lr: float = 1e-3) -> Trained:
    denoiser = load_model(ModelConfig(base=base, train_text_encoder=text), TextConfig()).denoiser
    config = OptimConfig.model_validate({"optimizer": name, "lr": lr, "lr_text_encoder": lr})
    ema = Ema(EmaConfig(sigma_rel=(0.1,)), denoiser, torch.device("cpu"))
    return denoiser, make_optimizer(config, denoiser, trainable_parts(denoiser)), ema


def progress(samples: int) -> Progress:
    return Progress(samples, (Stretch(1, 0, 4, 2),), 21, {"seed": "0"})


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
    with pytest.raises(CheckpointError, match="has format 99, this version reads 3"):
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


@contextlib.contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """The system's own limit, as `ulimit -f` sets it; Python ignores the signal that comes with it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_quota_spares_the_last_good_checkpoint(tmp_path: Path, tiny_model: Path) -> None:
    # A disk that is really full is in test_disk.py; here every file fails in turn.
    trained = fresh(tiny_model)
    one_update(trained[0], trained[1])
    good = save_checkpoint(tmp_path, *trained, progress(8), keep=1)
    before = {p.name: p.read_bytes() for p in good.iterdir()}
    sizes = sorted({len(data) for name, data in before.items() if name.endswith(".safetensors")})
    assert len(sizes) >= 3
    for size in sizes:
        with (
            no_file_larger_than(size - 1),
            pytest.raises(
                CheckpointError,
                match=r"limit of the system.*it takes \d.*MB, .* are free there; "
                "the last good checkpoint is .*000000000008",
            ),
        ):
            save_checkpoint(tmp_path, *trained, progress(16), keep=1)
        assert [p.name for p in tmp_path.iterdir()] == [good.name]
        assert {p.name: p.read_bytes() for p in good.iterdir()} == before
    save_checkpoint(tmp_path, *trained, progress(16), keep=1)
    assert [p.name for p in tmp_path.iterdir()] == ["000000000016"]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A checkpoint that tests spoil and mend again."""
    trained = fresh(tiny_model)
    one_update(trained[0], trained[1])
    return save_checkpoint(tmp_path_factory.mktemp("sealed"), *trained, progress(8), keep=1)


@given(st.data())
def test_any_flipped_bit_is_noticed_and_the_file_is_named(sealed: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(sealed.iterdir())))
    whole = path.read_bytes()
    place, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    spoilt = bytearray(whole)
    spoilt[place] ^= 1 << bit
    assert damage(sealed) == []
    try:
        path.write_bytes(spoilt)
        problems = damage(sealed)
        assert problems
        assert path.name == INDEX or path.name in problems[0]
    finally:
        path.write_bytes(whole)


@given(st.data())
def test_what_is_lost_or_cut_off_is_named(sealed: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(sealed.iterdir())))
    whole = path.read_bytes()
    kept = data.draw(st.none() | st.integers(0, len(whole) - 1))
    try:
        path.unlink() if kept is None else path.write_bytes(whole[:kept])
        assert path.name in damage(sealed)[0]
    finally:
        path.write_bytes(whole)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["format", "files", "state.json", "bytes", "blake2b", "../x"]), inner
        )
    ),
    max_leaves=6,
)


@given(junk.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=30))
@example(b"[" * 100_000)
@example(b'{"format": 1, "files": {"../../x": {"bytes": 1, "blake2b": "00"}}}')
@example(b'{"format": 3, "samples_seen": 8}')
def test_whatever_stands_in_its_json_there_is_a_message(sealed: Path, content: bytes) -> None:
    for name in (INDEX, "state.json"):
        whole = (sealed / name).read_bytes()
        try:
            (sealed / name).write_bytes(content)
            assert damage(sealed)
            if name == "state.json":
                with pytest.raises(CheckpointError):
                    read_progress(sealed)
        finally:
            (sealed / name).write_bytes(whole)


def test_a_checkpoint_under_the_name_of_another_is_not_taken_for_it(tmp_path: Path, tiny_model: Path) -> None:
    """Regression: the run went on from the older one, and could then not write the one that was there."""
    trained = fresh(tiny_model)
    for samples in (8, 16):
        save_checkpoint(tmp_path, *trained, progress(samples), keep=3)
    (tmp_path / "000000000016").rename(tmp_path / "000000000024")
    said: list[str] = []
    assert newest_good(tmp_path, said.append) == tmp_path / "000000000008"
    assert "000000000024 is damaged: it was made after 16 samples, and renamed" in said[0]


def test_of_a_damaged_checkpoint_the_one_before_is_used_and_said(tmp_path: Path, tiny_model: Path) -> None:
    trained = fresh(tiny_model)
    assert newest_good(tmp_path / "none", print) is None
    for samples in (8, 16, 24):
        save_checkpoint(tmp_path, *trained, progress(samples), keep=3)
    (tmp_path / "000000000024" / "unet.safetensors").unlink()
    spoilt = tmp_path / "000000000016" / "optimizer.safetensors"
    spoilt.write_bytes(spoilt.read_bytes()[:-1] + b"?")
    said: list[str] = []
    assert newest_good(tmp_path, said.append) == tmp_path / "000000000008"
    assert len(said) == 2
    assert "000000000024 is damaged: unet.safetensors is missing; going on from 000000000008" in said[0]
    assert "000000000016 is damaged: optimizer.safetensors is not as it was written" in said[1]
    # They are out of the way of those to come, and none of them is lost.
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "000000000008",
        "000000000016.damaged",
        "000000000024.damaged",
    ]
    save_checkpoint(tmp_path, *trained, progress(16), keep=3)
    (tmp_path / "000000000016" / "state.json").write_text("{}")
    said.clear()
    assert newest_good(tmp_path, said.append) == tmp_path / "000000000008"
    assert (tmp_path / "000000000016.damaged2").is_dir()
    # The last one too: no run begins anew by itself.
    (tmp_path / "000000000008" / INDEX).unlink()
    with pytest.raises(
        CheckpointError, match=r"no checkpoint in .* is whole:\n  000000000008: whole.json is miss"
    ):
        newest_good(tmp_path, said.append)
    assert (tmp_path / "000000000008").is_dir()


@given(
    st.lists(st.integers(1, 400), unique=True, min_size=1, max_size=40).map(sorted),
    st.integers(1, 5),
    st.integers(0, 120),
)
def test_the_newest_stay_and_one_behind_every_multiple(made: list[int], keep: int, every: int) -> None:
    there: list[Path] = []
    for samples in made:
        there.append(Path(f"{samples:012d}"))
        there = [path for path in there if path not in superfluous(there, keep, every)]
    first: dict[int, int] = {}
    for samples in made if every else []:
        if samples >= every:
            first.setdefault(samples // every, samples)
    assert [int(path.name) for path in there] == sorted({*made[-keep:], *first.values()})


dtypes = st.sampled_from(
    [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
)
kinds = st.dictionaries(
    st.text("ab/", min_size=1, max_size=4),
    st.tuples(dtypes, st.lists(st.integers(0, 3), max_size=3)),
    max_size=6,
)


@given(kinds)
@example({"a": (torch.uint8, [3]), "b": (torch.float32, [2])})
def test_tensors_of_any_kind_survive_the_way_through_a_file(
    tmp_path_factory: pytest.TempPathFactory, kinds: dict[str, tuple[torch.dtype, list[int]]]
) -> None:
    tensors = {
        name: (torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 100).to(dtype)
        for name, (dtype, shape) in kinds.items()
    }
    path = tmp_path_factory.mktemp("tensors") / "some.safetensors"
    write_tensors(path, tensors)
    found = load_file(path)
    assert found.keys() == tensors.keys()
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    for name, tensor in tensors.items():
        # Not every reader copes with a tensor that does not begin at a multiple of its elements' size.
        assert header[name]["data_offsets"][0] % tensor.element_size() == 0
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
