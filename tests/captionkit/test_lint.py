"""`captionkit lint`: for each rule data that it finds fault with, and data that it leaves in peace."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from captionkit import (
    CaptionPipeline,
    FlipRule,
    ImplicationGraph,
    Prose,
    Record,
    Tag,
    load_pipeline,
    preset,
)
from captionkit.cli import main
from captionkit.importing.kohya import import_kohya
from captionkit.lint import Finding, Severity, lint
from captionkit.lint.blocks import step
from captionkit.lint.shown import findings_json, findings_text
from captionkit.policies import (
    ChooseSource,
    CleanCaptions,
    DropImplied,
    DropTags,
    EmptyCaption,
    KeepFixed,
    MarkImportant,
    RenameTags,
    ShuffleTags,
    VaryNames,
    When,
    Wildcards,
)
from captionkit.policy import Policy
from captionkit.render import Renderer
from captionkit.screen import Screen, columns_of
from captionkit.stats.gather import gather

EMPTY = EmptyCaption(p=0.1)
"""So that `no-empty` does not speak up everywhere."""
STILL = FlipRule(p=0.0)
GRAPH = ImplicationGraph({"red fox": ["fox"]})


def records(number: int, *names: str, prose: str = "", **info: str) -> list[Record]:
    """So many records with the same tags."""
    texts = (Prose(prose),) if prose else ()
    return [Record(f"p{at}", tuple(map(Tag, names)), texts, info=info) for at in range(number)]


def found(
    data: Sequence[Record], *steps: Policy, flip: FlipRule = STILL, **text: object
) -> dict[str, Finding]:
    """The findings by their code; of several with one code the weightiest."""
    pipeline = CaptionPipeline(steps=(EMPTY, *steps), flip=flip)
    pipeline = pipeline.with_settings({f"text.{name}": value for name, value in text.items()})
    stats = gather(pipeline, data, data="d", recipe="r", draws=4)
    return {one.code: one for one in reversed(lint(stats, pipeline))}


CLEAN = records(40, "fox", "snow", "tree") + [
    Record(f"q{at}", (Tag("cat"), Tag("indoors"), Tag("table"))) for at in range(40)
]
"""Data and, with the recipe below, nothing to say but that tags come together."""


def test_a_clean_recipe_over_clean_data_has_nothing_to_say() -> None:
    quiet = found(CLEAN, ShuffleTags(), DropTags(rate=0.3))
    assert quiet == {}


def lone(code: str, severity: Severity, findings: dict[str, Finding]) -> Finding:
    """The one finding of this code, with everything a person needs."""
    assert code in findings, sorted(findings)
    finding = findings[code]
    assert finding.severity is severity
    assert finding.message
    assert finding.do
    return finding


def test_unmatched() -> None:
    bad = found(CLEAN, MarkImportant(patterns=("foxs", "solo", "cat")))
    finding = lone("unmatched", Severity.WARNING, bad)
    assert finding.examples == ("foxs (near: fox)", "solo")
    assert (finding.count, finding.of) == (2, 3)
    assert "'fox'" in finding.do
    assert lone("unmatched", Severity.NOTE, found(CLEAN, MarkImportant(patterns=("zebra",))))
    part = lone("unmatched", Severity.NOTE, found(CLEAN, MarkImportant(patterns=("ca*",))))
    assert part.examples == ("ca* (near: ca**)",)
    assert "write 'ca**' for 'ca*'" in part.do
    assert "unmatched" not in found(CLEAN, MarkImportant(patterns=("c**",)))


def test_unmatched_patterns_of_presets_are_notes() -> None:
    data = [*CLEAN, *records(30, "write", "kitten")]
    pipeline = preset("hyperfusion")
    stats = gather(pipeline, data, data="d", recipe="hyperfusion")
    (finding,) = [one for one in lint(stats, pipeline) if one.code == "unmatched"]
    assert finding.severity is Severity.NOTE
    assert "dump_toml" in finding.do
    own = preset("hyperfusion", no_flip=["foxs"])
    stats = gather(own, data, data="d", recipe="r")
    (finding,) = [one for one in lint(stats, own) if one.code == "unmatched"]
    assert (finding.severity, finding.examples) == (Severity.WARNING, ("foxs (near: fox)",))


KOHYA = """
[[datasets]]
  [[datasets.subsets]]
  image_dir = "train/fox"
  shuffle_caption = true
  enable_wildcard = true
  [[datasets.subsets]]
  image_dir = "train/cat"
  keep_tokens = 1
  shuffle_caption = true
"""


def test_a_recipe_of_a_kohya_dataset_over_other_data(tmp_path: Path) -> None:
    toml = tmp_path / "dataset.toml"
    toml.write_text(KOHYA, encoding="utf-8")
    pipeline = import_kohya(toml).pipeline
    stats = gather(pipeline, [*CLEAN, CLEAN[0]], data="d", recipe="r")
    first = lint(stats, pipeline)[0]
    assert (first.code, first.severity) == ("wrong-data", Severity.ERROR)
    assert first.examples == ("subset 1.1.facts", "subset 1.2.facts")
    assert not {"unmatched", "no-prose"} & {one.code for one in lint(stats, pipeline)}
    named = [
        replace(one, info={"kohya.subset": f"train/{'fox' if at % 2 else 'cat'}"})
        for at, one in enumerate(CLEAN)
    ]
    stats = gather(pipeline, named, data="d", recipe="r")
    assert not {"wrong-data", "unmatched", "no-prose"} & {one.code for one in lint(stats, pipeline)}
    (near,) = found(named, When(facts={"kohya.subset": ("train/fxo",)}, then=ShuffleTags())).values()
    assert near.do == "write 'train/fox' for 'train/fxo' in `when#0.facts` if that was meant"


def test_one_thing_in_two_spellings_and_what_mends_it() -> None:
    """What is advised is done, and then there is nothing more to say."""
    data = [*CLEAN, *records(3, "red_hair", "snow"), *records(2, "red hair", "tree")]
    bad = lone("underscores-and-spaces", Severity.WARNING, found(data, underscores="keep"))
    assert bad.examples == ("red hair / red_hair",)
    assert tomllib.loads(bad.toml) == {"text": {"underscores": "space"}}
    assert not {"underscores-and-spaces", "spelled-in-several-ways"} & set(found(data))
    data = [*CLEAN, Record("x", (Tag("Fox"), Tag("snow")))]
    bad = lone("spelled-in-several-ways", Severity.WARNING, found(data))
    assert bad.examples == ("Fox / fox",)
    step = tomllib.loads(bad.toml)["steps"][0]
    assert "spelled-in-several-ways" not in found(data, *load_pipeline({"steps": [step]}).steps)
    assert "spelled-in-several-ways" not in found(data, RenameTags(aliases={"Fox": "fox"}))
    assert "spelled-in-several-ways" in found(data, RenameTags(aliases={"cat": "dog"}))


def test_advice_in_toml_is_a_recipe() -> None:
    """Every block parses, and every rule with one is here; those that name no file and no step load."""
    names = (
        "tagme",
        r"a \\(b\\)",
        "{red|blue} fox",
        "a;;;b",
        "kitty",
        'runing "x"',
        "signature",
        "fox_cub",
        "Fox",
    )
    odd = [Record(f"o{at}", (Tag(name), Tag("red fox"), Tag("fox"))) for at, name in enumerate(names)]
    data = [
        *records(120, 'running "x"', "red fox", "fox", prose="The image showcases a fox."),
        *odd,
        Record("y", (Tag("fox cub"),)),
        *records(4, *(f"a longer name {at}" for at in range(90))),
    ]
    several = [
        CaptionPipeline(text=Renderer(underscores="keep"), steps=(VaryNames(names={"cat": ("kitty",)}),)),
        CaptionPipeline(steps=(DropImplied(implications=ImplicationGraph({"zebra": ["horse"]})),)),
        CaptionPipeline(
            steps=(ChooseSource(tags=1.0, caption=0.0, both=0.0), DropImplied(implications=GRAPH))
        ),
    ]
    findings: list[Finding] = []
    for pipeline in several:
        findings += lint(gather(pipeline, data, data="d", recipe="r"), pipeline)
    blocks = {one.code: one.toml for one in findings if one.toml}
    expected = {"typos", "aliases", "writing", "no-budget", "no-empty", "prose-unused", "nothing-implied"}
    expected |= {"underscores-and-spaces", "spelled-in-several-ways", "escaped", "separators-in-tags"}
    expected |= {"choices-in-tags", "placeholder-tags", "boilerplate"}
    assert expected <= set(blocks)
    for block in blocks.values():
        table = tomllib.loads(block)
        if table.keys() <= {"steps", "flip", "text"}:
            load_pipeline(table)
    for one in findings:
        assert "[[" not in one.do
        for key, value in re.findall(r"(\w+) = (\"[^\"]*\"|[\d.]+)", one.do):
            tomllib.loads(f"{key} = {value}")


def test_implications_are_advised_as_a_table() -> None:
    """`never-alone` has one; no recipe of built-in steps comes to it, so the block is asked directly."""
    block = step("drop_implied", rate_range=[0.3, 0.5], implications={'red \x7f"fox': ["fox"]})
    loaded = load_pipeline(tomllib.loads(block)).steps[0]
    assert isinstance(loaded, DropImplied)
    assert loaded.implications.implied_by('red \x7f"fox') == {"fox"}


def test_typos() -> None:
    bad = found([*CLEAN, *records(100, "running"), Record("x", (Tag("runing"),))])
    assert lone("typos", Severity.WARNING, bad).examples == ("runing (1) like running (100)",)
    assert lone("typos", Severity.WARNING, bad).toml.endswith('aliases = { "runing" = "running" }')
    assert "typos" not in found([*CLEAN, *records(100, "running"), Record("x", (Tag("walking"),))])
    words = [*CLEAN, *records(300, "animal"), *records(1, "animals", "snow")]
    plural = lone("typos", Severity.NOTE, found(words))
    assert plural.toml == ""
    assert "typos" not in found(words, MarkImportant(patterns=("animals",)))


@pytest.mark.parametrize(
    ("code", "bad", "good"),
    [
        ("spelled-in-several-ways", "Fox", "fox_"),
        ("control-characters-in-tags", "fo\x01x", "füchse"),
        ("separators-in-tags", "a ||| b", "a | b"),
        ("separators-in-tags", "red fox, tree", "red fox; tree"),
        ("choices-in-tags", "{red|blue} fox", "{o}_{o}"),
        ("long-tags", "word " * 90, "word " * 9),
        ("sentences-as-tags", "A fox runs through the snow.", "she said hello"),
        ("placeholder-tags", "tagme", "tag game"),
    ],
)
def test_names(code: str, bad: str, good: str) -> None:
    finding = found([*CLEAN, Record("x", (Tag(bad), Tag("snow")))])[code]
    assert finding.count == 1
    assert finding.do
    assert code not in found([*CLEAN, Record("x", (Tag(good), Tag("snow")))])


def test_what_the_recipe_mends_is_no_finding() -> None:
    choice = [*CLEAN, Record("x", (Tag("{red|blue} fox"), Tag("snow")))]
    assert "choices-in-tags" not in found(choice, Wildcards())
    parted = [*CLEAN, Record("x", (Tag("a ||| b"), Tag("snow")))]
    assert "separators-in-tags" not in found(parted, KeepFixed(then=ShuffleTags()))
    escaped = [*CLEAN, Record("x", (Tag(r"saber \(fate\)"), Tag("snow")))]
    lone("escaped", Severity.WARNING, found(escaped))
    assert "escaped" not in found(escaped, parentheses="unescape")


def test_other_names_of_tags() -> None:
    data = [*CLEAN, *records(5, "kitty", "snow")]
    pipeline = CaptionPipeline(steps=(EMPTY,), flip=STILL)
    stats = gather(pipeline, data, data="d", recipe="r")
    codes = [
        one.code for one in lint(stats, pipeline, aliases={"kitty": "cat", "puppy": "dog", "cat": "Cat"})
    ]
    assert "aliases" in codes
    varied = VaryNames(names={"cat": ("kitty",)})
    assert lone("aliases", Severity.WARNING, found(data, varied)).examples == ("kitty for cat",)
    assert "aliases" not in found(data, RenameTags(aliases={"kitty": "cat"}), varied)
    assert "aliases" not in found(CLEAN, varied)


def test_records() -> None:
    data = [*CLEAN, Record("empty"), Record("poor", (Tag("fox"),))]
    findings = found(data)
    assert lone("no-text", Severity.WARNING, findings).examples == ("empty",)
    assert lone("one-tag", Severity.NOTE, findings).examples == ("poor",)
    assert found([*CLEAN, *records(30, "fox")])["one-tag"].severity is Severity.WARNING
    rich = found([*CLEAN, Record("rich", (Tag("fox"),), (Prose("A fox."),))])
    assert not {"no-text", "one-tag"} & set(rich)


def test_ids_that_are_there_twice() -> None:
    finding = lone("same-id", Severity.ERROR, found([*CLEAN, CLEAN[3], CLEAN[3], CLEAN[5]]))
    assert (finding.count, finding.examples) == (5, ("p3", "p5"))
    assert "same-id" not in found(CLEAN)


def test_tags_that_are_there_twice() -> None:
    assert lone("tag-twice", Severity.NOTE, found([*CLEAN, Record("x", (Tag("Fox"), Tag("fox")))])).count == 1


@pytest.mark.parametrize(
    ("code", "bad", "good"),
    [
        ("placeholder", "I'm sorry, I can't assist with that.", "A fox says sorry."),
        ("placeholder", "none", "None of the foxes runs."),
        ("control-characters-in-captions", "A caf\u00c3\u00a9 with a fox.", "A café with a fox."),
    ],
)
def test_captions(code: str, bad: str, good: str) -> None:
    finding = lone(
        code, Severity.WARNING, found([*CLEAN, Record("x", (Tag("fox"), Tag("snow")), (Prose(bad),))])
    )
    assert finding.examples == ("x",)
    assert code not in found([*CLEAN, Record("x", (Tag("fox"), Tag("snow")), (Prose(good),))])


def test_boilerplate() -> None:
    said = records(30, "fox", "snow", prose="The image showcases a red fox in deep snow.")
    source = ChooseSource()
    bad = lone("boilerplate", Severity.WARNING, found(said, source))
    assert bad.examples == ("the image showcases",)
    assert "clean_captions" in bad.toml
    assert "boilerplate" not in found(said, CleanCaptions(), source)
    plain = records(30, "fox", "snow", prose="Red foxes run in deep snow.")
    findings = found(plain, source)
    assert "boilerplate" not in findings
    assert lone("same-beginning", Severity.NOTE, findings).examples == ("red foxes run",)


def test_skipped_records() -> None:
    pipeline = CaptionPipeline(steps=(EMPTY,), flip=STILL)
    stats = gather(pipeline, CLEAN, data="d", recipe="r")
    few, many = replace(stats, num_skipped=1, skipped=("a.json:1: bad",)), replace(stats, num_skipped=100)
    assert lint(few, pipeline)[0].examples == ("a.json:1: bad",)
    assert "stream" not in lint(few, pipeline)[0].do
    assert [lint(few, pipeline)[0].severity, lint(many, pipeline)[0].severity] == [Severity.ERROR] * 2
    assert all(one.code != "skipped" for one in lint(stats, pipeline))
    thousands = replace(few, num_records=10_000)
    assert (
        next(one for one in lint(thousands, pipeline) if one.code == "skipped").severity is Severity.WARNING
    )


def test_sides_and_writing() -> None:
    data = [
        *CLEAN,
        Record("x", (Tag("left arm up"), Tag("snow")), (Prose("A fox on the left."),)),
        Record("y", (Tag("signature"), Tag("snow"))),
    ]
    findings = found(data, flip=FlipRule())
    assert lone("sides", Severity.WARNING, findings).examples == ("x",)
    assert lone("writing", Severity.WARNING, findings).examples == ("signature",)
    assert "sides" not in found(data, flip=FlipRule(mirror="swap"))
    assert not {"sides", "writing"} & set(found(data, flip=STILL))
    careful = FlipRule(no_flip=("signature", "left *"))
    assert not {"sides", "writing"} & set(found(data, flip=careful))


def test_what_the_budget_cuts() -> None:
    data = [*CLEAN, *records(20, *(f"long word {at}" for at in range(30)))]
    assert lone("cut", Severity.WARNING, found(data, max_tokens=20)).examples
    assert lone("cut", Severity.ERROR, found_all_cut())
    assert "cut" not in found(data, max_tokens=500)
    assert lone(
        "no-budget", Severity.WARNING, found(records(9, *(f"longer word {at}" for at in range(90))))
    ).count
    assert "no-budget" not in found(CLEAN)


def found_all_cut() -> dict[str, Finding]:
    """Every caption is cut."""
    pipeline = CaptionPipeline(flip=STILL).with_settings({"text.max_tokens": 1})
    stats = gather(pipeline, records(9, "fox", "snow"), data="d", recipe="r")
    return {one.code: one for one in lint(stats, pipeline)}


def test_tags_that_never_stand_alone() -> None:
    data = [*CLEAN, *records(40, "red fox", "fox", "snow")]
    implied = DropImplied(implications=GRAPH, rate_range=0.0)
    finding = lone("never-alone", Severity.NOTE, found(data, implied))
    assert finding.examples == ("red fox (implies fox)",)
    assert "never-alone" not in found(data, DropImplied(implications=GRAPH, rate_range=0.5))


def test_tags_that_always_come_together() -> None:
    data = [*records(30, "ash", "pikachu"), *(Record(f"s{at}", (Tag(f"tag {at % 2}"),)) for at in range(60))]
    finding = lone("always-together", Severity.NOTE, found(data))
    assert finding.examples == ("ash with pikachu (100 %)", "pikachu with ash (100 %)")
    assert "always-together" not in found(data, DropTags(rate=0.4))


def test_settings_that_contradict_the_data() -> None:
    said = records(30, "fox", "snow", prose="Foxes.")
    assert lone("no-prose", Severity.NOTE, found(CLEAN, ChooseSource()))
    assert "no-prose" not in found(said, ChooseSource())
    assert lone("prose-unused", Severity.WARNING, found(said, ChooseSource(tags=1.0, caption=0.0, both=0.0)))
    assert "prose-unused" not in found(CLEAN, ChooseSource(tags=1.0, caption=0.0, both=0.0))
    assert lone("nothing-implied", Severity.WARNING, found(CLEAN, DropImplied(implications=GRAPH)))
    assert lone("nothing-implied", Severity.NOTE, found(CLEAN, DropImplied()))
    having = [*CLEAN, *records(9, "red fox", "fox")]
    assert "nothing-implied" not in found(having, DropImplied(implications=GRAPH))
    assert lone("important", Severity.WARNING, found(CLEAN, MarkImportant(patterns=("*",))))
    assert "important" not in found(CLEAN, MarkImportant(patterns=("cat",)))
    assert lone("many-empty", Severity.WARNING, found(CLEAN, DropTags(rate=1.0)))
    pipeline = CaptionPipeline(flip=STILL)
    stats = gather(pipeline, CLEAN, data="d", recipe="r")
    assert lone("no-empty", Severity.NOTE, {one.code: one for one in lint(stats, pipeline)})


def test_the_weightiest_come_first() -> None:
    data = [*CLEAN, CLEAN[0], Record("x", (Tag("Fox"), Tag("fox"))), Record("e")]
    pipeline = CaptionPipeline(flip=STILL)
    stats = gather(pipeline, data, data="d", recipe="r")
    severities = [one.severity for one in lint(stats, pipeline)]
    order = [Severity.ERROR, Severity.WARNING, Severity.NOTE]
    assert severities == sorted(severities, key=order.index)
    assert len(set(severities)) == 3


def test_text_and_json() -> None:
    pipeline = CaptionPipeline(steps=(MarkImportant(patterns=("foxs",)),))
    stats = gather(pipeline, [*CLEAN, Record("x\x1b[31m", (Tag("signature"),))], data="d", recipe="r")
    findings = lint(stats, pipeline)
    text = findings_text(findings, Screen(80))
    assert "\x1b" not in text
    assert all(columns_of(line) <= 80 for line in text.splitlines())
    assert "foxs (near: fox)" in text
    assert '\n    [flip]\n    no_flip = ["signature"]\n' in text
    assert text.endswith("2 warnings, 2 notes") or "warning" in text.splitlines()[-1]
    values = json.loads(json.dumps(findings_json(findings)))
    assert {value["code"] for value in values} == {one.code for one in findings}
    assert findings_text((), Screen(80)) == "nothing to say: no rule found anything"


def test_the_command_and_its_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data.jsonl"
    lines = [{"id": str(at), "tags": ["fox", "snow", "signature"]} for at in range(30)]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    common = ["lint", "hyperfusion", str(data), "--processes", "1"]
    assert main(common) == 0
    said = capsys.readouterr()
    assert "[writing]" in said.out
    assert "next: captionkit report" in said.err
    with pytest.raises(SystemExit) as status:
        main([*common, "--strict"])
    assert status.value.code == 1
    capsys.readouterr()
    assert main([*common, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["findings"]
    fields = {"severity", "code", "message", "count", "of", "unit", "share", "examples", "do", "toml"}
    assert set(shown[0]) == fields
    assert main([*common, "--json", "--ignore", "writing", "--ignore", "always-together"]) == 0
    fewer = {one["code"] for one in json.loads(capsys.readouterr().out)["findings"]}
    assert fewer == {one["code"] for one in shown} - {"writing", "always-together"}
    recipe = tmp_path / "calm.toml"
    recipe.write_text('[[steps]]\nkind = "shuffle_tags"\n[flip]\np = 0.0\n', encoding="utf-8")
    assert main(["lint", str(recipe), str(data), "--processes", "1", "--strict"]) == 0
