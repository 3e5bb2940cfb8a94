"""Leave out, by chance, tags that another tag implies."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import ConfigDict, PlainSerializer, PlainValidator, TypeAdapter, ValidationInfo, model_validator

from captionkit.curves import Curve
from captionkit.draws import Draws
from captionkit.implications import ImplicationGraph, Implications
from captionkit.patterns import PatternList, compile_patterns
from captionkit.policies.tag_dropout import TagDropout
from captionkit.policy import Claim, Config
from captionkit.ranges import Ends, RateRange, number_within
from captionkit.record import Caption, Tag, fold, folded_names

BY_DEPTH: Literal["by depth"] = "by depth"
_RANGE: TypeAdapter[Ends[float | Curve]] = TypeAdapter(RateRange, config=ConfigDict(defer_build=True))


def _read_rate(value: Any, info: ValidationInfo) -> Any:
    if value == BY_DEPTH:
        return BY_DEPTH
    if isinstance(value, str):
        raise ValueError(f'a rate is a number, a range [low, high] or "{BY_DEPTH}", got {value!r}')
    return _RANGE.validate_python(value, context=info.context)


def _write_rate(rate: Any) -> Any:
    return rate  # Written as what it is: of the two forms in the type, pydantic would complain.


ImpliedRate: TypeAlias = Annotated[
    Ends[float | Curve] | Literal["by depth"],
    PlainValidator(_read_rate, json_schema_input_type=RateRange | Literal["by depth"]),
    PlainSerializer(_write_rate),
]
"""A share from `low` to `high`, drawn anew for each caption; one number is a range of that number alone.

"by depth" is 1 - 1 / (1 + depth): the more general a tag, the more often it leaves. The depth of a tag is the
number of implications in the longest chain that ends at it, in the whole graph. The longest, not the average
chain: so a tag never leaves less often than one that implies it."""


class RateFor(Config):
    """The rate of some tags: those that match a pattern and are of a category, where both are given."""

    tags: PatternList = ()
    """Implied tags that match one of these."""
    categories: tuple[str, ...] = ()
    """Implied tags of one of these categories."""
    rate: ImpliedRate
    """How often they leave."""

    @model_validator(mode="after")
    def _of_some(self) -> RateFor:
        if not self.tags and not self.categories:
            raise ValueError("a rate for which tags? give `tags`, `categories` or both")
        return self

    def covers(self, tag: Tag) -> bool:
        """Whether this is the rate of the tag."""
        return (not self.categories or tag.category in self.categories) and (
            not self.tags or compile_patterns(self.tags).match(tag.name)
        )


class DropImplied(TagDropout):
    """Leave out a tag that another tag of the caption implies, by one coin per implied tag.

    Every implied tag has one coin, however many tags imply it: a coin per implication would make 0.52 of 0.40
    on real posts. Implications count through others (the transitive closure), so a gap in the tags does not
    hide one.

    It stands after every other dropout, so that only tags that survived count as witnesses. A tag is left out
    only while one that implies it stays: the most special of the tags that imply it is implied by none and
    has no coin.
    """

    kind: Literal["drop_implied"] = "drop_implied"
    rate_range: ImpliedRate = (0.3, 0.5)
    """The share of implied tags left out: a range from which each caption draws, one rate, or "by depth"."""
    rates: tuple[RateFor, ...] = ()
    """Other rates for some of the tags, such as `[{categories = ["species"], rate = 0.8}]`; the first that
    covers a tag counts."""
    implications: Implications = ImplicationGraph({})
    """Which tag implies which: the path of an export (a CSV with e621's columns, Danbooru's JSON lines), a
    table `{"big circle" = ["circle"]}`, or a table `{file = "implications.csv", min_posts = 2000, ...}` that
    says what is made of an export."""

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption without the implied tags whose coin fell."""
        names = folded_names(caption.tags)
        known = self.implications.implied_names(names)
        if known.isdisjoint(names):
            return caption
        implied = [tag for tag, name in zip(caption.tags, names, strict=True) if name in known]
        exempt = self.exempt(caption)
        place, *coins = draws.randoms(1 + len(implied))
        rates = self._rates(implied, place, draws)
        gone = {
            tag.name for tag, rate, coin in zip(implied, rates, coins, strict=True) if coin < rate
        } - exempt
        if not gone:
            return caption
        left = caption.with_tags(tuple([tag for tag in caption.tags if tag.name not in gone]))
        if draws.trace is not None:
            self._explain(caption, left, dict(zip([tag.name for tag in implied], rates, strict=True)), draws)
        return left

    def _rates(self, tags: list[Tag], place: float, draws: Draws) -> list[float]:
        """The rate of each tag; `place` in [0, 1) is where the caption stands in every range."""
        if not self.rates and self.rate_range != BY_DEPTH:
            return [number_within(self.rate_range, place, draws)] * len(tags)
        return [self._rate(tag, place, draws) for tag in tags]

    def _rate(self, tag: Tag, place: float, draws: Draws) -> float:
        found = next((other.rate for other in self.rates if other.covers(tag)), self.rate_range)
        if found == BY_DEPTH:
            return 1.0 - 1.0 / (1.0 + self.implications.depth(tag.name))
        return number_within(found, place, draws)

    def _explain(self, before: Caption, after: Caption, rates: dict[str, float], draws: Draws) -> None:
        """Name each tag that goes, its rate, and the first of those that stay and imply it."""
        stay = {tag.name for tag in after.tags}
        for tag in before.tags:
            if tag.name not in stay:
                key = fold(tag.name)
                witness = next(t.name for t in after.tags if key in self.implications.implied_by(t.name))
                draws.note(f"{tag.name} left out (rate {rates[tag.name]:.3f}), implied by {witness}")

    def claims(self) -> frozenset[Claim]:
        """Only removes, and important tags only where told to."""
        off: frozenset[Claim] = frozenset() if self.rates else frozenset({"off at zero"})
        return off | self.only_removes()
