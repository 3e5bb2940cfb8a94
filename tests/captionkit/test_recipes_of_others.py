"""The recipes of other trainers do what those do: what stays in place, what leaves how often, which order."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from captionkit import CaptionPipeline, Prose, Record, Source, Tag, load_pipeline, parse_tags
from captionkit.readers.separators import part_at_separators
from tests.captionkit.chances import plausible

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples/configs/captions"
PAGE = ROOT / "docs/coming-from.md"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.toml"))
MAX_LINES = 60

WARM = 9  # An epoch behind kohya's warm-up.
DRAWS = 2000  # Seeded: no test fails by chance, and one in a million would if the seed were another.


def recipe(name: str) -> CaptionPipeline:
    return load_pipeline(FOLDER / f"{name}.toml")


def written(tags: str) -> Record:
    """A record as the readers make one of this line in a .txt file."""
    return Record("picture 1", part_at_separators(parse_tags(tags)))


def drawn(name: str, record: Record, epoch: int = 0, k: int = DRAWS) -> list[list[str]]:
    """The tags of every draw; an empty caption has none."""
    texts = (rendered.text for rendered in recipe(name).render_many(record, k, epoch=epoch))
    return [text.split(", ") if text else [] for text in texts]


def test_these_are_the_recipes() -> None:
    assert RECIPES == ["bigasp", "kohya", "onetrainer", "ordered"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_short_and_says_how_to_see_it(name: str) -> None:
    text = (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    assert len(text.splitlines()) < MAX_LINES
    assert f"captionkit preview {name}.toml" in text


@pytest.mark.parametrize("name", RECIPES)
def test_a_picture_of_which_little_is_known_is_fine(name: str) -> None:
    for record in (Record("1"), Record("2", (Tag("fox"),)), Record("3", prose=(Prose("A fox sleeps."),))):
        for rendered in recipe(name).render_many(record, 20):
            assert rendered.source == Source.EMPTY or not record.prose or "A fox sleeps." in rendered.text


# ------------------------------------------------------------------------------------------------------ kohya

SEPARATED = written("1girl, solo ||| red hat;;;red coat, {smile|frown}, tree, snow ||| best quality, someone")


@pytest.mark.parametrize("epoch", [0, WARM])
def test_kohya_fixed_tags_are_always_there(epoch: int) -> None:
    for tags in filter(None, drawn("kohya", SEPARATED, epoch)):
        assert tags[:3] == ["masterpiece", "1girl", "solo"]
        assert tags[-2:] == ["best quality", "someone"]
        assert set(tags[3:-2]) <= {"red hat", "red coat", "smile", "frown", "tree", "snow"}


def test_kohya_without_a_separator_the_first_three_are_fixed() -> None:
    orders = {tuple(tags[4:]) for tags in drawn("kohya", written("a, b, c, d, e"), WARM) if tags}
    assert orders == {(), ("d",), ("e",), ("d", "e"), ("e", "d")}
    for tags in filter(None, drawn("kohya", written("a, b, c"))):
        assert tags == ["masterpiece", "a", "b", "c"]


def test_kohya_glued_tags_leave_and_move_together() -> None:
    together = 0
    for tags in drawn("kohya", SEPARATED, WARM):
        assert ("red hat" in tags) is ("red coat" in tags)
        together += ("red hat", "red coat") in pairwise(tags)
    assert plausible(together, DRAWS, 0.9 * 0.85)


def test_kohya_rates_are_those_of_the_settings() -> None:
    captions = drawn("kohya", SEPARATED, WARM)
    left = [tags for tags in captions if tags]
    assert plausible(DRAWS - len(left), DRAWS, 0.1)
    assert plausible(sum("tree" in tags for tags in left), len(left), 0.85)
    faces = Counter(tag for tags in left for tag in tags if tag in ("smile", "frown"))
    assert plausible(faces["smile"], faces.total(), 0.5)


def test_kohya_warm_up_begins_with_one_tag_and_ends_with_all() -> None:
    loose = "d, e, f, g, h, i, j, k"
    most = [max(map(len, drawn("kohya", written(f"a, b, c, {loose}"), epoch, 300))) for epoch in range(6)]
    assert most == [4 + 1, 4 + 2, 4 + 4, 4 + 6, 4 + 8, 4 + 8]
    at_first = {tag for tags in drawn("kohya", written(f"a, b, c, {loose}")) for tag in tags[4:]}
    assert at_first == {"d"}  # The first ones stay, as there: it is cut before the shuffle.


# ------------------------------------------------------------------------------------------------- OneTrainer


def test_onetrainer_tags_leave_by_their_place_and_the_kept_do_not() -> None:
    names = ["first", "a", "b", "solo", "c", "2girls", "hi_res", "d"]
    captions = [[tag.lower() for tag in tags] for tags in drawn("onetrainer", written(", ".join(names)))]
    assert all(tags[0] == "first" for tags in captions)
    count = Counter(tag for tags in captions for tag in tags)
    for place, name in enumerate(names[1:], start=1):
        kept = name in ("solo", "2girls", "hi_res")
        assert plausible(count[name], DRAWS, 1.0 if kept else 1.0 - 0.5 * place / 7), name
    assert len({tuple(tags[1:]) for tags in captions}) > 100


def test_onetrainer_capitals_are_now_and_then_and_change_nothing_else() -> None:
    captions = drawn("onetrainer", written("red hat, solo"))
    assert {tag.lower() for tags in captions for tag in tags} == {"red hat", "solo"}
    styles = Counter(tags[0] for tags in captions)
    assert set(styles) == {"red hat", "RED HAT", "Red Hat", "Red hat"}
    assert plausible(DRAWS - styles["red hat"], DRAWS, 0.3)


# ----------------------------------------------------------------------------------------------------- bigASP

STORY = "A fox in a red coat runs over the snow, past a tree and a house, and looks back at who sees it."
MANY = tuple(Tag(name) for name in ("watermark", "clothing", "red_coat", *(f"tag_{n}" for n in range(60))))
TOLD = Record("picture 1", MANY, (Prose(STORY),), info={"score": 7})


def test_bigasp_shares_of_the_sources() -> None:
    sources = Counter(rendered.source for rendered in recipe("bigasp").render_many(TOLD, DRAWS))
    assert set(sources) == {Source.EMPTY, Source.TAGS, Source.CAPTION}
    for source, share in ((Source.EMPTY, 0.05), (Source.TAGS, 0.095), (Source.CAPTION, 0.855)):
        assert plausible(sources[source], DRAWS, share)


def test_bigasp_a_caption_stays_to_the_letter_and_tags_are_as_many_as_go_with_it() -> None:
    words = len(STORY.split())
    for rendered in recipe("bigasp").render_many(TOLD, DRAWS):
        if rendered.source == Source.CAPTION:
            assert rendered.text == STORY
        elif rendered.source == Source.TAGS:
            tags = rendered.text.replace("_", " ").split(", ")
            assert "watermark" in tags
            number = sum(not tag.startswith("score") for tag in tags)
            assert round(0.3 * words) <= number <= round(0.6 * words)


def test_bigasp_without_a_caption_there_are_tags_of_any_number() -> None:
    few = [tags for tags in drawn("bigasp", Record("picture 1", MANY)) if tags]
    lengths = {len(tags) for tags in few}
    assert min(lengths) in (5, 6)  # The important tag is not counted.
    assert max(lengths) in (59, 60)
    assert all("watermark" in tags for tags in few)
    assert plausible(DRAWS - len(few), DRAWS, 0.05)


def test_bigasp_scores_aliases_and_spelling() -> None:
    names = ("watermark", "clothing", "red_coat", "tree", "snow")
    five = Record("picture 1", tuple(map(Tag, names)), info={"score": 7})
    left = [tags for tags in drawn("bigasp", five) if tags]
    plain = [[tag.replace("_", " ") for tag in tags] for tags in left]
    for tags in plain:
        assert {"watermark", "red coat", "tree", "snow"} <= set(tags)
        assert len({"clothing", "clothes", "garments"} & set(tags)) == 1
        scores = [tag for tag in tags if tag.startswith("score")]
        assert tags[: len(scores)] == scores
        assert set(scores) <= {"score 7", "score 7 up", "score 5 up"}
    assert plausible(sum("score 7" in tags for tags in plain), len(plain), 0.9)
    assert plausible(sum("clothing" not in tags for tags in plain), len(plain), 0.2)
    assert plausible(sum("red_coat" in tags for tags in left), len(left), 0.4)


# ---------------------------------------------------------------------------------------------------- ordered

CATEGORIES = {
    "highres": "meta",
    "hat": "general",
    "someone": "artist",
    "fox": "species",
    "solo": "general",
    "vocaloid": "copyright",
    "miku": "character",
    "1girl": "general",
}
POST = Record(
    "picture 1",
    tuple(Tag(*item) for item in CATEGORIES.items()),
    info={"rating": "e", "score": 200, "created_at": "2021-05-01T08:00:00Z"},
)


def test_ordered_by_category_whatever_leaves() -> None:
    groups = [{"solo", "1girl"}, {"miku"}, {"vocaloid"}, {"someone"}, {"hat", "fox"}]
    groups += [{"highres", "year 2021"}, {"explicit", "nsfw"}, {"best quality"}]
    place = {name: index for index, names in enumerate(groups) for name in names}
    captions = [tags for tags in drawn("ordered", POST) if tags]
    assert all([place[tag] for tag in tags] == sorted(place[tag] for tag in tags) for tags in captions)
    assert all({"miku", "vocaloid", "someone", "fox", "explicit", "nsfw"} <= set(tags) for tags in captions)
    assert plausible(DRAWS - len(captions), DRAWS, 0.1)
    assert plausible(sum("hat" in tags for tags in captions), len(captions), 0.8)
    assert plausible(sum("highres" in tags for tags in captions), len(captions), 0.5)


@pytest.mark.parametrize(
    ("rating", "score", "quality"),
    [
        ("s", 200, "masterpiece"),
        ("e", 200, "best quality"),
        ("s", -3, "worst quality"),
        ("e", 0, "normal quality"),
    ],
)
def test_ordered_quality_is_that_of_the_rating(rating: str, score: int, quality: str) -> None:
    record = Record("picture 1", (Tag("fox"),), info={"rating": rating, "score": score})
    assert {tags[-1] for tags in drawn("ordered", record, k=50) if tags} == {quality}


# --------------------------------------------------------------------------------------------- coming-from.md


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)]+)\)", PAGE.read_text(encoding="utf-8")))))
def test_every_link_leads_somewhere(link: str) -> None:
    path, _, section = link.partition("#")
    target = PAGE.parent / path
    assert target.is_file()
    if section:
        headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
        anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert section in anchors


def test_a_curve_in_steps_empties_every_caption_of_the_epochs_it_names() -> None:
    points = [[0, 0.0], [10, 1.0], [11, 0.0], [20, 1.0], [21, 0.0]]
    p = {"over": "epoch", "shape": "steps", "points": points}
    pipeline = load_pipeline({"steps": [{"kind": "empty_caption", "p": p}]})
    texts = [pipeline.render(Record("1", (Tag("fox"),)), epoch=epoch).text for epoch in range(30)]
    assert [epoch for epoch, text in enumerate(texts) if not text] == [10, 20]


def test_kohya_metadata_is_joined_with_its_caption_in_front() -> None:
    both = {"kind": "choose_source", "tags": 0.0, "caption": 0.0, "both": 1.0, "tags_first": 0.0}
    record = Record("1", parse_tags("fox, tree"), (Prose("a fox"),))
    assert load_pipeline({"steps": [both]}).render(record).text == "a fox, fox, tree"
