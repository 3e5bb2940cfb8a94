"""Draws: the golden table that pins every published seed, and the laws of addresses."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from captionkit import CaptionPipeline, Draws, DropTags, EmptyCaption, Record, ShuffleTags, parse_tags, preset
from captionkit.draws import pick

# A published seed is a promise. If this table changes, every caption ever drawn changes: raise the version in
# draws.py, say so in the changelog, and only then write down the new numbers.
GOLDEN = {
    (0, 0, 0, "a", "x"): [0.5387150888465708, 0.9286564518041758, 0.2565970683634019],
    (0, 0, 1, "a", "x"): [0.7561647161083052, 0.24746522840290175, 0.2661178076336431],
    (0, 1, 0, "a", "x"): [0.07713361937686336, 0.29127281228392565, 0.16662768364637115],
    (1, 0, 0, "a", "x"): [0.4888593579832994, 0.973292145626185, 0.4356973234723913],
    (-1, 0, 0, "a", "x"): [0.7680475482792956, 0.4123992454308899, 0.18772657856623043],
    (0, 0, 0, "b", "x"): [0.1158954830615252, 0.5480174962822817, 0.28077118999018025],
    (0, 0, 0, "a", "short prompt/then"): [0.18989079954729937, 0.9480511524918683, 0.21455368837594468],
    (0, 0, 0, "写真/ü.png", "drop_tags#0"): [0.060674758503167614, 0.8957818959713696, 0.9612680337096314],
}
RECORD = Record(
    "pictures/0001.png", parse_tags("solo, red_fox, fox, canine, forest, running, day, blue_eyes, grass")
)


def _draws(seed: int, epoch: int, draw: int, record_id: str, address: str) -> Draws:
    return Draws(seed, epoch, draw, record_id).child(address)


def test_golden_numbers() -> None:
    assert {key: _draws(*key).randoms(3) for key in GOLDEN} == GOLDEN


def test_golden_methods() -> None:
    draws = Draws(7, 0, 0, "a").child("x")
    assert draws.shuffle("abcdefghij") == list("hdbfaicjeg")
    assert draws.choice("abcdefghij") == "f"
    assert draws.choice("abc", (1.0, 0.0, 2.0)) == "c"


def test_golden_captions() -> None:
    pipeline = preset(
        "hyperfusion", important=["solo"], implications={"red fox": ["fox"], "fox": ["canine"]}, seed=3
    )
    assert [(r.text, r.flip) for r in pipeline.render_many(RECORD, 4)] == [
        ("solo, fox, forest, day, grass, red fox", False),
        ("", True),
        ("solo, running, day, forest, grass, red fox, blue eyes, canine", True),
        ("solo, running, grass, day, canine, blue eyes", True),
    ]


def test_step_addresses_are_as_written_down() -> None:
    trace = preset("hyperfusion").explain(RECORD).trace
    assert [step.address for step in trace] == [
        "clean_captions#0",
        "mark_important#0",
        "empty_caption#0",
        "choose_source#0",
        "short prompt",
        "short prompt/otherwise",
        "drop_implied#0",
        "important_first#0",
        "#flip",
    ]


@given(
    st.integers(), st.integers(), st.integers(), st.text(max_size=9), st.text(max_size=9), st.integers(0, 40)
)
def test_numbers_are_uniform_units_and_a_prefix_of_more(
    seed: int, epoch: int, draw: int, record_id: str, address: str, count: int
) -> None:
    numbers = _draws(seed, epoch, draw, record_id, address).randoms(count)
    assert len(numbers) == count
    assert all(0.0 <= number < 1.0 for number in numbers)
    assert _draws(seed, epoch, draw, record_id, address).randoms(count + 9)[:count] == numbers


KEYS = st.tuples(
    st.integers(-9, 99),
    st.integers(0, 99),
    st.integers(0, 99),
    st.text("ab|1", max_size=4),
    st.text("ab|1/", max_size=4),
)


@given(KEYS, KEYS)
def test_different_addresses_give_different_numbers(
    one: tuple[int, int, int, str, str], other: tuple[int, int, int, str, str]
) -> None:
    # Among all pairs that hypothesis ever tries, two equal numbers of 53 bits do not come by chance.
    assert (_draws(*one).random() == _draws(*other).random()) == (one == other)


@given(st.lists(st.integers()), st.integers())
def test_shuffle_is_a_permutation_and_leaves_its_input(items: list[int], seed: int) -> None:
    before = list(items)
    assert Counter(Draws(seed, 0, 0, "r").shuffle(items)) == Counter(items)
    assert items == before


@given(
    st.lists(st.floats(0.0, 9.0), min_size=1, max_size=6).filter(any), st.floats(0.0, 1.0, exclude_max=True)
)
def test_pick_never_takes_weight_zero(weights: list[float], drawn: float) -> None:
    assert weights[pick(range(len(weights)), drawn, weights)] > 0.0


@given(st.integers())
def test_chance_zero_never_and_one_always(seed: int) -> None:
    draws = Draws(seed, 0, 0, "r")
    assert not draws.chance(0.0)
    assert draws.chance(1.0)


def _texts(*steps: DropTags | EmptyCaption | ShuffleTags) -> list[str]:
    return [r.text for r in CaptionPipeline(steps=steps).render_many(RECORD, 20)]


def test_a_step_put_before_leaves_the_draws_of_the_others() -> None:
    assert _texts(DropTags(rate=0.0), ShuffleTags()) == _texts(ShuffleTags())
    assert _texts(EmptyCaption(p=0.0), ShuffleTags()) == _texts(ShuffleTags())


def test_a_step_of_the_same_kind_put_before_moves_only_unnamed_ones() -> None:
    assert _texts(DropTags(rate=0.0), DropTags(rate=0.5)) != _texts(DropTags(rate=0.5))
    named = DropTags(rate=0.5, name="mine")
    assert _texts(DropTags(rate=0.0), named) == _texts(named)


def test_another_record_epoch_or_draw_is_another_caption() -> None:
    pipeline = CaptionPipeline(steps=(ShuffleTags(),))
    other = Record("pictures/0002.png", RECORD.tags)
    texts = {
        pipeline.render(RECORD).text,
        pipeline.render(RECORD, epoch=1).text,
        pipeline.render(RECORD, draw=1).text,
        pipeline.render(other).text,
        pipeline.with_seed(1).render(RECORD).text,
    }
    assert len(texts) == 5
