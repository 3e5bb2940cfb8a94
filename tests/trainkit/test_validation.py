"""Validation: who is held out, which texts are measured, and that only the weights move the numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from captionkit import CaptionPipeline, Prose, Record, Renderer, parse_tags, preset
from trainkit.buckets import Size
from trainkit.draws import generator
from trainkit.errors import PictureError, TrainkitError
from trainkit.keys import keys_of
from trainkit.latents import Moments
from trainkit.loss import ObjectiveConfig
from trainkit.models import Model, ModelConfig, load_model
from trainkit.schedule import ScheduleConfig, make_schedule
from trainkit.text import TextConfig, Tokens
from trainkit.validation import (
    TextResult,
    ValidationConfig,
    Validator,
    evaluating,
    fixed_text,
    held_out,
    validation_timesteps,
)

SD15 = make_schedule(ScheduleConfig())
PLAIN = make_schedule(ScheduleConfig(zero_terminal_snr=False))
BUCKETS: tuple[Size, ...] = ((64, 64), (96, 48), (64, 64), (96, 48), (64, 64))
LONG = ", ".join(f"long tag number {i}" for i in range(9))
RECORDS = (
    Record("a", parse_tags("red_fox, solo"), (Prose("A red fox runs."), Prose("Another one."))),
    Record("b", parse_tags("forest, day"), (Prose("A forest."),)),
    Record("c", parse_tags("snow")),
    Record("d", (), (Prose("Only words."),)),
    Record("e", parse_tags(LONG), (Prose("A long one."),)),
)

ids = st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=60, unique=True)


def chosen(names: list[str], share: float, seed: int = 0) -> set[str]:
    """The names that are held out; none or all of them is an error of its own."""
    try:
        apart = held_out(keys_of(map(str.encode, names)), ValidationConfig(share=share, seed=seed))
        return {name for name, out in zip(names, apart, strict=True) if out}
    except TrainkitError as error:
        return set() if "holds out 0 of" in str(error) else set(names)


@given(ids, ids, st.floats(0.05, 0.95), st.integers(0, 5), st.randoms())
def test_no_picture_changes_sides_when_others_come(
    names: list[str], more: list[str], share: float, seed: int, random: Any
) -> None:
    together = list(dict.fromkeys([*names, *more]))
    random.shuffle(together)
    assert chosen(together, share, seed) & set(names) == chosen(names, share, seed)


@given(ids, st.floats(0.05, 0.5), st.floats(0.5, 0.95))
def test_a_larger_share_holds_out_those_of_a_smaller(names: list[str], small: float, large: float) -> None:
    assert chosen(names, small) <= chosen(names, large)


@pytest.mark.statistics
def test_the_share_is_the_share() -> None:
    # 20000 ids at 5 %: 1000 expected, standard deviation 30.8; 5 of them once in 10^6 seeds.
    keys = keys_of(f"pictures/{i:05d}.png".encode() for i in range(20000))
    assert abs(held_out(keys, ValidationConfig(share=0.05)).sum() - 1000) < 154


def test_nothing_is_held_out_unless_asked() -> None:
    assert not held_out(keys_of([b"a", b"b"]), ValidationConfig()).any()


def test_none_or_all_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(TrainkitError, match=r"validation\.share = 1e-09 holds out 0 of 2 pictures.*another"):
        held_out(keys_of([b"a", b"b"]), ValidationConfig(share=1e-9))
    with pytest.raises(TrainkitError, match="holds out 2 of 2"):
        held_out(keys_of([b"a", b"b"]), ValidationConfig(share=1 - 1e-9))


@given(st.integers(2, 50), st.integers(50, 2000))
def test_timesteps_are_even_and_end_with_the_last(count: int, steps: int) -> None:
    found = validation_timesteps(ValidationConfig(timesteps=count), steps)
    assert len(found) == count
    assert found[-1] == steps - 1
    gaps = torch.tensor([-1, *found]).diff()
    assert (gaps >= steps // count).all()
    assert (gaps <= -(-steps // count)).all()


def test_timesteps_of_the_default() -> None:
    assert validation_timesteps(ValidationConfig(), 1000) == tuple(range(99, 1000, 100))
    with pytest.raises(TrainkitError, match=r"validation\.timesteps is 10, at most .* = 4"):
        validation_timesteps(ValidationConfig(), 4)


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"share": 1}, "share"),
        ({"timesteps": 1}, "timesteps"),
        ({"timesteps": 51}, "timesteps"),
        ({"texts": ()}, "texts"),
        ({"texts": ("tags", "tags")}, "at most once"),
    ],
)
def test_nonsense_is_refused(settings: dict[str, Any], place: str) -> None:
    with pytest.raises(ValidationError, match=place):
        ValidationConfig.model_validate(settings)


def test_fixed_texts() -> None:
    pipeline = preset("hyperfusion")
    fox, _, snow, words, _ = RECORDS
    assert [fixed_text(fox, kind, pipeline) for kind in ("tags", "prose", "both", "empty")] == [
        "red fox, solo",
        "A red fox runs.",
        "red fox, solo, A red fox runs.",
        "",
    ]
    assert [fixed_text(snow, kind, pipeline) for kind in ("tags", "prose", "both", "empty")] == [
        "snow",
        None,
        None,
        "",
    ]
    assert fixed_text(words, "tags", pipeline) is None
    assert fixed_text(words, "both", pipeline) is None


def test_fixed_texts_are_cleaned_as_the_recipe_says() -> None:
    record = Record("x", parse_tags("fox"), (Prose("The image showcases a fox in the snow."),))
    assert fixed_text(record, "prose", CaptionPipeline()) == "The image showcases a fox in the snow."
    cleaned = fixed_text(record, "prose", preset("hyperfusion"))
    assert cleaned is not None
    assert "image" not in cleaned
    assert "fox" in cleaned


def test_fixed_texts_stay_within_the_budget() -> None:
    pipeline = CaptionPipeline(text=Renderer(max_tokens=12))
    text = fixed_text(RECORDS[4], "tags", pipeline)
    assert text is not None
    assert LONG.startswith(text)
    assert 0 < len(text) < len(LONG)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Model:
    return load_model(ModelConfig(base=tiny_model), TextConfig(max_tokens=150))


def moments(i: int) -> Moments:
    """Latents of held-out picture ``i``, as an encoder would give them."""
    width, height = BUCKETS[i]
    rng = generator(0, "test latents", i)
    shape = (4, height // 8, width // 8)
    return torch.randn(shape, generator=rng) * 5, torch.rand(shape, generator=rng) * 0.1


def only(i: int) -> Callable[[int], Moments]:
    """The latents of picture ``i`` for a validator that holds no other."""
    return lambda _: moments(i)


def validator_for(model: Model, **changes: Any) -> Validator:
    tokens = Tokens(model.tokenizer, 150)
    validator = Validator(
        config=ValidationConfig(timesteps=4, batch=2),
        schedule=SD15,
        objective=ObjectiveConfig(),
        pipeline=preset("hyperfusion").with_counter(tokens.count),
        tokens=tokens,
        records=RECORDS,
        buckets=BUCKETS,
        moments=moments,
        scaling_factor=model.scaling_factor,
        device=torch.device("cpu"),
    )
    return replace(validator, **changes)


def close(one: dict[Any, TextResult], other: dict[Any, TextResult]) -> bool:
    """The same up to the order of floating point sums."""
    return one.keys() == other.keys() and all(
        one[kind]["pictures"] == other[kind]["pictures"]
        and one[kind]["bins"] == pytest.approx(other[kind]["bins"], rel=1e-4)
        and one[kind]["mean"] == pytest.approx(other[kind]["mean"], rel=1e-4)
        for kind in one
    )


def test_what_is_measured(model: Model) -> None:
    found = validator_for(model).measure(model.denoiser)
    assert list(found) == ["tags", "prose", "both", "empty"]
    assert {kind: result["pictures"] for kind, result in found.items()} == {
        "tags": 4,
        "prose": 4,
        "both": 3,
        "empty": 5,
    }
    for result in found.values():
        assert list(result["bins"]) == [249, 499, 749, 999]
        assert result["mean"] == pytest.approx(sum(result["bins"].values()) / 4, rel=1e-5)
        assert result["x0_last"] == result["bins"][999]  # v = -x0 there.
    # Other texts, other numbers: on a model of random weights they differ, if little.
    assert found["tags"]["bins"][999] != found["prose"]["bins"][999]


def test_a_second_measurement_is_the_first(model: Model) -> None:
    first = validator_for(model).measure(model.denoiser)
    torch.manual_seed(12345)
    assert validator_for(model).measure(model.denoiser) == first
    other_seed = validator_for(model, config=ValidationConfig(timesteps=4, batch=2, seed=1))
    assert other_seed.measure(model.denoiser) != first


def test_the_number_of_processes_does_not_matter(model: Model) -> None:
    alone = validator_for(model).measure(model.denoiser)
    shares: list[Tensor] = []

    def keep(sums: Tensor) -> Tensor:
        shares.append(sums)
        return sums

    validator_for(model, rank=1, world=2).measure(model.denoiser, keep)
    assert shares[0][:, -1].tolist() == [1, 2, 1, 2]  # Pictures b and d.
    both = validator_for(model, rank=0, world=2).measure(model.denoiser, lambda sums: sums + shares[0])
    assert close(both, alone)


@pytest.mark.parametrize("batch", [1, 5])
def test_the_batch_does_not_matter(model: Model, batch: int) -> None:
    config = ValidationConfig(timesteps=4, batch=batch)
    assert close(
        validator_for(model, config=config).measure(model.denoiser),
        validator_for(model).measure(model.denoiser),
    )


def test_a_picture_counts_the_same_whoever_else_is_there(model: Model) -> None:
    config = ValidationConfig(timesteps=3, texts=("tags",))
    alone = []
    for i in (0, 1, 2, 4):
        single = validator_for(
            model, config=config, records=RECORDS[i : i + 1], buckets=BUCKETS[i : i + 1], moments=only(i)
        )
        alone.append(single.measure(model.denoiser)["tags"]["mean"])
    whole = validator_for(model, config=config).measure(model.denoiser)["tags"]["mean"]
    assert whole == pytest.approx(sum(alone) / 4, rel=1e-4)


def test_the_model_is_left_as_it_was(model: Model) -> None:
    denoiser = model.denoiser
    denoiser.train()
    denoiser.text_encoder.eval()
    modes = {name: part.training for name, part in denoiser.named_modules()}
    before = {name: value.clone() for name, value in denoiser.state_dict().items()}
    state = torch.get_rng_state()
    validator_for(model).measure(denoiser)
    assert torch.equal(torch.get_rng_state(), state)
    assert {name: part.training for name, part in denoiser.named_modules()} == modes
    assert set(modes.values()) == {True, False}
    assert all(torch.equal(value, before[name]) for name, value in denoiser.state_dict().items())
    assert all(p.grad is None for p in denoiser.parameters())


def test_modes_are_restored_after_an_error() -> None:
    module = nn.Sequential(nn.Dropout(), nn.Linear(1, 1).eval())

    def fail() -> None:
        with evaluating(module):
            assert not module[0].training
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [part.training for part in module] == [True, False]


class Answers(nn.Module):
    """A network that answers with its input times one number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x_t: Tensor, t_B: Tensor, ids: Tensor) -> Tensor:
        return x_t * self.factor


def test_losses_by_hand(model: Model) -> None:
    # An answer of zero: the loss is the mean square of v = alpha eps - sigma x0, in the end of x0 alone.
    config = ValidationConfig(timesteps=2, texts=("empty",))
    validator = validator_for(model, config=config, records=RECORDS[:1], buckets=BUCKETS[:1])
    result = validator.measure(Answers(0.0))["empty"]
    mean, std = moments(0)
    eps_vae = torch.randn(mean.shape, generator=generator(0, "validation vae/a"))
    x0 = (mean + std * eps_vae) * model.scaling_factor
    eps = torch.randn(mean.shape, generator=generator(0, "validation noise/a", 0))
    v = SD15.alpha[499] * eps - SD15.sigma[499] * x0
    assert result["bins"][499] == pytest.approx(v.square().mean().item(), rel=1e-5)
    assert result["bins"][999] == pytest.approx(x0.square().mean().item(), rel=1e-5)


def test_epsilon_models_are_measured_by_their_epsilon_loss(model: Model) -> None:
    # The answer is the input over sigma: the error is alpha x0 / sigma, and through x0 it is x0 itself.
    config = ValidationConfig(timesteps=2, texts=("empty",))
    objective = ObjectiveConfig(prediction="epsilon")
    validator = validator_for(
        model, config=config, objective=objective, schedule=PLAIN, records=RECORDS[:1], buckets=BUCKETS[:1]
    )
    result = validator.measure(Answers(1 / float(PLAIN.sigma[999])))["empty"]
    mean, std = moments(0)
    x0 = (
        mean + std * torch.randn(mean.shape, generator=generator(0, "validation vae/a"))
    ) * model.scaling_factor
    power = x0.square().mean().item()
    assert result["bins"][999] == pytest.approx(power * float(PLAIN.snr[999]), rel=1e-3)
    assert result["x0_last"] == pytest.approx(power, rel=1e-3)


def test_x0_loss_of_a_v_model_without_zero_snr(model: Model) -> None:
    config = ValidationConfig(timesteps=2, texts=("empty",))
    result = validator_for(model, config=config, schedule=PLAIN).measure(model.denoiser)["empty"]
    assert result["x0_last"] == pytest.approx(result["bins"][999] / (float(PLAIN.snr[999]) + 1), rel=1e-5)


def test_a_picture_that_cannot_be_read_any_more_does_not_count(model: Model) -> None:
    def some(i: int) -> Moments:
        if i == 1:
            raise PictureError("b", "no such file")
        return moments(i)

    found = validator_for(model, moments=some).measure(model.denoiser)
    assert {kind: result["pictures"] for kind, result in found.items()} == {
        "tags": 3,
        "prose": 3,
        "both": 2,
        "empty": 4,
    }


def test_kinds_of_text_that_nobody_has_are_left_out(model: Model) -> None:
    found = validator_for(model, records=(RECORDS[2],), buckets=((64, 64),)).measure(model.denoiser)
    assert list(found) == ["tags", "empty"]
