"""An imported recipe gives the captions that sd-scripts gives, as often, or says where it does not."""

from __future__ import annotations

import argparse
import json
import re
import tomllib
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import CaptionPipeline, DataError, Record, load_pipeline, parse_tags
from captionkit.commands.import_recipe import add_import
from captionkit.importing.kohya import ImportedRecipe, import_kohya
from captionkit.importing.kohya_arguments import dataset_toml
from captionkit.importing.written import WIDTH, bare, recipe_text, toml_value
from captionkit.readers.kohya_arguments import TrainerArgumentsError
from captionkit.readers.kohya_config import read_kohya_config
from captionkit.readers.kohya_dataset import KohyaDatasetSource
from captionkit.readers.kohya_options import OPTIONS, About
from captionkit.readers.source import strict
from tests.captionkit.chances import plausible
from tests.captionkit.kohya_captions import BaseSubset, Now, chances_of, process_caption

DRAWS = 2000  # Seeded: no test fails by chance.


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def toml_of(options: dict[str, Any]) -> str:
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in options.items())


def config(*subsets: dict[str, Any], general: dict[str, Any] | None = None) -> str:
    """The name of a dataset TOML with these subsets."""
    text = "[general]\n" + toml_of({"caption_extension": ".txt"} | (general or {})) + "[[datasets]]\n"
    for number, subset in enumerate(subsets):
        text += "[[datasets.subsets]]\n" + toml_of({"image_dir": f"fox{number}"} | subset)
    Path("dataset.toml").write_text(text, encoding="utf-8")
    return "dataset.toml"


def imported(caption: str, options: dict[str, Any], **named: Any) -> tuple[ImportedRecipe, Record]:
    """The recipe of one subset with these options, and the record of a picture with this caption."""
    Path("fox0").mkdir(exist_ok=True)
    Path("fox0/a.png").touch()
    Path("fox0/a.txt").write_text(caption, encoding="utf-8")
    path = config(options)
    (record,) = KohyaDatasetSource(path).records(strict)
    return import_kohya(path, **named), record


def theirs(caption: str, options: dict[str, Any], now: Now) -> dict[str, float]:
    """Each text that sd-scripts may give, with its probability."""
    subset = BaseSubset(**options)
    texts: defaultdict[str, float] = defaultdict(float)
    for text, p in chances_of(lambda chances: process_caption(subset, caption, chances, now)).items():
        texts[spaced(text)] += p
    return dict(texts)


def spaced(text: str) -> str:
    """The text with one space behind each comma."""
    return re.sub(r"\s*,\s*", ", ", text).strip()


def agree(pipeline: CaptionPipeline, record: Record, chances: dict[str, float], epoch: int = 1) -> None:
    """Draws of the pipeline are what these probabilities lead to expect."""
    if len(chances) == 1:
        texts = {pipeline.render(record, epoch=epoch, draw=draw, samples=0).text for draw in range(5)}
        assert texts == set(chances)
        return
    drawn = Counter(pipeline.render(record, epoch=epoch, draw=draw, samples=0).text for draw in range(DRAWS))
    for text in {*chances, *drawn}:
        assert plausible(drawn[text], DRAWS, min(chances.get(text, 0.0), 1.0)), text


# ---------------------------------------------------------------------------------- exactly the same chances

SAME: list[tuple[str, dict[str, Any]]] = [
    ("a, b, c", {}),
    ("a, b, c", {"keep_tokens": 2}),
    ("red_fox, (a), ^_^", {}),
    ("a, b, c, d", {"shuffle_caption": True}),
    ("a, b, c, d", {"shuffle_caption": True, "keep_tokens": 2}),
    ("a, b, c, d", {"shuffle_caption": True, "keep_tokens": 9}),
    ("a, b, c", {"caption_tag_dropout_rate": 0.3}),
    ("a, b, c, d", {"caption_tag_dropout_rate": 0.3, "keep_tokens": 1}),
    ("a, b, c", {"shuffle_caption": True, "caption_tag_dropout_rate": 0.4}),
    ("a, b", {"caption_dropout_rate": 0.25}),
    ("a, b, c", {"caption_dropout_rate": 0.1, "caption_tag_dropout_rate": 0.2, "shuffle_caption": True}),
    ("a, b", {"caption_dropout_every_n_epochs": 1}),
    ("a ||| b, c, d ||| e, f", {"shuffle_caption": True, "keep_tokens_separator": "|||", "keep_tokens": 3}),
    ("a, b ||| c, d", {"caption_tag_dropout_rate": 0.3, "keep_tokens_separator": "|||"}),
    ("a, b, c", {"shuffle_caption": True, "keep_tokens_separator": "|||", "keep_tokens": 1}),
    ("a $$ b, c $$ d", {"shuffle_caption": True, "keep_tokens_separator": "$$"}),
    ("a; b, c; d", {"shuffle_caption": True, "caption_separator": ";"}),
    ("a, {b|c|d}, e", {"enable_wildcard": True}),
    ("{a|b} x, {c|d} y", {"enable_wildcard": True, "shuffle_caption": True}),
    ("{a, b|c}, d", {"enable_wildcard": True, "caption_tag_dropout_rate": 0.5, "keep_tokens": 1}),
    ("a, b;;;c, d", {"secondary_separator": ";;;"}),
    ("a, b;;;c, d", {"secondary_separator": ";;;", "shuffle_caption": True, "caption_tag_dropout_rate": 0.4}),
    ("a, b", {"caption_prefix": "photo of"}),
    ("a, b", {"caption_suffix": "by {someone}", "caption_prefix": "p,"}),
    ("a, b", {"caption_prefix": "p, q,", "shuffle_caption": True}),
    ("a, b", {"caption_prefix": "p, q,", "shuffle_caption": True, "keep_tokens": 2}),
    ("a, b", {"caption_prefix": "p,", "caption_tag_dropout_rate": 0.3}),
    ("a, b", {"caption_suffix": ", s", "shuffle_caption": True, "caption_tag_dropout_rate": 0.3}),
    ("a, b", {"caption_prefix": "p, {q|r},", "enable_wildcard": True, "shuffle_caption": True}),
    (
        "a, b",
        {
            "caption_prefix": "p, q |||",
            "caption_suffix": ", s ||| best, r",
            "keep_tokens_separator": "|||",
            "shuffle_caption": True,
            "caption_tag_dropout_rate": 0.1,
        },
    ),
    (
        "a, {b|c}, d;;;e",
        {
            "caption_prefix": "p,",
            "caption_dropout_rate": 0.2,
            "caption_tag_dropout_rate": 0.2,
            "shuffle_caption": True,
            "keep_tokens": 1,
            "enable_wildcard": True,
            "secondary_separator": ";;;",
        },
    ),
    (
        "a, b, c, d",
        {"token_warmup_step": 100, "token_warmup_min": 2, "shuffle_caption": True, "keep_tokens": 1},
    ),
    ("a, b, c, d", {"token_warmup_step": 100, "token_warmup_min": 0, "caption_tag_dropout_rate": 0.5}),
]


# Of about 700 texts, each would fail in one of a million seeds.
@pytest.mark.statistics
@pytest.mark.parametrize(("caption", "options"), SAME, ids=str)
def test_every_text_comes_as_often_as_there(caption: str, options: dict[str, Any]) -> None:
    made, record = imported(caption, options)
    agree(made.pipeline, record, theirs(caption, options, Now()))


@pytest.mark.statistics
def test_epochs_without_captions_are_those_that_n_divides() -> None:
    options = {"caption_dropout_every_n_epochs": 3, "caption_dropout_rate": 0.25}
    made, record = imported("a, b", options)
    for epoch in range(1, 8):
        agree(made.pipeline, record, theirs("a, b", options, Now(epoch)), epoch)
    assert [change.option for change in made.changes] == ["caption_dropout_every_n_epochs"]


@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 40), st.integers(1, 4))
def test_a_warm_up_shows_the_same_first_tags_and_at_most_one_more(
    least: int, num_tags: int, step: int, batch: int
) -> None:
    caption = ", ".join("abcdefghi"[:num_tags])
    options = {"token_warmup_step": 30, "token_warmup_min": least}
    made, record = imported(caption, options | {"batch_size": batch})
    assert made.elsewhere == ("image_dir", "caption_extension", "batch_size")
    (text,) = theirs(caption, options, Now(step=step))
    ours = made.pipeline.render(record, samples=step * batch).text
    assert ours.startswith(text)
    assert len(ours.split(", ")) - len(text.split(", ")) in (0, 1)
    if step == 0 or step >= 30:
        assert ours == text
    assert [change.option for change in made.changes] == ["token_warmup_step"]


def test_a_warm_up_counts_the_datasets_batches() -> None:
    options = {"token_warmup_step": 0.5, "token_warmup_min": 1}
    Path("d.toml").write_text(
        f"[[datasets]]\nbatch_size = 4\n{toml_of(options)}[[datasets.subsets]]\nimage_dir = 'fox'\n",
        encoding="utf-8",
    )
    left_out = import_kohya("d.toml")
    assert left_out.pipeline.steps == ()
    assert "give --max-train-steps" in str(left_out.changes[0])
    assert "[[0, 0.0], [2000, 1.0]]" in import_kohya("d.toml", max_train_steps=1000).text


# ------------------------------------------------------------------------------- what is meant to be another

DIFFERENT: list[tuple[str, dict[str, Any], list[str]]] = [
    ("a, b, c", {"caption_prefix": "photo of", "shuffle_caption": True}, ["caption_prefix"]),
    ("a, b, c", {"caption_suffix": "outside", "caption_tag_dropout_rate": 0.3}, ["caption_suffix"]),
]


@pytest.mark.statistics
@pytest.mark.parametrize(("caption", "options", "names"), DIFFERENT, ids=str)
def test_words_that_would_stick_to_a_tag_stay_outside(
    caption: str, options: dict[str, Any], names: list[str]
) -> None:
    made, record = imported(caption, options)
    assert [change.option for change in made.changes] == names
    plain = {name: value for name, value in options.items() if name not in names}
    before, after = options.get("caption_prefix", ""), options.get("caption_suffix", "")
    chances = {f"{before} {text} {after}".strip(): p for text, p in theirs(caption, plain, Now()).items()}
    agree(made.pipeline, record, chances)


@pytest.mark.statistics
def test_of_several_lines_the_first_is_drawn_half_of_the_time() -> None:
    made, record = imported("a, b\na fox, b\na cat", {"enable_wildcard": True})
    agree(made.pipeline, record, {"a, b": 0.5, "a fox, b": 0.25, "a cat": 0.25})
    assert "every line is as likely" in str(made.changes[0])


def test_a_keep_separator_never_stays_in_the_text() -> None:
    for separator in ("|||", "$$"):
        made, record = imported(f"a {separator} b", {"keep_tokens_separator": separator})
        assert made.pipeline.render(record).text == "a, b"
        assert [change.option for change in made.changes] == ["keep_tokens_separator"]


# ------------------------------------------------------------------------------------------------------ laws

TAGS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True)
OPTION_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "shuffle_caption": st.booleans(),
    "keep_tokens": st.integers(0, 5),
    "keep_tokens_separator": st.sampled_from(["|||", "$$", ""]),
    "secondary_separator": st.sampled_from([";;;", ""]),
    "caption_separator": st.sampled_from([",", ";", " "]),
    "caption_dropout_rate": st.sampled_from([0, 0.1, 1]),
    "caption_dropout_every_n_epochs": st.integers(0, 4),
    "caption_tag_dropout_rate": st.sampled_from([0, 0.1, 1]),
    "caption_prefix": st.text("p, |{}$", max_size=6),
    "caption_suffix": st.text("s, |{}$", max_size=6),
    "enable_wildcard": st.booleans(),
    "token_warmup_min": st.integers(0, 3),
    "token_warmup_step": st.sampled_from([0, 0.2, 10]),
    "flip_aug": st.booleans(),
    "num_repeats": st.integers(1, 3),
    "color_aug": st.booleans(),
}
OPTIONS_OF_A_SUBSET = st.fixed_dictionaries({}, optional=OPTION_VALUES)


@given(st.lists(OPTIONS_OF_A_SUBSET, min_size=1, max_size=3), OPTIONS_OF_A_SUBSET)
def test_whatever_the_options_the_text_is_the_recipe_and_captions_come_out(
    subsets: list[dict[str, Any]], general: dict[str, Any]
) -> None:
    made = import_kohya(config(*subsets, general=general), max_train_steps=100)
    assert not made.unread
    Path("recipe.toml").write_text(made.text, encoding="utf-8")
    assert load_pipeline("recipe.toml") == made.pipeline
    for number in range(len(subsets)):
        record = Record("1", (), (), None, {"kohya.subset": f"fox{number}"})
        assert made.pipeline.render(record, samples=0).text == ""


@given(
    TAGS,
    st.fixed_dictionaries(
        {},
        optional={
            "keep_tokens": st.integers(0, 5),
            "caption_prefix": st.sampled_from(["photo of", "p, q,", "p,", ""]),
            "caption_suffix": st.sampled_from(["by hand", ", s", ""]),
            "enable_wildcard": st.booleans(),
            "secondary_separator": st.sampled_from([";;;", ""]),
            "keep_tokens_separator": st.sampled_from(["|||", ""]),
        },
    ),
)
def test_where_nothing_is_random_the_text_is_the_same(tags: list[str], options: dict[str, Any]) -> None:
    caption = ", ".join(tags)
    made, record = imported(caption, options)
    assert {made.pipeline.render(record, draw=draw).text for draw in range(3)} == set(
        theirs(caption, options, Now())
    )


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )
)
def test_any_value_is_written_as_toml_that_says_the_same(value: Any) -> None:
    def without_none(one: Any) -> Any:  # Which TOML does not have.
        if isinstance(one, dict):
            return {key: without_none(inner) for key, inner in one.items() if inner is not None}
        return [without_none(inner) for inner in one if inner is not None] if isinstance(one, list) else one

    recipe = {"seed": 0, "steps": [{"kind": "x", "#": "a\nb", "value": without_none(value) or 1}]}
    assert tomllib.loads(recipe_text(["head\u2028"], recipe)) == bare(recipe)


# --------------------------------------------------------------------------------------------------- subsets


def test_subsets_that_differ_have_steps_of_their_own() -> None:
    path = config(
        {"caption_prefix": "p,", "shuffle_caption": True},
        {"keep_tokens": 1},
        {"keep_tokens": 1, "num_repeats": 3},
    )
    made = import_kohya(path)
    assert [step.name for step in made.pipeline.steps] == ["subset 1.1"]
    for number in range(3):
        Path(f"fox{number}").mkdir()
        Path(f"fox{number}/a.png").touch()
        Path(f"fox{number}/a.txt").write_text("a, b", encoding="utf-8")
    texts = {
        record.id: {made.pipeline.render(record, draw=draw).text for draw in range(40)}
        for record in KohyaDatasetSource(path).records(strict)
    }
    assert len(texts["fox0/a"]) == 6
    assert all("p" in text for text in texts["fox0/a"])
    assert texts["fox1/a"] == texts["fox2/a"] == {"a, b"}


def test_subsets_that_agree_share_their_steps() -> None:
    made = import_kohya(config({}, {"num_repeats": 2}, general={"shuffle_caption": True}))
    assert [step.kind for step in made.pipeline.steps] == ["shuffle_tags"]


def test_one_subset_alone() -> None:
    path = config({"shuffle_caption": True}, {"flip_aug": True})
    for wanted in ("1.2", "fox1"):
        made = import_kohya(path, subset=wanted)
        assert (made.pipeline.steps, made.pipeline.flip.p, made.changes) == ((), 0.5, ())
    with pytest.raises(
        DataError, match=r"no subset is called '2.1' \(there are 1.1 \(fox0\), 1.2 \(fox1\)\)"
    ):
        import_kohya(path, subset="2.1")


def test_flip_aug_of_some_subsets_is_a_condition() -> None:
    made = import_kohya(config({}, {"flip_aug": True}))
    assert made.pipeline.flip.p == 0.5
    assert made.changes == ()
    assert [made.pipeline.may_flip(record) for record in (RECORD, replace(RECORD, info=FLIPS))] == [
        False,
        True,
    ]
    assert import_kohya(config({}, {})).pipeline.flip.p == 0.0
    both = import_kohya(config({"flip_aug": True}, {"flip_aug": True}))
    assert both.changes == ()
    assert both.pipeline.may_flip(RECORD)


RECORD, FLIPS = Record("1", parse_tags("fox")), {"kohya.flip_aug": True}


def test_metadata_is_joined_with_its_caption_in_front() -> None:
    Path("meta.json").write_text('{"a.png": {"tags": "a, b", "caption": "a fox"}}', encoding="utf-8")
    Path("d.toml").write_text(
        "[[datasets]]\n[[datasets.subsets]]\nmetadata_file = 'meta.json'\nkeep_tokens = 1\n", encoding="utf-8"
    )
    (record,) = KohyaDatasetSource("d.toml").records(strict)
    assert import_kohya("d.toml").pipeline.render(record).text == "a fox, a, b"


# ------------------------------------------------------------------------------------- what is said about it

EVERYTHING = """\
[general]
caption_extension = ".txt"
shuffle_caption = true
keep_tokens_separator = "|||"
secondary_separator = ";;;"
caption_separator = ";"
enable_wildcard = true
token_warmup_step = 100
resolution = 512
shufle = 1

[[datasets]]
batch_size = 2
caption_dropout_every_n_epochs = 5
validation_split = 0.1
random_crop = true

  [[datasets.subsets]]
  image_dir = "fox"
  caption_prefix = "photo of"
  cache_info = true

  [[datasets.subsets]]
  image_dir = "cat"
  flip_aug = true
"""


def test_every_option_that_is_not_kept_is_told_with_its_line() -> None:
    Path("d.toml").write_text(EVERYTHING, encoding="utf-8")
    made = import_kohya("d.toml")
    told = sorted({(int(change.where.rpartition(":")[2]), change.option) for change in made.changes})
    assert told == [
        (5, "secondary_separator"),
        (6, "caption_separator"),
        (7, "enable_wildcard"),
        (8, "token_warmup_step"),
        (14, "caption_dropout_every_n_epochs"),
        (20, "caption_prefix"),
        (21, "cache_info"),
    ]
    assert [str(fault) for fault in made.unread] == [
        "d.toml:10: unknown option 'shufle' (did you mean 'shuffle_caption'?)"
    ]
    assert made.elsewhere == (
        *("image_dir", "caption_extension", "cache_info", "batch_size", "validation_split"),
        *("resolution", "random_crop"),
    )
    assert len(set(map(str, made.changes))) == len(made.changes)


def test_every_option_about_captions_has_a_place_in_the_recipe_or_a_word() -> None:
    """Turned on by itself, each option about captions changes the recipe, or is told."""
    nothing = import_kohya(config({})).pipeline
    alone = {
        "shuffle_caption": True,
        "keep_tokens": 1,
        "keep_tokens_separator": "|||",
        "secondary_separator": ";;;",
        "caption_separator": ";",
        "caption_dropout_rate": 0.1,
        "caption_dropout_every_n_epochs": 2,
        "caption_tag_dropout_rate": 0.1,
        "caption_prefix": "p,",
        "caption_suffix": ", s",
        "enable_wildcard": True,
        "token_warmup_step": 10,
        "token_warmup_min": 2,
        "flip_aug": True,
    }
    assert set(alone) == {name for name, option in OPTIONS.items() if option.about is About.CAPTIONS}
    for name, value in alone.items():
        made = import_kohya(config({name: value}))
        without_effect = name in ("keep_tokens", "token_warmup_min")  # Where nothing moves, as there.
        assert (made.pipeline != nothing or bool(made.changes)) is not without_effect, name


def test_the_recipe_is_as_people_write_it() -> None:
    options = {"caption_dropout_rate": 0.1, "keep_tokens": 1, "shuffle_caption": True}
    made = import_kohya(config(options | {"caption_tag_dropout_rate": 0.15, "flip_aug": True}))
    assert made.text == (
        """\
# From dataset.toml, a dataset configuration of kohya sd-scripts.
# See it: captionkit preview THIS_FILE dataset.toml
#
# An epoch is one of sd-scripts', which counts from 1.
seed = 0

# caption_dropout_rate. First, as there: prefix and fixed tags leave too.
[[steps]]
kind = "empty_caption"
p = 0.1

# keep_tokens.
[[steps]]
kind = "keep_fixed"
first = 1
separator = ""

[steps.then]
kind = "sequence"
steps = [
    # shuffle_caption
    { kind = "shuffle_tags" },
    # caption_tag_dropout_rate
    { kind = "drop_tags", rate = 0.15 },
]

# flip_aug. Pictures with such a tag could be spared: no_flip = ["text on*", "*left*", "*right*"].
[flip]
p = 0.5

# Tags to the letter. max_tokens = 225 would stand here for max_token_length = 225.
[text]
underscores = "keep"
"""
    )


# ----------------------------------------------------------------------------------------------- the command


def command(*arguments: str) -> None:
    parser = argparse.ArgumentParser()
    add_import(parser.add_subparsers())
    parsed = parser.parse_args(["import", *arguments])
    parsed.run(parsed)


def test_the_command_writes_the_recipe_and_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    Path("d.toml").write_text(EVERYTHING, encoding="utf-8")
    Path("cat").mkdir()
    command("kohya", "d.toml", "-o", "recipe.toml")
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0].startswith("captionkit: the data: d.toml:19: no such folder: 'fox' (looked for ")
    assert lines[1].startswith("captionkit: not read: d.toml:10: unknown option 'shufle'")
    assert lines[2].startswith("captionkit: differs: d.toml:14: caption_dropout_every_n_epochs: ")
    assert lines[-3].startswith("captionkit: not about captions, set in the trainer: image_dir, ")
    assert re.fullmatch(r"wrote recipe\.toml; \d options differ, see above", lines[-2])
    assert lines[-1] == "next: captionkit preview recipe.toml d.toml"
    assert load_pipeline("recipe.toml") == import_kohya("d.toml").pipeline
    with pytest.raises(DataError, match="is there already"):
        command("kohya", "d.toml", "-o", "recipe.toml")
    command("kohya", "d.toml", "-o", "recipe.toml", "--overwrite", "--subset", "1.2")
    assert load_pipeline("recipe.toml") == import_kohya("d.toml", subset="1.2").pipeline


def test_without_a_file_the_recipe_is_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    Path("fox0").mkdir()
    command("kohya", config({"shuffle_caption": True}))
    out, err = capsys.readouterr()
    assert out == import_kohya("dataset.toml").text
    assert err.splitlines() == [
        "captionkit: not about captions, set in the trainer: image_dir, caption_extension"
    ]


def test_json_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    Path("d.toml").write_text(EVERYTHING, encoding="utf-8")
    command("kohya", "d.toml", "--json")
    said = json.loads(capsys.readouterr().out)
    assert load_pipeline(said["recipe"]) == import_kohya("d.toml").pipeline
    assert {"where", "option", "instead", "do"} == set(said["differs"][0])
    assert said["not_about_captions"][:2] == ["image_dir", "caption_extension"]


@pytest.mark.parametrize(
    ("name", "message"), [("recipe.json", "must end in .toml"), ("no/recipe.toml", "cannot be written")]
)
def test_a_place_that_cannot_be_written(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        command("kohya", config({}), "-o", name)


# --------------------------------------------------------------------------------------------------- folders


def test_folders_and_texts_that_are_not_there_are_told_once_with_their_line() -> None:
    for name in ("fox0", "fox1", "fox2"):
        Path(name).mkdir()
        for number in range(3):
            Path(f"{name}/{number}.png").touch()
    for number in range(3):
        Path(f"fox1/{number}.txt").write_text("a, b", encoding="utf-8")
        Path(f"fox2/{number}.caption").write_text("a, b", encoding="utf-8")
    path = config({}, {}, {}, {}, general={"caption_extension": ".caption"})
    told = [str(fault) for fault in import_kohya(path).data]
    assert told[0].startswith(
        "dataset.toml:7: no text ends in .caption, 3 end in .txt (write caption_extension"
    )
    assert told[1].startswith("dataset.toml:11: no such folder: 'fox3' (looked for ")
    assert len(told) == 2
    skipped: list[DataError] = []
    assert len(list(KohyaDatasetSource(path).records(skipped.append))) == 3  # type: ignore[arg-type]
    hints = [error.hint for error in skipped if "has no text" in error.what]
    assert hints.count('texts that end in .txt stand there: set caption_extension = ".txt"') == 3
    assert hints.count("sd-scripts trains it with an empty text; write one, or set caption_extension") == 3


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("a, b", {}, []),
        ("a, b\n\n", {}, []),
        ("a\nb", {}, ["several lines"]),
        ("{a|b}", {}, ["choices nest"]),
        ("a", {"caption_prefix": "{a|b},"}, ["choices nest"]),
        ("{a}\nb", {}, ["several lines", "choices nest"]),
    ],
)
def test_of_wildcards_only_what_concerns_the_texts_is_told(
    text: str, options: dict[str, Any], words: list[str]
) -> None:
    made, _ = imported(text, {"enable_wildcard": True} | options)
    told = [change.instead for change in made.changes if change.option == "enable_wildcard"]
    assert [word for word in ("several lines", "choices nest") if any(word in one for one in told)] == words
    assert len(told) == len(words)


@given(st.lists(st.lists(st.integers() | st.text(max_size=30), max_size=30), max_size=60))
def test_long_lists_are_parted_into_lines_and_stay_what_they_are(value: list[Any]) -> None:
    text = toml_value({"points": value})
    assert tomllib.loads(f"x = {text}") == {"x": {"points": value}}
    items = max((len(toml_value(item)) for inner in value for item in (inner, *inner)), default=0)
    assert max(map(len, text.splitlines())) <= WIDTH + items + len("{ points = ") + 4


def test_epochs_without_captions_take_short_lines() -> None:
    Path("fox0").mkdir()
    made = import_kohya(config({"caption_dropout_every_n_epochs": 3}))
    assert max(map(len, made.text.splitlines())) <= 120
    assert load_pipeline(tomllib.loads(made.text)) == made.pipeline


# --------------------------------------------------------------------------------------- trainer's arguments


def arguments(text: str, name: str = "args.toml") -> TrainerArgumentsError:
    Path(name).write_text(text, encoding="utf-8")
    with pytest.raises(TrainerArgumentsError) as caught:
        import_kohya(name)
    return caught.value


@pytest.mark.parametrize("section", ["", "[dataset_arguments]\n"])
def test_folders_with_repeats_become_subsets_as_there(section: str) -> None:
    for name in ("10_red fox", "2_cat", "owl", "0_no", "x_3"):
        Path("img", name).mkdir(parents=True)
    Path("reg/1_fox").mkdir(parents=True)
    Path("img/10_red fox/a.txt").touch()
    given = (
        section + 'train_data_dir = "img/"\nreg_data_dir = "reg"\nshuffle_caption = true\nkeep_tokens = 0\n'
    )
    error = arguments(given + "train_batch_size = 4\noutput_name = 'x'\ncaption_dropout_rate = 7\n")
    assert str(error).startswith("args.toml: these are trainer arguments, not a dataset configuration")
    Path("dataset.toml").write_text(dataset_toml(error), encoding="utf-8")
    made = read_kohya_config("dataset.toml")
    assert made.faults == ()
    assert [
        (one.name, one.get("num_repeats"), one.get("class_tokens"), one.get("is_reg")) for one in made.subsets
    ] == [
        ("img/10_red fox", 10, "red fox", False),
        ("img/2_cat", 2, "cat", False),
        ("reg/1_fox", 1, "fox", True),
    ]
    first = made.subsets[0]
    assert (first.get("shuffle_caption"), first.get("batch_size")) == (True, 4)
    assert first.get("caption_extension") == ".txt"
    assert "keep_tokens" not in first.values


def test_what_kohya_ss_saves_is_taken_too(capsys: pytest.CaptureFixture[str]) -> None:
    saved = {
        "pretrained_model_name_or_path": "x",
        "train_data_dir": "C:\\img",
        "max_resolution": "512,768",
    } | {
        "caption_extension": ".txt",
        "caption_dropout_rate": 0.1,
        "keep_tokens": "2",
        "shuffle_caption": True,
        "LoRA_type": "Standard",
        "train_batch_size": 2,
        "max_token_length": 75,
        "flip_aug": False,
    }
    Path("gui.json").write_text(json.dumps(saved), encoding="utf-8")
    with pytest.raises(DataError, match=r"captionkit import kohya gui\.json > dataset\.toml"):
        command("kohya", "gui.json", "-o", "recipe.toml")
    assert not Path("recipe.toml").exists()
    out = capsys.readouterr().out
    Path("dataset.toml").write_text(out, encoding="utf-8")
    (subset,) = read_kohya_config("dataset.toml").subsets
    assert "# No folder such as this one was found" in out
    assert subset.values == {
        "resolution": [512, 768],
        "caption_extension": ".txt",
        "caption_dropout_rate": 0.1,
        "keep_tokens": 2,
        "shuffle_caption": True,
        "batch_size": 2,
        "image_dir": "C:\\img/10_red fox",
        "num_repeats": 10,
        "class_tokens": "red fox",
    }
    with pytest.raises(DataError):
        command("kohya", "gui.json", "--json")
    assert json.loads(capsys.readouterr().out) == {"dataset_toml": out}


def test_metadata_of_the_arguments_is_a_subset() -> None:
    error = arguments('in_json = "meta.json"\ntrain_data_dir = "img"\ndataset_repeats = 3\n')
    Path("dataset.toml").write_text(dataset_toml(error), encoding="utf-8")
    (subset,) = read_kohya_config("dataset.toml").subsets
    assert subset.values | {"resolution": 0} == {
        "metadata_file": "meta.json",
        "image_dir": "img",
        "num_repeats": 3,
        "resolution": 0,
    }


ODD = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["img", "1e999", ",", "nan"])
)


@given(
    st.dictionaries(
        st.sampled_from([*OPTIONS, "train_data_dir", "in_json", "dataset_repeats", "max_resolution"]),
        ODD | st.lists(ODD, max_size=3),
    )
)
def test_whatever_the_arguments_a_dataset_configuration_comes_out(given: dict[str, Any]) -> None:
    error = TrainerArgumentsError(Path("args.toml"), given)
    Path("dataset.toml").write_text(dataset_toml(error), encoding="utf-8")
    assert read_kohya_config("dataset.toml").faults == ()


def test_a_place_without_a_line_is_the_file_alone() -> None:
    Path("d.json").write_text('{"datasets": [{"subsets": [{"image_dir": "fox"}]}], "x": 1}', encoding="utf-8")
    (fault,) = read_kohya_config("d.json").faults
    assert str(fault).startswith("d.json: unknown table or option 'x'")
