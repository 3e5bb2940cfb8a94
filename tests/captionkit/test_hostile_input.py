"""Data and recipes that once ended in a traceback, or were lost or misread without a word."""

from __future__ import annotations

import gzip
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captionkit import (
    CaptionkitError,
    CaptionPipeline,
    Curve,
    Policy,
    RecipeError,
    Tag,
    load_pipeline,
    preset,
    read_folder,
    read_jsonl,
    read_records,
)
from captionkit.cli import main
from captionkit.policies import DropTags, EmptyCaption, Maybe, Schedule, Sequence, When

HEAD = "id,antecedent_name,consequent_name,created_at,status\n"


def lay(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def errors_of(folder: Path) -> list[str]:
    errors: list[CaptionkitError] = []
    try:
        list(read_folder(folder, on_error=errors.append))
    except CaptionkitError as error:
        errors.append(error)
    return [str(error).replace(f"{folder}/", "") for error in errors]


# ---------------------------------------------------------------------------------------------------- readers


@pytest.mark.parametrize(
    ("files", "message"),
    [
        # The second of two keys won, as JSON parsers have it.
        (
            {"a.json": '{"tags": ["a"], "tags": ["b"]}'},
            "a.json:1: the key 'tags' is there twice in one object",
        ),
        # OverflowError: int too large to convert to float.
        (
            {"a.json": f'{{"tags": [{{"name": "a", "score": {"9" * 400}}}]}}'},
            "a.json: tags[0].score: must be a finite number, got the number 9999",
        ),
        # One of the two was read, which one hung on the order of the names.
        ({"a.TXT": "fox", "a.txt": "tree"}, "a.txt: is a second sidecar beside a.TXT (keep one of the two)"),
        # The hint told to write a.txt, as if there were nothing.
        (
            {"a.png.txt": "fox"},
            "a.png: has neither tags nor captions beside it (a.png.txt is there: rename it to a.txt)",
        ),
        # Passed over, captions and all.
        (
            {"a.txt": "fox", "b.heic": "x", "b.txt": "fox"},
            "b.heic: has sidecars, but .heic is no kind of picture that is read (convert it; pictures end in",
        ),
    ],
    ids=["key twice", "huge score", "two cases", "double suffix", "foreign picture"],
)
def test_bad_sidecars_are_named(tmp_path: Path, files: dict[str, str], message: str) -> None:
    folder = lay(tmp_path / "data", {"a.png": "", **files})
    errors = errors_of(folder)
    assert len(errors) == 1
    assert errors[0].startswith(message)
    with pytest.raises(CaptionkitError):
        list(read_folder(folder))


def test_a_picture_of_another_kind_without_sidecars_is_no_error(tmp_path: Path) -> None:
    folder = lay(tmp_path / "data", {"a.png": "", "a.txt": "fox", "b.heic": "", "README.txt": "Hello."})
    assert errors_of(folder) == []


@pytest.mark.parametrize("text", ["", "\n \n", "\ufeff"], ids=["empty", "blank", "mark alone"])
def test_a_table_without_lines_is_an_error(tmp_path: Path, text: str) -> None:
    lay(tmp_path, {"a.jsonl": text})
    with pytest.raises(
        CaptionkitError, match=r"a\.jsonl: holds no records \(write one JSON object per line\)"
    ):
        list(read_jsonl(tmp_path / "a.jsonl", on_error=lambda error: None))


def test_a_half_written_last_line_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    lay(tmp_path, {"a.jsonl": '{"id": 1, "tags": "a"}\n{"id": 2, "ta'})
    errors: list[CaptionkitError] = []
    assert [record.id for record in read_jsonl(tmp_path / "a.jsonl", on_error=errors.append)] == ["1"]
    assert errors[0].where == f"{tmp_path}/a.jsonl:2"


def test_an_empty_path_is_not_the_working_folder() -> None:
    with pytest.raises(CaptionkitError, match=r"the path is empty \(give a folder"):
        read_records("")


def test_a_name_too_long_for_the_system_is_no_traceback() -> None:
    with pytest.raises(CaptionkitError, match=r"x: cannot be read: File name too long"):
        read_records("x" * 5000)


# ---------------------------------------------------------------------------------------------------- recipes


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"kind": "drop_implied", "implications": {"a": 3}}, "'a' must have a list of tags, got 3"),
        (
            {"kind": "drop_implied", "implications": {"a": [3]}},
            "a tag's name must be text and not empty, got 3",
        ),
        (
            {"kind": "drop_implied", "implications": {"": ["b"]}},
            "a tag's name must be text and not empty, got ''",
        ),
        ({"kind": "drop_implied", "implications": 3}, "input should be the path of a CSV or a table, got 3"),
        # Raised only when the tag came up, hours into the training.
        ({"kind": "rename_tags", "aliases": {"a": " "}}, "a name is empty: 'a' to ' '"),
        # The last one won.
        (
            {"kind": "rename_tags", "aliases": {"a_b": "x", "A B": "y"}},
            "'A B' has two new names: 'x' and 'y'",
        ),
        ({"kind": "shuffle_tags", "keep_first": True}, "input should be a valid integer, got True"),
        ({"kind": "drop_tags", "spare_important": "no"}, "input should be a valid boolean, got 'no'"),
        # The sum of both is infinite, so that the last one was always drawn.
        (
            {"kind": "choose_source", "tags": 1e308, "both": 0},
            "input should be less than or equal to 1000000000, got 1e+308",
        ),
        ({"kind": "drop_tags", "protected": "solo"}, "must be a list of patterns"),
    ],
)
def test_a_wrong_type_in_a_step_is_named(step: dict[str, Any], message: str) -> None:
    with pytest.raises(CaptionkitError) as raised:
        load_pipeline({"steps": [step]})
    assert str(raised.value).startswith("steps[0]")
    assert message in str(raised.value)


@pytest.mark.parametrize("value", ["5", 5.0, True])
def test_a_budget_is_a_whole_number(value: object) -> None:
    with pytest.raises(CaptionkitError, match="max_tokens: input should be a valid integer"):
        preset("hyperfusion", max_tokens=value)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.json", '\ufeff{"seed": 7}'), ("a.toml", "\ufeffseed = 7"), ("A.TOML", "seed = 7")],
    ids=["json mark", "toml mark", "capitals"],
)
def test_recipes_of_windows_editors_are_read(tmp_path: Path, name: str, text: str) -> None:
    lay(tmp_path, {name: text})
    assert load_pipeline(tmp_path / name).seed == 7


@pytest.mark.parametrize("name", ["a.json", "a.toml"])
def test_a_recipe_nested_too_deep_is_no_traceback(tmp_path: Path, name: str) -> None:
    lay(tmp_path, {name: ("[" if name == "a.json" else "a = [") + "[" * 100_000})
    with pytest.raises(CaptionkitError, match="is nested too deep to be read"):
        load_pipeline(tmp_path / name)


def test_steps_nested_too_deep_are_no_traceback() -> None:
    step: dict[str, Any] = {"kind": "drop_tags"}
    for _ in range(400):
        step = {"kind": "maybe", "p": 1, "then": step}
    with pytest.raises(CaptionkitError, match="nested too deep"):
        load_pipeline({"steps": [step]})


def test_what_is_no_recipe_at_all_is_an_error() -> None:
    with pytest.raises(CaptionkitError, match="a recipe is a path or a mapping, got 3"):
        load_pipeline(3)  # type: ignore[arg-type]


def _in_maybe(step: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "maybe", "p": 1, "then": step}


@pytest.mark.parametrize(
    ("step", "message"),
    [
        # Named the keys of `when`: the class was looked for by kinds alone.
        (
            {"kind": "when", "facts": {"a": {"mn": 1}}, "then": {"kind": "sequence"}},
            "steps[0].facts.a.mn (when): unknown key 'mn'; did you mean 'min'?",
        ),
        (
            {"kind": "schedule", "phases": [{"start": 0, "then": {"kind": "sequence"}, "until": 3}]},
            "steps[0].phases[0].until (schedule): unknown key 'until'; known: start, then",
        ),
        (
            {"kind": "schedule", "phases": [{"start": 0, "then": {"kind": "drop_tags", "rat": 3}}]},
            "steps[0].phases[0].then.rat (drop_tags): unknown key 'rat'; did you mean 'rate'?",
        ),
        (
            {"kind": "drop_tags", "rate": {"points": [[0, 0.5]], "ovr": "epoch"}},
            "steps[0].rate.ovr (drop_tags): unknown key 'ovr'; did you mean 'over'?",
        ),
        (
            {"kind": "by_category", "policies": {"kind": {"kind": "maybe", "q": 1, "p": 1, "then": {}}}},
            "2 errors\n  steps[0].policies.kind.then (maybe): a policy needs a `kind`; known: ",
        ),
        (
            {"kind": "by_category", "policies": {"a": {"kind": "drop_tags"}}, "otherwise": {"kind": "x"}},
            "steps[0].otherwise (by_category): unknown policy kind 'x'; known: ",
        ),
        (_in_maybe(_in_maybe({"kind": "maybe", "p": 1})), "steps[0].then.then.then (maybe): is missing"),
    ],
)
def test_a_fault_deep_inside_names_the_keys_of_its_place(step: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as raised:
        load_pipeline({"steps": [step]})
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (DropTags, {"rate": 2}, "DropTags.rate: input should be less than or equal to 1, got 2"),
        (DropTags, {"ratte": 1}, "DropTags.ratte: unknown key 'ratte'; did you mean 'rate'?"),
        (Maybe, {"p": 0.5}, "Maybe.then: is missing"),
        (
            When,
            {"then": Sequence()},
            "When: no condition; give `tags`, `sources`, `facts` or several of them",
        ),
        (
            Schedule,
            {"phases": [{"start": -1, "then": Sequence(), "end": 3}]},
            "2 errors\n"
            "  Schedule.phases[0].start: input should be greater than or equal to 0, got -1\n"
            "  Schedule.phases[0].end: unknown key 'end'; known: start, then",
        ),
        (
            EmptyCaption,
            {"p": {"points": [[0, 5]]}},
            "EmptyCaption.p: input should be less than or equal to 1, got 5",
        ),
        (Curve, {"points": [[0, "a"]]}, "Curve.points[0][1]: input should be a valid number, got 'a'"),
        (
            CaptionPipeline,
            {"steps": [{"kind": "drop_tags"}]},
            "CaptionPipeline.steps[0]: a table is read by load_pipeline only; here, give a policy object",
        ),
    ],
)
def test_wrong_arguments_are_told_as_in_a_recipe(
    kind: type[Policy], arguments: dict[str, Any], message: str
) -> None:
    """They ended in pydantic's own words, which no `except CaptionkitError` catches."""
    with pytest.raises(RecipeError) as raised:
        kind(**arguments)
    assert message in str(raised.value)
    again = pickle.loads(pickle.dumps(raised.value))
    assert (type(again), str(again), again.what) == (RecipeError, str(raised.value), raised.value.what)


# ----------------------------------------------------------------------------------------------- implications


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _spoilt(data: bytes) -> bytes:
    return data[:20] + b"\xff\xfe\x00" * 20 + data[40:]


@pytest.mark.parametrize("spoil", [_cut, _spoilt])
def test_a_damaged_gz_is_named(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    rows = "".join(f"{n},a{n * n},b{n * 7},x,active\n" for n in range(2000))
    (tmp_path / "a.csv.gz").write_bytes(spoil(gzip.compress((HEAD + rows).encode())))
    with pytest.raises(CaptionkitError, match=r"a\.csv\.gz: cannot be read as CSV: "):
        preset("hyperfusion", implications=str(tmp_path / "a.csv.gz"))


@pytest.mark.parametrize(
    ("rows", "line"),
    [("1,a,b\n", 2), ("1,a,b,c,x,active\n", 2), ('1,"a,b,x,active\n2,c,d,x,active\n', 3)],
    ids=["status cut off", "bare comma in a name", "quote that never closes"],
)
def test_a_row_that_does_not_fit_the_first_line_is_named(tmp_path: Path, rows: str, line: int) -> None:
    """Such rows had no status `active`, and were left out as if they were deleted."""
    lay(tmp_path, {"a.csv": HEAD + rows})
    with pytest.raises(CaptionkitError, match=rf"a\.csv:{line}: the row has \d fields, the first line 5"):
        preset("hyperfusion", implications=str(tmp_path / "a.csv"))


def test_quotes_commas_marks_and_doubles_in_a_csv(tmp_path: Path) -> None:
    lay(tmp_path, {"a.csv": "\ufeff" + HEAD + '1,"a, b","c ""d""",x,Active\n' + "2,e,f,x,active\n" * 2})
    pipeline = preset("hyperfusion", implications=str(tmp_path / "a.csv"))
    graph = next(step for step in pipeline.steps if step.kind == "drop_implied").implications  # type: ignore[attr-defined]
    assert graph.edges() == {"a, b": ['c "d"'], "e": ["f"]}


# -------------------------------------------------------------------------------------------------------- cli


def test_more_records_than_a_machine_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay(tmp_path, {"a.jsonl": '{"id": 1, "tags": "a"}\n'})
    assert main(["preview", "hyperfusion", str(tmp_path / "a.jsonl"), "-n", "9" * 30, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["records"]) == 1


def test_a_closed_output_is_an_error_and_no_traceback() -> None:
    closed = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m captionkit schema >&-"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert (closed.returncode, closed.stderr) == (
        2,
        "captionkit: error: cannot write the output: it is closed\n",
    )


def test_tags_may_be_anything_that_is_text() -> None:
    assert [Tag(name).name for name in ("a|b", "(a)", " a ", "\u200b")] == ["a|b", "(a)", "a", "\u200b"]
