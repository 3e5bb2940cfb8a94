"""The implication graph: closure, cycles, the CSV's faults, the figures of the real file."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import pytest
from hypothesis import given

from captionkit import ImplicationGraph, ImplicationsError, parse_tags, read_implications
from captionkit.testing import implication_graphs

HEADER = "id,antecedent_name,consequent_name,created_at,status\n"


@given(implication_graphs())
def test_closure_is_transitive_and_has_no_cycle(graph: ImplicationGraph) -> None:
    for name in graph.edges():
        implied = graph.implied_by(name)
        assert name not in implied
        assert all(graph.implied_by(other) <= implied for other in implied)


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


def test_implied_among_sees_through_gaps_and_spelling() -> None:
    graph = ImplicationGraph({"red_fox": ["fox"], "fox": ["canine"]})
    assert graph.implied_among(parse_tags("Red Fox, canine")) == {"fox", "canine"}
    assert graph.implied_among(parse_tags("canine")) == frozenset()


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ({"a": ["a"]}, "'a' implies itself (remove this row)"),
        ({"A_b": ["a b"]}, "'a b' implies itself (remove this row)"),
        (
            {"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]},
            "implications run in a cycle: 'a' -> 'b' -> 'c' -> 'a' (remove one)",
        ),
        ({"a": "b"}, "'a' must have a list of tags, got 'b' (['b'])"),
    ],
)
def test_what_is_no_graph(edges: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ImplicationsError) as caught:
        ImplicationGraph(edges)
    text = str(caught.value)
    if "cycle" in message:  # Where the cycle is entered is not promised, only that it is named whole.
        assert sorted(text) == sorted(message)
    else:
        assert text == message


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


def test_the_real_file(shared: Path) -> None:
    graph = read_implications(shared / "data/e621/tag_implications-2025-06-30.csv.gz")
    assert (graph.num_edges, graph.num_pairs) == (53_454, 122_243)
    assert len(graph.implied_by("welsh_sheepdog")) == 9
