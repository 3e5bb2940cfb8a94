"""Captions that deny tags: what is made of the tags denies none, and a negation denies its own tag alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit.prose.agreement import denied_tags
from captionkit.prose.negated import negated
from captionkit.prose.word_forms import numbers, verb_forms

THINGS = (
    *(
        "dog",
        "red_panda",  # Not a fox, which would affirm the one below.
        "hat",
        "tree",
        "person",
        "leaf",
        "school_bus",
        "wolf",
        "butterfly",
        "glasses",
        "tooth",
    ),
    *("umbrella", "box", "ice_cream", "katana", "fox_(animal)", "wings", "woman", "child", "cherry blossoms"),
)
DOINGS = ("smiling", "running", "asleep", "sitting", "barefoot", "looking_at_viewer", "sleeping", "angry")
COLOURED = ("blue_car", "black_hair", "white_dress", "green_eyes", "yellow_flower", "red_scarf")


def said(tag: str) -> str:
    return re.sub(r"\s*\(.*\)", "", tag.replace("_", " "))


def article(tag: str) -> str:
    return f"an {said(tag)}" if said(tag)[0] in "aeiou" else f"a {said(tag)}"


AFFIRMED = (
    "There is {a} here.",
    "In front of a wall stands {a}.",
    "It has {a}, and more.",
    "{a} can be seen.",
)
ACTED = ("It is {x}.", "The one on the left, {x}, is small.", "Somebody is {x} in the rain.")
DENIED = (
    *(
        "There is no {x}.",
        "There are no {xs} in the image.",
        "There isn't any {x}.",
        "The {x} is not visible.",
    ),
    *(
        "It stands there without {a}.",
        "It doesn't have {a}.",
        "It is not wearing {a}.",
        "No {xs} are visible.",
    ),
    *("It is a place with no {xs}, but with walls.", "It lacks {a}.", "Neither {a} nor a wall is there."),
    *("There are no walls or {xs}.", "That is not {a}.", "It has no {x} on its head.", "The {x} is missing."),
)
UNDONE = (
    "It is not {x}.",
    "It isn't {x}.",
    "She's never {x}.",
    "Nearby, it is not currently {x}, but happy.",
)


@st.composite
def affirmations(draw: st.DrawFn, most: int = 6) -> tuple[list[str], list[str]]:
    """Tags, and a sentence that affirms each."""
    things = draw(st.lists(st.sampled_from(THINGS), max_size=most, unique_by=said))
    doings = draw(st.lists(st.sampled_from(DOINGS), max_size=2, unique=True))
    coloured = draw(st.lists(st.sampled_from(COLOURED), max_size=2, unique=True))
    sentences = [draw(st.sampled_from(AFFIRMED)).format(a=article(tag)) for tag in things + coloured]
    sentences += [draw(st.sampled_from(ACTED)).format(x=said(tag)) for tag in doings]
    return things + coloured + doings, sentences


@given(affirmations())
def test_a_caption_of_the_tags_denies_none(made: tuple[list[str], list[str]]) -> None:
    tags, sentences = made
    assert denied_tags(" ".join(sentences), tags) == ()


@given(affirmations(), st.data())
def test_a_negation_denies_its_tag_alone(made: tuple[list[str], list[str]], data: st.DataObject) -> None:
    tags, sentences = made
    if not tags:
        return
    at = data.draw(st.integers(0, len(tags) - 1))
    tag = tags[at]
    ways = UNDONE if tag in DOINGS else DENIED
    many = max(numbers(said(tag)), key=lambda form: (form != said(tag), form))
    way = data.draw(st.sampled_from(ways))
    sentences[at] = way.format(x=said(tag), xs=many, a=article(tag))
    found = denied_tags(" ".join(sentences), tags)
    assert [(one.tag, one.how) for one in found] == [(tag, "negated")]


@given(affirmations(), st.sampled_from(THINGS), st.sampled_from(DENIED))
def test_what_is_affirmed_anywhere_is_not_denied(
    made: tuple[list[str], list[str]], tag: str, way: str
) -> None:
    tags, sentences = made
    many = min(numbers(said(tag)))
    denial = way.format(x=said(tag), xs=many, a=article(tag))
    assert denied_tags(" ".join([*sentences, denial, f"And there is {article(tag)}."]), [*tags, tag]) == ()


@given(st.text(), st.lists(st.text(min_size=1)), st.lists(st.lists(st.text())))
def test_any_text_is_read(text: str, tags: list[str], groups: list[list[str]]) -> None:
    found = denied_tags(text, tags, exclusive=groups)
    names = [one.tag for one in found]
    assert len(set(names)) == len(names)
    assert names == [tag for tag in dict.fromkeys(tags) if tag in names]


@pytest.mark.parametrize(
    ("text", "tags", "denied"),
    [
        # Negated.
        ("A hatless man.", ["hat"], ["hat"]),
        ("A cloudless sky.", ["clouds"], ["clouds"]),
        ("She doesn't smile.", ["smiling"], ["smiling"]),
        ("He is not looking at viewer.", ["looking_at_viewer"], ["looking_at_viewer"]),
        ("A man without a hat stands there.", ["hat"], ["hat"]),
        ("There are no dogs, cats or birds.", ["dog", "cat", "bird"], ["dog", "cat", "bird"]),
        ("Neither a blue car nor a wall is there.", ["blue_car", "wall"], ["blue_car", "wall"]),
        ("A car is seen, but no dogs are there.", ["car", "dog"], ["dog"]),
        # Not negated.
        ("No dog collar is there.", ["dog"], []),
        ("There is no red car.", ["car"], []),
        ("No other animals are visible.", ["animals"], []),
        ("There are no other dogs or cats.", ["cat"], []),
        ("There is no dog in the yard.", ["dog"], []),
        ("There are no people except two.", ["people"], []),
        ("A fox with no collar, a dog, and a cat.", ["dog", "cat"], []),
        ("There is no man with a hat.", ["hat", "man"], []),
        ("It is unclear whether there is no dog.", ["dog"], []),
        ("It is not only a dog.", ["dog"], []),
        ("A sign says 'no dogs'.", ["dog"], []),
        ("There is nobody without a hat.", ["hat"], []),
        ("A heartless, endless, wireless thing.", ["heart", "end", "wire"], []),
        ("No longer a dog.", ["dog"], []),
        ("One has no hat, the other wears a hat.", ["hat"], []),
        ("no_humans", ["no_humans"], []),
        ("There are no humans.", ["no_humans"], []),
        # Counts.
        ("Two girls sit on a bench.", ["1girl", "solo", "2girls"], ["1girl", "solo"]),
        ("There are three small boys here.", ["2boys", "3boys", "6+boys"], ["2boys", "6+boys"]),
        ("A group of people stand around.", ["solo", "no_humans", "group"], ["solo", "no_humans"]),
        ("A pair of foxes.", ["solo"], []),
        ("A girl sits beside another girl.", ["1girl", "solo"], []),
        ("Two men's shoes.", ["solo"], []),
        ("A dog looks at two people.", ["solo"], []),
        ("Two girls on a poster.", ["solo"], []),
        ("Two people.", ["1girl", "1boy", "duo"], []),
        # Colours.
        ("A red car.", ["blue_car"], ["blue_car"]),
        ("The car is red.", ["blue_car"], ["blue_car"]),
        ("Her hair is long and her eyes are green.", ["brown_eyes", "blue_eyes"], ["blue_eyes"]),
        ("A red and blue car.", ["blue_car"], []),
        ("A red car beside a blue car.", ["blue_car"], []),
        ("A red car.", ["blue_car", "red_car"], []),
        ("A red car door.", ["blue_car"], []),
        ("A navy car.", ["blue_car"], []),
        ("A golden dress.", ["yellow_dress"], []),
        ("Red flowers in front of a car.", ["blue_car"], []),
    ],
)
def test_by_hand(text: str, tags: list[str], denied: list[str]) -> None:
    assert [one.tag for one in denied_tags(text, tags)] == denied


def test_groups_exclude_one_another() -> None:
    groups = [("day", "night", "dusk"), ("standing", "sitting")]
    found = denied_tags("A fox sitting in the snow at night.", ["day", "standing", "fox"], exclusive=groups)
    assert [(one.tag, one.how, one.words) for one in found] == [
        ("day", "exclusive", "night"),
        ("standing", "exclusive", "sitting"),
    ]
    assert denied_tags("From day to night.", ["day"], exclusive=groups) == ()
    assert denied_tags("It is not night.", ["day"], exclusive=groups) == ()
    assert denied_tags("A fox at night.", ["day", "night"], exclusive=groups) == ()


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("A lamp on a night stand in a bright room.", "day"),
        ("A red night gown lies on the bed.", "day"),
        ("She wears two night-dresses.", "day"),
        ("A woman kisses her child good night.", "day"),
        ("A moment of the person's day under the stars.", "night"),
        ("A cat looks out to the outdoors.", "indoors"),
        ("The window might be open to an outdoor space.", "indoors"),
    ],
)
def test_what_sounds_like_time_or_place_denies_none(text: str, tag: str) -> None:
    """Found among the real captions, and near them."""
    assert denied_tags(text, [tag], exclusive=[("day", "night"), ("indoors", "outdoors", "outdoor")]) == ()


def test_the_words_are_told() -> None:
    (one,) = denied_tags("A man walks. But the man\u2019s HAT isn't visible, alas.", ["Hat"])
    assert (one.tag, one.how) == ("Hat", "negated")
    assert "hat is not visible" in one.words


@pytest.mark.parametrize(
    ("one", "many"),
    [("dog", "dogs"), ("box", "boxes"), ("red fox", "red foxes"), ("wolf", "wolves"), ("city", "cities")],
)
def test_numbers(one: str, many: str) -> None:
    assert numbers(one) == numbers(many) == {one, many}


def test_verb_forms_lead_back() -> None:
    for verb in ("smile", "run", "sleep", "hold", "kiss", "sit"):
        assert verb_forms(verb) <= verb_forms(next(form for form in verb_forms(verb) if form.endswith("ing")))


def test_real_captions_never_deny_what_they_affirm(shared: Path) -> None:
    folder = shared / "data" / "captions"
    texts = list(json.loads((folder / "llava_next_590.json").read_text(encoding="utf-8")).values())[::4]
    for text in texts:
        words = re.findall(r"[a-z]+", text.lower())
        denied = {
            one.tag: one
            for one in denied_tags(text, [" ".join(words[at : at + 2]) for at in range(len(words))])
        }
        assert {one.how for one in denied.values()} <= {"negated"}
        things = {
            one.what
            for sentence in text.lower().replace("n't", " not").split(". ")
            for one in negated(sentence)
        }
        assert things or not denied
