"""Words: other names, spelling, capitals, prefixes, added tags, templates. Laws, examples, frequencies."""

from __future__ import annotations

import csv
import gzip
import re
from collections import Counter
from math import sqrt
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import (
    Caption,
    CaptionPipeline,
    Curve,
    Draws,
    Policy,
    Prose,
    RecipeError,
    Record,
    Renderer,
    Source,
    Tag,
    load_pipeline,
)
from captionkit.emoticons import is_emoticon
from captionkit.naming import renamed
from captionkit.policies.add_tags import AddTags
from captionkit.policies.capitals import Capitals, Style, restyle
from captionkit.policies.prefix import PrefixTags
from captionkit.policies.spell import SpellTags
from captionkit.policies.template import Template, around
from captionkit.policies.vary_names import VaryNames
from captionkit.record import fold, unique_tags
from captionkit.testing import captions, check_laws, check_policy, names, rates

HERE = Draws(0, 0, 0, "a")
NAMES = {"red fox": ("vulpes vulpes", "kitsune", "solo"), "solo": ("alone",), "Fox": ("todd",)}
PREFIXES = {"artist": "by ", "species": "species:", "general": "c_"}
KINDS: tuple[type[Policy], ...] = (AddTags, Capitals, PrefixTags, SpellTags, Template, VaryNames)

WORDS_POLICIES: list[Policy] = [
    AddTags(tags=("sks dog", "Solo")),
    AddTags(tags=("x", "y", "fox"), p=0.5, count=2, where="random", category="general", important=False),
    AddTags(tags=("sks",), where="last", to_empty=True),
    Capitals(),
    Capitals(p=1.0, styles=("title",), prose=True),
    Capitals(p=Curve(points=((0, 0.0), (9, 1.0))), styles=("upper", "lower")),
    PrefixTags(prefixes=PREFIXES),
    PrefixTags(prefixes={"artist": "by "}, rate=1.0),
    SpellTags(),
    SpellTags(p=1.0),
    Template(templates=("a photo of {}", "{}, sharp"), weights=(3.0, 1.0)),
    Template(templates=("a {{x}} {}",), p=0.5),
    VaryNames(names=NAMES),
    VaryNames(names=NAMES, rate=1.0, leave_out=("*vulpes*",)),
]

DANBOORU = (
    *("0_0", "(o)_(o)", "+_+", "+_-", "._.", "<o>_<o>", "<|>_<|>", "=_=", ">_<", "3_3", "6_9", ">_o"),
    *("@_@", "^_^", "o_o", "u_u", "x_x", "|_|", "||_||"),
)
"""The tags of Danbooru that are emoticons with an underscore."""


def names_of(caption: Caption) -> list[str]:
    return [tag.name for tag in caption.tags]


def of(*names: str, category: str | None = None, important: tuple[str, ...] = ()) -> Caption:
    tags = tuple(Tag(name, category) for name in names)
    return Caption(tags, source=Source.TAGS, important=frozenset(important))


def close(successes: int, trials: int, p: float) -> bool:
    return abs(successes / trials - p) < 4.5 * sqrt(p * (1 - p) / trials)


# ---------------------------------------------------------------------------------------------- laws


@pytest.mark.parametrize("policy", WORDS_POLICIES, ids=lambda policy: str(policy)[:60])
def test_policy_keeps_its_laws(policy: Policy) -> None:
    check_policy(policy, max_examples=20)


def words_policies() -> st.SearchStrategy[Policy]:
    some: list[tuple[Style, ...]] = [("first",), ("title", "upper"), ("lower", "first", "upper")]
    return st.one_of(
        st.builds(AddTags, tags=st.lists(names().filter(fold), min_size=1, max_size=3).map(tuple), p=rates()),
        st.builds(Capitals, p=rates(), styles=st.sampled_from(some), prose=st.booleans()),
        st.builds(PrefixTags, prefixes=st.just(PREFIXES), rate=rates()),
        st.builds(SpellTags, p=rates()),
        st.builds(Template, templates=st.sampled_from([("a {}",), ("{}, x", "{}")]), p=rates()),
        st.builds(VaryNames, names=st.just(NAMES), rate=rates()),
    )


@given(words_policies(), captions(), st.integers())
def test_any_words_policy_keeps_its_laws(policy: Policy, caption: Caption, seed: int) -> None:
    check_laws(policy, caption, Draws(seed, 0, 0, "r", 0))


@given(words_policies(), captions(), st.integers())
def test_new_names_keep_what_else_is_known(policy: Policy, caption: Caption, seed: int) -> None:
    after = policy.apply(caption, Draws(seed, 0, 0, "r", 0))
    said = {(tag.category, tag.source, tag.score) for tag in caption.tags}
    new = [tag for tag in after.tags if (tag.category, tag.source, tag.score) not in said]
    assert not new or isinstance(policy, AddTags)
    # As many tags are important as were, unless two became one; each mark is of a tag that is there.
    assert after.important <= set(names_of(after)) | caption.important
    if caption.important and not isinstance(policy, AddTags):
        assert len(after.important & set(names_of(after))) <= len(caption.important)
        assert after.important & set(names_of(after))


@given(captions(), st.dictionaries(names(), names()))
def test_renamed(caption: Caption, new: dict[str, str]) -> None:
    after = renamed(caption, new)
    expected = [new.get(name, name) for name in names_of(caption)]
    assert names_of(after) == list(dict.fromkeys(expected))
    assert after.important == {new.get(name, name) for name in caption.important}


@given(captions(), st.integers(), rates())
def test_varied_names_are_names_of_the_tag_and_stay_apart(caption: Caption, seed: int, rate: Any) -> None:
    after = VaryNames(names=NAMES, rate=rate).apply(caption, Draws(seed, 0, 0, "r"))
    known = {fold(name): set(others) for name, others in NAMES.items()}
    for before, now in zip(caption.tags, after.tags, strict=True):  # None left, none became two.
        if before.name != now.name:
            assert now.name in known[fold(before.name)]
            assert sum(fold(tag.name) == fold(now.name) for tag in after.tags) == 1


@given(captions(), st.integers(), st.integers(0, 20))
def test_another_tag_behind_moves_no_name(caption: Caption, seed: int, place: int) -> None:
    policy = VaryNames(names={"red fox": ("vulpes vulpes", "kitsune")}, rate=0.5)
    draws = Draws(seed, 0, 0, "r")
    longer = caption.with_tags(unique_tags((*caption.tags, Tag("brand new"))))
    assert names_of(policy.apply(longer, draws))[: len(caption.tags)] == names_of(
        policy.apply(caption, draws)
    )


@given(captions(), st.booleans())
def test_spelling_keeps_the_tags_the_same(caption: Caption, underscores: bool) -> None:
    after = SpellTags(p=float(underscores)).apply(caption, HERE)
    assert {fold(name) for name in names_of(after)} == {fold(name) for name in names_of(caption)}
    for name in names_of(after):
        assert is_emoticon(name) or (" " if underscores else "_") not in name or not name.strip("_ ")


@given(names() | st.text(max_size=12), st.sampled_from(("first", "title", "upper", "lower")))
def test_capitals_change_the_case_alone(text: str, style: Style) -> None:
    after = restyle(text, style)
    assert after.casefold() == text.casefold()
    assert restyle(after, style) == after
    assert re.sub(r"[^\W\d_]", "", after, flags=re.ASCII) == re.sub(
        r"[^\W\d_]", "", text, flags=re.ASCII
    ) or (not text.isascii())


@given(st.text(st.characters(codec="ascii"), max_size=20))
def test_capitals_are_those_of_a_plain_reading(text: str) -> None:
    # On plain letters the standard library says the same in other words.
    assert restyle(text, "upper") == text.upper()
    assert restyle(text, "lower") == text.lower()
    if text[:1].isalpha():
        assert restyle(text, "first") == text[0].upper() + text[1:]
    words = re.split(r"([\s_/-]+)", text)
    if all(word[:1].isalpha() for word in words[::2] if word):
        assert restyle(text, "title") == "".join(word[:1].upper() + word[1:] for word in words)


@given(captions(), st.integers())
def test_every_prefix_is_that_of_the_category(caption: Caption, seed: int) -> None:
    after = PrefixTags(prefixes=PREFIXES).apply(caption, Draws(seed, 0, 0, "r"))
    for before, now in zip(caption.tags, after.tags, strict=True):
        assert now.name in (before.name, PREFIXES.get(before.category or "", "") + before.name)


@given(captions(), st.lists(names().filter(fold), min_size=1, max_size=4).map(tuple), st.data())
def test_added_tags_are_there_once(caption: Caption, wanted: tuple[str, ...], data: st.DataObject) -> None:
    places: tuple[Literal["first", "last", "random"], ...] = ("first", "last", "random")
    where = data.draw(st.sampled_from(places))
    count = data.draw(st.none() | st.integers(1, len(wanted)))
    policy = AddTags(tags=wanted, where=where, count=count, to_empty=data.draw(st.booleans()))
    after = policy.apply(caption, HERE)
    if caption.source is Source.EMPTY and not policy.to_empty:
        assert after is caption
        return
    old, new = set(names_of(caption)), [name for name in names_of(after) if name not in names_of(caption)]
    assert [name for name in names_of(after) if name in old] == names_of(caption)  # The others' order.
    assert {fold(name) for name in new} <= {fold(name) for name in wanted} - set(map(fold, old))
    assert len({fold(name) for name in new}) == len(new)
    if count is None:
        assert {fold(name) for name in wanted} <= {fold(name) for name in names_of(after)}
        assert where == "random" or names_of(after) == (
            [*new, *names_of(caption)] if where == "first" else [*names_of(caption), *new]
        )
    assert set(new) <= after.important
    assert after.source is not Source.EMPTY


@given(st.text(), st.text())
def test_a_template_is_its_words_with_braces_doubled(before: str, after: str) -> None:
    def doubled(text: str) -> str:
        return text.replace("{", "{{").replace("}", "}}")

    assert around(f"{doubled(before)}{{}}{doubled(after)}") == (before, after)


@given(st.text("ab{}", max_size=10))
def test_a_template_is_read_or_refused(template: str) -> None:
    # Python's own templates follow the same rule, but for what they allow within the braces.
    try:
        expected = template.format("\0")
    except (ValueError, KeyError, IndexError):
        expected = ""
    if expected.count("\0") == 1 and not re.search(r"\{[ab]", template.replace("{{", "")):
        assert "\0".join(around(template)) == expected
    elif expected.count("\0") != 1:
        with pytest.raises(ValueError, match=r"single|places"):
            around(template)


@given(captions())
def test_a_template_stands_around_the_whole_text(caption: Caption) -> None:
    after = Template(templates=("<{}>",)).apply(caption, HERE)
    if caption.source is Source.EMPTY:
        assert after is caption
    else:
        assert (after.before, after.after) == ("<" + caption.before, caption.after + ">")
        assert (after.tags, after.prose, after.important) == (caption.tags, caption.prose, caption.important)


# ------------------------------------------------------------------------------------------ examples


@pytest.mark.parametrize("name", [*DANBOORU, "9_6", ">w<", ":3", ":d", "ಠ_ಠ", "o_0", ">///<", "d:"])
def test_emoticons(name: str) -> None:
    assert is_emoticon(name)
    assert names_of(SpellTags(p=0.0).apply(of(name), HERE)) == [name]
    assert names_of(Capitals(p=1.0).apply(of(name), HERE)) == [name]
    assert Renderer().spell(name) == name


@pytest.mark.parametrize(
    "name", ["red_fox", "p_n_g", "a", "a b", "k (dog)", "3d", "犬", "s.t.a.l.k.e.r.", "l-i-t_f-i-r-e"]
)
def test_no_emoticons(name: str) -> None:
    assert not is_emoticon(name)


def test_the_emoticons_of_e621(shared: Path) -> None:
    with gzip.open(shared / "data" / "e621" / "tags-2026-04-01.csv.gz", "rt", encoding="utf-8") as file:
        found = {row[0]: int(row[2]) for row in csv.reader(file) if "_" in row[0] and is_emoticon(row[0])}
    assert set(found) == {">_<", "^_^", "o_o", "9_6", ">_o", "ಠ_ಠ", "o_0", "=_=", "._.", "c_j"}
    assert found["c_j"] < 50


def test_other_names() -> None:
    policy = VaryNames(names={"Red_Fox": ("vulpes vulpes",), "tree": ("fir", "oak")}, rate=1.0)
    before = of("red fox", "tree", "snow", category="general", important=("red fox",))
    after = policy.apply(before, HERE)
    assert names_of(after)[0] == "vulpes vulpes"
    assert names_of(after)[1] in ("fir", "oak")
    assert names_of(after)[2:] == ["snow"]
    assert after.important == {"vulpes vulpes"}
    assert after.tags[0] == Tag("vulpes vulpes", "general")


def test_a_name_that_is_there_is_not_given_again() -> None:
    policy = VaryNames(names={"a": ("c",), "b": ("C", "a")}, rate=1.0)
    # `b` may not become `C`, which `a` has just become, nor `a`, which stood there.
    for draw in range(10):
        assert names_of(policy.apply(of("a", "b"), Draws(0, 0, draw, "r"))) == ["c", "b"]


def test_names_left_out() -> None:
    policy = VaryNames(
        names={"dog": ("doggo", "hound"), "cat": ("catto",)}, rate=1.0, leave_out=("**tto", "dogg**")
    )
    assert names_of(policy.apply(of("dog", "cat"), HERE)) == ["hound", "cat"]


def test_names_from_an_export(tmp_path: Path) -> None:
    export = tmp_path / "aliases.csv"
    rows = ["1,kitsune,vulpes,,active", "2,vulpes,red_fox,,active", "3,dog,canine,,deleted"]
    export.write_text("\n".join(["id,antecedent_name,consequent_name,created_at,status", *rows]))
    data = {"steps": [{"kind": "vary_names", "names": str(export)}]}
    step = load_pipeline(data, kinds=[VaryNames]).steps[0]
    assert step == VaryNames(names={"red fox": ("kitsune", "vulpes")})


def test_the_names_of_e621(shared: Path) -> None:
    data = {
        "kind": "vary_names",
        "names": str(shared / "data" / "e621" / "tag_aliases-2025-05-01.csv.gz"),
        "rate": 1.0,
    }
    step = load_pipeline({"steps": [data]}, kinds=[VaryNames]).steps[0]
    assert isinstance(step, VaryNames)
    assert {"vulpes vulpes", "red foxes"} <= set(step.names["red fox"])
    assert names_of(step.apply(of("red_fox"), HERE))[0] in step.names["red fox"]


def test_one_spelling_for_the_whole_caption() -> None:
    before = of("red_fox", "by someone (artist)", ">_<", "blue eyes", "__", important=("red_fox",))
    spaces, underscores = (SpellTags(p=p).apply(before, HERE) for p in (0.0, 1.0))
    assert names_of(spaces) == ["red fox", "by someone (artist)", ">_<", "blue eyes", "__"]
    assert names_of(underscores) == ["red_fox", "by_someone_(artist)", ">_<", "blue_eyes", "__"]
    assert spaces.important == {"red fox"}


def test_two_spellings_of_a_tag_become_one() -> None:
    before = of("Blue_Eyes", "Blue Eyes", important=("Blue Eyes",))
    after = SpellTags(p=1.0).apply(before, HERE)
    assert names_of(after) == ["Blue_Eyes"]
    assert after.important == {"Blue_Eyes"}


@pytest.mark.parametrize(
    ("text", "first", "title", "upper"),
    [
        ("red_fox", "Red_fox", "Red_Fox", "RED_FOX"),
        ("don't feed", "Don't feed", "Don't Feed", "DON'T FEED"),
        ("someone (artist)", "Someone (artist)", "Someone (Artist)", "SOMEONE (ARTIST)"),
        ("t-shirt", "T-shirt", "T-Shirt", "T-SHIRT"),
        ("salt/pepper", "Salt/pepper", "Salt/Pepper", "SALT/PEPPER"),
        ("1girl", "1girl", "1girl", "1GIRL"),
        ("(unknown) x", "(Unknown) x", "(Unknown) X", "(UNKNOWN) X"),
        ("éclair", "Éclair", "Éclair", "ÉCLAIR"),
        ("cafe\u0301s noirs", "Cafe\u0301s noirs", "Cafe\u0301s Noirs", "CAFE\u0301S NOIRS"),
        ("ǆ", "ǅ", "ǅ", "Ǆ"),
        ("straße", "Straße", "Straße", "STRASSE"),
        ("s\u0131 su", "S\u0131 su", "S\u0131 Su", "s\u0131 SU"),
        ("犬と猫", "犬と猫", "犬と猫", "犬と猫"),
        ("σκύλος", "Σκύλος", "Σκύλος", "ΣΚΎΛΟΣ"),
    ],
)
def test_capitals(text: str, first: str, title: str, upper: str) -> None:
    assert [restyle(text, style) for style in ("first", "title", "upper")] == [first, title, upper]


def test_capitals_leave_captions_alone_unless_told() -> None:
    before = Caption((Tag("fox"),), (Prose("A Fox.", "cogvlm"),))
    assert Capitals(p=1.0, styles=("lower",)).apply(before, HERE).prose == before.prose
    told = Capitals(p=1.0, styles=("lower",), prose=True).apply(before, HERE)
    assert told.prose == (Prose("a fox.", "cogvlm"),)


def test_prefixes() -> None:
    artists = ("someone", "By_Other", "bypass", "^_^", "taken")
    tags = (*(Tag(name, "artist") for name in artists), Tag("fox", "species"), Tag("By_Taken"), Tag("x"))
    before = Caption(tags, important=frozenset({"someone", "fox"}))
    after = PrefixTags(prefixes={"artist": " by ", "species": "species:"}, rate=1.0).apply(before, HERE)
    assert names_of(after) == [
        *("by someone", "By_Other", "by bypass", "^_^", "taken"),
        *("species:fox", "By_Taken", "x"),
    ]
    assert after.important == {"by someone", "species:fox"}


def test_a_trigger_word_in_sentences_and_in_empty_captions() -> None:
    sentence = Caption((), (Prose("A dog sleeps."),), Source.CAPTION)
    assert Renderer().text(AddTags(tags=("sks dog",)).apply(sentence, HERE)) == "sks dog, A dog sleeps."
    empty = Caption(source=Source.EMPTY)
    assert AddTags(tags=("sks dog",)).apply(empty, HERE) is empty
    filled = AddTags(tags=("sks dog",), to_empty=True).apply(empty, HERE)
    assert (names_of(filled), filled.source) == (["sks dog"], Source.TAGS)


def test_a_tag_that_is_there_is_marked_and_stays_where_it_is() -> None:
    after = AddTags(tags=("Red_Fox", "sks", "SKS")).apply(of("tree", "red fox"), HERE)
    assert names_of(after) == ["sks", "tree", "red fox"]
    assert after.important == {"sks", "red fox"}
    assert AddTags(tags=("sks",), important=False).apply(of("tree"), HERE).important == frozenset()


def test_templates() -> None:
    texts = [
        CaptionPipeline(steps=(Template(templates=("a photo of {}",)), *more)).render(record).text
        for more in ((), (Template(templates=("{}, best quality",)),))
        for record in (Record("a", (Tag("fox"),)), Record("b"))
    ]
    assert texts == ["a photo of fox", "", "a photo of fox, best quality", ""]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"kind": "add_tags", "tags": []}, "no tag; give at least one"),
        ({"kind": "add_tags", "tags": ["a", " "]}, "a tag's name is empty: ' '"),
        ({"kind": "add_tags", "tags": ["a"], "count": 2}, "count is 2, but there are only 1 tags"),
        ({"kind": "add_tags", "tags": ["a"], "where": "middle"}, "first"),
        ({"kind": "capitals", "styles": []}, "no style; give at least one of first, title, upper and lower"),
        ({"kind": "capitals", "styles": ["Upper"]}, "upper"),
        ({"kind": "prefix_tags", "prefixes": {}}, 'no prefix; give at least one, such as {artist = "by "}'),
        ({"kind": "prefix_tags", "prefixes": {"artist": " "}}, "the prefix of 'artist' is empty: ' '"),
        ({"kind": "template", "templates": []}, 'no template; give at least one, such as "a photo of {}"'),
        (
            {"kind": "template", "templates": ["a photo"]},
            "'a photo' has 0 places for the caption, must have one `{}`",
        ),
        ({"kind": "template", "templates": ["{} {}"]}, "has 2 places for the caption"),
        (
            {"kind": "template", "templates": ["{name}"]},
            "has a single '{'; the caption goes where `{}` stands",
        ),
        (
            {"kind": "template", "templates": ["{}"], "weights": [1, 2]},
            "2 weights for 1 templates; give one for each",
        ),
        ({"kind": "template", "templates": ["{}"], "weights": [0]}, "all weights are 0"),
        (
            {"kind": "vary_names", "names": {"fox": "todd"}},
            "'fox' must have a list of other names, got 'todd'",
        ),
        ({"kind": "vary_names", "names": {"fox": []}}, "'fox' must have a list of other names, got []"),
        (
            {"kind": "vary_names", "names": {"fox": ["_"]}},
            "a name of 'fox' must be text and not empty, got '_'",
        ),
        ({"kind": "vary_names", "names": {"fox": [1]}}, "a name of 'fox' must be text and not empty, got 1"),
        ({"kind": "vary_names", "names": "nowhere.csv"}, "nowhere.csv"),
        ({"kind": "vary_names", "names": ["fox"]}, "names"),
        ({"kind": "vary_names", "names": {"fox": ["todd"]}, "rate": 2.0}, "1"),
    ],
)
def test_a_wrong_recipe_says_what_is_wrong(step: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as raised:
        load_pipeline({"steps": [step]}, kinds=KINDS)
    assert message in str(raised.value)
    assert "steps[0]" in str(raised.value)


# --------------------------------------------------------------------------------------- frequencies
# Seeded. Each bound is 4.5 standard deviations wide; seeds drawn anew would break one of the 26 comparisons
# below by chance less than once in 5,000 times (two-sided normal tail at 4.5: 7e-6).


@pytest.mark.statistics
def test_names_are_varied_as_often_as_said() -> None:
    num = 20_000
    caption = of("red fox", "tree", "snow")
    policy = VaryNames(names={"red fox": ("vulpes", "kitsune"), "tree": ("fir",), "snow": ("ice",)})
    seen = Counter(name for n in range(num) for name in names_of(policy.apply(caption, Draws(0, 0, n, "r"))))
    assert all(close(seen[name], num, 0.8) for name in ("red fox", "tree", "snow"))
    assert all(close(seen[name], num, 0.1) for name in ("vulpes", "kitsune"))


@pytest.mark.statistics
def test_prefixes_come_as_often_as_said_and_one_by_one() -> None:
    num = 10_000
    policy = PrefixTags(prefixes={"artist": "by "}, rate=0.3)
    caption = of("a", "b", category="artist")
    seen = Counter(tuple(names_of(policy.apply(caption, Draws(0, 0, n, "r")))) for n in range(num))
    assert close(seen["by a", "by b"], num, 0.09)
    assert close(seen["by a", "b"], num, 0.21)
    assert close(seen["a", "by b"], num, 0.21)


@pytest.mark.statistics
def test_spelling_and_capitals_come_as_often_as_said() -> None:
    num = 10_000
    caption = of("red_fox", "blue_eyes")
    spelled = Counter(
        tuple(names_of(SpellTags(p=0.3).apply(caption, Draws(0, 0, n, "r")))) for n in range(num)
    )
    assert len(spelled) == 2
    assert close(spelled["red_fox", "blue_eyes"], num, 0.3)
    cased = Counter(
        names_of(Capitals(p=0.3).apply(of("red fox"), Draws(0, 0, n, "r")))[0] for n in range(num)
    )
    assert all(close(cased[name], num, 0.1) for name in ("Red fox", "Red Fox", "RED FOX"))


@pytest.mark.statistics
def test_tags_are_added_as_often_and_where_as_said() -> None:
    num = 12_000
    policy = AddTags(tags=("x", "y", "z"), p=0.5, count=1, where="random")
    seen = Counter(tuple(names_of(policy.apply(of("a", "b"), Draws(0, 0, n, "r")))) for n in range(num))
    assert close(seen["a", "b"], num, 0.5)
    expected = [(*"ab"[:at], new, *"ab"[at:]) for new in "xyz" for at in range(3)]
    assert all(close(seen[names], num, 0.5 / 9) for names in expected)


@pytest.mark.statistics
def test_templates_come_by_their_weights() -> None:
    num = 10_000
    policy = Template(templates=("a {}", "b {}", "c {}"), weights=(3.0, 0.0, 1.0), p=0.8)
    seen = Counter(policy.apply(of("x"), Draws(0, 0, n, "r")).before for n in range(num))
    assert close(seen["a "], num, 0.6)
    assert close(seen["c "], num, 0.2)
    assert close(seen[""], num, 0.2)
    assert seen["b "] == 0
