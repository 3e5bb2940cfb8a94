"""What must not depend on what: draws, records, processes, mirroring, budgets."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captionkit import (
    Caption,
    CaptionPipeline,
    Draws,
    FlipRule,
    ImplicationGraph,
    Prose,
    Record,
    Renderer,
    Tag,
    estimate_tokens,
    parse_tags,
    preset,
)
from captionkit.policies import DropImplied, EmptyCaption
from captionkit.testing import captions, check_processes, implication_graphs, pipelines, records

IMPLIED = {"fox": ["canine"], "canine": ["mammal"]}
PIPELINE = preset("hyperfusion", important=["solo"], implications=IMPLIED, no_flip=["text"], max_tokens=20)
RECORDS = tuple(
    Record(
        f"pictures/{index}",
        parse_tags("solo, fox, canine, mammal, tree, snow, day" + (", text" if index % 5 == 0 else "")),
        (Prose("The image shows a fox. It appears to be asleep."),) if index % 2 else (),
    )
    for index in range(60)
)


def _texts(chunk: tuple[Record, ...]) -> list[tuple[str, bool]]:
    drawn = [PIPELINE.render(record, epoch=epoch) for record in chunk for epoch in range(3)]
    return [(rendered.text, rendered.flip) for rendered in drawn]


# ------------------------------------------------------------------------------------------------------ draws

Pair = Callable[[int], tuple[float, float]]


def _number(seed: int, epoch: int, draw: int, id: str, step: str) -> float:
    return Draws(seed, epoch, draw, id).child(step).random()


@pytest.mark.statistics
@pytest.mark.parametrize(
    "pair",
    [
        lambda n: (_number(0, n, 0, "a", "s"), _number(0, n + 1, 0, "a", "s")),
        lambda n: (_number(0, 0, n, "a", "s"), _number(0, 0, n + 1, "a", "s")),
        lambda n: (_number(0, n, 0, "a", "s"), _number(0, 0, n, "a", "s")),
        lambda n: (_number(n, 0, 0, "a", "s"), _number(n + 1, 0, 0, "a", "s")),
        lambda n: (_number(0, 0, 0, f"a{n}", "s"), _number(0, 0, 0, f"b{n}", "s")),
        lambda n: (_number(0, n, 0, "a", "drop_tags#0"), _number(0, n, 0, "a", "drop_tags#1")),
        lambda n: (_number(0, n, 0, "a", "s"), _number(0, n, 0, "a", "s/then")),
        lambda n: tuple(Draws(0, n, 0, "a").randoms(16)[7:9]),
    ],
    ids=["epochs", "draws", "epoch and draw", "seeds", "records", "steps", "inside", "blocks"],
)
def test_neighbouring_draws_are_independent(pair: Pair) -> None:
    """Chi-square of a 4 x 4 table over 8,000 pairs; 9 degrees of freedom pass 35 once in 17,000 times."""
    num_pairs, cells = 8000, [[0] * 4 for _ in range(4)]
    for n in range(num_pairs):
        one, other = pair(n)
        cells[int(one * 4)][int(other * 4)] += 1
    rows = [sum(row) for row in cells]
    columns = [sum(row[c] for row in cells) for c in range(4)]
    expected = [[rows[r] * columns[c] / num_pairs for c in range(4)] for r in range(4)]
    chi = sum((cells[r][c] - expected[r][c]) ** 2 / expected[r][c] for r in range(4) for c in range(4))
    assert chi < 35.0


@pytest.mark.parametrize("place", [1.0, "1", None, 1.5])
def test_an_epoch_that_is_no_whole_number_is_an_error(place: object) -> None:
    """`1.0` once spelt another address than `1`: the same epoch, other captions, and no word about it."""
    with pytest.raises(ValueError, match=r"epoch must be a whole number, got "):
        PIPELINE.render(RECORDS[0], epoch=place)  # type: ignore[arg-type]
    assert PIPELINE.render(RECORDS[0], epoch=True) == PIPELINE.render(RECORDS[0], epoch=1)


# -------------------------------------------------------------------------------------- records and processes


def test_a_record_put_in_between_changes_no_other() -> None:
    more = (*RECORDS[:9], Record("new", RECORDS[0].tags, RECORDS[1].prose), *RECORDS[9:])
    texts = _texts(more)
    assert texts[: 9 * 3] + texts[10 * 3 :] == _texts(RECORDS)


def test_the_order_of_the_records_changes_none() -> None:
    alone = {record.id: _texts((record,)) for record in RECORDS[::7]}
    _texts(RECORDS[::-1])  # Whatever is kept from these must not matter.
    assert {record.id: _texts((record,)) for record in RECORDS[::7]} == alone


def test_one_process_and_four_write_the_same() -> None:
    check_processes(PIPELINE, RECORDS)


# -------------------------------------------------------------------------------------------------- mirroring


@given(records(), pipelines(), pipelines(), st.integers(0, 9))
def test_mirroring_hangs_on_the_record_and_the_rule_alone(
    record: Record, one: CaptionPipeline, other: CaptionPipeline, epoch: int
) -> None:
    same_rule = other.model_copy(update={"flip": one.flip, "seed": one.seed})
    first, second = one.render(record, epoch=epoch), same_rule.render(record, epoch=epoch)
    assert (first.may_flip, first.flip) == (second.may_flip, second.flip)
    assert {one.render(record, epoch=e, draw=2).may_flip for e in range(3)} == {one.may_flip(record)}


@pytest.mark.statistics
def test_mirroring_is_independent_of_the_text() -> None:
    """Chi-square of a 2 x 2 table over 4,000 draws; 1 degree of freedom passes 20 once in 130,000 times."""
    pipeline = CaptionPipeline(steps=(EmptyCaption(p=0.5),), flip=FlipRule(p=0.5))
    record = Record("a", (Tag("fox"),))
    count = {(empty, flip): 0 for empty in (True, False) for flip in (True, False)}
    for epoch in range(4000):
        rendered = pipeline.render(record, epoch=epoch)
        count[not rendered.text, rendered.flip] += 1
    chi = sum((seen - 1000) ** 2 / 1000 for seen in count.values())
    assert chi < 30.0  # 3 degrees of freedom here, since the margins are known.


# ----------------------------------------------------------------------------------------- budgets and losses


@given(
    records(),
    pipelines(),
    st.integers(1, 12),
    st.sampled_from([len, estimate_tokens, lambda t: len(t.split())]),
)
def test_no_text_is_over_the_budget(
    record: Record, pipeline: CaptionPipeline, limit: int, count: Callable[[str], int]
) -> None:
    budget = pipeline.text.model_copy(update={"max_tokens": limit})
    fitted = pipeline.model_copy(update={"text": budget}).with_counter(count)
    assert count(fitted.render(record).text) <= limit


@given(captions(), st.integers(0, 99))
def test_no_dropout_of_the_preset_takes_an_important_tag(caption: Caption, seed: int) -> None:
    steps = [
        step
        for step in PIPELINE.steps
        if step.kind not in ("empty_caption", "choose_source", "clean_captions")
    ]
    after = caption
    for number, step in enumerate(steps):
        after = step.apply(after, Draws(seed, 0, 0, "r").child(str(number)))
    assert caption.important <= {tag.name for tag in after.tags}


@settings(max_examples=60)
@given(captions(), implication_graphs(), st.floats(0.0, 1.0), st.integers(0, 99))
def test_no_tag_leaves_with_its_last_witness_in_any_graph(
    caption: Caption, graph: ImplicationGraph, rate: float, seed: int
) -> None:
    step = DropImplied(implications=graph, rate_range=(rate, rate), spare_important=False)
    kept = {tag.name for tag in step.apply(caption, Draws(seed, 0, 0, "r")).tags}
    for tag in caption.tags:
        if tag.name not in kept:
            said = {" ".join(tag.name.casefold().replace("_", " ").split())}
            assert any(said & graph.implied_by(name) for name in kept), tag.name


def test_records_of_no_tags_of_two_thousand_and_of_odd_ones() -> None:
    odd = ("a, b", "x|y", "(p)", "a\x00b", "a\nb", "\x07", "_", "t1", "t1")
    assert PIPELINE.render(Record("none")).text == ""
    many = Record("many", tuple(Tag(f"t{index}") for index in range(2000)))
    assert estimate_tokens(PIPELINE.render(many, epoch=1).text) <= 20
    text = CaptionPipeline().render(Record("odd", tuple(map(Tag, odd)))).text
    assert (
        text == "a, b, x|y, (p), a b, a b, _, t1"
    )  # One line, no control characters, nothing between commas.
    assert Renderer().text(Caption(prose=(Prose("A\x00fox.\nIt\x1b[31m runs."),))) == "A fox. It [31m runs."
