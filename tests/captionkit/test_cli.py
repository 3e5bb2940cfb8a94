"""The command `captionkit`, as a user meets it: its screen, its JSON, its errors."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import load_pipeline, preset, read_records
from captionkit.cli import main
from captionkit.policies import BUILT_IN
from captionkit.policy import kind_of
from captionkit.schema import recipe_schema
from captionkit.screen import Mark, Piece, Screen, columns_of, printable

RECIPE = """\
preset = "hyperfusion"
implications = { red_fox = ["fox"], fox = ["canine"] }
important = ["solo"]
"""
SNOW_FOX = "solo, red_fox, fox, canine, snow, looking_at_viewer, outdoors, winter, text on sign"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a recipe beside it: two good pictures, one without sidecars, one in another encoding."""
    (tmp_path / "recipe.toml").write_text(RECIPE)
    folder = tmp_path / "pictures"
    (folder / "cats").mkdir(parents=True)
    for name in ("fox.png", "bad.png", "old.png", "cats/two.png"):
        (folder / name).touch()
    (folder / "fox.txt").write_text(SNOW_FOX)
    (folder / "fox.caption").write_text("The image showcases a red fox, which appears to be running.")
    (folder / "old.txt").write_bytes(b"caf\xe9")
    (folder / "cats/two.json").write_text(
        '{"tags": {"species": ["cat"]}, "captions": {"cogvlm": "Two cats."}}'
    )
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """The exit status, stdout and stderr of one command."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as left:  # argparse leaves by itself.
        status = int(left.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


# ------------------------------------------------------------------------------------------------------- laws

# Without the letters of the marks, so that marks can be taken off again.
letters = st.text(st.characters(codec="utf-8", exclude_characters="[]{}+-*"), max_size=30)
pieces = st.lists(st.builds(Piece, letters, st.sampled_from(Mark)), max_size=12)


@given(pieces, st.integers(40, 120), st.booleans(), st.sampled_from(["", "  1  ", "  => "]))
def test_a_paragraph_keeps_the_width_and_every_letter(
    pieces: list[Piece], width: int, colour: bool, first: str
) -> None:
    drawn = Screen(width, colour).paragraph(pieces, first=first)
    bare = re.sub(r"\x1b\[[0-9;]*m", "", drawn)
    for line in bare.split("\n"):
        # Only a word that is too long by itself may pass the margin.
        assert columns_of(line) <= width or len(line.removeprefix(first).split()) == 1
    written = "".join(re.sub(r"\[-|-\]|\{\+|\+\}", "", bare).removeprefix(first.rstrip()).split())
    written = written.replace("*", "")  # Beside important pieces, without colour.
    assert written == "".join("".join(printable(piece.text).split()) for piece in pieces)
    assert colour or "\x1b" not in drawn


@given(st.text())
def test_data_cannot_steer_the_terminal(text: str) -> None:
    assert all(char.isprintable() or char.isspace() for char in printable(text))


# --------------------------------------------------------------------------------------------------- preview


def test_preview_shows_every_draw_and_names_what_it_skipped(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    status, out, err = run(capsys, "preview", data.parent / "recipe.toml", data, "--draws", 3)
    assert status == 0
    pipeline = load_pipeline(data.parent / "recipe.toml")
    for record in read_records(data, on_error=lambda error: None):
        for draw, rendered in enumerate(pipeline.render_many(record, 3)):
            words = rendered.text or "(empty)"
            label = f"{rendered.source}{', mirrored' if rendered.flip else ''}"
            assert f" {draw} {label} {words} " in " ".join(out.split()) + " "
    assert "fox · 9 tags, 1 caption\n" in out  # Its "text on sign" forbids mirroring.
    assert "cats/two · 1 tag, 1 caption · may be mirrored\n" in out
    assert "captionkit: skipped: " in err
    assert "bad.png: has neither tags nor captions" in err
    assert "old.txt:1: is not UTF-8: byte 0xe9 at offset 3" in err
    said, leads_on = err.rstrip().split("\n")[-2:]
    assert said == "captionkit: records skipped: 2"
    recipe = data.parent / "recipe.toml"
    assert leads_on == f"next: captionkit lint {recipe} {data}    (what is wrong with recipe and data)"


def test_preview_as_json_says_the_same(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = data.parent / "recipe.toml"
    status, out, _ = run(capsys, "preview", recipe, data, "-n", 1, "--draws", 2, "--epoch", 3, "--json")
    assert status == 0
    said = json.loads(out)
    record = next(read_records(data, on_error=lambda error: None))
    rendered = load_pipeline(recipe).render_many(record, 2, epoch=3)
    assert said["records"] == [
        {
            "id": "fox",
            "image": "fox.png",
            "may_flip": False,
            "draws": [
                {"draw": number, "text": one.text, "source": one.source, "flip": False}
                for number, one in enumerate(rendered)
            ],
        }
    ]
    assert (said["seed"], said["epoch"], said["skipped"]["count"]) == (
        0,
        3,
        1,
    )  # Only bad.png comes before it.


def test_preview_reads_no_further_than_it_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"id": 1, "tags": "a"}\n' + "broken\n" * 5)
    status, _, err = run(capsys, "preview", "hyperfusion", lines, "-n", 1)
    assert status == 0
    assert err.startswith("next: ")  # Nothing before it.


def test_many_skipped_records_are_counted_and_the_first_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "a.jsonl"
    lines.write_text("broken\n" * 25 + '{"id": 1, "tags": "a"}\n')
    status, _, err = run(capsys, "preview", "hyperfusion", lines)
    assert status == 0
    assert len(err.splitlines()) == 13
    assert err.splitlines()[-3:-1] == ["captionkit: skipped: 15 more", "captionkit: records skipped: 25"]


# --------------------------------------------------------------------------------------------------- explain


def test_explain_shows_each_step_with_its_reason_and_ends_with_the_text(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    recipe = data.parent / "recipe.toml"
    pipeline = load_pipeline(recipe)
    record = next(read_records(data, on_error=lambda error: None))
    for draw in range(6):
        status, out, _ = run(capsys, "explain", recipe, data, "--id", "fox", "--draw", draw)
        assert status == 0
        rendered = pipeline.explain(record, draw=draw)
        flat = " ".join(out.split())
        for step in rendered.trace:
            assert step.reason in flat
        gone = {tag.name for step in rendered.trace for tag in step.before.tags} - {
            tag.name for tag in rendered.trace[-1].after.tags
        }
        assert all(f"[-{name}-]" in flat for name in gone)
        assert flat.endswith(f"=> {rendered.text or '(empty)'}")
    assert "[-The image showcases a-] {+A+} red fox" in flat


def test_explain_as_json_holds_every_step_before_and_after(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = data.parent / "recipe.toml"
    status, out, _ = run(capsys, "explain", recipe, data, "--id", "fox.png", "--epoch", 1, "--json")
    assert status == 0
    said = json.loads(out)
    record = next(read_records(data, on_error=lambda error: None))
    rendered = load_pipeline(recipe).explain(record, epoch=1)
    assert (said["text"], said["source"], said["flip"]) == (rendered.text, rendered.source, rendered.flip)
    assert [step["address"] for step in said["steps"]] == [step.address for step in rendered.trace]
    assert [step["reason"] for step in said["steps"]] == [step.reason for step in rendered.trace]
    assert said["steps"][0]["before"]["tags"] == [tag.name for tag in record.tags]
    assert all(
        one["after"] == two["before"] for one, two in zip(said["steps"], said["steps"][1:], strict=False)
    )


def test_explain_names_the_nearest_id(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "explain", "hyperfusion", data, "--id", "cat/two")
    assert (status, out) == (2, "")
    assert err.endswith(f"captionkit: error: {data}: no record has the id 'cat/two' (near it: 'cats/two')\n")


# ---------------------------------------------------------------------------------------------------- schema


def branches(schema: dict[str, Any], value: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The definition of one step of a recipe, followed by its kind, as an editor would."""
    reference = schema["discriminator"]["mapping"][value["kind"]]
    assert {"$ref": reference} in schema["oneOf"]
    found: dict[str, Any] = definitions[reference.rpartition("/")[2]]
    return found


def test_the_schema_knows_every_built_in_kind_and_every_key_of_the_preset(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, out, err = run(capsys, "schema")
    assert (status, err) == (0, "")
    schema = json.loads(out)
    assert schema == recipe_schema()
    definitions = schema["$defs"]
    policy = definitions["Policy"]
    assert set(policy["discriminator"]["mapping"]) == {kind_of(kind) for kind in BUILT_IN}
    recipe = preset("hyperfusion").model_dump(mode="json", exclude_none=True)
    assert definitions["CaptionPipeline"]["properties"]["steps"]["items"] == {"$ref": "#/$defs/Policy"}
    assert set(recipe) <= set(definitions["CaptionPipeline"]["properties"])
    for step in recipe["steps"]:
        definition = branches(policy, step, definitions)
        assert definition["additionalProperties"] is False
        assert "kind" in definition["required"]
        assert set(step) <= set(definition["properties"])


def test_the_schema_explains_every_field() -> None:
    definitions = recipe_schema()["$defs"]
    for name, definition in definitions.items():
        for field, said in definition.get("properties", {}).items():
            assert "description" in said or field == "kind", f"{name}.{field}"


# ---------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["preview", "hyperfusoin", "pictures"], "did you mean 'hyperfusion'?"),
        (
            ["preview", "gone.toml", "pictures"],
            "gone.toml: cannot read the recipe: No such file or directory",
        ),
        (["preview", "bad.toml", "pictures"], "sed: unknown key 'sed'; did you mean 'seed'?"),
        (["preview", "hyperfusion", "gone"], "gone: no such file or folder"),
        (["preview", "hyperfusion", "none.jsonl"], "none.jsonl: no record could be read"),
        (["preview", "hyperfusion", "pictures", "-n", "0"], "argument -n: must be 1 or more, got 0"),
        (["preview", "hyperfusion", "pictures", "--draws", "x"], "--draws: invalid whole number value: 'x'"),
        (["explain", "hyperfusion", "pictures"], "the following arguments are required: --id"),
        ([], "captionkit import kohya dataset.toml"),
    ],
)
def test_a_user_s_error_is_one_message_and_exit_2(
    data: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(data.parent)
    Path("bad.toml").write_text('preset = "hyperfusion"\nsed = 1\n')
    Path("none.jsonl").write_text("\nbroken\n")
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert says in err
    assert "Traceback" not in err


COMMANDS = (
    *("preview", "explain", "stats", "lint", "report", "diff", "serve"),
    *("convert", "bake", "bench", "schema"),
)


@pytest.mark.parametrize("command", [[], ["import", "kohya"], *([name] for name in COMMANDS)])
def test_help_has_examples(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    status, out, _ = run(capsys, *command, "--help")
    assert status == 0
    assert f"captionkit {' '.join(command)}".strip() in out[out.index("example") :]


# ------------------------------------------------------------------------------------------ a real process


def start(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "captionkit", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, **options)


def test_a_reader_that_leaves_early_causes_no_noise(data: Path) -> None:
    process = start("preview", "hyperfusion", data, "--draws", 20000, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    _, err = process.communicate(timeout=600)
    assert process.returncode == 141
    assert b"Traceback" not in err
    assert b"Exception ignored" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which only Linux has")
def test_a_full_disk_is_one_message(data: Path) -> None:
    with open("/dev/full", "wb") as full:
        process = start("schema", stdout=full)
        _, err = process.communicate(timeout=600)
    assert process.returncode == 2
    assert err == b"captionkit: error: cannot write the output: No space left on device\n"


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colour_is_for_terminals_that_want_it(
    data: Path, environment: dict[str, str], coloured: bool
) -> None:
    ours, theirs = pty.openpty()
    wanted = {"TERM": "xterm", "COLUMNS": "100"} | environment
    kept = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    recipe = data.parent / "recipe.toml"
    process = start("explain", recipe, data, "--id", "fox", "--draw", 5, stdout=theirs, env=kept | wanted)
    os.close(theirs)
    out = b""
    try:
        while chunk := os.read(ours, 65536):
            out += chunk
    except OSError:  # What Linux says when the other end of a terminal is closed.
        pass
    os.close(ours)
    process.communicate(timeout=600)
    assert process.returncode == 0
    assert (b"\x1b[9;31m" in out) is coloured
    assert (b"[-" in out) is not coloured
