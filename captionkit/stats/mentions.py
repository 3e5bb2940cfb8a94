"""What a recipe names: patterns, tags, categories, sources and facts, each with the field it stands in."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from captionkit.conditions import Between
from captionkit.flip import FlipRule
from captionkit.implications import ImplicationGraph
from captionkit.patterns import PatternList
from captionkit.pipeline import CaptionPipeline
from captionkit.policies.by_category import ByCategory
from captionkit.policies.clean import CleanCaptions
from captionkit.policies.correlated import DropCorrelated
from captionkit.policies.cut_prose import CutProse
from captionkit.policies.fact_tags import FactTags, written
from captionkit.policies.implied import DropImplied, RateFor
from captionkit.policies.important import MarkImportant
from captionkit.policies.keep_fixed import KeepFixed
from captionkit.policies.order_by_category import OrderByCategory
from captionkit.policies.prefix import PrefixTags
from captionkit.policies.rename import RenameTags
from captionkit.policies.source import ChooseSource
from captionkit.policies.split_tags import SplitTags
from captionkit.policies.tag_dropout import TagDropout
from captionkit.policies.tag_from_fact import TagFromFact
from captionkit.policies.tag_from_number import TagFromNumber
from captionkit.policies.vary_names import VaryNames
from captionkit.policies.when import When
from captionkit.policy import Config, Policy
from captionkit.record import Fact
from captionkit.steps import segments

_PATTERNS = get_args(PatternList)[1]

Answer = Literal["pattern", "prose pattern", "tag", "part", "category", "tag source", "prose source", "fact"]
"""What in the data a mention is about: a tag that matches, words of a caption, a tag, a part of a tag's name,
a category, a source of tags, a source of captions, a fact (`name`, or `name=value`)."""

MANY = 100
"""A table of more names than this, such as a site's export, is one mention: most of it is in no data set."""


@dataclass(frozen=True, slots=True)
class Mention:
    """Something that a recipe names."""

    where: str
    """The field: `flip.no_flip`, `mark_important#0.patterns`."""
    answer: Answer
    what: tuple[str, ...]
    """One name; or all of a large table, of which any will do."""


def mentions(pipeline: CaptionPipeline) -> tuple[Mention, ...]:
    """Everything that the recipe names and that the data may or may not have, in the recipe's order."""
    return (*_in_config(pipeline.flip, "flip"), *_in_policies(pipeline.steps, ""))


def policies(pipeline: CaptionPipeline) -> tuple[tuple[str, Policy], ...]:
    """Every policy of a recipe with its address, those inside others too."""
    return tuple(_policies(pipeline.steps, ""))


def graphs(pipeline: CaptionPipeline) -> tuple[ImplicationGraph, ...]:
    """The implications of the recipe's steps, those without any left out."""
    values = (getattr(one, name) for _, one in policies(pipeline) for name in type(one).model_fields)
    return tuple(value for value in values if isinstance(value, ImplicationGraph) and value.num_edges)


def inner(policy: Policy) -> Iterator[tuple[str, Policy]]:
    """The policies directly inside another: (segment of the address, policy)."""
    for name in type(policy).model_fields:
        value = getattr(policy, name)
        if isinstance(value, Policy):
            yield name, value
        elif isinstance(value, Mapping):
            for key, one in value.items():
                if isinstance(one, Policy):
                    yield f"in {key.replace('/', '//')}", one
        elif isinstance(value, tuple) and value:
            held = tuple(_held(value))
            yield from zip(segments(held), held, strict=True)


def _held(values: tuple[Any, ...]) -> Iterator[Policy]:
    """The policies of a list, or of a list of tables that have one each, such as the phases of a schedule."""
    for value in values:
        if isinstance(value, Policy):
            yield value
        elif isinstance(value, Config):
            fields = [getattr(value, name) for name in type(value).model_fields]
            yield from (one for one in fields if isinstance(one, Policy))


def _policies(steps: tuple[Policy, ...], above: str) -> Iterator[tuple[str, Policy]]:
    for segment, policy in zip(segments(steps), steps, strict=True):
        yield from _with_inner(f"{above}{segment}", policy)


def _with_inner(address: str, policy: Policy) -> Iterator[tuple[str, Policy]]:
    yield address, policy
    for segment, one in inner(policy):
        yield from _with_inner(f"{address}/{segment}", one)


def _in_policies(steps: tuple[Policy, ...], above: str) -> Iterator[Mention]:
    for address, policy in _policies(steps, above):
        yield from _in_config(policy, address)


def _in_config(config: Config, address: str) -> Iterator[Mention]:
    """What one table of a recipe names; the policies inside it are not looked into."""
    for field, info in type(config).model_fields.items():
        value = getattr(config, field)
        where = f"{address}.{field}"
        if (type(config), field) == (VaryNames, "leave_out"):
            continue  # It is about names that the recipe gives, not the data.
        answer: Answer = "prose pattern" if field == "prose_patterns" else "pattern"
        for place, patterns in _pattern_lists(info.rebuild_annotation(), value, where):
            yield from (Mention(place, answer, (one,)) for one in patterns)
        if isinstance(value, tuple):
            for number, one in enumerate(value):
                if isinstance(one, Config) and not isinstance(one, Policy):
                    yield from _in_config(one, f"{where}[{number}]")
    yield from _names(config, address)


def _pattern_lists(annotation: Any, value: Any, where: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The lists of patterns of a field, wherever they are in it: alone, one per name, one per place."""
    if not value or isinstance(value, str | int | float | Config):
        return
    if get_origin(annotation) is Annotated:
        if _PATTERNS in get_args(annotation):
            yield where, value
            return
        annotation = get_args(annotation)[0]
    origin, types = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        for one in types:
            yield from _pattern_lists(one, value, where)
    elif isinstance(value, Mapping) and len(types) == 2:
        for name, one in value.items():
            yield from _pattern_lists(types[1], one, f"{where}.{name}")
    elif isinstance(value, tuple) and types:
        for number, one in enumerate(value):
            yield from _pattern_lists(types[0], one, f"{where}[{number}]")


def _names(config: Config, address: str) -> Iterator[Mention]:
    """What the fields of the built-in policies name besides patterns."""
    for field, answer, names in _fields(config):
        where = f"{address}.{field}"
        if field in _TABLES and len(names) > MANY:
            yield Mention(where, answer, tuple(names))
        else:
            yield from (Mention(where, answer, (name,)) for name in names)


_TABLES = frozenset({"aliases", "names", "implications", "correlations"})


def _fields(config: Config) -> Iterator[tuple[str, Answer, Collection[str]]]:
    if isinstance(config, MarkImportant | TagDropout | RateFor):
        yield "categories", "category", config.categories or ()
    if isinstance(config, TagDropout):
        yield "sources", "tag source", config.sources or ()
    if isinstance(config, CleanCaptions | CutProse):
        yield "sources", "prose source", config.sources or ()
    if isinstance(config, FactTags):
        yield "fact", "fact", (config.fact,)
    match config:
        case ByCategory():
            yield "policies", "category", config.policies
        case PrefixTags():
            yield "prefixes", "category", config.prefixes
        case OrderByCategory():
            groups = [(one,) if isinstance(one, str) else one for one in config.order]
            named = [name for group in groups for name in group]
            yield (
                "order",
                "category",
                [name for name in named if name != "..." and name not in config.members],
            )
        case ChooseSource():
            yield "prose_weights", "prose source", config.prose_weights or ()
        case DropImplied():
            yield "implications", "tag", sorted(config.implications.tags())
        case DropCorrelated():
            yield "correlations", "tag", sorted(config.correlations.table())
        case RenameTags():
            yield "aliases", "tag", config.aliases
        case VaryNames():
            yield "names", "tag", config.names
        case KeepFixed() if config.separator and not config.first:
            yield "separator", "part", (config.separator,)
        case SplitTags():
            yield "separator", "part", (config.separator,)
        case When() | FlipRule():
            yield "facts", "fact", list(_conditions(config.facts or {}))
        case TagFromFact():
            yield "tags", "fact", [f"{config.fact}={value}" for value in config.tags]
        case TagFromNumber() if config.by is not None:
            yield "by", "fact", (config.by,)
            yield "groups", "fact", [f"{config.by}={value}" for value in config.groups]


def _conditions(facts: Mapping[str, Between | tuple[Fact, ...]]) -> Iterator[str]:
    """The facts that a condition asks for, and the values."""
    for name, condition in facts.items():
        if isinstance(condition, Between):
            yield name
        else:
            yield from (f"{name}={written(value)}" for value in condition)
