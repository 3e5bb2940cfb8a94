"""Strategies and laws for testing policies, ours and yours. Needs hypothesis: `pip install captionkit[test]`.

```python
from captionkit.testing import check_policy

def test_my_policy():
    check_policy(MyPolicy(rate=0.3))
```
"""

from __future__ import annotations

import pickle
import tomllib
from collections.abc import Callable, Iterable
from typing import Any, Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from captionkit.draws import Draws
from captionkit.flip import FlipRule
from captionkit.implications import ImplicationGraph
from captionkit.load import dump_pipeline, dump_toml, load_pipeline
from captionkit.pipeline import CaptionPipeline
from captionkit.policies import (
    BUILT_IN,
    ChooseSource,
    CleanCaptions,
    DropImplied,
    DropTags,
    EmptyCaption,
    ImportantFirst,
    MarkImportant,
    Maybe,
    OneOf,
    RenameTags,
    Sequence,
    ShuffleTags,
    When,
)
from captionkit.policy import Claim, Policy
from captionkit.record import Caption, Prose, Record, Source, Tag, fold, unique_tags
from captionkit.render import Renderer

WORDS = (
    *("solo", "red_fox", "fox", "canine", "mammal", "text_on_shirt", "bright colors", "facing right", "^_^"),
    *(
        "Blue_Eyes",
        "blue eyes",
        "sequence",
        "by someone (artist)",
        "café",
        "犬",
        "a",
        "1girl",
        "asymmetrical hair",
    ),
)
"""Tag names that meet each other often enough for patterns and implications to matter."""

SENTENCES = (
    *("The image showcases a man in Paris.", "There are no visible watermarks.", "He appears to be asleep."),
    *(
        "A sign reads 'NO ENTRY'.",
        "A sign reads 'NO ENTRY'.",
        "Possibly a dog, a dog, a dog, a dog.",
        "It is 3.5 m tall",
    ),
    *(
        "In this image, we can see iPhone cases.",
        "Overall, the image conveys calm.",
        "and the",
        "Dr. Who waits!",
    ),
)
"""Sentences with the faults that models make, and some without."""


def names() -> st.SearchStrategy[str]:
    """Tag names: mostly from `WORDS`, else any text that is not blank."""
    anything = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
    return st.one_of(st.sampled_from(WORDS), st.sampled_from(WORDS), anything.map(str.strip).filter(bool))


def tags() -> st.SearchStrategy[Tag]:
    """Tags with and without category, source and score."""
    categories = st.sampled_from([None, "general", "species", "artist"])
    scores = st.none() | st.floats(0.0, 1.0)
    return st.builds(Tag, names(), categories, st.sampled_from([None, "human", "classifier"]), scores)


def prose() -> st.SearchStrategy[Prose]:
    """Captions of a few sentences, with and without faults."""
    texts = st.lists(st.one_of(st.sampled_from(SENTENCES), st.text(max_size=20)), min_size=1, max_size=5)
    return st.builds(Prose, texts.map(" ".join), st.sampled_from(["human", "cogvlm"]))


def records() -> st.SearchStrategy[Record]:
    """Records with any number of tags and captions, none included."""
    return st.builds(
        Record,
        st.text(min_size=1, max_size=8),
        st.lists(tags(), max_size=12).map(tuple),
        st.lists(prose(), max_size=3).map(tuple),
    )


@st.composite
def captions(draw: st.DrawFn) -> Caption:
    """What may stand before any policy: of a record, some of its tags important."""
    caption = Caption.of(draw(records()))
    chosen = draw(st.sets(st.sampled_from([tag.name for tag in caption.tags]))) if caption.tags else set()
    source = draw(st.sampled_from(Source)) if caption.source is Source.BOTH_TAGS_FIRST else caption.source
    return Caption(caption.tags, caption.prose, source, frozenset(chosen))


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


def policies() -> st.SearchStrategy[Policy]:
    """Policies of every built-in kind, combinators with members included."""
    p = st.sampled_from([0.0, 0.15, 0.5, 1.0]) | st.floats(0.0, 1.0)
    ranges = st.tuples(p, p).map(lambda pair: (min(pair), max(pair)))
    weight = st.floats(0.1, 10.0)
    patterns, flag = pattern_lists(), st.booleans()
    leaves: list[st.SearchStrategy[Policy]] = [
        st.builds(DropTags, rate=p, protected=patterns, spare_important=flag),
        st.builds(
            DropImplied,
            rate_range=ranges,
            implications=implication_graphs(),
            protected=patterns,
            spare_important=flag,
        ),
        st.builds(ChooseSource, tags=weight, caption=weight, both=weight, tags_first=p),
        st.builds(EmptyCaption, p=p),
        st.builds(MarkImportant, patterns=patterns, categories=st.sampled_from([(), ("artist",)])),
        st.builds(ImportantFirst, patterns=patterns, shuffle=flag),
        st.builds(ShuffleTags, keep_first=st.integers(0, 4)),
        st.builds(RenameTags, aliases=st.just({"red fox": "vulpes", "Blue_Eyes": "blue eyes"})),
        st.builds(CleanCaptions, lead_ins=flag, hedges=flag, meta=flag, loops=flag, unfinished=flag),
    ]
    return st.recursive(st.one_of(leaves), _combined, max_leaves=5)


@st.composite
def pipelines(draw: st.DrawFn) -> CaptionPipeline:
    """Whole pipelines: steps, flip rule, text, seed."""
    flip = FlipRule(
        p=draw(st.floats(0.0, 1.0)), no_flip=draw(pattern_lists()), prose_patterns=draw(pattern_lists())
    )
    text = Renderer(
        max_tokens=draw(st.none() | st.integers(1, 60)), underscores=draw(st.sampled_from(["space", "keep"]))
    )
    steps = tuple(draw(st.lists(policies(), max_size=4)))
    return CaptionPipeline(seed=draw(st.integers(-(2**40), 2**40)), steps=steps, flip=flip, text=text)


def check_policy(
    policy: Policy, *, kinds: Iterable[type[Policy]] = (), max_examples: int | None = None
) -> None:
    """Run every law that applies to a policy; an `AssertionError` names the law that it breaks.

    Laws for all: the same address gives the same caption; the input stays as it is; an empty caption is fine;
    tag names stay distinct and no caption is left without text; the draws of other steps stay where they are;
    as JSON, as TOML and pickled it comes back equal. Besides these, the laws that `policy.claims()` names.

    `kinds` are classes of your own that a combinator holds; the policy's own class is known. `max_examples`
    overrides the number of the hypothesis profile.
    """
    _round_trips(policy, {type(policy), *kinds} - set(BUILT_IN))
    addresses = st.builds(
        Draws, st.integers(), st.integers(0, 9), st.integers(0, 9), st.text(min_size=1, max_size=5)
    )

    def keeps_its_laws(caption: Caption, draws: Draws) -> None:
        check_laws(policy, caption, draws)

    test = given(captions(), addresses)(keeps_its_laws)
    (settings(max_examples=max_examples)(test) if max_examples is not None else test)()


def check_laws(policy: Policy, caption: Caption, draws: Draws) -> None:
    """The laws on one caption: for tests that draw the policy too. An `AssertionError` names the broken
    law."""
    _law_basic(policy, caption, draws)
    _law_leaves_others_alone(policy, caption, draws)
    for claim in sorted(policy.claims()):
        _CLAIMED[claim](policy, caption, draws)


def _round_trips(policy: Policy, own: set[type[Policy]]) -> None:
    pipeline = CaptionPipeline(steps=(policy,))
    assert load_pipeline(dump_pipeline(pipeline), kinds=own) == pipeline, "load(dump(p)) is not p, as JSON"
    again = load_pipeline(tomllib.loads(dump_toml(pipeline)), kinds=own)
    assert again == pipeline, "load(dump(p)) is not p, as TOML"
    assert pickle.loads(pickle.dumps(policy)) == policy, "the pickled policy is not the policy"


def _law_basic(policy: Policy, caption: Caption, draws: Draws) -> None:
    before = Caption(caption.tags, caption.prose, caption.source, frozenset(caption.important))
    after = policy.apply(caption, draws.child("here"))
    assert isinstance(after, Caption), f"apply returned {after!r}, must be a Caption"
    assert caption == before, "the input caption was changed"
    assert policy.apply(caption, draws.child("here")) == after, "the same address gave another caption"
    assert unique_tags(after.tags) == after.tags, "a tag's name is there twice"
    assert all(piece.text.strip() for piece in after.prose), "a caption without text was left"
    policy.apply(Caption(source=Source.EMPTY), draws.child("here"))


def _law_leaves_others_alone(policy: Policy, caption: Caption, draws: Draws) -> None:
    alone = Sequence(steps=(_Probe(),)).apply(caption, draws)
    behind = Sequence(steps=(policy, _Probe())).apply(caption, draws)
    assert alone.prose == behind.prose, "another step's draws were moved"


def _law_subset(policy: Policy, caption: Caption, draws: Draws) -> None:
    after = policy.apply(caption, draws)
    assert set(after.tags) <= set(caption.tags), "a tag came in that was not there"
    assert set(after.prose) <= set(caption.prose), "a caption came in that was not there"


def _law_permutation(policy: Policy, caption: Caption, draws: Draws) -> None:
    after = policy.apply(caption, draws)
    assert sorted(map(repr, after.tags)) == sorted(map(repr, caption.tags)), "the tags are not the same tags"
    assert sorted(map(repr, after.prose)) == sorted(map(repr, caption.prose)), "the captions are not the same"


def _law_idempotent(policy: Policy, caption: Caption, draws: Draws) -> None:
    once = policy.apply(caption, draws.child("first"))
    assert policy.apply(once, draws.child("second")) == once, "a second time changed something more"


def _law_spares_important(policy: Policy, caption: Caption, draws: Draws) -> None:
    after = policy.apply(caption, draws)
    here = {tag.name for tag in caption.tags}
    assert caption.important & here <= {tag.name for tag in after.tags}, "an important tag left"


def _law_off_at_zero(policy: Policy, caption: Caption, draws: Draws) -> None:
    zero: dict[str, Any] = {"p": 0.0, "rate": 0.0, "rate_range": (0.0, 0.0)}
    off = {field: zero[field] for field in type(policy).model_fields if field in zero}
    assert off, "claims `off at zero` without a field p, rate or rate_range"
    assert policy.model_copy(update=off).apply(caption, draws) == caption, f"with {off} something changed"


_CLAIMED: dict[Claim, Callable[[Policy, Caption, Draws], None]] = {
    "subset": _law_subset,
    "permutation": _law_permutation,
    "idempotent": _law_idempotent,
    "spares important": _law_spares_important,
    "off at zero": _law_off_at_zero,
}


class _Probe(Policy):
    """Writes down what it draws."""

    kind: Literal["probe"] = "probe"

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        return Caption((), (Prose(repr(draws.randoms(3))),))


def _combined(members: st.SearchStrategy[Policy]) -> st.SearchStrategy[Policy]:
    some = st.lists(members, min_size=1, max_size=3).map(tuple)
    p, otherwise = st.floats(0.0, 1.0), st.none() | members
    sources = st.sampled_from([None, (Source.TAGS,), (Source.CAPTION, Source.EMPTY)])
    return st.one_of(
        st.builds(Sequence, steps=some),
        st.builds(OneOf, choices=some),
        st.builds(Maybe, p=p, then=members, otherwise=otherwise),
        st.builds(When, tags=pattern_lists(), sources=sources, then=members, otherwise=otherwise),
    )
