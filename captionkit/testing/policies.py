"""Hypothesis strategies for the built-in policies, each kind by its own, and for whole pipelines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from hypothesis import strategies as st

from captionkit.flip import FlipRule
from captionkit.pipeline import CaptionPipeline
from captionkit.policies import (
    AddTags,
    ByCategory,
    Capitals,
    ChooseSource,
    CleanCaptions,
    CutProse,
    DropAll,
    DropByPosition,
    DropByScore,
    DropCorrelated,
    DropImplied,
    DropTags,
    EmptyCaption,
    ImportantFirst,
    KeepFixed,
    KeepTags,
    MarkImportant,
    MatchLength,
    Maybe,
    OneOf,
    OrderByCategory,
    PrefixTags,
    RenameTags,
    Schedule,
    Sequence,
    ShuffleTags,
    SpellTags,
    SplitTags,
    TagFromFact,
    TagFromNumber,
    TagFromYear,
    Template,
    VaryNames,
    When,
    Wildcards,
)
from captionkit.policies.fact_tags import Level
from captionkit.policies.implied import RateFor
from captionkit.policies.schedule import Phase
from captionkit.policy import Policy
from captionkit.record import Source
from captionkit.render import Renderer
from captionkit.testing.strategies import (
    WORDS,
    amounts,
    counts,
    implication_graphs,
    pattern_lists,
    ranges,
    rates,
)

ByKind: TypeAlias = Mapping[type[Policy], st.SearchStrategy[Policy]]

_FLAG = st.booleans()
_SOURCES = st.sampled_from([None, None, ("cogvlm",), ("human",)])
_CATEGORIES = st.sampled_from([None, None, ("artist", "species")])
_WHERE = st.sampled_from(["first", "last"])
_LEVELS = (Level(at_least=100, tag="masterpiece"), Level(at_least=0.5, tag="good quality"), Level(tag="bad"))


def _dropouts() -> ByKind:
    """The policies that leave out tags, with all the fields that limit them."""
    limits = {
        "only": st.none() | st.none() | pattern_lists().filter(bool),
        "categories": _CATEGORIES,
        "sources": st.sampled_from([None, None, ("classifier",)]),
        "protected": pattern_lists(),
        "spare_important": _FLAG,
    }
    scores = st.tuples(st.floats(0.0, 0.5), st.floats(0.5, 1.0))
    rate_of = st.builds(RateFor, categories=st.just(("species",)), rate=ranges())
    return {
        DropAll: st.builds(DropAll, p=rates(), **limits),
        DropByPosition: st.builds(DropByPosition, rate=rates(), **limits),
        DropByScore: scores.flatmap(
            lambda pair: st.builds(
                DropByScore, gone=st.just(pair[0]), sure=st.just(pair[1]), rate=rates(), **limits
            )
        ),
        DropCorrelated: st.builds(
            DropCorrelated,
            correlations=st.just({"red_fox": ["fox", "solo"], "fox": ["canine"]}),
            p_tags=st.floats(0.0, 0.5),
            p_trigger=st.floats(0.0, 0.5),
            protected=pattern_lists(),
            spare_important=_FLAG,
        ),
        DropImplied: st.builds(
            DropImplied,
            rate_range=ranges() | st.just("by depth"),
            rates=st.just(()) | st.tuples(rate_of),
            implications=implication_graphs(),
            protected=pattern_lists(),
            spare_important=_FLAG,
        ),
        DropTags: st.builds(DropTags, rate=rates(), **limits),
        KeepTags: st.builds(KeepTags, count=counts(), which=st.sampled_from(["random", "first"]), **limits)
        | st.builds(KeepTags, share=ranges(), **limits),
        MatchLength: st.builds(MatchLength, ratio=ranges(), min_tags=st.integers(0, 5), **limits),
    }


def _words() -> ByKind:
    """The policies that change, add or write around words."""
    facts = st.sampled_from(["rating", "score", "mirrored", "nobody knows"])
    listed = st.lists(st.sampled_from(["sks", "Red Fox", "fox", "^_^"]), min_size=1, unique=True).map(tuple)
    templates = st.sampled_from([("a photo of {}",), ("{}, best quality", "{{x}} {}", "{{a|b}} {}")])
    return {
        AddTags: st.builds(
            AddTags,
            tags=listed,
            p=rates(),
            count=st.none() | st.just(1),
            where=st.sampled_from(["first", "last", "random"]),
            important=_FLAG,
            to_empty=_FLAG,
        ),
        Capitals: st.builds(
            Capitals,
            p=rates(),
            styles=st.sampled_from([("first",), ("title", "upper"), ("lower", "first")]),
            prose=_FLAG,
        ),
        PrefixTags: st.builds(
            PrefixTags, prefixes=st.just({"artist": "by ", "species": "species:"}), rate=rates()
        ),
        RenameTags: st.builds(
            RenameTags,
            aliases=st.dictionaries(st.sampled_from(WORDS[:3]), st.sampled_from(["vulpes", "blue eyes"])),
        ),
        SpellTags: st.builds(SpellTags, p=rates()),
        SplitTags: st.builds(SplitTags, separator=st.sampled_from([";;;", "|||", "_"])),
        TagFromFact: st.builds(
            TagFromFact,
            fact=facts,
            tags=st.just({"s": "safe", "e": ("explicit", "nsfw"), "12": "fox", "true": "Red Fox"}),
            p=rates(),
            where=_WHERE,
        ),
        TagFromNumber: st.builds(
            TagFromNumber,
            fact=facts,
            levels=st.just(_LEVELS),
            by=st.just("rating"),
            groups=st.just({"e": _LEVELS[:2]}),
            p=rates(),
        ),
        TagFromYear: st.builds(
            TagFromYear,
            fact=st.sampled_from(["created_at", "year", "rating"]),
            levels=st.just((Level(at_least=2020, tag="newest"),)),
            p=rates(),
        ),
        Template: st.builds(Template, templates=templates, p=rates()),
        VaryNames: st.builds(
            VaryNames,
            names=st.just({"red fox": ["vulpes", "Fox"], "solo": ["alone", "solo_focus"]}),
            rate=rates(),
            leave_out=pattern_lists(),
        ),
        Wildcards: st.builds(Wildcards),
    }


def leaves() -> ByKind:
    """For every built-in kind that holds no other policy, the strategy that draws it."""
    return {
        **_dropouts(),
        **_words(),
        ChooseSource: st.builds(
            ChooseSource,
            tags=amounts(),
            caption=amounts(),
            both=amounts(),
            tags_first=rates(),
            prose_weights=st.none() | st.just({"cogvlm": 2.0, "human": 0.5}),
        ),
        CleanCaptions: st.builds(CleanCaptions, sources=_SOURCES, meta=_FLAG, hedges=_FLAG),
        CutProse: st.builds(CutProse, p=rates(), share=ranges(), sources=_SOURCES)
        | st.builds(CutProse, count=counts()),
        EmptyCaption: st.builds(EmptyCaption, p=rates()),
        ImportantFirst: st.builds(ImportantFirst, patterns=pattern_lists(), shuffle=_FLAG),
        MarkImportant: st.builds(
            MarkImportant, patterns=pattern_lists(), categories=st.sampled_from([(), ("artist",)])
        ),
        OrderByCategory: st.builds(
            OrderByCategory,
            order=st.just(("special", ("artist", "character"), "...", "meta")),
            members=st.fixed_dictionaries({"special": pattern_lists()}),
            shuffle=_FLAG,
        ),
        ShuffleTags: st.builds(ShuffleTags, keep_first=st.integers(0, 4)),
    }


def combinators(members: st.SearchStrategy[Policy]) -> ByKind:
    """For every built-in kind that holds other policies, the strategy that draws it."""
    some = st.lists(members, min_size=1, max_size=3).map(tuple)
    otherwise = st.none() | members
    sources = st.sampled_from([(Source.TAGS,), (Source.CAPTION, Source.EMPTY), tuple(Source)])
    where = st.dictionaries(st.sampled_from(["rating", "score"]), st.sampled_from(["s", 12]), max_size=1)
    categories = st.dictionaries(st.sampled_from(["artist", "species"]), members, min_size=1)
    starts = st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True).map(sorted)
    phases = starts.flatmap(
        lambda at: st.tuples(*[st.builds(Phase, start=st.just(start), then=members) for start in at])
    )
    separators = st.sampled_from(["", "|||", ","])
    return {
        ByCategory: st.builds(ByCategory, policies=categories, otherwise=otherwise),
        KeepFixed: st.builds(KeepFixed, first=st.integers(0, 3), separator=separators, then=members),
        Maybe: st.builds(Maybe, p=rates(), then=members, otherwise=otherwise),
        OneOf: st.builds(OneOf, choices=some),
        Schedule: st.builds(Schedule, phases=phases),
        Sequence: st.builds(Sequence, steps=some),
        When: st.builds(When, tags=pattern_lists(), facts=where, then=members, otherwise=otherwise)
        | st.builds(When, sources=sources, then=members, otherwise=otherwise),
    }


def policies() -> st.SearchStrategy[Policy]:
    """Policies of every built-in kind, combinators with members included."""
    leaf = st.one_of(list(leaves().values()))
    return st.recursive(leaf, lambda members: st.one_of(list(combinators(members).values())), max_leaves=5)


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
