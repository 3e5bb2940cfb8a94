"""Hypothesis strategies for what passes through a pipeline, and for the settings of its policies."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from captionkit.curves import Curve
from captionkit.implications import ImplicationGraph
from captionkit.record import Caption, Prose, Record, Source, Tag, fold

WORDS = (
    *("solo", "red_fox", "fox", "canine", "mammal", "text_on_shirt", "bright colors", "facing right", "^_^"),
    *("Blue_Eyes", "blue eyes", "sequence", "by someone (artist)", "café", "犬", "a", "1girl"),
    *("asymmetrical hair", "saber_(fate)", "red hat;;;red coat", "|||", "{red|{dark|light} blue} ribbon"),
)
"""Tag names that meet each other often enough for patterns and implications to matter."""

SENTENCES = (
    *("The image showcases a man in Paris.", "There are no visible watermarks.", "He appears to be asleep."),
    *("A sign reads 'NO ENTRY'.", "A sign reads 'NO ENTRY'.", "Possibly a dog, a dog, a dog, a dog."),
    *("It is 3.5 m tall", "In this image, we can see iPhone cases.", "Overall, the image conveys calm."),
    *("and the", "Dr. Who waits!", "Her left arm hangs to the left of the door, on the left."),
)
"""Sentences with the faults that models make, and some without."""

CATEGORIES = (None, "general", "species", "artist", "character", "meta")
"""Categories of the tags; None where nobody said."""

FACTS: dict[str, tuple[Any, ...]] = {
    "rating": ("s", "q", "e", "safe"),
    "score": (-3, 0, 12, 400),
    "fav_count": (0, 7, 900),
    "created_at": ("2021-05-01", "2009-12-31T23:59:59.000-04:00", "yesterday"),
    "year": (2007, 2024),
    "mirrored": (True, False),
}
"""Facts that records have, and values that they take, odd ones among them."""


def names() -> st.SearchStrategy[str]:
    """Tag names: mostly from `WORDS`, else any text that is not blank."""
    anything = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
    return st.one_of(st.sampled_from(WORDS), st.sampled_from(WORDS), anything.map(str.strip).filter(bool))


def tags() -> st.SearchStrategy[Tag]:
    """Tags with and without category, source and score."""
    scores = st.none() | st.floats(0.0, 1.0)
    sources = st.sampled_from([None, "human", "classifier"])
    return st.builds(Tag, names(), st.sampled_from(CATEGORIES), sources, scores)


def prose() -> st.SearchStrategy[Prose]:
    """Captions of a few sentences, with and without faults."""
    texts = st.lists(st.one_of(st.sampled_from(SENTENCES), st.text(max_size=20)), min_size=1, max_size=5)
    return st.builds(Prose, texts.map(" ".join), st.sampled_from(["human", "cogvlm"]))


def facts() -> st.SearchStrategy[dict[str, Any]]:
    """What is known about a picture besides its tags: some of `FACTS`, and some that nobody expects."""
    known = {name: st.sampled_from(values) for name, values in FACTS.items()}
    other = st.text(max_size=4) | st.integers() | st.booleans() | st.floats(allow_nan=False)
    odd = st.dictionaries(st.sampled_from(["x", "a b", "犬"]), other, max_size=1)
    return st.tuples(st.fixed_dictionaries({}, optional=known), odd).map(lambda pair: pair[0] | pair[1])


def records() -> st.SearchStrategy[Record]:
    """Records with any number of tags, captions and facts, none included."""
    return st.builds(
        Record,
        st.text(min_size=1, max_size=8),
        st.lists(tags(), max_size=12).map(tuple),
        st.lists(prose(), max_size=3).map(tuple),
        st.none() | st.just("pictures/a.png"),
        facts(),
    )


@st.composite
def captions(draw: st.DrawFn) -> Caption:
    """What may stand before any policy: of a record, some of its tags important, with words around it."""
    caption = Caption.of(draw(records()))
    chosen = draw(st.sets(st.sampled_from([tag.name for tag in caption.tags]))) if caption.tags else set()
    source = draw(st.sampled_from(Source)) if caption.source is Source.BOTH_TAGS_FIRST else caption.source
    before = draw(st.sampled_from(["", "", "a photo of ", "sks, "]))
    after = draw(st.sampled_from(["", "", ", best quality"]))
    return Caption(
        caption.tags, caption.prose, source, frozenset(chosen), caption.info, before=before, after=after
    )


@st.composite
def implication_graphs(draw: st.DrawFn) -> ImplicationGraph:
    """Graphs without cycles over `WORDS`: a word implies only words that come later in a drawn order."""
    order = draw(st.permutations(WORDS[:10]))
    edges = draw(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
    implied: dict[str, list[str]] = {}
    for one, other in edges:
        if one < other:
            implied.setdefault(order[one], []).append(order[other])
    return ImplicationGraph(implied)


def pattern_lists() -> st.SearchStrategy[tuple[str, ...]]:
    """Lists of patterns, among them some that match many tags."""
    known = st.sampled_from(["solo", "*right*", "text on*", "asymmetr**", "*", "*_(artist)"])
    return st.lists(known | names().filter(fold), max_size=3).map(tuple)


def probabilities() -> st.SearchStrategy[float]:
    """Numbers from 0 to 1, both ends among the likely ones."""
    return st.sampled_from([0.0, 0.15, 0.5, 1.0]) | st.floats(0.0, 1.0)


def curves(heights: st.SearchStrategy[float]) -> st.SearchStrategy[Curve]:
    """Curves over the epochs through these heights."""
    places = st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True).map(sorted)
    shapes = st.sampled_from(["linear", "steps"])
    points = places.flatmap(lambda at: st.tuples(*[st.tuples(st.just(float(x)), heights) for x in at]))
    return st.builds(Curve, points=points, shape=shapes)


def rates() -> st.SearchStrategy[float | Curve]:
    """Values of a field of type `Rate`: now and then a curve."""
    return probabilities() | probabilities() | curves(probabilities())


def amounts() -> st.SearchStrategy[float | Curve]:
    """Values of a field of type `Amount`, all above 0."""
    weights = st.floats(0.1, 10.0)
    return weights | weights | curves(weights)


def counts() -> st.SearchStrategy[tuple[int, int]]:
    """A lower and an upper number of tags or sentences, both above 0."""
    return st.tuples(st.integers(1, 4), st.integers(0, 4)).map(lambda pair: (pair[0], sum(pair)))


def ranges() -> st.SearchStrategy[tuple[float, float]]:
    """A lower and an upper probability."""
    return st.tuples(probabilities(), probabilities()).map(lambda pair: (min(pair), max(pair)))
