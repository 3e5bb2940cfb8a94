"""Draws: the golden table that pins every published seed, the laws of addresses, and the shares they make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from hashlib import shake_128
from itertools import permutations
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import CaptionkitError, CaptionPipeline, Draws, Record, parse_tags, preset
from captionkit.draws import pick
from captionkit.policies import DropTags, EmptyCaption, ShuffleTags

# A published seed is a promise. If this table changes, every caption ever drawn changes: raise the version in
# draws.py, say so in the changelog, and only then write down the new numbers.
GOLDEN = {
    (0, 0, 0, "a", "x"): [0.08314612810148148, 0.4546483270887228, 0.9887632525578789],
    (0, 0, 1, "a", "x"): [0.8236132029420089, 0.0880083744275112, 0.6509157457178045],
    (0, 1, 0, "a", "x"): [0.05579436552303152, 0.7738854864205438, 0.608646924092646],
    (1, 0, 0, "a", "x"): [0.5403899130082824, 0.8172764480106245, 0.19243055391778063],
    (-1, 0, 0, "a", "x"): [0.5754977088462285, 0.24115514519617687, 0.8182253587022301],
    (0, 0, 0, "b", "x"): [0.003446733552542103, 0.270265050577574, 0.2922134405115018],
    (0, 0, 0, "a", ""): [0.5761594842705552, 0.6806946040567278, 0.35493901011464724],
    (0, 0, 0, "a", "short prompt/then"): [0.5714596288288264, 0.6503398119099213, 0.22710020143641352],
    (1180591620717411303424, 1000000, 63, "a|b", "in artist#0"): [
        0.9856204907453988,
        0.02200283339944553,
        0.6196297432890229,
    ],
    (0, 0, 0, "写真/ü.png", "drop_tags#0"): [0.3947933846122331, 0.2991506999600756, 0.1117506300080161],
}
RECORD = Record(
    "pictures/0001.png", parse_tags("solo, red_fox, fox, canine, forest, running, day, blue_eyes, grass")
)


def _draws(seed: int, epoch: int, draw: int, record_id: str, address: str) -> Draws:
    return Draws(seed, epoch, draw, record_id).child(address)


def _stream(seed: int, epoch: int, draw: int, record_id: str, address: str, count: int) -> bytes:
    """The layout of an address and its bytes, said once more and plainly."""
    name = record_id.encode("utf-8")
    fields = [b"captionkit 2", b"%d" % seed, b"%d" % epoch, b"%d" % draw, b"%d" % len(name), name]
    return shake_128(b"|".join([*fields, address.encode("utf-8")])).digest(count)


def _plain_numbers(seed: int, epoch: int, draw: int, record_id: str, address: str, count: int) -> list[float]:
    """Eight bytes each, the lowest first; the upper 53 bits are the number."""
    stream = _stream(seed, epoch, draw, record_id, address, 8 * count)
    words = [sum(stream[8 * n + k] << 8 * k for k in range(8)) for n in range(count)]
    return [float(Fraction(word // 2**11, 2**53)) for word in words]


# ------------------------------------------------------------------------------------------- the promise


def test_golden_numbers() -> None:
    assert {key: _draws(*key).randoms(3) for key in GOLDEN} == GOLDEN
    assert {key: _plain_numbers(*key, 3) for key in GOLDEN} == GOLDEN


KEYS = st.tuples(
    st.integers(-9, 99),
    st.integers(0, 99),
    st.integers(0, 99),
    st.text("ab|1é", max_size=4),
    st.text("ab|1/", max_size=4),
)


@given(KEYS, st.integers(0, 20))
def test_numbers_are_those_of_the_layout(key: tuple[int, int, int, str, str], count: int) -> None:
    assert _draws(*key).randoms(count) == _plain_numbers(*key, count)


def test_golden_methods() -> None:
    draws = Draws(7, 0, 0, "a").child("x")
    keys = _plain_sort_keys("x", 10)
    assert draws.shuffle("abcdefghij") == [
        letter for _, letter in sorted(zip(keys, "abcdefghij", strict=True))
    ]
    assert draws.shuffle("abcdefghij") == list("ifejbhadgc")
    assert draws.choice("abcdefghij") == "a"
    assert draws.choice("abc", (1.0, 0.0, 2.0)) == "a"
    assert draws.coins(0.3, 16).hex()[1::2] == "1001001110100111"
    assert [byte < 0.3 * 256 for byte in _stream(7, 0, 0, "a", "x", 16)] == list(
        map(bool, draws.coins(0.3, 16))
    )


def _plain_sort_keys(address: str, count: int) -> list[int]:
    """What a shuffle sorts by: the lower 52 bits of each eight bytes."""
    stream = _stream(7, 0, 0, "a", address, 8 * count)
    return [int.from_bytes(stream[8 * n : 8 * n + 8], "little") % 2**52 for n in range(count)]


def test_golden_captions() -> None:
    pipeline = preset(
        "hyperfusion", important=["solo"], implications={"red fox": ["fox"], "fox": ["canine"]}, seed=3
    )
    assert [(r.text, r.flip) for r in pipeline.render_many(RECORD, 4)] == [
        ("solo, forest, running, red fox, grass, canine, day, blue eyes", False),
        ("solo, grass, day, canine, blue eyes, running, forest, fox, red fox", False),
        ("solo, forest, fox, running, blue eyes, red fox, day", False),
        ("solo, grass, blue eyes, red fox, canine, forest, day, running", False),
    ]


def test_step_addresses_are_as_written_down() -> None:
    trace = preset("hyperfusion").explain(RECORD).trace
    assert sorted(step.address for step in trace) == sorted(
        [
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
    )


# -------------------------------------------------------------------------------------- laws of addresses


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


@given(KEYS, KEYS)
def test_different_addresses_give_different_numbers(
    one: tuple[int, int, int, str, str], other: tuple[int, int, int, str, str]
) -> None:
    # Among all pairs that hypothesis ever tries, two equal numbers of 53 bits do not come by chance.
    assert (_draws(*one).random() == _draws(*other).random()) == (one == other)


@given(KEYS, st.integers(0, 30))
def test_every_method_begins_at_the_beginning(key: tuple[int, int, int, str, str], count: int) -> None:
    draws = _draws(*key)
    numbers = draws.randoms(count + 1)
    draws.shuffle(range(5))
    assert draws.random() == numbers[0]
    assert draws.chance(0.5) == (numbers[0] < 0.5)
    assert draws.choice(range(100)) == int(numbers[0] * 100)
    assert draws.choice("ab", (3.0, 1.0)) == ("a" if numbers[0] < 0.75 else "b")
    assert draws.randoms(count) == numbers[:count]


@given(KEYS)
def test_progress_and_explaining_are_no_part_of_the_address(key: tuple[int, int, int, str, str]) -> None:
    seed, epoch, draw, record_id, address = key
    plain = _draws(*key)
    counted = Draws(seed, epoch, draw, record_id, samples=17).child(address)
    assert (counted.randoms(5), counted.samples, counted.epoch) == (plain.randoms(5), 17, epoch)
    assert counted.child("x").samples == 17
    traced = Draws(seed, epoch, draw, record_id, samples=3).traced().child(address)
    assert (traced.randoms(5), traced.samples, traced.epoch) == (plain.randoms(5), 3, epoch)
    assert (plain.trace, traced.trace, traced.child("x").trace) == (None, [], [])


def test_addresses_are_joined_and_the_trace_keeps_them() -> None:
    draws = Draws(0, 0, 0, "a")
    assert (draws.address, draws.child("x").address, draws.child("x").child("y").address) == ("", "x", "x/y")
    assert draws.child("x").child("y").random() == draws.child("x/y").random()
    assert draws.child("x").traced().address == "x"
    assert draws.child("x").traced().random() == draws.child("x").random()


def test_whoever_asks_for_progress_must_be_told() -> None:
    with pytest.raises(
        CaptionkitError, match=r"follows the samples seen, which nobody gave .*samples=\.\.\."
    ):
        _ = Draws(0, 0, 0, "a").child("x").samples


@pytest.mark.parametrize("place", ["seed", "epoch", "draw", "samples"])
@pytest.mark.parametrize("value", [1.0, "1", None, 1.5])
def test_a_place_that_is_no_whole_number_is_an_error(place: str, value: object) -> None:
    places: dict[str, object] = {"seed": 0, "epoch": 0, "draw": 0, "samples": 0, place: value}
    if place == "samples" and value is None:
        return  # Nobody said: allowed until somebody asks.
    with pytest.raises(CaptionkitError, match=f"{place} must be a whole number, got "):
        Draws(record_id="a", **places)  # type: ignore[arg-type]
    assert Draws(True, 0, 0, "a").random() == Draws(1, 0, 0, "a").random()


def test_notes_are_kept_where_somebody_wants_them() -> None:
    plain, told = Draws(0, 0, 0, "a").child("x"), Draws(0, 0, 0, "a").traced().child("x")
    for draws in (plain, told):
        draws.note("because")
        draws.chance(0.25)
    assert not plain.notes
    drawn = told.random()
    assert told.notes == ["because", f"drew {drawn:.3f}, {'below' if drawn < 0.25 else 'not below'} 0.25"]


# ---------------------------------------------------------------------------------------- shuffle and pick


@given(st.lists(st.integers()), st.integers())
def test_shuffle_is_a_permutation_and_leaves_its_input(items: list[int], seed: int) -> None:
    before = list(items)
    shuffled = Draws(seed, 0, 0, "r").shuffle(items)
    assert Counter(shuffled) == Counter(items)
    assert items == before
    assert shuffled is not items


@pytest.mark.statistics
def test_two_change_places_half_of_the_time() -> None:
    """Within 4.5 standard deviations over 4,000 draws: 7 in a million such tests would fail by chance."""
    root = Draws(0, 0, 0, "a")
    changed = sum(root.child(str(n)).shuffle("ab") == ["b", "a"] for n in range(4000))
    assert abs(changed - 2000) < 4.5 * sqrt(1000)


@pytest.mark.statistics
def test_every_order_of_five_is_as_likely() -> None:
    """Chi-square over all 120 orders, 24,000 draws; 119 degrees of freedom pass 200 once in 200,000 times."""
    root = Draws(0, 0, 0, "a")
    seen = Counter("".join(root.child(str(n)).shuffle("abcde")) for n in range(24_000))
    orders = ["".join(order) for order in permutations("abcde")]
    assert set(seen) == set(orders)
    assert sum((seen[order] - 200) ** 2 / 200 for order in orders) < 200


@pytest.mark.statistics
def test_every_tag_of_forty_comes_to_every_place_as_often() -> None:
    """Chi-square of a 40 x 40 table, 8,000 draws; 1,521 degrees of freedom pass 1,780 once in 200,000."""
    root, table = Draws(1, 0, 0, "a"), Counter[tuple[int, int]]()
    for n in range(8000):
        table.update(enumerate(root.child(str(n)).shuffle(range(40))))
    assert sum((table[row, column] - 200) ** 2 / 200 for row in range(40) for column in range(40)) < 1780


@given(
    st.lists(st.floats(0.0, 9.0), min_size=1, max_size=6).filter(any), st.floats(0.0, 1.0, exclude_max=True)
)
def test_pick_never_takes_weight_zero(weights: list[float], drawn: float) -> None:
    assert weights[pick(range(len(weights)), drawn, weights)] > 0.0


def test_pick_takes_the_item_in_whose_share_the_number_lies() -> None:
    assert [pick("abcd", n / 8) for n in range(8)] == list("aabbccdd")
    assert [pick("abcd", n / 8, (1.0, 0.0, 2.0, 1.0)) for n in range(8)] == list("aaccccdd")
    assert [pick("abc", n / 4, (1 / 64, 1 / 128, 1 / 128)) for n in range(4)] == list("aabc")
    # Here rounding carries the number past the end; the last item has no share.
    assert pick("abcd", 1 - 2**-53, (0.1, 0.3, 0.7, 0.0)) == "c"


# -------------------------------------------------------------------------------------------------- chances


@given(st.integers())
def test_chance_zero_never_and_one_always(seed: int) -> None:
    draws = Draws(seed, 0, 0, "r")
    assert not draws.chance(0.0)
    assert draws.chance(1.0)
    assert draws.coins(0.0, 300) == bytes(300)
    assert draws.coins(1.0, 300) == b"\1" * 300


def test_chance_zero_never_even_where_the_number_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Draws, "_bytes", lambda self, count: bytes(count))
    draws = Draws(0, 0, 0, "a")
    assert (draws.random(), draws.chance(0.0), draws.coins(0.0, 3)) == (0.0, False, bytes(3))
    assert (draws.chance(5e-324), draws.coins(5e-324, 3)) == (True, b"\1\1\1")


CHANCES = [0.0, 1.0, 1 / 256, 0.15, 0.5, 1e-9, 5e-324, 1 / 3, 0.75, 1 - 2**-53, 255 / 256, 2**-8 + 2**-52]


@pytest.mark.parametrize("p", CHANCES)
def test_a_coin_has_exactly_its_chance(p: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over all 256 values of the byte: how many decide for 1, and from which fine number on the last does."""
    fine = [0]

    def known(self: Draws, count: int) -> bytes:
        if self.address.endswith("#fine"):
            return b"".join((word << 11).to_bytes(8, "little") for word in fine * (count // 8))
        return bytes(range(256)) * (count // 256)

    monkeypatch.setattr(Draws, "_bytes", known)
    draws = Draws(0, 0, 0, "a")

    def ones(word: int) -> int:
        fine[0] = word
        coins = draws.coins(p, 512)
        assert coins[:256] == coins[256:]
        assert coins[:256] == b"\1" * sum(coins[:256]) + bytes(256 - sum(coins[:256]))
        return sum(coins[:256])

    whole = int(Fraction(p) * 256)
    rest = Fraction(p) * 256 - whole
    threshold = -(
        -rest * 2**53 // 1
    )  # The first fine number, in units of 2**-53, that is not below the rest.
    assert ones(2**53 - 1) == whole
    assert ones(0) == whole + (rest > 0)
    if 0 < threshold < 2**53:
        assert (ones(threshold - 1), ones(threshold)) == (whole + 1, whole)
    # So the chance is (whole + threshold / 2**53) / 256, which is p to less than 2**-61.
    assert abs(Fraction(whole + Fraction(threshold, 2**53), 256) - Fraction(p)) < Fraction(1, 2**61)


@pytest.mark.statistics
@pytest.mark.parametrize("p", [1 / 256, 0.001, 0.15, 0.3, 0.5, 0.999])
def test_coins_fall_as_often_as_they_should(p: float) -> None:
    """Within 4.5 standard deviations over 200,000 coins: 7 in a million such tests would fail by chance."""
    root = Draws(2, 0, 0, "a")
    ones = sum(sum(root.child(str(n)).coins(p, 400)) for n in range(500))
    assert abs(ones - 200_000 * p) < 4.5 * sqrt(200_000 * p * (1 - p))


@given(KEYS, st.integers(0, 300), st.integers(0, 300), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_more_coins_and_higher_chances_keep_what_fell(
    key: tuple[int, int, int, str, str], count: int, more: int, p: float, q: float
) -> None:
    """The first coins hang on no later ones; and what a low rate leaves out, a higher one leaves out too."""
    draws = _draws(*key)
    low, high = draws.coins(min(p, q), count), draws.coins(max(p, q), count)
    assert draws.coins(max(p, q), count + more)[:count] == high
    assert set(low + high) <= {0, 1}
    assert all(a <= b for a, b in zip(low, high, strict=True))


@pytest.mark.statistics
@pytest.mark.parametrize(
    "pair",
    [
        lambda n: (Draws(0, 0, n, "a").coins(0.5, 2)[0], Draws(0, 0, n, "a").coins(0.5, 2)[1]),
        lambda n: (
            Draws(0, 0, n, "a").child("x").chance(0.5),
            Draws(0, 0, n, "a").child("x/#fine").chance(0.5),
        ),
        lambda n: (Draws(0, 0, n, "a").coins(0.5, 1)[0], Draws(0, 0, n, "b").coins(0.5, 1)[0]),
        lambda n: (Draws(0, 0, n, "a").coins(0.5, 1)[0], Draws(0, 0, n + 1, "a").coins(0.5, 1)[0]),
        lambda n: (
            Draws(0, 0, n, "a").child("x").coins(0.5, 1)[0],
            Draws(0, 0, n, "a").child("y").coins(0.5, 1)[0],
        ),
    ],
    ids=["neighbours", "fine", "records", "draws", "steps"],
)
def test_coins_are_independent(pair: Callable[[int], tuple[int, int]]) -> None:
    """Chi-square of a 2 x 2 table over 8,000 pairs; 3 degrees of freedom pass 27 once in 150,000 times."""
    seen = Counter(pair(n) for n in range(8000))
    assert sum((seen[one, other] - 2000) ** 2 / 2000 for one in (0, 1) for other in (0, 1)) < 27


# ------------------------------------------------------------------------------------------- steps and draws


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
