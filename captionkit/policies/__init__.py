"""The built-in policies, one idea per file."""

from __future__ import annotations

from captionkit.conditions import Between
from captionkit.policies.add_tags import AddTags
from captionkit.policies.by_category import ByCategory
from captionkit.policies.capitals import Capitals
from captionkit.policies.clean import CleanCaptions
from captionkit.policies.combine import Maybe, OneOf, Sequence
from captionkit.policies.correlated import DropCorrelated
from captionkit.policies.cut_prose import CutProse
from captionkit.policies.dropout import DropAll, DropTags
from captionkit.policies.fact_tags import Level
from captionkit.policies.implied import DropImplied
from captionkit.policies.important import ImportantFirst, MarkImportant
from captionkit.policies.keep import KeepTags
from captionkit.policies.keep_fixed import KeepFixed
from captionkit.policies.match_length import MatchLength
from captionkit.policies.order_by_category import OrderByCategory
from captionkit.policies.prefix import PrefixTags
from captionkit.policies.rename import RenameTags
from captionkit.policies.schedule import Phase, Schedule
from captionkit.policies.shuffle import ShuffleTags
from captionkit.policies.source import ChooseSource, EmptyCaption
from captionkit.policies.spell import SpellTags
from captionkit.policies.split_tags import SplitTags
from captionkit.policies.tag_from_fact import TagFromFact
from captionkit.policies.tag_from_number import TagFromNumber
from captionkit.policies.tag_from_year import TagFromYear
from captionkit.policies.template import Template
from captionkit.policies.uneven_dropout import DropByPosition, DropByScore
from captionkit.policies.vary_names import VaryNames
from captionkit.policies.when import When
from captionkit.policies.wildcards import Wildcards
from captionkit.policy import Policy

BUILT_IN: tuple[type[Policy], ...] = (
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
"""Every policy that comes with captionkit."""

__all__ = [
    "BUILT_IN",
    "AddTags",
    "Between",
    "ByCategory",
    "Capitals",
    "ChooseSource",
    "CleanCaptions",
    "CutProse",
    "DropAll",
    "DropByPosition",
    "DropByScore",
    "DropCorrelated",
    "DropImplied",
    "DropTags",
    "EmptyCaption",
    "ImportantFirst",
    "KeepFixed",
    "KeepTags",
    "Level",
    "MarkImportant",
    "MatchLength",
    "Maybe",
    "OneOf",
    "OrderByCategory",
    "Phase",
    "PrefixTags",
    "RenameTags",
    "Schedule",
    "Sequence",
    "ShuffleTags",
    "SpellTags",
    "SplitTags",
    "TagFromFact",
    "TagFromNumber",
    "TagFromYear",
    "Template",
    "VaryNames",
    "When",
    "Wildcards",
]
