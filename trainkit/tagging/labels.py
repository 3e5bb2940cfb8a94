"""What a tagger learns to say: single tags, all tags of a kind, groups of exclusive tags, values of facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from captionkit import ImplicationGraph, PatternList, Record
from captionkit.implications import Implications
from captionkit.patterns import compile_patterns
from captionkit.record import fold
from trainkit.errors import ConfigError
from trainkit.tagging.label import Label
from trainkit.tagging.outputs import Outputs

_SETTINGS = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class GroupConfig(BaseModel):
    """Tags of which a picture has at most one."""

    model_config = _SETTINGS

    tags: tuple[str, ...] = ()
    """Which they are; or give ``category`` or ``fact``."""
    category: str | None = None
    """All tags of this category."""
    fact: str | None = None
    """All values of this fact of the records, such as "rating"; each becomes a tag of that name."""
    none: bool = False
    """Whether a picture without any of them is one that has none. Else nothing is known about such a picture,
    and the tagger always has to choose one."""
    min_count: int = Field(default=1, ge=1)
    """Tags of a category, or values of a fact, on fewer pictures are left out."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum((bool(self.tags), self.category is not None, self.fact is not None)) != 1:
            raise ValueError("give one of tags, category and fact")
        if self.tags and len({fold(tag) for tag in self.tags}) < 2:
            raise ValueError("a group takes at least two tags; list a single tag under learn.tags")
        return self


def _as_group(value: Any) -> Any:
    return {"tags": value} if isinstance(value, list | tuple) else value


class LearnConfig(BaseModel):
    """What to learn."""

    model_config = _SETTINGS

    tags: tuple[str, ...] = ()
    """Tags by name, each by itself."""
    groups: dict[str, Annotated[GroupConfig, BeforeValidator(_as_group)]] = {}
    """Exclusive tags by the name of their group: ``light = ["day", "night", "dusk"]``, or a table."""
    categories: tuple[str, ...] = ()
    """All tags of these categories, each by itself."""
    patterns: PatternList = ()
    """All tags that match, each by itself; ``["**"]`` are all there are."""
    leave_out: PatternList = ()
    """Of the tags of categories and patterns, those that match are not learned."""
    min_count: int = Field(default=50, ge=1)
    """Tags of categories and patterns on fewer pictures are left out: too few to learn from, or to be judged
    by."""
    implications: Implications = ImplicationGraph({})
    """Which tag implies which: a file of e621 or Danbooru, or a table of tags and what they imply."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.tags or self.groups or self.categories or self.patterns):
            raise ValueError("nothing to learn: give tags, groups, categories or patterns")
        return self


class Census:
    """How many pictures have each tag (folded) and each value of the facts that groups are made of."""

    def __init__(self, facts: Iterable[str], graph: ImplicationGraph) -> None:
        self._graph = graph
        self.tags: Counter[str] = Counter()
        self.values: dict[str, Counter[str]] = {fact: Counter() for fact in facts}
        self.of_category: Counter[tuple[str, str]] = Counter()
        """By folded tag and category: two tags of one name in two categories are two tags."""
        self.spelled: dict[str, tuple[str, str | None]] = {}
        """The first spelling and the first category of each folded tag."""

    def take(self, record: Record, said: Iterable[tuple[str, bool]] = ()) -> None:
        """Count one picture, with the tags of which a person said whether they are there."""
        seen = set()
        of_category = set()
        for tag in record.tags:
            name = fold(tag.name)
            seen.add(name)
            if tag.category is not None:
                of_category.add((name, tag.category))
            known = self.spelled.get(name)
            if known is None or (known[1] is None and tag.category is not None):
                self.spelled[name] = (known[0] if known else tag.name, tag.category)
        for word, right in said:
            (seen.add if right else seen.discard)(fold(word))
            self.spelled.setdefault(fold(word), (word, None))
        self.of_category.update(of_category)
        self.tags.update(seen | self._graph.implied_names(seen))
        for fact, values in self.values.items():
            if (value := record.fact(fact)) is not None:
                values[fact_tag(value)] += 1

    def spelling(self, key: str) -> tuple[str, str | None]:
        """Name and category of a folded tag; of one that is only implied, itself and none."""
        return self.spelled.get(key, (key, None))


def fact_tag(value: object) -> str:
    """The tag that a fact's value becomes: the value as JSON writes it, text without quotes."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def facts_of(config: LearnConfig) -> tuple[str, ...]:
    """The facts that groups are made of."""
    return tuple(group.fact for group in config.groups.values() if group.fact is not None)


def choose_labels(config: LearnConfig, census: Census) -> Outputs:
    """The labels: groups first, then single tags, each by falling count.

    Raises ConfigError for a tag that no picture has, for one in two groups, and when nothing is left.
    """
    problems: list[str] = []
    labels: dict[str, Label] = {}
    for name, group in config.groups.items():
        found = _of_group(name, group, census)
        if len(found) < 2:
            problems.append(
                f"learn.groups.{name}: only {len(found)} of its tags is on a picture, must be 2 or more"
            )
        for tag in found:
            key = fold(tag.name)
            if key in labels:
                problems.append(f"learn.groups.{name}: {tag.name!r} is in {labels[key].group} already")
            labels[key] = tag
        problems += _absent(f"learn.groups.{name}", group.tags, census)
    problems += _absent("learn.tags", config.tags, census)
    for key in _singles(config, census):
        labels.setdefault(key, _label(key, census))
    if not labels and not problems:
        problems.append(
            f"learn: no tag is on min_count = {config.min_count} pictures; lower it, or prepare more"
        )
    if problems:
        raise ConfigError("tagger", problems)
    return Outputs(
        tuple(labels.values()),
        tuple(name for name, group in config.groups.items() if group.none),
        _implied(labels, config.implications),
    )


def _of_group(name: str, group: GroupConfig, census: Census) -> list[Label]:
    if group.fact is not None:
        counts = census.values[group.fact]
        return [
            Label(value, group.fact, name) for value, n in _falling(counts.items()) if n >= group.min_count
        ]
    if group.category is not None:
        counts = Counter({key: n for (key, of), n in census.of_category.items() if of == group.category})
        return [
            Label(census.spelling(key)[0], group.category, name)
            for key, n in _falling(counts.items())
            if n >= group.min_count
        ]
    keys = [key for key in dict.fromkeys(map(fold, group.tags)) if key in census.tags]
    return [_label(key, census, name) for key in keys]


def _singles(config: LearnConfig, census: Census) -> Iterable[str]:
    yield from (key for key in dict.fromkeys(map(fold, config.tags)) if key in census.tags)
    wanted, unwanted = compile_patterns(config.patterns), compile_patterns(config.leave_out)
    for key, count in _falling(census.tags.items()):
        if count < config.min_count:
            return
        of_kind = census.spelling(key)[1] in config.categories or wanted.match(key)
        if of_kind and not unwanted.match(key):
            yield key


def _falling(counts: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted(counts, key=lambda pair: (-pair[1], pair[0]))


def _label(key: str, census: Census, group: str | None = None) -> Label:
    name, category = census.spelling(key)
    return Label(name, category, group)


def _absent(where: str, tags: Iterable[str], census: Census) -> list[str]:
    return [f"{where}: no picture has {tag!r}" for tag in tags if fold(tag) not in census.tags]


def _implied(labels: dict[str, Label], graph: ImplicationGraph) -> tuple[tuple[int, int], ...]:
    """Pairs of places; tags of one group exclude each other, whatever the graph says."""
    places = {key: place for place, key in enumerate(labels)}
    return tuple(
        (place, places[other])
        for key, place in places.items()
        for other in sorted(graph.implied_by(key))
        if other in places and (labels[key].group is None or labels[key].group != labels[other].group)
    )
