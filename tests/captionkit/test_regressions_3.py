"""What a hostile reading of the third issue found: one story a test."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import pytest

from captionkit import (
    CaptionkitError,
    CaptionPipeline,
    Curve,
    DataError,
    ImplicationsError,
    Policy,
    RecipeError,
    Record,
    Tag,
    dump_toml,
    load_pipeline,
    parse_tags,
    read_implications,
)
from captionkit.cli import main
from captionkit.cooccurrence import count_correlations
from captionkit.correlations import read_correlations
from captionkit.policies import (
    ByCategory,
    ChooseSource,
    EmptyCaption,
    KeepFixed,
    OrderByCategory,
    RenameTags,
    TagFromNumber,
    TagFromYear,
    Template,
)
from captionkit.readers import parse_caption
from captionkit.schema import recipe_schema

ZERO_LATER = Curve(points=((0, 1), (5, 0)))


def text(*steps: Policy, tags: str = "fox, tree", **at: int) -> str:
    return CaptionPipeline(steps=steps).render(Record("1", parse_tags(tags)), **at).text


def load_step(**step: Any) -> CaptionPipeline:
    return load_pipeline({"steps": [step]})


# ------------------------------------------------------------------------------------- silent wrong results


@pytest.mark.parametrize("tags", ["kitsune, red fox", "red fox, kitsune", "vulpes, kitsune"])
def test_an_alias_spelled_with_an_underscore_came_beside_the_same_tag_with_a_space(tags: str) -> None:
    aliases = {"kitsune": "red_fox", "vulpes": "red fox"}
    assert text(RenameTags(aliases=aliases), tags=tags) == "red fox"


def test_a_template_whose_weights_were_all_zero_at_some_time_was_always_the_first() -> None:
    with pytest.raises(RecipeError, match="all weights are 0, at least at some time"):
        Template(templates=("one {}", "two {}"), weights=(ZERO_LATER, ZERO_LATER))


def test_sources_whose_weights_were_all_zero_at_some_time_were_always_the_tags() -> None:
    with pytest.raises(RecipeError, match="all weights are 0, at least at some time"):
        ChooseSource(tags=0.0, caption=ZERO_LATER, both=0.0)
    ChooseSource(tags=0.0, caption=ZERO_LATER, both=Curve(points=((0, 0), (5, 1))))


@pytest.mark.parametrize("score", [math.nan, "0.5"])
def test_a_tag_with_nan_for_a_score_left_at_any_rate_above_0(score: Any) -> None:
    with pytest.raises(DataError, match="tag 'fox': a score must be a number, got"):
        Tag("fox", score=score)


def test_a_fact_that_is_nan_had_the_tag_of_the_lowest_level() -> None:
    with pytest.raises(DataError, match=r"record '1': info\.score: is NaN, which is no number"):
        Record("1", info={"score": math.nan})


@pytest.mark.parametrize(
    "around",
    [
        KeepFixed(first=1, then=Template(templates=("a photo of {}",))),
        ByCategory(
            policies={"artist": EmptyCaption(p=1.0)}, otherwise=Template(templates=("a photo of {}",))
        ),
    ],
)
def test_a_template_inside_keep_fixed_or_by_category_was_lost(around: Policy) -> None:
    assert text(around) == "a photo of fox, tree"
    assert text(Template(templates=("{}, sharp",)), around) == "a photo of fox, tree, sharp"


@pytest.mark.parametrize("break_", ["\n", "\u2028", "\u2029", "\x85"])
def test_a_line_separator_in_a_template_made_two_lines(break_: str) -> None:
    assert text(Template(templates=(f"a{break_}photo of {{}}",)), tags="fox") == "a photo of fox"


def test_a_tag_of_underscores_alone_left_spaces_around_the_text() -> None:
    assert text(tags="__, fox") == "__, fox"
    assert text(tags="_tree, fox_") == "tree, fox"


def test_the_tags_of_a_category_others_were_shuffled_like_those_without_one() -> None:
    letters = "abcdefghijklmnopqrst"
    tags = [Tag(f"o{letter}", "others") for letter in letters] + [Tag(f"x{letter}") for letter in letters]
    drawn = CaptionPipeline(steps=(OrderByCategory(order=("others",)),)).render(Record("1", tuple(tags))).text
    names = drawn.split(", ")
    assert [name[1] for name in names[:20]] != [name[1] for name in names[20:]]


def test_a_date_in_digits_that_are_not_ascii_was_a_year() -> None:
    steps = (TagFromYear(fact="date"),)
    assert (
        CaptionPipeline(steps=steps)
        .render(Record("1", (Tag("fox"),), info={"date": "\uff11\uff12\uff13\uff14"}))
        .text
        == "fox"
    )


# -------------------------------------------------------------------------------------------- the schema


def test_the_schema_refused_patterns_from_a_file_and_regular_expressions() -> None:
    items = recipe_schema()["$defs"]["MarkImportant"]["properties"]["patterns"]["items"]
    keys = [list(form.get("properties", {})) for form in items["anyOf"]]
    assert keys == [[], ["file"], ["regex"]]


def test_the_schema_refused_a_single_tag_for_a_fact_and_the_path_of_aliases() -> None:
    definitions = recipe_schema()["$defs"]
    of_value = definitions["TagFromFact"]["properties"]["tags"]["additionalProperties"]
    assert {form["type"] for form in of_value["anyOf"]} == {"string", "array"}
    aliases = definitions["RenameTags"]["properties"]["aliases"]
    assert {form["type"] for form in aliases["anyOf"]} == {"object", "string"}


# ------------------------------------------------------------------------------------- facts of a condition


def test_a_condition_on_facts_was_dumped_with_a_warning() -> None:
    pipeline = load_step(kind="when", facts={"rating": "s", "score": {"min": 1}}, then={"kind": "drop_tags"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "facts" in dump_toml(pipeline)


@pytest.mark.parametrize("value", [math.nan, math.inf, None, [[1]]])
def test_a_condition_took_values_that_no_recipe_could_hold(value: Any) -> None:
    with pytest.raises(RecipeError) as caught:
        load_step(kind="when", facts={"score": value}, then={"kind": "drop_tags"})
    message = str(caught.value)
    assert message.startswith("steps[0].facts.score (when): a fact's value is text, a finite number")
    assert "errors" not in message


# ---------------------------------------------------------------------------------------------- errors


def test_a_broken_expression_for_triggers_ended_in_a_traceback(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"id": 1, "tags": "fox"}\n')
    with pytest.raises(CaptionkitError, match="pattern 0 is no regular expression"):
        count_correlations([Record("1")], patterns=("regex:(",))
    out = str(tmp_path / "out.csv")
    assert main(["correlations", "build", str(data), "--triggers", "regex:(", "-o", out]) == 2


@pytest.mark.parametrize("values", [{"tags": None}, {"prose": 3}])
def test_a_record_of_nothing_that_is_a_list_ended_in_a_traceback(values: Any) -> None:
    with pytest.raises(DataError, match="must be a list of"):
        Record("1", **values)


def test_a_class_that_is_no_policy_ended_in_a_traceback() -> None:
    with pytest.raises(RecipeError, match="must be a class of policies, got <class 'int'>"):
        load_pipeline({}, kinds=[int])  # type: ignore[list-item]


def test_a_name_of_underscores_alone_was_named_without_its_place(tmp_path: Path) -> None:
    path = tmp_path / "implications.csv"
    path.write_text("antecedent_name,consequent_name,status\nfox,canine,active\n_,fox,active\n")
    with pytest.raises(ImplicationsError, match=r"implications\.csv:3: a name is empty: '_'"):
        read_implications(path)


def test_a_trigger_that_comes_with_itself_was_named_without_its_place(tmp_path: Path) -> None:
    path = tmp_path / "correlations.csv"
    said = "# threshold = 0.9\n# support = 1\n# num_records = 3\n"
    path.write_text(f"{said}trigger,tag,num_both,num_trigger\nred_fox,Red fox,1,1\n")
    with pytest.raises(DataError, match=r"correlations\.csv:5: 'red_fox' comes with itself"):
        read_correlations(path)


def test_a_misspelt_key_of_a_source_of_implications_got_the_keys_of_another_class() -> None:
    with pytest.raises(RecipeError, match="unknown key 'min_post'; did you mean 'min_posts'"):
        load_step(kind="drop_implied", implications={"file": "implications.csv", "min_post": 3})


def test_a_faulty_point_of_a_curve_was_told_twice() -> None:
    with pytest.raises(RecipeError) as caught:
        load_step(kind="drop_tags", rate={"points": [[0, 0.5, 1]]})
    assert "errors" not in str(caught.value)
    with pytest.raises(
        RecipeError, match=r"steps\[0\]\.rate\.points \(drop_tags\): no point; give at least one"
    ):
        load_step(kind="drop_tags", rate={"points": []})


@pytest.mark.parametrize(
    ("step", "got"),
    [("shuffle", "got 'shuffle'"), ({"kind": "drop_tags", "only": "fox"}, "got 'fox'")],
)
def test_the_value_was_missing_in_the_message(step: Any, got: str) -> None:
    with pytest.raises(RecipeError, match=got):
        load_pipeline({"steps": [step]})


# --------------------------------------------------------------------------------------------- commands


def test_no_command_could_show_a_recipe_that_follows_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, recipe = tmp_path / "data.jsonl", tmp_path / "recipe.json"
    data.write_text('{"id": "1", "tags": "fox"}\n')
    rate = {"over": "samples", "points": [[0, 1.0], [1000, 0.0]]}
    recipe.write_text(json.dumps({"steps": [{"kind": "drop_tags", "rate": rate}]}))
    for samples, expected in ((0, ""), (1000, "fox")):
        at = ["--samples", str(samples), "--json"]
        assert main(["preview", str(recipe), str(data), "--draws", "1", *at]) == 0
        assert json.loads(capsys.readouterr().out)["records"][0]["draws"][0]["text"] == expected
        assert main(["explain", str(recipe), str(data), "--id", "1", *at]) == 0
        assert json.loads(capsys.readouterr().out)["text"] == expected


def test_levels_for_odd_values_of_a_second_fact_were_no_toml(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, recipe = tmp_path / "data.jsonl", tmp_path / "recipe.toml"
    odd = ["levels", "a\nb", 'say "s"', ""]
    lines = [{"id": str(n), "tags": "fox", "score": n, "by": odd[n % 4]} for n in range(40)]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    shares = "good=0.5, bad=0"
    assert main(["percentiles", str(data), "--fact", "score", "--by", "by", "--shares", shares]) == 0
    recipe.write_text(capsys.readouterr().out)
    step = load_pipeline(recipe).steps[0]
    assert isinstance(step, TagFromNumber)
    assert sorted(step.groups) == sorted(odd)


def test_a_keep_separator_that_no_step_took_does_not_reach_the_text() -> None:
    """A file of another trainer under the plain preset trained on `best, |||, solo, ||| |||`."""
    record = Record("1", parse_tags("solo, |||, fox, ||| |||, tree"))
    assert CaptionPipeline().render(record).text == "solo, fox, tree"


def test_a_line_of_many_short_ends_is_read_in_time() -> None:
    """`"A. " * 20000` did not end in three minutes: a sentence that never came was read anew at each end."""
    tags, prose = parse_caption("A. " * 20_000)
    assert [tag.name for tag in tags] == [("A. " * 20_000).strip()]
    assert prose == ()
