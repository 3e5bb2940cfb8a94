"""A policy of its own for the tags of each category."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import model_validator

from captionkit.draws import Draws
from captionkit.kinds import AnyPolicy
from captionkit.policies.combine import shared_claims
from captionkit.policy import Claim, Policy
from captionkit.record import Caption, Source, Tag, unique_tags
from captionkit.steps import take_step


class ByCategory(Policy):
    """Apply to the tags of each category a policy of its own; the captions stay as they are.

    Each category keeps its places: what its policy gives back fills them from the first on, and what is more
    than the places follows the last of them. A template's words go around the whole caption.
    """

    kind: Literal["by_category"] = "by_category"
    policies: dict[str, AnyPolicy]
    """The policy of each category, such as `{artist = {kind = "drop_tags", rate = 0.3}}`."""
    otherwise: AnyPolicy | None = None
    """The policy of all other tags together, those without a category too; left out means they stay."""

    @model_validator(mode="after")
    def _some_category(self) -> ByCategory:
        if not self.policies:
            raise ValueError("no category; give at least one")
        return self

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption after each category's policy."""
        groups: dict[str | None, list[Tag]] = {}
        for tag in caption.tags:
            groups.setdefault(self._group(tag), []).append(tag)
        results: dict[str | None, tuple[Tag, ...]] = {}
        important, before, behind = caption.important, caption.before, caption.after
        for group in [*self.policies, None]:
            policy = self.otherwise if group is None else self.policies[group]
            if policy is None or group not in groups:
                continue
            part = Caption(tuple(groups[group]), (), Source.TAGS, caption.important, caption.info)
            # A `/` in a category's name is doubled, so that it cannot spell the address of an inner step.
            segment = "otherwise" if group is None else f"in {group.replace('/', '//')}"
            after = take_step(policy, segment, part, draws)
            results[group] = after.tags
            important |= after.important
            before, behind = after.before + before, behind + after.after
        tags = unique_tags(tuple(self._filled(caption.tags, groups, results)))
        return replace(caption, tags=tags, important=important, before=before, after=behind)

    def _group(self, tag: Tag) -> str | None:
        return tag.category if tag.category in self.policies else None

    def _filled(
        self,
        tags: tuple[Tag, ...],
        groups: dict[str | None, list[Tag]],
        results: dict[str | None, tuple[Tag, ...]],
    ) -> list[Tag]:
        """All tags in the places of their categories."""
        seen: dict[str | None, int] = {}
        filled: list[Tag] = []
        for tag in tags:
            group = self._group(tag)
            if group not in results:
                filled.append(tag)
                continue
            at = seen[group] = seen.get(group, 0) + 1
            last = at == len(groups[group])
            filled += results[group][at - 1 :] if last else results[group][at - 1 : at]
        return filled

    def claims(self) -> frozenset[Claim]:
        """What all of them claim."""
        ways = tuple(self.policies.values()) + ((self.otherwise,) if self.otherwise is not None else ())
        return shared_claims(ways) - {"idempotent"}
