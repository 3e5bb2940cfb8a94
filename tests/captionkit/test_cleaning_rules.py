"""Rules as data: every example is a test, every rule can be missed, nothing precious is ever damaged."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import CaptionPipeline, RecipeError, dump_pipeline, load_pipeline
from captionkit.load import dump_toml
from captionkit.policies import CleanCaptions
from captionkit.prose.check import check_rules
from captionkit.prose.cleaner import Cleaner
from captionkit.prose.rulebook import library_rules, read_rules
from captionkit.prose.rules import CleaningRule, Example

RULES = library_rules()
EXAMPLES = [(rule, example) for rule in RULES for example in rule.examples]
by_name = {rule.name: rule for rule in RULES}

# What no rule may damage, told in the test's own words: quotations, names, numbers, letters beyond ASCII.
QUOTED = re.compile(r'"[^"\n]{1,80}"')
WORD = re.compile(r"[^\W_]+")


def precious(text: str) -> list[str]:
    """The words of a text that hold a digit or a letter beyond ASCII, or a capital after the first word."""
    words = WORD.findall(text)
    return [
        word
        for at, word in enumerate(words)
        if not word.isascii()
        or any(letter.isdigit() for letter in word)
        or (word != "I" and any(letter.isupper() for letter in word[at == 0 :]))
    ]


def stands_in_order(few: list[str], many: list[str]) -> bool:
    left = iter(many)
    return all(word in left for word in few)


def words_with_small_first(text: str) -> list[str]:
    """The words of a text; the capital that opens it may be new, so the word as it was stands before it."""
    words = WORD.findall(text)
    return [words[0][:1].lower() + words[0][1:], *words] if words else []


# ---- every example -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "example"), EXAMPLES, ids=[f"{r.name}: {e.before[:30]}" for r, e in EXAMPLES]
)
def test_example(rule: CleaningRule, example: Example) -> None:
    alone = Cleaner((rule,))
    after = example.before if example.after is None else example.after
    assert alone.clean(example.before) == after
    assert alone.clean(after) == after


def test_the_rules_pass_their_own_check() -> None:
    assert check_rules(RULES) == []


def test_the_check_finds_what_is_wrong() -> None:
    rule = CleaningRule(
        name="no dogs",
        group="meta",
        about="Cut dogs.",
        action="cut",
        patterns=(" and a dog",),
        needs=("cat",),
        examples=(Example(before="A fox and a dog.", after="A fox."),),
    )
    assert check_rules([rule]) == [
        "no dogs: of 'A fox and a dog.' comes 'A fox and a dog.', not 'A fox.'",
        "no dogs: `needs` hides 'A fox and a dog.' from the rule",
        "no dogs: has no example that it leaves alone",
    ]


@pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
def test_without_a_rule_its_first_example_comes_out_otherwise(rule: CleaningRule) -> None:
    """Switched off, every rule is missed: `skip` works, and no rule is there in vain."""
    first = rule.examples[0].before
    with_rule, without = CleanCaptions().clean(first), CleanCaptions(skip=(rule.name,)).clean(first)
    assert with_rule != without
    told = [change.rule for change in CleanCaptions(skip=(rule.name,)).changes(first)]
    assert rule.name not in told


@pytest.mark.parametrize("group", ["markup", "loops", "unfinished", "meta", "hedges", "lead_ins"])
def test_a_group_switched_off_is_all_its_rules_skipped(group: Any) -> None:
    off = CleanCaptions.model_validate({group: False})
    skipped = CleanCaptions(skip=tuple(rule.name for rule in RULES if rule.group == group))
    assert off.active_rules() == skipped.active_rules()
    assert {rule.group for rule in off.active_rules()} == {rule.group for rule in RULES} - {group}


# ---- nothing precious is damaged ---------------------------------------------------------------

openers = st.sampled_from(
    (
        *("The image showcases", "In this image, we can see", "A photo of", "It seems that", "Perhaps"),
        *("There might be", "The illustration depicts", "This is an image of", "Overall,", "Étienne sees"),
        *("2 men carry", "Emma has", ""),
    )
)
things = st.sampled_from(
    (
        *("Emma Watson", "3 dogs", "a possibly 18th-century vase", "a café", "iPhones", "I", "Łódź"),
        *("what appears to be a Boeing 747", "what looks like the Eiffel Tower in Paris", "Lake Likely"),
        *("the word 'Possibly'", 'a sign that reads "The image shows 3 men"'),
        *("a man, who might be Dr. No,", "a man in the image", "people of the Image"),
    )
)
endings = st.sampled_from(
    (
        *(".", "!", " at 5 p.m.", ", creating a sense of Christmas.", ", adding a 1920s charm."),
        *(", but their face is not visible.", ", evoking a feeling of Sehnsucht nach Süden."),
        *(", with no visible Nike logos.", ", and there are no visible NASA signs in the image."),
        *(", possibly in May 2021.", ", which could be Mount Fuji or 2 hills."),
    )
)
sentences = st.tuples(openers, things, endings).map(lambda parts: f"{parts[0]} {parts[1]}{parts[2]}".strip())
ONE_SENTENCE = CleanCaptions(loops=False, unfinished=False)


@given(sentences)
def test_a_sentence_goes_whole_or_keeps_all_that_is_precious(sentence: str) -> None:
    after = ONE_SENTENCE.clean(sentence)
    assert not after or stands_in_order(precious(sentence), words_with_small_first(after))


@given(sentences)
def test_what_is_precious_in_the_result_stood_in_the_text(sentence: str) -> None:
    after = ONE_SENTENCE.clean(sentence)
    assert stands_in_order(precious(after), WORD.findall(sentence))


@given(sentences)
def test_quotations_stay_to_the_letter(sentence: str) -> None:
    after = ONE_SENTENCE.clean(sentence)
    assert not after or QUOTED.findall(after) == QUOTED.findall(sentence)


@given(st.lists(sentences, max_size=5).map(" ".join))
def test_a_text_gets_nothing_precious_and_no_other_order(text: str) -> None:
    words = [word for word in precious(CleanCaptions().clean(text)) if word not in ("A", "An")]
    # Where a sentence lost its beginning, the next word got a capital.
    known = [form for word in WORD.findall(text) for form in {word, word[0].upper() + word[1:]}]
    assert stands_in_order(words, known)


# The guard that makes it a law also binds rules of one's own.
def test_a_rule_that_would_cut_a_name_leaves_the_sentence_alone() -> None:
    greedy = {"name": "greedy", "group": "meta", "about": "Cut what follows a comma.", "action": "cut"}
    clean = CleanCaptions.model_validate({"rules": [{**greedy, "patterns": [",.*(?=[.])"]}]})
    assert clean.clean("A dog, a cat.") == "A dog."
    for kept in ("A dog, a Collie.", "A dog, 2 cats.", "A dog, a señor.", 'A dog, "no".', "A dog, 🦊."):
        assert clean.clean(kept) == kept


def _real(shared: Path) -> list[str]:
    folder = shared / "data/captions"
    lines = (folder / "cogvlm_2000.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines] + list(
        json.loads((folder / "llava_next_590.json").read_text("utf-8")).values()
    )


def test_no_change_of_any_real_caption_damages_anything(shared: Path) -> None:
    """Each of about 8,000 changes: a sentence goes whole, a repetition goes, or nothing precious does."""
    clean, seen = CleanCaptions(), 0
    repetitions = {rule.name for rule in RULES if rule.group == "loops"}
    for text in _real(shared):
        for change in clean.changes(text):
            seen += 1
            lost = [word for word in precious(change.before) if word not in WORD.findall(change.after)]
            if change.rule in repetitions:
                assert not [word for word in lost if not word.isdigit()], change  # Numbers of list items go.
            elif change.after and change.rule != "cut off":
                after = words_with_small_first(change.after)
                assert stands_in_order(precious(change.before), after), change
                assert QUOTED.findall(change.after) == QUOTED.findall(change.before.replace("**", "")), change
    assert seen > 7000


def test_what_a_rule_needs_hides_nothing_from_it(shared: Path) -> None:
    """`needs` is for speed only: without it every real caption comes out the same."""
    tied, untied = Cleaner(RULES), Cleaner(rule.model_copy(update={"needs": ()}) for rule in RULES)
    texts = _real(shared)[::5]
    assert [tied.clean(text) for text in texts] == [untied.clean(text) for text in texts]


def test_being_told_changes_nothing(shared: Path) -> None:
    clean = CleanCaptions()
    for text in _real(shared)[::20]:
        changes = clean.changes(text)
        assert bool(changes) == (clean.clean(text) != text)


# ---- rules of one's own ------------------------------------------------------------------------

MINE = """
[words]
beast = '(?:fox|{picture})'

[[rule]]
name = "no beasts"
group = "meta"
about = "Drop a sentence about a beast."
action = "drop sentence"
patterns = ['the {beast} is tired']
examples = [{ before = "The fox is tired.", after = "" }, { before = "The dog is tired." }]
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "my_rules.toml"
    path.write_text(MINE, encoding="utf-8")
    return path


def test_a_file_of_rules_is_read_from_beside_the_recipe(mine: Path) -> None:
    recipe = mine.with_name("recipe.toml")
    recipe.write_text(
        '[[steps]]\nkind = "clean_captions"\nskip = ["doubt"]\nrules = "my_rules.toml"\n', "utf-8"
    )
    pipeline = load_pipeline(recipe)
    (step,) = pipeline.steps
    assert isinstance(step, CleanCaptions)
    assert check_rules(step.rules) == []
    assert step.clean("A dog, possibly old. The fox is tired. The photo is tired.") == "A dog, possibly old."
    assert load_pipeline(dump_pipeline(pipeline)) == pipeline
    again = mine.with_name("again.toml")
    again.write_text(dump_toml(pipeline), "utf-8")
    assert load_pipeline(again) == pipeline


def test_a_list_may_hold_rules_and_files(mine: Path) -> None:
    rule = {
        "name": "no owls",
        "group": "meta",
        "about": "No owls.",
        "action": "cut",
        "patterns": [", an owl"],
    }
    clean = CleanCaptions.model_validate({"rules": [str(mine), rule], "skip": ["no beasts"]})
    assert clean.clean("The fox is tired, an owl.") == "The fox is tired."
    assert CaptionPipeline(steps=(clean,)).steps == (clean,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[rule]]\nname = 1", "rule 1: name: Input should be a valid string"),
        (
            MINE.replace("drop sentence", "drop it"),
            "rule 1 (no beasts): action: Input should be 'drop sentence'",
        ),
        (MINE.replace("{beast}", "{beats}"), "names the unknown word 'beats'; did you mean 'beast'?"),
        (MINE.replace("{picture}", "(fox"), "is no regular expression that works here"),
        (MINE.replace("about", "abot"), "rule 1 (no beasts): unknown key 'abot'; did you mean 'about'?"),
        (MINE.replace('"drop sentence"', '"say is"'), "action 'say is' is a procedure and has no `patterns`"),
        (MINE.replace("patterns", "# patterns"), "action 'drop sentence' needs `patterns`"),
        (MINE.replace("[[rule]]", "[[rules]]"), "unknown key 'rules'; did you mean 'rule'?"),
        (MINE.replace("about =", "replace = 'x'\nabout ="), "`replace` belongs to the action 'rewrite'"),
        ("rule = 3", "must hold [[rule]] blocks"),
        ("rule", "is not valid TOML"),
        ("words = {a = 1}", "words.a must be a pattern, got 1"),
    ],
)
def test_a_bad_file_of_rules_is_named(mine: Path, text: str, message: str) -> None:
    mine.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        read_rules(mine)
    assert str(mine) in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"skip": ["mood claus"]}, "skip names the unknown rule 'mood claus'; did you mean 'mood clause'?"),
        ({"rules": "none.toml"}, "none.toml: cannot read the rules: No such file or directory"),
        (
            {"rules": [{"name": "doubt", "group": "meta", "about": "", "action": "say is"}]},
            "'doubt' is taken",
        ),
        ({"rules": [{"name": "x", "group": "meta", "about": "", "action": "cut", "patterns": ["("]}]}, "'('"),
        (
            {"rules": [{"name": "x", "group": "meta", "about": "", "action": "cut", "patterns": ["{pic}"]}]},
            "'pic'",
        ),
    ],
)
def test_a_bad_recipe_is_told_where(step: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_pipeline({"steps": [{"kind": "clean_captions", **step}]})
    assert str(caught.value).startswith("steps[0]")
    assert message in str(caught.value)
