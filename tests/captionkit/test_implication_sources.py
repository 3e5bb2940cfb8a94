"""Implications from real sources: the forms of the exports, aliases, filters, one's own changes, recipes."""

from __future__ import annotations

import gzip
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from captionkit import (
    CaptionkitError,
    ImplicationGraph,
    ImplicationsError,
    RecipeError,
    Record,
    dump_pipeline,
    dump_toml,
    load_pipeline,
    parse_tags,
    read_implications,
)
from captionkit.implications import ImplicationSource, resolve_aliases
from captionkit.implications.audit import audit
from captionkit.implications.build import build_implications, write_implications
from captionkit.implications.exports import read_pairs
from captionkit.policies import RenameTags
from captionkit.record import fold
from captionkit.testing import WORDS, implication_graphs, records

HEADER = "id,antecedent_name,consequent_name,created_at,status\n"
in_a_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def csv_of(*edges: str) -> str:
    """A CSV of edges such as "a b"; a third word is the status."""
    rows = [(*edge.split(), "active")[:3] for edge in edges]
    return HEADER + "".join(f"{n},{one},{other},,{status}\n" for n, (one, other, status) in enumerate(rows))


def lay(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        data = text.encode()
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)


def edges_of(graph: ImplicationGraph) -> set[str]:
    return {f"{one} {other}" for one, others in graph.edges().items() for other in others}


# ------------------------------------------------------------------------------------------- forms of exports

ROWS = [
    {"id": 1, "antecedent_name": "red_fox", "consequent_name": "fox", "created_at": "x", "status": "active"},
    {
        "id": 2,
        "antecedent_name": "fox",
        "consequent_name": 'say "a, b"',
        "created_at": "x",
        "status": "Active ",
    },
    {"id": 3, "antecedent_name": "fox", "consequent_name": "cat", "created_at": None, "status": "deleted"},
]
FORMS = {
    "a.csv": ",".join(ROWS[0])
    + '\n1,red_fox,fox,x,active\n2,fox,"say ""a, b""",x,Active \n\n3,fox,cat,,deleted\n',
    "a.jsonl": "\n".join(json.dumps(row) for row in ROWS) + "\n\n",
    "a.json": json.dumps(ROWS, indent=2),
    "marked.json": "\ufeff" + "\n".join(json.dumps(row) for row in ROWS),
}


@pytest.mark.parametrize("name", [*FORMS, *(f"{name}.gz" for name in FORMS)])
def test_every_form_gives_the_same_pairs(tmp_path: Path, name: str) -> None:
    lay(tmp_path, {name: FORMS[name.removesuffix(".gz")]})
    pairs = read_pairs(tmp_path / name)
    assert pairs.active == (("red_fox", "fox"), ("fox", 'say "a, b"'))
    assert pairs.left_aside == {"deleted": 1}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"antecedent_name": "a",\n', "a.jsonl:1: is not valid JSON: Expecting property name"),
        (
            "a.jsonl",
            '{"id": 1}\n',
            "a.jsonl:1: antecedent_name, consequent_name, status is missing; the object",
        ),
        (
            "a.jsonl",
            "{}\n",
            "a.jsonl:1: antecedent_name, consequent_name, status is missing; the object has: noth",
        ),
        (
            "a.jsonl",
            '\n{"antecedent_name": "a", "consequent_name": null, "status": "active"}',
            ":2: a name is emp",
        ),
        (
            "a.jsonl",
            '{"antecedent_name": "a", "consequent_name": "b", "status": 1}\n3\n',
            ":2: must be an object",
        ),
        ("a.json", "[3]", "a.json[0]: must be an object, got 3"),
        ("a.json", "[", "a.json: is not valid JSON"),
        ("a.json", "[" * 100_000, "a.json: is not valid JSON"),
        ("a.json.gz", "not gzip", "cannot be read as JSON: Not a gzipped file"),
        (
            "a.csv",
            HEADER + '1,"' + "x" * 200_000,
            "a.csv:2: cannot be read as CSV: field larger than field limit",
        ),
    ],
)
def test_what_is_no_export(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_bytes(content.encode())
    with pytest.raises(ImplicationsError) as caught:
        read_pairs(tmp_path / name)
    assert message in str(caught.value)


@in_a_folder
@given(
    st.binary(max_size=300) | st.text(max_size=300).map(str.encode),
    st.sampled_from(["csv", "json", "csv.gz"]),
)
def test_any_bytes_are_read_or_refused(tmp_path: Path, data: bytes, suffix: str) -> None:
    file = tmp_path / f"a.{suffix}"
    file.write_bytes(data)
    for source in (
        {"file": file},
        {"file": tmp_path / "good.csv", "aliases": file},
        {"file": tmp_path / "good.csv", "tags": file, "min_posts": 1},
    ):
        lay(tmp_path, {"good.csv": csv_of("a b")})
        with pytest.raises(ImplicationsError):
            build_implications(ImplicationSource(**source))


@in_a_folder
@given(implication_graphs())
def test_what_is_written_reads_as_it_was(tmp_path: Path, graph: ImplicationGraph) -> None:
    assume(graph.num_edges)
    write_implications(graph, tmp_path / "a.csv")
    assert read_implications(tmp_path / "a.csv") == graph


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImplicationsError, match=r"a\.csv: cannot be written: No such file"):
        write_implications(ImplicationGraph({"a": ["b"]}), tmp_path / "no" / "a.csv")
    with pytest.raises(ImplicationsError, match=r"cannot be written: .*surrogates not allowed"):
        write_implications(ImplicationGraph({"a": ["\ud800"]}), tmp_path / "a.csv")


# ---------------------------------------------------------------------------------------------------- aliases


@given(st.dictionaries(st.sampled_from(WORDS), st.sampled_from(WORDS)))
def test_aliases_lead_to_names_that_are_no_aliases(aliases: dict[str, str]) -> None:
    try:
        resolved = resolve_aliases(aliases.items())
    except CaptionkitError:
        return  # A cycle, or two spellings of one name that lead apart.
    assert resolved.keys() == {fold(name) for name in aliases}
    assert all(fold(new) not in resolved or resolved[fold(new)] == new for new in resolved.values())
    assert resolve_aliases(resolved.items()) == resolved


def test_a_cycle_and_a_contradiction_of_aliases_are_named(tmp_path: Path) -> None:
    lay(
        tmp_path,
        {"a.csv": csv_of("a b", "b c", "c a"), "b.csv": csv_of("a b", "A c"), "i.csv": csv_of("x y")},
    )
    with pytest.raises(ImplicationsError, match=r"a\.csv: aliases run in a cycle: 'a' -> 'b' -> 'c' -> 'a'"):
        read_implications(ImplicationSource(file=tmp_path / "i.csv", aliases=tmp_path / "a.csv"))
    with pytest.raises(
        RecipeError, match=r"aliases \(rename_tags\): .*b\.csv: 'A' has two new names: 'b' and 'c'"
    ):
        load_pipeline({"steps": [{"kind": "rename_tags", "aliases": str(tmp_path / "b.csv")}]})
    with pytest.raises(RecipeError, match="a name must be text: 'a' to 3"):
        load_pipeline({"steps": [{"kind": "rename_tags", "aliases": {"a": 3}}]})


def test_implications_of_aliases_are_those_of_the_tag_and_rename_tags_reads_the_same(tmp_path: Path) -> None:
    files = {
        "i.csv": csv_of("red_fox fox", "vulpes_vulpes fox", "kitsune_old red_fox", "fox foxes", "fox canine"),
        "a.jsonl": "\n".join(
            json.dumps({"antecedent_name": one, "consequent_name": other, "status": "active"})
            for one, other in (("vulpes_vulpes", "vulpes"), ("vulpes", "red_fox"), ("foxes", "fox"))
        ),
    }
    lay(tmp_path, files)
    built = build_implications(ImplicationSource(file=tmp_path / "i.csv", aliases=tmp_path / "a.jsonl"))
    assert edges_of(built.graph) == {"red fox fox", "kitsune old red fox", "fox canine"}
    assert built.num_renamed == 2
    assert {group.reason: group.edges for group in built.left_out} == {
        "named before": (("red fox", "fox"),),
        "from a tag to itself, as aliases resolve": (("fox", "fox"),),
    }
    step = load_pipeline({"steps": [{"kind": "rename_tags", "aliases": str(tmp_path / "a.jsonl")}]}).steps[0]
    assert isinstance(step, RenameTags)
    assert step.aliases["vulpes vulpes"] == "red_fox"


# ---------------------------------------------------------------------------------------------------- filters

TAGS = (
    "artist_x,1,9000,\nfox,5,5000,\ncanine,5,8000,\nred_fox,5,300,\navoid_posting,6,9000,\nhat,0,700,\n"
    'hi,7,1,"high,higher"\n'
)
CHAIN = csv_of("red_fox fox", "fox canine", "artist_x avoid_posting", "artist_x hat", "nobody hat")


def build(folder: Path, **settings: Any) -> set[str]:
    return edges_of(read_implications(ImplicationSource(file=folder / "i.csv", **settings)))


def test_filters_ask_both_ends(tmp_path: Path) -> None:
    lay(tmp_path, {"i.csv": CHAIN, "t.csv": TAGS})
    tags = tmp_path / "t.csv"
    assert build(tmp_path, tags=tags, min_posts=300) == {
        "red fox fox", "fox canine", "artist x avoid posting", "artist x hat",
    }  # fmt: skip
    assert build(tmp_path, tags=tags, min_posts=301) == {
        "fox canine",
        "artist x avoid posting",
        "artist x hat",
    }
    assert build(tmp_path, tags=tags, categories=("species",)) == {"red fox fox", "fox canine"}
    assert build(tmp_path, tags=tags, categories=("artist", "general")) == {"artist x hat"}
    assert build(tmp_path, leave_out=("avoid*", "fox")) == {"artist x hat", "nobody hat"}


@pytest.mark.parametrize("lines", ["Red_fox,5,1,\nred fox,5,9,\n", "red fox,5,9,\nRed_fox,5,1,\n"])
def test_of_two_spellings_the_one_with_more_posts_counts(tmp_path: Path, lines: str) -> None:
    lay(tmp_path, {"i.csv": csv_of("red_fox fox"), "t.csv": lines + "fox,5,9,\n"})
    assert build(tmp_path, tags=tmp_path / "t.csv", min_posts=9) == {"red fox fox"}


def test_without_aliases_a_tag_that_implies_itself_is_an_error(tmp_path: Path) -> None:
    lay(tmp_path, {"i.csv": csv_of("a A", "a b")})
    with pytest.raises(ImplicationsError, match="'a' implies itself"):
        build(tmp_path, leave_out=("x",))


def test_what_was_left_out_is_told_with_its_reason(tmp_path: Path) -> None:
    lay(tmp_path, {"i.csv": CHAIN + "9,p,q,,pending\n", "t.csv": TAGS})
    built = build_implications(
        ImplicationSource(
            file=tmp_path / "i.csv",
            tags=tmp_path / "t.csv",
            categories=("species", "general"),
            leave_out=("avoid_posting",),
            remove={"red fox": ("fox",)},
            add={"wolf": ("canine",), "fox": ("canine",), "red_fox": ("canine",)},
        )
    )
    assert (built.num_active, built.left_aside, built.num_added) == (5, {"pending": 1}, 2)
    assert {group.reason: group.edges for group in built.left_out} == {
        "removed by name (remove)": (("red fox", "fox"),),
        "of a tag that takes no part (leave_out)": (("artist x", "avoid posting"),),
        "not from species or general to species or general (categories)": (("artist x", "hat"),),
        "of a tag that the list of tags lacks": (("nobody", "hat"),),
    }
    assert edges_of(built.graph) == {"wolf canine", "fox canine", "red fox canine"}
    assert built.broken() == [("red fox", "fox")]


@in_a_folder
@given(implication_graphs(), implication_graphs())
def test_what_is_added_and_removed_is_as_it_was(
    tmp_path: Path, graph: ImplicationGraph, other: ImplicationGraph
) -> None:
    """Adding implications that are not there and removing them gives the graph back."""
    new = {
        one: tuple(
            name for name in others if name not in graph.implied_by(one) and one not in graph.implied_by(name)
        )
        for one, others in other.edges().items()
    }
    assume(graph.num_edges)
    write_implications(graph, tmp_path / "i.csv")
    try:
        more = read_implications(ImplicationSource(file=tmp_path / "i.csv", add=new))
    except ImplicationsError:
        return  # Together they ran in a cycle.
    write_implications(more, tmp_path / "more.csv")
    assert read_implications(ImplicationSource(file=tmp_path / "more.csv", remove=new)) == graph


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"remove": {"fox": ("mammal",)}}, "directly, so that it cannot be removed; it implies: 'canine'"),
        ({"leave_out": ("**",)}, "nothing is left of 5: 5 of a tag that takes no part (leave_out)"),
        ({"add": {"canine": ("red_fox",)}}, "implications run in a cycle: 'canine' -> 'red fox' -> 'fox'"),
        ({"tags": "t.csv", "categories": ("specie",)}, "unknown category 'specie'; did you mean 'species'?"),
        ({"tags": "t.csv", "categories": ("meta",), "site": "danbooru"}, "category 6 is none of danbooru's"),
        ({"tags": "few.csv", "categories": ("meta",)}, "category 5 is species on e621 and meta on Danbooru"),
        ({"tags": "bad.csv", "min_posts": 1}, "bad.csv:2: a tag has a name and two whole numbers"),
        ({"tags": "i.csv", "min_posts": 1}, "i.csv: column name, category, post_count is missing"),
        ({"tags": "no.csv", "min_posts": 1}, "no.csv: cannot read the implications: No such file"),
    ],
)  # fmt: skip
def test_what_is_no_source(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    lay(
        tmp_path,
        {"i.csv": CHAIN, "t.csv": TAGS, "few.csv": "fox,5,3,\n", "bad.csv": "fox,5,3,\nhat,zero,1,\n"},
    )
    if "tags" in settings:
        settings = settings | {"tags": tmp_path / settings["tags"]}
    with pytest.raises(ImplicationsError) as caught:
        build(tmp_path, **settings)
    assert message in str(caught.value)


def test_tag_lists_with_a_first_line_and_of_danbooru(tmp_path: Path) -> None:
    lines = [
        {"name": "fox", "category": 0, "post_count": 9},
        {"name": "hi", "category": "5", "post_count": "7"},
    ]
    files = {
        "i.csv": csv_of("fox hi", "a b"),
        "head.csv": "id,name,category,post_count\n1,fox,0,9\n2,hi,5,7\n",
        "t.json": "\n".join(map(json.dumps, lines)),
    }
    lay(tmp_path, files)
    for name in ("head.csv", "t.json"):
        given = {"tags": tmp_path / name, "min_posts": 7, "site": "danbooru"}
        assert build(tmp_path, categories=("general", "meta"), **given) == {"fox hi"}
        with pytest.raises(ImplicationsError, match="nothing is left of 2"):
            build(tmp_path, categories=("general",), **given)


# ---------------------------------------------------------------------------------------------------- recipes


def test_a_source_in_a_recipe_comes_back(tmp_path: Path) -> None:
    lay(tmp_path, {"i.csv.gz": CHAIN, "t.csv": TAGS, "a.csv": csv_of("foxy fox")})
    source = (
        '{file = "i.csv.gz", aliases = "a.csv", tags = "t.csv", min_posts = 300, '
        'leave_out = ["avoid_posting"], add = {wolf = ["canine"]}, remove = {artist_x = ["hat"]}}'
    )
    (tmp_path / "r.toml").write_text(f'[[steps]]\nkind = "drop_implied"\nimplications = {source}\n')
    pipeline = load_pipeline(tmp_path / "r.toml")
    graph = pipeline.steps[0].implications  # type: ignore[attr-defined]
    assert edges_of(graph) == {"red fox fox", "fox canine", "wolf canine"}
    dumped = dump_pipeline(pipeline)
    assert dumped["steps"][0]["implications"] == {
        "file": str(tmp_path / "i.csv.gz"),
        "aliases": str(tmp_path / "a.csv"),
        "tags": str(tmp_path / "t.csv"),
        "min_posts": 300,
        "leave_out": ["avoid_posting"],
        "add": {"wolf": ["canine"]},
        "remove": {"artist_x": ["hat"]},
    }
    assert load_pipeline(dumped) == pipeline
    assert load_pipeline(tomllib.loads(dump_toml(pipeline))) == pipeline
    (tmp_path / "preset.toml").write_text(f'preset = "hyperfusion"\nimplications = {source}\n')
    steps = {step.kind: step for step in load_pipeline(tmp_path / "preset.toml").steps}
    assert steps["drop_implied"].implications is graph  # type: ignore[attr-defined]


def test_a_tag_called_file_is_no_source() -> None:
    recipe = {"steps": [{"kind": "drop_implied", "implications": {"file": ["document"]}}]}
    assert load_pipeline(recipe).steps[0].implications.edges() == {"file": ["document"]}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            {"file": "i.csv", "min_post": 3},
            "steps[0].implications.min_post (drop_implied): unknown key 'min_post'",
        ),
        (
            {"file": "i.csv", "min_posts": 3},
            "min_posts needs `tags`, the list of tags with category and post count",
        ),
        (
            {"file": "i.csv", "min_posts": -1},
            "implications.min_posts (drop_implied): input should be greater than or",
        ),
        (
            {"file": "i.csv", "site": "e926"},
            "implications.site (drop_implied): input should be 'e621' or 'danbooru'",
        ),
    ],
)
def test_faults_of_a_source_have_their_path(source: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_pipeline({"steps": [{"kind": "drop_implied", "implications": source}]})
    assert message in str(caught.value)


# ------------------------------------------------------------------------------------------------------ audit


@given(implication_graphs(), st.lists(records(), max_size=5))
def test_an_audit_counts_what_the_graph_says(graph: ImplicationGraph, given: list[Record]) -> None:
    result = audit(graph, given)
    named = [{fold(tag.name) for tag in record.tags} for record in given]
    for tag in result.implied:
        having = [names for names in named if tag.tag in names]
        alone = [names for names in having if not any(tag.tag in graph.implied_by(name) for name in names)]
        assert (tag.num_records, tag.num_alone) == (len(having), len(alone))
    assert {tag.tag for tag in result.never_alone} == {tag.tag for tag in result.implied if not tag.num_alone}
    missing = {
        (one, other): sum(one in names and other not in names for names in named)
        for one, others in graph.edges().items()
        for other in others
    }
    assert {(one.tag, one.implied): one.num_missing for one in result.violations} == {
        edge: count for edge, count in missing.items() if count
    }
    assert (result.num_missing == 0) == (not result.violations)


def test_an_audit_by_hand() -> None:
    graph = ImplicationGraph({"red fox": ["fox"], "fox": ["canine"]})
    given = [
        Record("one", parse_tags("red_fox, fox, canine")),
        Record("two", parse_tags("red_fox")),
        Record("three", parse_tags("canine, tree")),
    ]
    result = audit(graph, given)
    assert [(tag.tag, tag.num_records, tag.num_alone) for tag in result.implied] == [
        ("canine", 2, 1),
        ("fox", 1, 0),
    ]
    assert [(v.tag, v.implied, v.num_records, v.num_missing, v.example) for v in result.violations] == [
        ("red fox", "fox", 2, 1, "two")
    ]
    assert (result.num_tags, result.num_implied, result.num_missing, result.num_incomplete) == (6, 2, 2, 1)


# ------------------------------------------------------------------------------------------------- real files


def test_the_real_list_trimmed_to_5_624(shared: Path) -> None:
    """Counted independently: both ends with 2,000 posts, no alias resolved, no other filter."""
    folder = shared / "data/e621"
    source = ImplicationSource(
        file=folder / "tag_implications-2025-06-30.csv.gz",
        tags=folder / "tags-2026-04-01.csv.gz",
        min_posts=2000,
    )
    built = build_implications(source)
    assert (built.graph.num_edges, len(built.graph.tags())) == (5_624, 4_743)
    assert [len(group.edges) for group in built.left_out] == [53_454 - 5_624]


def test_the_real_aliases_and_categories(shared: Path) -> None:
    folder = shared / "data/e621"
    source = ImplicationSource(
        file=folder / "tag_implications-2025-06-30.csv.gz",
        aliases=folder / "tag_aliases-2025-05-01.csv.gz",
        tags=folder / "tags-2026-04-01.csv.gz",
        categories=("general", "species"),
    )
    built = build_implications(source)
    assert built.num_renamed == 63
    assert not built.graph.implied_by("zenfry")
    assert built.graph.implied_by("red_fox") >= {"true fox", "fox", "canine", "canid", "mammal"}
    assert not any("avoid posting" in edge for edge in edges_of(built.graph))
