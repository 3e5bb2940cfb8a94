"""`captionkit stats`: what is counted is exact, whoever counts it; what is drawn has honest intervals."""

from __future__ import annotations

import json
import pickle
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import CaptionPipeline, Curve, FlipRule, ImplicationGraph, Prose, Record, Tag, preset
from captionkit.changes import changes_over_the_run
from captionkit.cli import main
from captionkit.lint import lint
from captionkit.policies import (
    AddTags,
    ByCategory,
    ChooseSource,
    DropImplied,
    DropTags,
    EmptyCaption,
    MarkImportant,
    Maybe,
    PrefixTags,
    RenameTags,
    Schedule,
    ShuffleTags,
    TagFromFact,
)
from captionkit.policies import Sequence as InOrder
from captionkit.policies.schedule import Phase
from captionkit.policy import Policy
from captionkit.readers.grouped import Grouped
from captionkit.readers.open import open_source
from captionkit.readers.parallel import map_blocks
from captionkit.readers.source import strict
from captionkit.record import fold, folded_names
from captionkit.render import estimate_tokens
from captionkit.screen import Screen, columns_of
from captionkit.stats.added import added
from captionkit.stats.chosen import Chosen, id_hash, share_of_sample
from captionkit.stats.gather import InMemory, gather
from captionkit.stats.neighbours import commonest
from captionkit.stats.plain import plain
from captionkit.stats.result import Share, Stats, Typo
from captionkit.stats.scan import Scan, Scanner
from captionkit.stats.shown import stats_text, tag_text
from captionkit.stats.shown_tag import percents
from captionkit.testing.strategies import implication_graphs, pattern_lists, records

GRAPH = ImplicationGraph({"red fox": ["fox"], "fox": ["canine"]})


def pipelines() -> st.SearchStrategy[CaptionPipeline]:
    """Recipes with everything that a scan looks at."""
    return st.builds(
        lambda graph, no_flip, prose, mirror, important: CaptionPipeline(
            steps=(
                MarkImportant(patterns=important),
                EmptyCaption(p=0.1),
                DropTags(rate=0.3),
                DropImplied(implications=graph, rate_range=0.5),
                TagFromFact(fact="rating", tags={"s": ("safe",), "e": ("explicit",)}),
            ),
            flip=FlipRule(no_flip=no_flip, prose_patterns=prose, mirror=mirror),
        ),
        implication_graphs(),
        pattern_lists(),
        pattern_lists(),
        st.sampled_from(["keep", "swap", "tags"]),
        pattern_lists(),
    )


def counted(scan: Scan) -> dict[str, object]:
    """A scan as a value that compares whatever the order of counting."""
    return {
        "numbers": (scan.num_records, scan.num_without_tags, scan.num_without_prose),
        "counters": [
            +counter
            for counter in (
                scan.spellings,
                scan.twice,
                scan.alone,
                scan.forbidden,
                scan.tag_sources,
                scan.prose_sources,
                scan.facts,
            )
        ],
        "in prose": scan.in_prose,
        "hashes": sorted(scan.hashes),
        "odd": {kind: (some.count, some.names) for kind, some in scan.odd.items()},
        "odd tags": scan.odd_tags,
        "chosen": sorted(map(repr, scan.chosen.records())),
    }


@given(pipelines(), st.lists(records(), max_size=8), st.data())
def test_counts_of_parts_make_the_counts_of_the_whole(
    pipeline: CaptionPipeline, data: list[Record], draw: st.DataObject
) -> None:
    """In any order, in any parts, by one scanner or by several, sent from process to process."""
    whole = Scanner(pipeline, sample=3).scan(data)
    shuffled = draw.draw(st.permutations(data))
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=3)))
    one = Scanner(pipeline, sample=3)
    merged = Scan(Chosen(3))
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        scanner = one if draw.draw(st.booleans()) else pickle.loads(pickle.dumps(Scanner(pipeline, sample=3)))
        merged.merge(pickle.loads(pickle.dumps(scanner.scan(shuffled[start:end]))))
    assert counted(merged) == counted(whole)


@given(pipelines(), st.lists(records(), max_size=8))
def test_the_counts_are_those_of_a_plain_loop(pipeline: CaptionPipeline, data: list[Record]) -> None:
    """Every figure against the definition, which is slow."""
    scan = Scanner(pipeline, sample=3).scan(data)
    having = [set(folded_names(record.tags)) for record in data]
    counts = Counter(name for names in having for name in names)
    assert {name: count for name, count in scan.counts().items() if count} == counts
    graph = next(step.implications for step in pipeline.steps if isinstance(step, DropImplied))
    alone = Counter(
        name
        for names in having
        for name in names
        if (implied := graph.implied_by(name)) and implied.isdisjoint(names)
    )
    assert +scan.alone == alone
    reasons = [found[0] for record in data if (found := pipeline.flip.forbidden_by(record)) is not None]
    assert +scan.forbidden == Counter(reasons)
    assert len(data) - sum(scan.forbidden.values()) == sum(map(pipeline.may_flip, data))
    said = [any(piece.text.strip() for piece in record.prose) for record in data]
    assert scan.num_without_prose == said.count(False)
    assert scan.num_without_tags == sum(not record.tags for record in data)
    texts = [piece for record in data for piece in record.prose if piece.text.strip()]
    assert +scan.prose_sources == Counter(piece.source for piece in texts)
    spelled = Counter((tag.name, tag.category) for record in data for tag in record.tags)
    assert +scan.spellings == spelled
    found_in_prose = {
        pattern
        for pattern in pipeline.flip.prose_patterns
        if any(FlipRule(prose_patterns=(pattern,)).veto(Record("x", prose=(piece,))) for piece in texts)
    }
    assert scan.in_prose == found_in_prose


def test_a_tag_in_two_spellings_counts_once_for_its_record() -> None:
    data = [Record("1", (Tag("Red_fox"), Tag("red fox"))), Record("2", (Tag("red fox", "species"),))]
    scan = Scanner(CaptionPipeline(), sample=3).scan(data)
    assert scan.counts() == {"red fox": 2}
    assert scan.twice == {"red fox": 1}


def test_a_pattern_that_forbids_is_the_first_that_the_first_tag_matches() -> None:
    rule = FlipRule(no_flip=("*right*", "text*", "text on*"), prose_patterns=("on the *", "left"))
    first = Record("1", (Tag("fox"), Tag("text_on_shirt"), Tag("right arm")))
    assert rule.forbidden_by(first) == ("text*", "tag 'text_on_shirt' forbids it")
    said = Record("2", prose=(Prose("A cat to the left."),))
    assert rule.forbidden_by(said) == ("left", "a caption says 'left'")
    assert rule.forbidden_by(Record("3", (Tag("fox"),))) is None
    assert rule.veto(first) == "tag 'text_on_shirt' forbids it"


# --- Which records are looked at. ---


@given(st.lists(st.text(min_size=1, max_size=3), max_size=30), st.integers(1, 8), st.data())
def test_the_chosen_are_those_of_the_smallest_hashes(ids: list[str], size: int, draw: st.DataObject) -> None:
    """Whatever the order and the parts; records of one id are all in or all out."""
    data = [Record(one) for one in ids]
    limit = sorted(map(id_hash, ids))[:size][-1] if ids else 0
    expected = sorted(one for one in ids if id_hash(one) <= limit)
    merged = Chosen(size)
    shuffled = draw.draw(st.permutations(data))
    cut = draw.draw(st.integers(0, len(data)))
    for part in (shuffled[:cut], shuffled[cut:]):
        chosen = Chosen(size)
        for record in part:
            chosen.add(id_hash(record.id), record)
        chosen.cut(size)
        merged.merge(chosen)
    assert sorted(record.id for record in merged.records()) == expected


def test_a_block_sends_enough_for_the_sample() -> None:
    """20 blocks of 500 records, of which 1,000 are wanted: each sends a part, and none is left out.

    Hashes do not change, so neither does the outcome.
    """
    data = [Record(f"picture {number}") for number in range(10_000)]
    merged = Chosen(1000)
    sent = 0
    for start in range(0, len(data), 500):
        chosen = Chosen(1000)
        for record in data[start : start + 500]:
            chosen.add(id_hash(record.id), record)
        chosen.cut(share_of_sample(1000, 500, 10_000))
        sent += len(chosen.hashed)
        merged.merge(chosen)
    whole = sorted(data, key=lambda record: id_hash(record.id))[:1000]
    assert merged.records() == whole
    assert sent < 5_000
    assert share_of_sample(1000, 500, None) == 1000


# --- The figures. ---


def brute(pipeline: CaptionPipeline, data: Sequence[Record], draws: int) -> dict[str, object]:
    """What is trained, by drawing everything once more and counting as the words of the figures say."""
    said, kept, had = Counter[str](), Counter[str](), Counter[str]()
    sources, tokens = Counter[str](), Counter[int]()
    empty = mirrored = cut = 0
    for record in data:
        here = {fold(tag.name) for tag in record.tags}
        had.update(here)
        for draw in range(draws):
            rendered = pipeline.render(record, draw=draw)
            drawn = pipeline.draw_caption(record, draw=draw)
            names = {fold(tag.name) for tag in drawn.caption.tags}
            said.update(names)
            kept.update(names & here)
            sources[rendered.source] += 1
            tokens[estimate_tokens(rendered.text)] += 1
            empty += rendered.text == ""
            mirrored += rendered.flip
            cut += drawn.caption != drawn.whole
    return {
        "said": +said,
        "kept": {name: (kept[name], draws * number) for name, number in had.items()},
        "sources": +sources,
        "mean": sum(number * count for number, count in tokens.items()) / tokens.total(),
        "counts": (empty, mirrored, cut),
    }


@given(pipelines(), st.lists(records(), min_size=1, max_size=5), st.integers(1, 3))
def test_the_figures_of_captions_are_those_of_a_plain_loop(
    pipeline: CaptionPipeline, data: list[Record], draws: int
) -> None:
    pipeline = pipeline.with_settings({"text.max_tokens": 9})
    stats = gather(pipeline, data, data="data", recipe="recipe", draws=draws)
    expected = brute(pipeline, data, draws)
    assert {tag.name: tag.trained.hits for tag in stats.tags if tag.trained.hits} == expected["said"]
    assert {tag.name: (tag.kept.hits, tag.kept.of) for tag in stats.tags if tag.kept.of} == expected["kept"]
    assert {source: share.hits for source, share in stats.sources} == expected["sources"]
    assert stats.lengths.mean == pytest.approx(expected["mean"])
    assert (stats.empty.hits, stats.flips.mirrored.hits, stats.budget.cut.hits) == expected["counts"]
    total = draws * len(data)
    assert (
        {share.of for _, share in stats.lengths.chunks}
        == {total}
        == {tag.trained.of for tag in stats.tags} | {total}
    )
    assert sum(share.hits for _, share in stats.lengths.chunks) == total
    assert sum(number for _, number in stats.lengths.histogram) == total
    assert stats.flips.may.hits == sum(map(pipeline.may_flip, data))


@given(st.lists(st.frozensets(st.sampled_from("abcdef"), max_size=4), max_size=8))
def test_the_neighbour_is_the_tag_that_comes_most_often(having: list[frozenset[str]]) -> None:
    found = commonest(having, lambda name: frozenset("b") if name == "a" else frozenset())
    for name in {one for names in having for one in names}:
        both = Counter(other for names in having if name in names for other in names if other != name)
        if name == "a":
            del both["b"]
        if both:
            other, count = found[name]
            often = {one: sum(one in names for names in having) for one in both}
            assert count == max(both.values()) == both[other]
            ties = [one for one in both if both[one] == count]
            assert other == min(ties, key=lambda one: (-often[one], one))
        else:
            assert name not in found


OTHERS = ["snow", "tree", "running", "solo", "text on sign", "left arm up"]


def foxes(number: int) -> list[Record]:
    """Records of which every third is a red fox; facts, captions and categories among them."""
    rng = random.Random(4)
    data = []
    for at in range(number):
        names = ["red fox", "fox", "canine"] if at % 3 == 0 else ["cat"]
        names += rng.sample(OTHERS, rng.randrange(5))
        prose = (Prose("A fox on the left. It runs."),) if at % 5 == 0 else ()
        data.append(Record(f"p{at}", tuple(map(Tag, names)), prose, info={"rating": "s"}))
    return data


RECIPE = CaptionPipeline(
    steps=(
        MarkImportant(patterns=("solo", "dragon*")),
        RenameTags(aliases={"kitty": "cat", "running": "run"}),
        DropTags(rate=0.25),
        DropImplied(implications=GRAPH, rate_range=0.5),
        TagFromFact(fact="rating", tags={"s": ("safe",), "q": ("questionable",)}),
        AddTags(tags=("trigger",), p=0.5),
    ),
    flip=FlipRule(no_flip=("text on*", "speech bubble*"), prose_patterns=("right",)),
)


def test_figures_do_not_depend_on_who_counts_or_in_which_order() -> None:
    """Two processes, the other way round: everything is the same, the intervals too."""
    data = foxes(3000)
    one = gather(RECIPE, data, data="d", recipe="r", sample=1500, draws=1)
    other = gather(RECIPE, data[::-1], data="d", recipe="r", sample=1500, draws=1, processes=2)
    assert one == other
    assert one.num_sampled == 1500


def test_figures_of_foxes() -> None:
    """An example to read: what the words mean."""
    stats = gather(RECIPE, foxes(300), data="d", recipe="r")
    tags = {tag.name: tag for tag in stats.tags}
    fox = tags["red fox"]
    assert (fox.count, fox.data, fox.category) == (100, Share(100, 300, exact=True), None)
    assert fox.alone is not None
    assert fox.alone.implies == ("canine", "fox")
    assert fox.alone.before == Share(0, 100, exact=True)  # In the data it never is.
    assert 0.1 < fox.alone.after.value < 0.6  # (1 - 0.75 * 0.5) ** 2 is 0.39.
    assert tags["canine"].alone is None
    assert tags["solo"].important
    assert not tags["snow"].important
    assert fox.neighbour is not None
    assert fox.neighbour.name in OTHERS
    assert (tags["safe"].count, tags["safe"].trained.value, tags["safe"].kept.of) == (0, 1.0, 0)
    assert (tags["run"].count, tags["running"].trained.hits) == (0, 0)  # It is called by its new name.
    assert tags["run"].trained.hits > 0
    assert 0.4 < tags["trigger"].trained.value < 0.6
    assert [name for name, _ in stats.flips.forbidden_by] == ["text on*"]
    unmatched = {(one.where, one.what) for one in stats.unmatched}
    assert unmatched == {
        ("flip.no_flip", "speech bubble*"),
        ("flip.prose_patterns", "right"),
        ("mark_important#0.patterns", "dragon*"),
        ("rename_tags#0.aliases", "kitty"),
        ("tag_from_fact#0.tags", "rating=q"),
    }


def test_kept_is_about_the_records_that_have_a_tag() -> None:
    """`run` is said of both records, and one of them has it."""
    data = [Record("1", (Tag("run"),)), Record("2", (Tag("running"),))]
    pipeline = CaptionPipeline(steps=(RenameTags(aliases={"running": "run"}),))
    tags = {tag.name: tag for tag in gather(pipeline, data, data="d", recipe="r", draws=3).tags}
    assert (tags["run"].trained.hits, tags["run"].kept.hits, tags["run"].kept.of) == (6, 3, 3)
    assert (tags["running"].trained.hits, tags["running"].kept.of) == (0, 3)


def test_the_recipe_does_not_change_which_records_are_drawn() -> None:
    data = foxes(400)
    one = gather(RECIPE, data, data="d", recipe="r", sample=50, draws=1)
    other = gather(RECIPE.with_seed(9), data, data="d", recipe="r", sample=50, draws=1)
    assert [tag.kept.of for tag in one.tags if tag.count] == [tag.kept.of for tag in other.tags if tag.count]


def test_top_keeps_the_most_frequent_tags_and_says_how_many_there_are() -> None:
    whole = gather(RECIPE, foxes(60), data="d", recipe="r")
    some = gather(RECIPE, foxes(60), data="d", recipe="r", top=3)
    assert some.tags == whole.tags[:3]
    assert some.num_tags == whole.num_tags == sum(tag.count > 0 for tag in whole.tags)
    assert len(whole.tags) > whole.num_tags  # The others are added by the recipe.
    assert f", {whole.num_tags} different" in stats_text(some, Screen(100), top=3)
    of_typos = [
        one.of for one in lint(replace(whole, typos=(Typo("a", 1, "b", 9),)), RECIPE) if one.code == "typos"
    ]
    assert of_typos == [whole.num_tags]


def test_an_own_counter_counts_and_is_named() -> None:
    pipeline = CaptionPipeline().with_counter(len)
    stats = gather(pipeline, [Record("1", (Tag("a" * 80),))], data="d", recipe="r")
    assert (stats.lengths.mean, stats.lengths.counter, stats.lengths.chunks[0][0]) == (80.0, "len", 2)


def test_what_the_budget_takes_is_counted() -> None:
    pipeline = CaptionPipeline().with_settings({"text.max_tokens": 4})
    record = Record("1", (Tag("fox"), Tag("cat")), (Prose("A fox runs. A cat sits there."),))
    stats = gather(pipeline, [record], data="d", recipe="r", draws=2)
    assert stats.budget.cut.hits == 2
    assert (stats.budget.tags_lost, stats.budget.sentences_lost) == (0, 4)
    assert stats.budget.examples == ("1",)


# --- Intervals. ---


def test_an_interval_of_a_counted_share_is_a_point() -> None:
    assert Share(1, 4, exact=True).interval == (0.25, 0.25)
    assert Share(0, 0).interval == (0.0, 1.0)
    narrow, wide = Share(10, 100).interval, Share(10, 100, spread=4.0).interval
    assert wide[0] < narrow[0] < 0.1 < narrow[1] < wide[1]


@pytest.mark.statistics
@pytest.mark.parametrize("draws", [1, 4])
def test_intervals_cover_the_share_of_all_records(draws: int) -> None:
    """100 data sets of 600 records, of which 40 are drawn: 95 of 100 intervals shall hold the true share.

    The tag is on 30 % of the records and stays in 60 % of their captions, so that it is in 18 %. Draws of one
    record are alike: without `spread`, intervals of 4 draws would hold it in 77 of 100. With a true coverage
    of 94 % (Wilson's is near 95), fewer than 85 of 100 come up in one run of 3,300 (binomial).
    """
    pipeline = CaptionPipeline(steps=(DropTags(rate=0.4),))
    hits = 0
    for number in range(100):
        rng = random.Random(number)
        data = [
            Record(f"{number}-{at}", (Tag("cat"), Tag("fox")) if rng.random() < 0.3 else (Tag("cat"),))
            for at in range(600)
        ]
        stats = gather(pipeline.with_seed(number), data, data="d", recipe="r", sample=40, draws=draws)
        fox = next(tag for tag in stats.tags if tag.name == "fox")
        low, high = fox.trained.interval
        hits += low <= 0.6 * fox.data.value <= high
    assert hits >= 85


# --- As text and as JSON. ---


@pytest.mark.parametrize("width", [40, 80, 120])
def test_text_keeps_to_the_width(width: int) -> None:
    stats = gather(RECIPE, foxes(300), data="some/data", recipe="recipe.toml")
    screen = Screen(width)
    texts = [stats_text(stats, screen, top=5), *(tag_text(stats, tag, screen) for tag in stats.tags)]
    lines = [line for text in texts for line in text.splitlines()]
    table = [line for line in lines if " %" in line and width < 80]  # What a table needs, it takes.
    assert all(columns_of(line) <= width for line in lines if line not in table)
    assert all(line == line.rstrip() for line in lines)


def test_text_tells_everything() -> None:
    text = stats_text(gather(RECIPE, foxes(300), data="d", recipe="r"), Screen(100), top=50)
    for words in (
        "300 records",
        "red fox",
        "solo *",
        "text on*",
        "trigger",
        "speech bubble*",
        "1 chunk of 75",
    ):
        assert words in text


def test_control_characters_of_tags_do_not_reach_the_terminal() -> None:
    stats = gather(CaptionPipeline(), [Record("1", (Tag("red\x1b[31mfox"),))], data="d", recipe="r")
    assert "\x1b" not in stats_text(stats, Screen(80), top=5)


def test_json_has_every_field() -> None:
    stats = gather(RECIPE, foxes(30), data="d", recipe="r")
    values = json.loads(json.dumps(plain(stats)))
    assert set(values) == set(Stats.__dataclass_fields__)
    assert values["tags"][0]["data"]["exact"] is True
    assert {"hits", "of", "share", "low", "high", "exact"} == set(values["tags"][0]["trained"])


def test_repeats_are_not_counted_in_and_told() -> None:
    data = [Record(str(at), (Tag("fox"),), info={"kohya.num_repeats": at}) for at in range(4)]
    stats = gather(CaptionPipeline(), data, data="d", recipe="r")
    assert (stats.num_records, stats.num_repeated, stats.tags[0].count) == (4, 2, 4)
    said = "each record counts once; kohya.num_repeats of 2 records is not counted in"
    assert said in stats_text(stats, Screen(120), top=5)
    plain_ones = gather(CaptionPipeline(), foxes(4), data="d", recipe="r")
    assert plain_ones.num_repeated == 0
    assert "kohya" not in stats_text(plain_ones, Screen(120), top=5)


RISING = Curve(points=((0, 0.0), (10, 1.0)), over="samples")


@pytest.mark.parametrize(
    ("step", "changes"),
    [
        (DropTags(rate=0.5), False),
        (DropTags(rate=Curve(points=((0, 0.5), (9, 0.5)))), False),
        (DropTags(rate=RISING), True),
        (ByCategory(policies={"artist": DropTags(rate=RISING)}), True),
        (Maybe(p=0.5, then=InOrder(steps=(ShuffleTags(), EmptyCaption(p=RISING)))), True),
        (ChooseSource(tags=RISING, caption=1.0), True),
        (Schedule(phases=(Phase(start=0, then=ShuffleTags()),)), False),
        (Schedule(phases=(Phase(start=1, then=ShuffleTags()),)), True),
        (Schedule(phases=(Phase(start=0, then=DropTags(rate=RISING)),)), True),
    ],
)
def test_a_recipe_that_changes_over_the_run_is_known(step: Policy, changes: bool) -> None:
    assert changes_over_the_run(CaptionPipeline(steps=(step,))) is changes


def test_the_moment_of_the_run_is_told() -> None:
    """A curve over samples: at 0 nothing leaves, at 10 everything."""
    pipeline = CaptionPipeline(steps=(DropTags(rate=RISING),))
    data = [Record("1", (Tag("fox"),)), Record("2", (Tag("cat"),))]
    first, last = (gather(pipeline, data, data="d", recipe="r", samples=samples) for samples in (0, 10))
    assert (first.samples, first.changes, first.empty.hits) == (0, True, 0)
    assert (last.samples, last.changes, last.empty.value) == (10, True, 1.0)
    text = stats_text(last, Screen(120), top=5)
    assert "epoch 0, 10 samples seen" in text
    assert "the recipe changes over the run: --epoch and --samples show other moments" in text
    steady = gather(CaptionPipeline(), foxes(9), data="d", recipe="r")
    assert "samples" not in stats_text(steady, Screen(120), top=5)
    follows = CaptionPipeline(flip=FlipRule(p=Curve(points=((0, 0.0), (5, 0.5)))))
    assert gather(follows, foxes(3), data="d", recipe="r").changes


def test_what_the_recipe_says_more_often_is_among_what_it_adds() -> None:
    """One stray record has the prefix that the recipe gives to all."""
    data = [*foxes(40), Record("stray", (Tag("emoji"), Tag("fox")))]
    pipeline = CaptionPipeline(steps=(AddTags(tags=("emoji",)), AddTags(tags=("new",), p=0.5)))
    stats = gather(pipeline, data, data="d", recipe="r")
    assert [tag.name for tag in added(stats.tags)] == ["emoji", "new"]
    text = stats_text(stats, Screen(100), top=1)
    table = text.split("Tags that the recipe adds or says more often")[1].splitlines()
    assert table[2].split()[:3] == ["emoji", "2.4", "%"]


def test_what_a_renamed_tag_becomes_is_told() -> None:
    data = [
        Record("1", (Tag("kitty"), Tag("bob", "artist"), Tag("by ann", "artist"))),
        Record("2", (Tag("fox"),)),
    ]
    steps = (RenameTags(aliases={"kitty": "Cat"}), PrefixTags(prefixes={"artist": "by "}, rate=1.0))
    stats = gather(CaptionPipeline(steps=steps), data, data="d", recipe="r")
    becomes = {tag.name: tag.becomes for tag in stats.tags if tag.count}
    assert becomes == {"kitty": "Cat", "bob": "by bob", "by ann": None, "fox": None}
    kitty = next(tag for tag in stats.tags if tag.name == "kitty")
    text = tag_text(stats, kitty, Screen(100))
    assert "called          Cat by the recipe" in text
    assert "kept" not in text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (Share(300, 1000), "30.0 % ± 2.8"),
        (Share(12, 12), "75.8 to 100 %"),
        (Share(1, 1600), "0.011 to 0.4 %"),
        (Share(2, 8), "7.1 to 59.1 %"),
        (Share(0, 50), "0 to 7.1 %"),
        (Share(0, 80_000), "0 %"),
        (Share(80_000, 80_000), "100 %"),
        (Share(100, 1_000_000), "0.01 % ± 0.00"),
        (Share(1, 1, exact=True), "100 %"),
        (Share(0, 0), "-"),
        (Share(0, 0, exact=True), "-"),
    ],
)
def test_shares_are_written_with_intervals_that_can_be(share: Share, text: str) -> None:
    assert percents(share) == text


def test_the_first_messages_about_bad_records_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", foxes(5))
    with path.open("a", encoding="utf-8") as file:
        file.write("{nonsense\n" * 5)
    stats = gather(RECIPE, open_source(str(path)), data="d", recipe="r", report=lambda error: None)
    assert stats.num_skipped == 5
    places = [message.partition(": ")[0] for message in stats.skipped]
    assert places == [f"{path}:{line}" for line in (6, 7, 8)]


def write(path: Path, data: Sequence[Record]) -> Path:
    """The records as JSON Lines."""
    lines = [{"id": one.id, "tags": [tag.name for tag in one.tags]} for one in data]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_the_command_shows_tables_a_tag_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(write(tmp_path / "data.jsonl", foxes(50)))
    common = ["stats", "hyperfusion", data, "--processes", "1"]
    assert main(common) == 0
    said = capsys.readouterr()
    assert "50 records" in said.out
    assert "next: captionkit lint" in said.err
    assert main([*common, "--tag", "Red_Fox"]) == 0
    assert "17 of 50 records" in capsys.readouterr().out
    assert main([*common, "--tag", "red fxo"]) == 2
    assert "near it: 'red fox'" in capsys.readouterr().err
    assert main([*common, "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["num_records"] == 50
    assert said.err == ""


def test_bad_records_are_counted_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "data.jsonl", foxes(5))
    with path.open("a", encoding="utf-8") as file:
        file.write("{nonsense\n")
    assert main(["stats", "hyperfusion", str(path), "--processes", "1"]) == 0
    said = capsys.readouterr()
    assert "1 more could not be read" in " ".join(said.out.split())  # Lines break where the path is long.
    assert "data.jsonl:6" in said.err


def test_the_emoji(shared: Path) -> None:
    """Real data: figures that were counted by hand with jq."""
    path = shared / "data/emoji/metadata.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    from captionkit.readers import read_records

    stats = gather(preset("hyperfusion"), list(read_records(path)), data=str(path), recipe="hyperfusion")
    assert stats.num_records == len(lines) == 1679
    assert stats.num_without_tags == sum(not line["tags"] for line in lines)
    face = next(tag for tag in stats.tags if tag.name == "face")
    assert face.count == sum("face" in map(str.casefold, line["tags"]) for line in lines)


def test_blocks_in_memory_are_those_records() -> None:
    data = foxes(600)
    blocks = map_blocks(lambda block, report: list(block.records(report)), InMemory(data), report=strict)
    parts = list(blocks)
    assert [record for _, part in parts for record in part] == data
    assert sum(amount for amount, _ in parts) == 600
    together = list(Grouped(InMemory(data), 2).blocks(strict))
    assert [block.amount for block in together] == [512, 88]
    assert [record for block in together for record in block.records(strict)] == data
