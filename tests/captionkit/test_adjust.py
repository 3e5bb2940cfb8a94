"""Single settings of a recipe, changed by their address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import CaptionPipeline, Curve, RecipeError, Record, load_pipeline, parse_tags, preset

PRESET = preset("hyperfusion")
RATES = PRESET.rates()


def test_rates_are_found_by_address() -> None:
    assert RATES == {
        "empty_caption#0.p": 0.1,
        "choose_source#0.tags": 0.7,
        "choose_source#0.caption": 0.2,
        "choose_source#0.both": 0.1,
        "choose_source#0.tags_first": 0.5,
        "short prompt.p": 0.05,
        "short prompt/then.rate": 0.75,
        "short prompt/otherwise.rate": 0.15,
        "flip.p": 0.5,
    }


@given(st.sampled_from(sorted(RATES)), st.floats(0, 1))
def test_what_is_set_is_found_again_and_nothing_else_changes(address: str, value: float) -> None:
    # All three weights of the source cannot be 0 at once, which no single change does.
    changed = PRESET.with_settings({address: value})
    assert changed.rates() == RATES | {address: value}
    assert changed.with_settings({address: RATES[address]}) == PRESET


@given(st.sampled_from(sorted(RATES)), st.floats(0, 1), st.integers(0, 50))
def test_other_steps_draw_as_before(address: str, value: float, epoch: int) -> None:
    record = Record("a", parse_tags("fox, forest, running, day, night, solo"))
    if address.startswith(("flip", "empty")):
        # Whether the picture is mirrored, or the caption empty, moves nothing else.
        one, other = (p.render(record, epoch=epoch) for p in (PRESET, PRESET.with_settings({address: value})))
        assert one.text == other.text or "" in (one.text, other.text)


def test_a_curve_and_a_range_are_values_too() -> None:
    curve = {"points": [[0, 0.5], [10, 0.1]]}
    changed = PRESET.with_settings(
        {"empty_caption.p": curve, "drop_implied.rate_range": [0.1, 0.2], "text.max_tokens": 75}
    )
    assert changed.rates()["empty_caption#0.p"] == Curve(points=((0, 0.5), (10, 0.1)))
    assert changed.text.max_tokens == 75


def test_the_counter_stays() -> None:
    pipeline = preset("hyperfusion").with_counter(lambda text: 10**6 if text else 0)
    record = Record("a", parse_tags("fox, forest"))
    assert pipeline.with_settings({"empty_caption.p": 0.0}).render(record).text == ""


def test_steps_inside_others() -> None:
    recipe = {
        "steps": [
            {
                "kind": "sequence",
                "name": "outer",
                "steps": [
                    {"kind": "drop_tags", "rate": 0.1},
                    {"kind": "drop_tags", "rate": 0.2},
                    {"kind": "maybe", "p": 0.5, "then": {"kind": "drop_tags", "rate": 0.3}},
                ],
            }
        ]
    }
    pipeline = load_pipeline(recipe)
    changed = pipeline.with_settings({"outer/drop_tags#1.rate": 0.9, "outer/maybe/then.rate": 0.8})
    assert changed.rates() == {
        "outer/drop_tags#0.rate": 0.1,
        "outer/drop_tags#1.rate": 0.9,
        "outer/maybe#0.p": 0.5,
        "outer/maybe#0/then.rate": 0.8,
        "flip.p": CaptionPipeline().flip.p,
    }
    with pytest.raises(RecipeError, match="2 steps are called 'drop_tags'"):
        pipeline.with_settings({"outer/drop_tags.rate": 0.9})


@pytest.mark.parametrize(
    ("address", "value", "fault"),
    [
        ("empty_captions.p", 0.1, r"no step is called 'empty_captions' \(did you mean 'empty_caption#0'\?\)"),
        ("empty_caption.pp", 0.1, r"there is no field 'pp' \(did you mean 'p'\?\)"),
        ("empty_caption.kind", "x", "there is no field 'kind'"),
        ("empty_caption.p", 2, r"empty_caption\.p: .*less than or equal to 1, got 2"),
        ("empty_caption", 2, "names no setting"),
        (
            "short prompt/els.rate",
            2,
            r"'maybe' holds no policy called 'els' \(known here: 'then', 'otherwise'\)",
        ),
        ("flip.q", 2, "there is no field 'q'"),
    ],
)
def test_mistakes_are_told(address: str, value: object, fault: str) -> None:
    with pytest.raises(RecipeError, match=fault):
        PRESET.with_settings({address: value})
