"""`captionkit implications build | report` and `captionkit correlations build`."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import pytest

from captionkit import CaptionkitError, load_pipeline, read_implications
from captionkit.commands.correlations import add_commands as add_correlations
from captionkit.commands.implications import add_commands as add_implications
from captionkit.correlations import read_correlations
from captionkit.policies.correlated import DropCorrelated

HEADER = "antecedent_name,consequent_name,status\n"
LIST = HEADER + (
    "red_fox,true_fox,active\ntrue_fox,fox,active\nfox,canine,active\nfox,canine,active\n"
    "vulpes,fox,active\nsomebody,avoid_posting,active\na,b,deleted\n"
)
TAGS = (
    "red_fox,5,900,\ntrue_fox,5,10,\nfox,5,5000,\ncanine,5,9000,\nsomebody,1,5000,\navoid_posting,6,9999,\n"
)
ALIASES = HEADER + "vulpes,red_fox,active\nwolfy,wolf,active\n"


def run(*arguments: object) -> None:
    parser = argparse.ArgumentParser(prog="captionkit")
    commands = parser.add_subparsers(required=True)
    add_implications(commands)
    add_correlations(commands)
    parsed = parser.parse_args([str(argument) for argument in arguments])
    parsed.run(parsed)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    records: list[dict[str, Any]] = [
        {"id": "one", "tags": {"species": ["red_fox", "fox"], "general": ["tree"]}},
        {"id": "two", "tags": {"species": ["fox"], "character": ["Ann"], "general": ["hat"]}},
        {"id": "three", "tags": {"species": ["fox", "canine"], "character": ["ann"], "general": ["hat"]}},
    ]
    files = {"i.csv": LIST, "t.csv": TAGS, "a.csv": ALIASES, "d.jsonl": "\n".join(map(json.dumps, records))}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], folder: Path) -> list[str]:
    return capsys.readouterr().out.replace(f"{folder}/", "").splitlines()


def test_build_says_what_it_left_out_and_why(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(
        *(
            "implications",
            "build",
            folder / "i.csv",
            "--aliases",
            folder / "a.csv",
            "--tags",
            folder / "t.csv",
        ),
        *(
            "--min-posts",
            100,
            "--categories",
            "species",
            "--leave-out",
            "avoid_posting",
            "-o",
            folder / "o.csv",
        ),
        *("--add", "red_fox", "animal", "--add", "=_=", "face", "--remove", "red_fox", "fox"),
    )
    assert said(capsys, folder) == [
        "i.csv: 6 active rows (left aside: 1 deleted)",
        "  aliases resolved: 1 tag of the implications was one",
        "  left out: 2 with fewer than 100 posts at an end (min_posts), such as red fox -> true fox",
        "  left out: 1 named before, such as fox -> canine",
        "  left out: 1 removed by name (remove), such as red fox -> fox",
        "  left out: 1 of a tag that takes no part (leave_out), such as somebody -> avoid posting",
        "  added: 2",
        "  broken: 2 implied before by way of what was left out, such as red fox -> canine",
        "o.csv: 3 implications over 6 tags",
    ]
    assert (folder / "o.csv").read_text() == HEADER + (
        "=_=,face,active\nfox,canine,active\nred_fox,animal,active\n"
    )
    assert read_implications(folder / "o.csv").num_edges == 3


def test_build_takes_changes_from_files_and_prints_json(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "less.csv").write_text(HEADER + "vulpes,fox,active\n")
    (folder / "more.csv").write_text(HEADER + "hat,clothing,active\n")
    run(
        *("implications", "build", folder / "i.csv", "--add-file", folder / "more.csv", "--json"),
        *("--remove-file", folder / "less.csv", "-o", folder / "o.csv"),
    )
    told = json.loads(capsys.readouterr().out)
    assert told["left_out"] == {
        "named before": [["fox", "canine"]],
        "removed by name (remove)": [["vulpes", "fox"]],
    }
    assert (told["active"], told["left_aside"], told["added"], told["edges"]) == (6, {"deleted": 1}, 1, 5)
    assert (told["broken"], told["renamed"], told["tags"]) == ([], 0, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--min-posts", "3"], "min_posts needs `tags`, the list of tags with category and post count"),
        (["--min-posts", "-3"], "min_posts: input should be greater than or equal to 0, got -3"),
        (["--leave-out", "**"], "nothing is left of 6: 6 of a tag that takes no part"),
        (["--remove", "fox", "wolf"], "'fox' does not imply 'wolf' directly"),
        (["--add-file", "no.csv"], "no.csv: cannot be read as CSV: No such file or directory"),
    ],
)
def test_what_build_cannot_do(folder: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(CaptionkitError, match=re.escape(message)):
        run("implications", "build", folder / "i.csv", "-o", folder / "o.csv", *arguments)
    assert not (folder / "o.csv").exists()


RECIPE = """
[[steps]]
kind = "maybe"
p = 0.5
then.kind = "drop_implied"
then.implications = {file = "i.csv", leave_out = ["x"]}
"""


@pytest.mark.parametrize("place", ["i.csv", "r.toml", "r.json"])
def test_report_of_a_list_or_a_recipe(folder: Path, capsys: pytest.CaptureFixture[str], place: str) -> None:
    (folder / "r.toml").write_text(RECIPE)
    (folder / "r.json").write_text('{"preset": "hyperfusion", "implications": "i.csv"}')
    run("implications", "report", folder / place, folder / "d.jsonl", "-n", 1)
    assert said(capsys, folder) == [
        "3 records, 10 tags; another tag implies 20.0% of these",
        "",
        "never alone: 1 of 2 implied tags have one that implies them in every record",
        "        1  canine",
        "",
        "violated: 2 implications; 3 tags missing, from 2 records; in brackets the first record",
        "        2 of 3  fox without canine (one)",
        "  ... and 1 more; -n or --json show them",
    ]


def test_report_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("implications", "report", folder / "i.csv", folder / "d.jsonl", "--json")
    told = json.loads(capsys.readouterr().out)
    assert told["implied"] == [
        {"tag": "fox", "num_records": 3, "num_alone": 2},
        {"tag": "canine", "num_records": 1, "num_alone": 0},
    ]
    assert [one["implied"] for one in told["violations"]] == ["canine", "true fox"]
    assert told["skipped"] == {"count": 0, "messages": []}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "has no lists of implications, one is needed"),
        (
            [{"fox": ["canine"]}, {"fox": ["canine"]}, {"a": ["b"]}],
            "has 2 lists of implications, one is needed",
        ),
    ],
)
def test_report_needs_one_list(folder: Path, steps: list[dict[str, list[str]]], message: str) -> None:
    recipe = {"steps": [{"kind": "drop_implied", "implications": table} for table in steps]}
    (folder / "r.json").write_text(json.dumps(recipe))
    with pytest.raises(CaptionkitError, match=message):
        run("implications", "report", folder / "r.json", folder / "d.jsonl")


def test_correlations_are_built_and_a_recipe_uses_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(
        *("correlations", "build", folder / "d.jsonl", "--triggers-category", "character"),
        *("--threshold", 0.9, "--support", 2, "-o", folder / "c.csv"),
    )
    assert said(capsys, folder) == [
        "c.csv: 2 tags that come with 1 trigger in 3 records",
        "  fox comes with ann in 2 of 2",
        "  hat comes with ann in 2 of 2",
    ]
    assert (folder / "c.csv").read_text() == (
        '# threshold = 0.9\n# support = 2\n# categories = ["character"]\n# patterns = []\n# num_records = 3\n'
        "trigger,tag,num_both,num_trigger\nann,fox,2,2\nann,hat,2,2\n"
    )
    (folder / "r.toml").write_text(
        '[[steps]]\nkind = "drop_correlated"\ncorrelations = "c.csv"\np_tags = 1.0\n'
    )
    (policy,) = load_pipeline(folder / "r.toml", kinds=[DropCorrelated]).steps
    assert policy.correlations.table() == {"ann": ["fox", "hat"]}  # type: ignore[attr-defined]


def test_correlations_of_patterns_without_what_is_implied(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(
        *("correlations", "build", folder / "d.jsonl", "--triggers", "red*", "--support", 1, "--json"),
        *("--implications", folder / "i.csv", "-o", folder / "c.csv"),
    )
    told = json.loads(capsys.readouterr().out)
    assert told["companions"] == [{"trigger": "red fox", "tag": "tree", "num_both": 1, "num_trigger": 1}]
    counting = read_correlations(folder / "c.csv").counting
    assert (counting.categories, counting.patterns, counting.num_records) == ((), ("red*",), 3)


def test_correlations_without_a_trigger_say_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("correlations", "build", folder / "d.jsonl", "-o", folder / "c.csv")
    assert "found none: a trigger is a tag of the right category" in capsys.readouterr().out


@pytest.mark.parametrize("command", [("implications", "report", "i.csv"), ("correlations", "build")])
def test_data_that_cannot_be_read_is_told_once(
    folder: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    (folder / "bad.jsonl").write_text('{"id": "one", "tags": 3}\n')
    kind, name, *graph = command
    out = ("-o", folder / "c.csv") if kind == "correlations" else ()
    with pytest.raises(CaptionkitError, match="no record could be read"):
        run(kind, name, *(folder / part for part in graph), folder / "bad.jsonl", *out)
    assert capsys.readouterr().err.count("bad.jsonl:1") == 1
    assert not (folder / "c.csv").exists()
