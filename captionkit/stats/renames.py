"""What a recipe's steps call tags instead."""

from __future__ import annotations

from captionkit.pipeline import CaptionPipeline
from captionkit.policies.capitals import Capitals, restyle
from captionkit.policies.prefix import PrefixTags
from captionkit.policies.rename import RenameTags
from captionkit.record import fold
from captionkit.stats.mentions import policies


class Renames:
    """The names that tags get by steps for names: `rename_tags`, `prefix_tags`, `capitals` of one style.

    Steps that apply to some captions only count as if they applied to all.
    """

    def __init__(self, pipeline: CaptionPipeline) -> None:
        self._steps = [one for _, one in policies(pipeline) if isinstance(one, RenameTags | PrefixTags)]
        sure = [one for one in pipeline.steps if isinstance(one, Capitals) and one.p == 1.0]
        self._style = next((one.styles[0] for one in sure if len(one.styles) == 1), None)

    def becomes(self, name: str, category: str | None) -> str | None:
        """What a tag of this folded name is called in the end; None where that is the same tag."""
        new = self._renamed(name, category)
        return new if fold(new) != name else None

    def written(self, name: str) -> str:
        """The spelling that a tag of the data gets: by an alias, and in the case of `capitals`."""
        for step in self._steps:
            if isinstance(step, RenameTags):
                name = step.aliases.get(fold(name), name)
        return name if self._style is None else restyle(name, self._style)

    def _renamed(self, name: str, category: str | None) -> str:
        for step in self._steps:
            if isinstance(step, RenameTags):
                name = step.aliases.get(fold(name), name)
            elif category in step.prefixes and not fold(name).startswith(fold(step.prefixes[category or ""])):
                name = step.prefixes[category or ""] + name
        return name
