"""Drawing the next token: of the wanted distribution, and a function of the row's seed alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainkit.captioning.drawing import DrawToken, drawn, likely, penalised
from trainkit.captioning.sampling import Sampling

SCORES = torch.log(torch.tensor([0.4, 0.3, 0.2, 0.1]))


@given(
    logits=st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=30),
    temperature=st.floats(0.05, 5),
    top_p=st.floats(0.01, 1),
    top_k=st.none() | st.integers(1, 40),
    uniform=st.floats(0, 1, exclude_max=True, width=32),
)
def test_a_token_is_drawn_only_from_what_is_left(
    logits: list[float], temperature: float, top_p: float, top_k: int | None, uniform: float
) -> None:
    sampling = Sampling(temperature=temperature, top_p=top_p, top_k=top_k)
    chances = likely(torch.tensor([logits]), sampling)
    token = int(drawn(chances, torch.tensor([uniform])))
    assert chances[0, token] > 0
    # One of the likeliest is left; at the temperature two that differ by 1e-45 are of one chance.
    whole = likely(torch.tensor([logits]), Sampling(temperature=temperature))
    assert whole[chances > 0].max() == whole.max()


def test_top_k_and_top_p_keep_the_likeliest() -> None:
    kept = likely(SCORES[None], Sampling(temperature=1, top_k=2))[0] > 0
    assert kept.tolist() == [True, True, False, False]
    kept = likely(SCORES[None], Sampling(temperature=1, top_p=0.75))[0] > 0
    assert kept.tolist() == [True, True, True, False]
    kept = likely(SCORES[None], Sampling(temperature=1, top_p=0.01))[0] > 0
    assert kept.tolist() == [True, False, False, False]


@pytest.mark.statistics
def test_tokens_come_as_often_as_they_should() -> None:
    """20,000 seeded draws: a share is off by 5 sigma in one of 1.7 million such tests for each token."""
    chances = likely(SCORES.expand(20_000, 4), Sampling(temperature=1))
    uniform = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    share = torch.bincount(drawn(chances, uniform), minlength=4) / 20_000
    expected = torch.tensor([0.4, 0.3, 0.2, 0.1])
    assert ((share - expected).abs() < 5 * (expected * (1 - expected) / 20_000).sqrt()).all()


def _run(seeds: list[int], steps: int = 6) -> list[list[int]]:
    draw = DrawToken(seeds, Sampling(temperature=1, max_new_tokens=steps))
    ids = torch.zeros(len(seeds), 3, dtype=torch.long)
    for _ in range(steps):
        token = draw(ids, SCORES.expand(len(seeds), 4)).argmax(dim=-1, keepdim=True)
        ids = torch.cat([ids, token], dim=1)
    return ids[:, 3:].tolist()


@given(seeds=st.lists(st.integers(0, 2**64), min_size=1, max_size=5))
def test_a_rows_draws_depend_on_its_seed_alone(seeds: list[int]) -> None:
    assert _run(seeds) == [row for seed in seeds for row in _run([seed])]


def test_seeds_differ() -> None:
    assert len({tuple(row) for row in _run(list(range(20)), steps=12)}) > 15


def test_what_was_written_is_penalised_and_the_prompt_is_not() -> None:
    draw = DrawToken([0], Sampling(repetition_penalty=2.0))
    scores = torch.tensor([[3.0, 2.9, -1.0]])
    assert draw(torch.tensor([[0]]), scores).tolist() == scores.tolist()
    after = draw(torch.tensor([[0, 0, 2]]), scores)
    assert after[0].tolist() == pytest.approx([1.5, 2.9, -2.0])
    assert penalised(scores, torch.zeros(1, 0, dtype=torch.long), 2.0) is scores


def test_a_row_without_numbers_is_named() -> None:
    draw = DrawToken([0, 1], Sampling(temperature=1))
    draw(torch.zeros(2, 1, dtype=torch.long), torch.tensor([[0.0, 1.0], [float("nan"), 1.0]]))
    draw(torch.zeros(2, 2, dtype=torch.long), torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    assert draw.broken == [1]
