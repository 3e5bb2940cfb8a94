"""A loop is told from its tokens: what repeats is found, what does not is not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trainkit.captioning.loops import LoopConfig, loop_period

TOKENS = st.lists(st.integers(0, 5), max_size=40)


@given(before=TOKENS, unit=st.lists(st.integers(0, 5), min_size=1, max_size=12), more=st.integers(0, 3))
def test_what_is_repeated_often_enough_is_found(before: list[int], unit: list[int], more: int) -> None:
    loop = LoopConfig(repeats=3, min_tokens=12)
    times = max(3, -(-12 // len(unit))) + more
    period = loop_period([*before, *unit * times], loop)
    assert period is not None
    assert period <= len(unit)


@given(tokens=st.lists(st.integers(0, 3), max_size=60))
def test_a_period_found_is_one(tokens: list[int]) -> None:
    loop = LoopConfig(repeats=3, min_tokens=6, max_period=10)
    period = loop_period(tokens, loop)
    ends = [
        unit
        for unit in range(1, 11)
        if (span := unit * max(3, -(-6 // unit))) <= len(tokens)
        and tokens[-span:] == tokens[-unit:] * (span // unit)
    ]
    assert period == (ends[0] if ends else None)


@given(tokens=st.lists(st.integers(0, 1000), max_size=80, unique=True))
def test_new_tokens_are_no_loop(tokens: list[int]) -> None:
    assert loop_period(tokens, LoopConfig(repeats=2, min_tokens=2)) is None


def test_a_few_repeats_of_a_short_word_are_none() -> None:
    """'very, very, very, very big' is praise, not a loop."""
    assert loop_period([9, 1, 2, 1, 2, 1, 2, 1, 2], LoopConfig()) is None
    assert loop_period([9, *[1, 2] * 16], LoopConfig()) == 2


def test_a_loop_longer_than_looked_for_passes() -> None:
    unit = list(range(20))
    assert loop_period(unit * 5, LoopConfig(max_period=19)) is None
    assert loop_period(unit * 5, LoopConfig(max_period=20)) == 20


def test_it_can_be_switched_off() -> None:
    assert loop_period([1] * 1000, LoopConfig(repeats=0)) is None
