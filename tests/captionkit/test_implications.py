"""The implication graph and the dropout that goes by it: laws, examples, the figures of the real file."""

from __future__ import annotations

import gzip
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from captionkit import (
    Caption,
    Draws,
    ImplicationGraph,
    ImplicationsError,
    RecipeError,
    Tag,
    dump_pipeline,
    load_pipeline,
    parse_tags,
    read_implications,
)
from captionkit.policies import DropImplied
from captionkit.policies.implied import RateFor
from captionkit.record import fold
from captionkit.testing import WORDS, captions, implication_graphs

HEADER = "id,antecedent_name,consequent_name,created_at,status\n"
FOXES = ImplicationGraph({"red_fox": ["fox"], "fox": ["canine"], "canine": ["mammal"]})
EDGES = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(WORDS)), max_size=25)


def grouped(edges: list[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for one, other in edges:
        groups.setdefault(one, []).append(other)
    return groups


def reachable(edges: Mapping[str, list[str]], start: str) -> set[str]:
    """Everything a tag implies, by the plainest of means."""
    reached: set[str] = set()
    while new := {other for name in {start, *reached} for other in edges.get(name, [])} - reached:
        reached |= new
    return reached


# ------------------------------------------------------------------------------------------------------ graph


@given(EDGES)
@example([("a", "b"), ("b", "a")])
def test_a_graph_holds_what_can_be_reached_or_has_a_cycle(edges: list[tuple[str, str]]) -> None:
    folded = grouped([(fold(one), fold(other)) for one, other in edges])
    if any(name in reachable(folded, name) for name in folded):
        with pytest.raises(ImplicationsError, match=r"run in a cycle|implies itself"):
            ImplicationGraph(grouped(edges))
        return
    graph = ImplicationGraph(grouped(edges))
    assert {name: set(graph.implied_by(name)) for name in folded} == {n: reachable(folded, n) for n in folded}
    assert graph.num_pairs == sum(len(reachable(folded, name)) for name in folded)


@given(implication_graphs())
def test_closure_is_transitive_and_has_no_cycle(graph: ImplicationGraph) -> None:
    for name in graph.edges():
        implied = graph.implied_by(name)
        assert name not in implied
        assert all(graph.implied_by(other) <= implied for other in implied)


@given(implication_graphs(), st.data())
def test_the_order_of_the_edges_does_not_matter(graph: ImplicationGraph, data: st.DataObject) -> None:
    edges = [(one, other) for one, others in graph.edges().items() for other in others]
    again = ImplicationGraph(grouped(data.draw(st.permutations(edges))))
    assert again == graph
    assert all(again.implied_by(name) == graph.implied_by(name) for name in graph.tags())


@given(implication_graphs())
def test_graph_comes_back_from_its_edges_and_its_pickle(graph: ImplicationGraph) -> None:
    assert ImplicationGraph(graph.edges()) == graph
    assert pickle.loads(pickle.dumps(graph)) == graph


@given(implication_graphs(), implication_graphs())
def test_more_edges_imply_no_less(one: ImplicationGraph, other: ImplicationGraph) -> None:
    both: dict[str, list[str]] = {name: list(implied) for name, implied in one.edges().items()}
    for name, implied in other.edges().items():
        both.setdefault(name, []).extend(implied)
    try:
        joined = ImplicationGraph(both)
    except ImplicationsError:
        return  # Together they ran in a cycle.
    assert all(one.implied_by(name) <= joined.implied_by(name) for name in one.edges())
    assert all(one.depth(name) <= joined.depth(name) for name in one.tags())


@given(implication_graphs())
def test_depth_is_the_longest_chain(graph: ImplicationGraph) -> None:
    edges = graph.edges()

    def longest(name: str) -> int:
        return max((longest(one) + 1 for one, others in edges.items() if name in others), default=0)

    assert {name: graph.depth(name) for name in graph.tags()} == {n: longest(n) for n in graph.tags()}
    assert all(graph.depth(other) > graph.depth(name) for name in edges for other in graph.implied_by(name))


def test_depth_of_a_tag_beside_the_graph_is_0() -> None:
    assert [FOXES.depth(name) for name in ("Red_Fox", "fox", "MAMMAL", "tree")] == [0, 1, 3, 0]


def test_implied_among_sees_through_gaps_and_spelling() -> None:
    graph = ImplicationGraph({"red_fox": ["fox"], "fox": ["canine"]})
    assert graph.implied_among(parse_tags("Red Fox, canine")) == {"fox", "canine"}
    assert graph.implied_among(parse_tags("canine")) == frozenset()


def test_a_chain_of_any_length_is_no_traceback() -> None:
    graph = ImplicationGraph({f"tag {n}": [f"tag {n + 1}"] for n in range(3000)})
    assert (len(graph.implied_by("tag 0")), graph.depth("tag 3000")) == (3000, 3000)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ({"a": ["a"]}, "'a' implies itself (remove this row)"),
        ({"A_b": ["a b"]}, "'a b' implies itself (remove this row)"),
        (
            {"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"], "0": ["d"], "b2": ["b", "e"]},
            "implications run in a cycle: 'a' -> 'b' -> 'c' -> 'a' (remove one)",
        ),
        ({"a": "b"}, "'a' must have a list of tags, got 'b' (['b'])"),
        ({"": []}, "a tag's name must be text and not empty, got ''"),
    ],
)
def test_what_is_no_graph(edges: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ImplicationsError) as caught:
        ImplicationGraph(edges)
    assert str(caught.value) == message


# ------------------------------------------------------------------------------------------------ reading it


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "id,antecedent_name\n1,a\n",
            "column consequent_name, status is missing; the file has: id, antecedent_name",
        ),
        ("", "column antecedent_name, consequent_name, status is missing; the file has: nothing"),
        (HEADER + "1,a,,,active\n", ":2: a name is empty: 'a' implies ''"),
        (HEADER + "1,a,b,,active\n2,b,a,,active\n", "implications run in a cycle"),
        (HEADER, "has no active row, nor any other"),
        # It was read as an empty graph, and the dropout did nothing.
        (HEADER + "1,a,b,,deleted\n2,b,a,,deleted\n3,c,d,,pending\n", "no active row: 2 deleted, 1 pending"),
    ],
)
def test_what_is_no_file(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "implications.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ImplicationsError) as caught:
        read_implications(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_file_and_wrong_encoding_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImplicationsError, match=r"no\.csv: cannot read the implications: No such file"):
        read_implications(tmp_path / "no.csv")
    (tmp_path / "latin.csv").write_bytes(HEADER.encode() + b"1,caf\xe9,b,,active\n")
    with pytest.raises(ImplicationsError, match=r"latin\.csv: cannot be read as CSV"):
        read_implications(tmp_path / "latin.csv")
    (tmp_path / "no.csv.gz").write_bytes(b"this is no gzip file")
    with pytest.raises(ImplicationsError, match=r"no\.csv\.gz: cannot be read as CSV"):
        read_implications(tmp_path / "no.csv.gz")


def test_only_active_rows_count_and_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "implications.csv.gz"
    rows = '1,a,b,,active\n2,b,a,,deleted\n3,"say ""hi""",b,,active\n4,a,c,,pending\n'
    path.write_bytes(gzip.compress((HEADER + rows).encode()))
    graph = read_implications(path)
    assert graph.edges() == {"a": ["b"], 'say "hi"': ["b"]}
    assert read_implications(path) is graph
    path.write_bytes(gzip.compress((HEADER + "1,a,b,,active\n5,b,d,,active\n").encode()))
    assert read_implications(path).implied_by("a") == {"b", "d"}


def test_a_file_that_changed_within_one_tick_of_the_clock_is_read_again(tmp_path: Path) -> None:
    """As long as before and of the same time, it was taken for the same: laws that write one file over and
    over met that where a system keeps times in hundredths of a second."""
    path = tmp_path / "implications.csv"
    for row in ("1,a,b,,active\n", "1,b,a,,active\n"):
        path.write_text(HEADER + row)
        os.utime(path, (1, 1))
        assert read_implications(path).edges() == {row[2]: [row[4]]}


def test_the_real_file(shared: Path) -> None:
    graph = read_implications(shared / "data/e621/tag_implications-2025-06-30.csv.gz")
    assert (graph.num_edges, len(graph.tags()), graph.num_pairs) == (53_454, 46_937, 122_243)
    assert len(graph.implied_by("welsh_sheepdog")) == 9
    assert max(map(graph.depth, graph.tags())) == graph.depth("mammal") == 9


# -------------------------------------------------------------------------------------------------- dropout

RATES = st.one_of(st.just("by depth"), st.sampled_from([0.0, 0.5, 1.0]), st.just((0.2, 0.9)))


@given(captions(), implication_graphs(), RATES, RATES, st.integers(0, 99))
def test_an_implied_tag_never_leaves_with_its_last_witness(
    caption: Caption, graph: ImplicationGraph, rate: Any, other_rate: Any, seed: int
) -> None:
    policy = DropImplied(
        implications=graph,
        rate_range=rate,
        rates=(RateFor(tags=("*fox*", "mammal"), rate=other_rate), RateFor(categories=("species",), rate=1)),
        spare_important=False,
    )
    after = policy.apply(caption, Draws(seed, 0, 0, "r"))
    stay = {tag.name for tag in after.tags}
    assert [tag for tag in caption.tags if tag.name in stay] == list(after.tags)
    for tag in caption.tags:
        if tag.name not in stay:
            assert any(fold(tag.name) in graph.implied_by(name) for name in stay), tag.name


@given(captions(), implication_graphs(), st.integers(0, 99))
def test_at_rate_one_only_what_nothing_implies_stays(
    caption: Caption, graph: ImplicationGraph, seed: int
) -> None:
    policy = DropImplied(implications=graph, rate_range=1.0, spare_important=False)
    implied = graph.implied_among(caption.tags)
    after = policy.apply(caption, Draws(seed, 0, 0, "r"))
    assert [tag for tag in caption.tags if fold(tag.name) not in implied] == list(after.tags)


@given(captions(), st.integers(0, 99))
def test_rates_for_all_tags_are_the_rate(caption: Caption, seed: int) -> None:
    draws = Draws(seed, 0, 0, "r")
    plain = DropImplied(implications=FOXES, rate_range=(0.2, 0.6))
    each = DropImplied(
        implications=FOXES,
        rate_range=1.0,
        rates=(RateFor(tags=("**",), rate=(0.2, 0.6)), RateFor(tags=("fox",), rate=1)),
    )
    assert plain.apply(caption, draws) == each.apply(caption, draws)


def test_the_first_rate_that_covers_a_tag_counts() -> None:
    tags = (
        Tag("red_fox", "species"),
        Tag("Fox", "species"),
        Tag("canine", "general"),
        Tag("mammal", "species"),
    )
    policy = DropImplied(
        implications=FOXES,
        rate_range=0.0,
        rates=(
            RateFor(tags=("fox",), rate=0.0),
            RateFor(categories=("species",), rate=1.0),
            RateFor(tags=("canine",), categories=("species",), rate=1.0),
        ),
    )
    after = policy.apply(Caption(tags), Draws(0, 0, 0, "r"))
    assert [tag.name for tag in after.tags] == ["red_fox", "Fox", "canine"]


@pytest.mark.statistics
def test_by_depth_leaves_out_the_share_of_the_formula() -> None:
    policy = DropImplied(implications=FOXES, rate_range="by depth")
    caption = Caption(parse_tags("red fox, fox, canine, mammal"))
    num = 4000
    left: dict[str, int] = dict.fromkeys(("red fox", "fox", "canine", "mammal"), 0)
    for draw in range(num):
        for tag in policy.apply(caption, Draws(11, 0, draw, "r")).tags:
            left[tag.name] += 1
    assert left.pop("red fox") == num
    # Seeded, so that it passes or fails for good. With fresh draws, three shares each within 4.5 standard
    # deviations: false alarm 2e-5.
    for name, rate in {"fox": 1 / 2, "canine": 2 / 3, "mammal": 3 / 4}.items():
        assert abs(num - left[name] - rate * num) < 4.5 * (num * rate * (1 - rate)) ** 0.5


def test_a_curve_is_followed() -> None:
    policy = load_pipeline(
        {
            "steps": [
                {
                    "kind": "drop_implied",
                    "rate_range": {"points": [[0, 0], [1, 1]]},
                    "implications": FOXES.edges(),
                }
            ]
        }
    ).steps[0]
    caption = Caption(parse_tags("red fox, fox, mammal"))
    assert [len(policy.apply(caption, Draws(0, epoch, 0, "r")).tags) for epoch in (0, 1)] == [3, 1]
    dumped = dump_pipeline(load_pipeline({"steps": [policy]}))
    assert load_pipeline(dumped).steps == (policy,)


def test_explaining_names_the_rate_and_a_witness_that_stays() -> None:
    draws = Draws(0, 0, 0, "r").traced().child("here")
    policy = DropImplied(implications=FOXES, rate_range=1.0)
    policy.apply(Caption(parse_tags("mammal, Fox, red_fox, tree")), draws)
    assert draws.notes == [
        "mammal left out (rate 1.000), implied by red_fox",
        "Fox left out (rate 1.000), implied by red_fox",
    ]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            {"rate_range": "deep"},
            'rate_range (drop_implied): a rate is a number, a range [low, high] or "by depth"',
        ),
        (
            {"rate_range": [0.5, 2]},
            "rate_range[1] (drop_implied): input should be less than or equal to 1, got 2",
        ),
        ({"rates": [{"rate": 0.5}]}, "a rate for which tags? give `tags`, `categories` or both"),
        ({"rates": [{"tags": ["fox"], "rate": [0.9, 0.1]}]}, "the range runs backwards: 0.9 is above 0.1"),
    ],
)
def test_what_is_no_rate(step: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_pipeline({"steps": [{"kind": "drop_implied", **step}]})
    assert message in str(caught.value)


@given(implication_graphs())
def test_a_graph_without_empty_lists_is_written_as_it_was_given(graph: ImplicationGraph) -> None:
    assume(graph.num_edges)
    policy = DropImplied(implications=graph)
    assert dump_pipeline(load_pipeline({"steps": [policy]}))["steps"][0]["implications"] == graph.edges()
