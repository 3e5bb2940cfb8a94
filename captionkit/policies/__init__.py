"""The built-in policies, one idea per file."""

from captionkit.policies.clean import CleanCaptions
from captionkit.policies.combine import Maybe, OneOf, Sequence, When
from captionkit.policies.dropout import DropTags
from captionkit.policies.implied import DropImplied
from captionkit.policies.order import ImportantFirst, MarkImportant, ShuffleTags
from captionkit.policies.rename import RenameTags
from captionkit.policies.source import ChooseSource, EmptyCaption
from captionkit.policy import Policy

BUILT_IN: tuple[type[Policy], ...] = (
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
"""Every policy that comes with captionkit."""

__all__ = [
    "BUILT_IN",
    "ChooseSource",
    "CleanCaptions",
    "DropImplied",
    "DropTags",
    "EmptyCaption",
    "ImportantFirst",
    "MarkImportant",
    "Maybe",
    "OneOf",
    "RenameTags",
    "Sequence",
    "ShuffleTags",
    "When",
]
