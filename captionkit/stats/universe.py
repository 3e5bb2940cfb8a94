"""Which names a recipe's patterns may meet: those of the data, and those that its own steps make."""

from __future__ import annotations

from collections.abc import Iterator

from captionkit.pipeline import CaptionPipeline
from captionkit.policies.add_tags import AddTags
from captionkit.policies.fact_tags import Level
from captionkit.policies.prefix import PrefixTags
from captionkit.policies.rename import RenameTags
from captionkit.policies.tag_from_fact import TagFromFact
from captionkit.policies.tag_from_number import TagFromNumber
from captionkit.policies.tag_from_year import TagFromYear
from captionkit.policies.vary_names import VaryNames
from captionkit.policy import Policy
from captionkit.record import fold
from captionkit.stats.mentions import policies


def introduced(pipeline: CaptionPipeline, names: dict[str, str | None]) -> frozenset[str]:
    """Folded names that the recipe's steps may give to tags, for data with these tags and their categories.

    What depends on more than a tag, such as a year, is found in the captions drawn.
    """
    return frozenset(fold(new) for _, policy in policies(pipeline) for new in _made_by(policy, names))


def _made_by(policy: Policy, names: dict[str, str | None]) -> Iterator[str]:
    match policy:
        case AddTags():
            yield from policy.tags
        case TagFromFact():
            yield from (name for tags in policy.tags.values() for name in tags)
        case TagFromNumber():
            yield from _of_levels(policy.levels, *policy.groups.values())
        case TagFromYear():
            yield from _of_levels(policy.levels)
        case RenameTags():
            yield from (new for old, new in policy.aliases.items() if fold(old) in names)
        case VaryNames():
            yield from (new for name, others in policy.names.items() if name in names for new in others)
        case PrefixTags():
            for name, category in names.items():
                if category in policy.prefixes:
                    yield policy.prefixes[category or ""] + name


def _of_levels(*lists: tuple[Level, ...]) -> Iterator[str]:
    return (level.tag for levels in lists for level in levels)
