"""Recipes: forms, files, presets, and the words of every error (changing one is a reviewed change)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Literal

import pytest

import captionkit.kinds
from captionkit import (
    Caption,
    CaptionPipeline,
    Draws,
    Policy,
    RecipeError,
    Record,
    Rule,
    dump_pipeline,
    dump_toml,
    load_pipeline,
    parse_tags,
    preset,
)
from captionkit.policies import BUILT_IN, DropTags, Sequence
from captionkit.policy import kind_of

RECORD = Record("1", parse_tags("solo, red_fox, fox, tree"))


class Shout(Rule):
    """A policy of a user's own."""

    kind: Literal["shout"] = "shout"
    mark: str = "!"

    def rewrite(self, caption: Caption) -> Caption:
        return caption.with_tags(parse_tags(", ".join(tag.name.upper() + self.mark for tag in caption.tags)))


class Nameless(Policy):
    def apply(self, caption: Caption, draws: Draws) -> Caption:
        return caption


class Usurper(Policy):
    kind: Literal["drop_tags"] = "drop_tags"

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        return caption


KINDS = sorted(kind_of(policy) for policy in BUILT_IN)
ERRORS: list[tuple[Mapping[str, Any], str]] = [
    (
        {"steps": [{"kind": "drop_tgs"}]},
        "steps[0]: unknown policy kind 'drop_tgs'; did you mean 'drop_tags'?",
    ),
    ({"steps": [{"kind": ["x"]}]}, "steps[0]: unknown policy kind ['x']; known: " + ", ".join(KINDS)),
    ({"steps": [{}]}, "steps[0]: a policy needs a `kind`; known: " + ", ".join(KINDS)),
    (
        {"steps": ["drop_tags"]},
        "steps[0]: a policy is a table with a `kind`, such as {kind = \"shuffle_tags\"}, got 'drop_tags'",
    ),
    (
        {"steps": [{"kind": "drop_tags", "rate": 1.5}]},
        "steps[0].rate (drop_tags): input should be less than or equal to 1, got 1.5",
    ),
    (
        {"steps": [{"kind": "drop_tags", "rate": "0.1"}]},
        "steps[0].rate (drop_tags): input should be a valid number, got '0.1'",
    ),
    (
        {"steps": [{"kind": "drop_tags", "ratte": 0.1}]},
        "steps[0].ratte (drop_tags): unknown key 'ratte'; did you mean 'rate'?",
    ),
    (
        {"steps": [{"kind": "maybe", "p": 0.5, "then": {"kind": "drop_tags", "rate": -1}}]},
        "steps[0].then.rate (drop_tags): input should be greater than or equal to 0, got -1",
    ),
    ({"steps": [{"kind": "maybe", "p": 0.5}]}, "steps[0].then (maybe): is missing"),
    (
        {"steps": [{"kind": "drop_implied", "rate_range": [0.5, 0.3]}]},
        "steps[0].rate_range (drop_implied): the range runs backwards: 0.5 is above 0.3",
    ),
    (
        {"steps": [{"kind": "drop_implied", "implications": {"a": ["b"], "b": ["a"]}}]},
        "steps[0].implications (drop_implied): implications run in a cycle: 'a' -> 'b' -> 'a' (remove one)",
    ),
    (
        {"steps": [{"kind": "one_of", "choices": [{"kind": "shuffle_tags"}], "weights": [1, 2]}]},
        "steps[0] (one_of): 2 weights for 1 choices; give one for each",
    ),
    (
        {"steps": [{"kind": "when", "then": {"kind": "sequence"}}]},
        "steps[0] (when): no condition; give `tags`, `sources`, `facts` or several of them",
    ),
    (
        {"steps": [{"kind": "sequence", "name": "x"}, {"kind": "drop_tags", "name": "x"}]},
        "steps: two steps are named 'x'; they would share their draws, so rename one",
    ),
    ({"flip": {"no_flip": ["a", " "]}}, "flip.no_flip: pattern 1 is empty: ' '"),
    (
        {"flip": {"no_flip": "a"}},
        'flip.no_flip: must be a list of patterns, such as ["solo", "text on*"], got \'a\'',
    ),
    ({"flip": {"no_flips": []}}, "flip.no_flips: unknown key 'no_flips'; did you mean 'no_flip'?"),
    ({"text": {"max_tokens": 0}}, "text.max_tokens: input should be greater than or equal to 1, got 0"),
    ({"seed": "x"}, "seed: input should be a valid integer, got 'x'"),
    ({"preset": "hyperfussion"}, "preset: unknown preset 'hyperfussion'; did you mean 'hyperfusion'?"),
    (
        {"preset": "hyperfusion", "importnt": []},
        "importnt: unknown key 'importnt'; did you mean 'important'?",
    ),
    (
        {"flip": {"p": 2}, "text": {"max_token": 3}, "steps": [{"kind": "empty_caption", "p": 7}]},
        "3 errors\n"
        "  steps[0].p (empty_caption): input should be less than or equal to 1, got 7\n"
        "  flip.p: input should be less than or equal to 1, got 2\n"
        "  text.max_token: unknown key 'max_token'; did you mean 'max_tokens'?",
    ),
]


@pytest.mark.parametrize(("recipe", "message"), ERRORS, ids=[message[:50] for _, message in ERRORS])
def test_error(recipe: Mapping[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_pipeline(recipe)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.toml", "steps = [", "r.toml: is not valid TOML: Invalid value (at end of document)"),
        ("r.json", "{", "r.json: is not valid JSON: Expecting property name"),
        ("r.json", "[]", "r.json: a recipe is a table, got list"),
        ("r.yaml", "", "r.yaml: a recipe is a .toml or .json file, got 'r.yaml'"),
        ("r.toml", "sed = 1", "r.toml: sed: unknown key 'sed'; did you mean 'seed'?"),
        ("r.toml", 'preset = "no"', "r.toml: preset: unknown preset 'no'; known: hyperfusion"),
    ],
)
def test_error_in_a_file_names_the_file(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_pipeline(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path}/{message}")


def test_missing_recipe() -> None:
    with pytest.raises(RecipeError, match=r"^nowhere\.toml: cannot read the recipe: No such file"):
        load_pipeline("nowhere.toml")


def test_relative_paths_start_at_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    header = "id,antecedent_name,consequent_name,created_at,status\n"
    (tmp_path / "data/i.csv").write_text(header + "1,red_fox,fox,,active\n", encoding="utf-8")
    (tmp_path / "data/flip.txt").write_text("# no mirrors\nsequence\n\n text on* \n", encoding="utf-8")
    (tmp_path / "r.toml").write_text(
        'preset = "hyperfusion"\nimplications = "data/i.csv"\nno_flip = ["solo", {file = "data/flip.txt"}]\n',
        encoding="utf-8",
    )
    pipeline = load_pipeline(tmp_path / "r.toml")
    assert pipeline.flip.no_flip == ("solo", "sequence", "text on*")
    assert pipeline == load_pipeline(dump_pipeline(pipeline))  # Paths come out absolute.
    (tmp_path / "all.json").write_text(json.dumps(dump_pipeline(pipeline)), encoding="utf-8")
    (tmp_path / "all.toml").write_text(dump_toml(pipeline), encoding="utf-8")
    assert load_pipeline(tmp_path / "all.json") == load_pipeline(str(tmp_path / "all.toml")) == pipeline


def test_a_missing_pattern_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"flip\.no_flip: cannot read the pattern file .*gone\.txt"):
        load_pipeline({"flip": {"no_flip": [{"file": "gone.txt"}]}})


def test_a_policy_of_your_own() -> None:
    recipe = {"steps": [{"kind": "sequence", "steps": [{"kind": "shout", "mark": "?"}]}]}
    with pytest.raises(RecipeError, match="unknown policy kind 'shout'"):
        load_pipeline(recipe)
    pipeline = load_pipeline(recipe, kinds=[Shout])
    assert pipeline == CaptionPipeline(steps=(Sequence(steps=(Shout(mark="?"),)),))
    assert load_pipeline(dump_pipeline(pipeline), kinds=[Shout]) == pipeline
    assert pipeline.render(RECORD).text == "SOLO?, RED FOX?, FOX?, TREE?"


def test_errors_in_a_policy_of_your_own_suggest_its_fields() -> None:
    with pytest.raises(RecipeError, match=r"unknown key 'makr'; did you mean 'mark'\?"):
        load_pipeline({"steps": [{"kind": "shout", "makr": "?"}]}, kinds=[Shout])


def test_kinds_must_have_a_kind_of_their_own() -> None:
    with pytest.raises(RecipeError, match="Nameless has no kind"):
        load_pipeline({}, kinds=[Nameless])
    with pytest.raises(RecipeError, match="kind 'drop_tags' of Usurper is taken by DropTags"):
        load_pipeline({}, kinds=[Usurper])


def test_an_installed_policy_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(*, group: str, name: str) -> list[EntryPoint]:
        assert group == "captionkit.policies"
        return [EntryPoint(name, f"{__name__}:Shout", group)] if name == "shout" else []

    monkeypatch.setattr(captionkit.kinds, "entry_points", installed)
    monkeypatch.setattr(EntryPoint, "load", lambda self: Shout)
    captionkit.kinds._installed.cache_clear()
    try:
        assert load_pipeline({"steps": [{"kind": "shout"}]}).steps == (Shout(),)
        with pytest.raises(RecipeError, match="unknown policy kind 'shoot'"):
            load_pipeline({"steps": [{"kind": "shoot"}]})
    finally:
        captionkit.kinds._installed.cache_clear()


def test_preset_settings_go_where_they_belong() -> None:
    pipeline = preset(
        "hyperfusion",
        seed=3,
        flip=0.25,
        max_tokens=75,
        no_flip=["solo"],
        important=["1girl"],
        implications={"fox": ["canine"]},
    )
    assert (pipeline.seed, pipeline.flip.p, pipeline.text.max_tokens) == (3, 0.25, 75)
    assert pipeline.flip.no_flip == ("solo",)
    dumped = {step["kind"]: step for step in dump_pipeline(pipeline)["steps"]}
    assert dumped["mark_important"]["patterns"] == ["1girl"]
    assert dumped["drop_implied"]["implications"] == {"fox": ["canine"]}
    with pytest.raises(RecipeError, match=r"max_tokens: input should be greater than or equal to 1, got 0"):
        preset("hyperfusion", max_tokens=0)


def test_preset_is_the_recipe() -> None:
    """The figures of the hyperfusion recipe, in the order that docs/policies.md gives reasons for."""
    steps = {step["kind"]: step for step in dump_pipeline(preset("hyperfusion"))["steps"]}
    assert list(steps) == [
        *("clean_captions", "mark_important", "empty_caption", "choose_source"),
        *("maybe", "drop_implied", "important_first"),
    ]
    assert steps["empty_caption"]["p"] == 0.1
    assert [steps["choose_source"][key] for key in ("tags", "caption", "both")] == [0.7, 0.2, 0.1]
    assert steps["maybe"]["p"] == 0.05
    assert (steps["maybe"]["then"]["rate"], steps["maybe"]["otherwise"]["rate"]) == (0.75, 0.15)
    assert steps["drop_implied"]["rate_range"] == [0.3, 0.5]


def test_python_objects_and_recipes_are_the_same() -> None:
    assert load_pipeline({"steps": [{"kind": "drop_tags", "rate": 0.5}]}) == CaptionPipeline(
        steps=(DropTags(rate=0.5),)
    )


def test_a_flip_table_beside_a_preset_says_what_may_stand_there() -> None:
    with pytest.raises(
        RecipeError, match=r"flip: beside a preset it is a number or a curve.*copy the preset"
    ):
        load_pipeline({"preset": "hyperfusion", "flip": {"p": 0.3}})


def test_a_kohya_configuration_is_no_recipe(tmp_path: Path) -> None:
    path = tmp_path / "dataset.toml"
    path.write_text("[general]\n[[datasets]]\n")
    with pytest.raises(
        RecipeError, match=r"is a kohya dataset configuration.*captionkit import kohya .*dataset\.toml"
    ):
        load_pipeline(path)
