"""Leave out, by chance, the tags that always come with a character, or the character."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Literal

from pydantic import model_validator

from captionkit.correlations import Correlations, CorrelationTable
from captionkit.curves import Curve, Rate, value_at
from captionkit.draws import Draws
from captionkit.patterns import PatternList, compile_patterns
from captionkit.policy import Claim, Flag, Policy
from captionkit.record import Caption, fold


class DropCorrelated(Policy):
    """Leave out all tags that come with a trigger, or the trigger, by one roll per trigger of the caption.

    A trigger is a tag with which others nearly always come, such as a character with a look of its own;
    `captionkit correlations build` counts which in your data. Without the look beside it, the name alone
    stands for the look; without the name, the look can be asked for by itself.

    Nothing leaves unless another stands for it: the tags leave only beside their trigger, a trigger only
    beside one of its tags that stays. With two triggers in one caption, what the first left to stand for it
    stays, whatever the second rolls.
    """

    kind: Literal["drop_correlated"] = "drop_correlated"
    correlations: CorrelationTable = Correlations({})
    """Which tags come with which trigger: the path of the CSV of `captionkit correlations build`, or a table
    `{"red riding hood" = ["red hood", "basket"]}`."""
    p_tags: Rate = 0.2
    """How often a trigger's tags leave, all that are there at once. The default is nobody's measurement."""
    p_trigger: Rate = 0.0
    """How often the trigger leaves instead; both together are at most 1."""
    protected: PatternList = ()
    """Tags that match one of these stay, triggers too."""
    spare_important: Flag = True
    """Whether important tags stay that come with a trigger. It says nothing of the triggers: characters are
    often important, and `p_trigger` is 0 unless you ask for it."""

    @model_validator(mode="after")
    def _at_most_one(self) -> DropCorrelated:
        if (both := _most(self.p_tags) + _most(self.p_trigger)) > 1.0:
            raise ValueError(
                f"p_tags and p_trigger share one roll and are at most 1 together; these can come to {both:g}"
            )
        return self

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption without what its triggers' rolls took."""
        here = {fold(tag.name): tag.name for tag in caption.tags}
        triggers = self.correlations.triggers_among(here.keys())
        if not triggers:
            return caption
        stay = {fold(name) for name in compile_patterns(self.protected).matching(caption.tags)}
        spared = {fold(name) for name in caption.important} if self.spare_important else set()
        p_tags, p_trigger = value_at(self.p_tags, draws), value_at(self.p_trigger, draws)
        gone: set[str] = set()
        for trigger in [name for name in here if name in triggers]:
            with_it = {key for key in self.correlations.tags_with(trigger) if key in here} - gone
            # The address is the trigger's name, so that another trigger beside it rolls as it would alone.
            roll = draws.child(trigger).random()
            if roll < p_tags:
                leave, vouch = with_it - stay - spared, {trigger} - gone
            elif roll < p_tags + p_trigger:
                leave, vouch = {trigger} - stay - gone, with_it
            else:
                continue
            if leave and vouch:
                gone |= leave
                stay |= vouch
                if draws.trace is not None:
                    draws.note(f"{_said(leave, here)} left out, {_said(vouch, here)} stays for it")
        if not gone:
            return caption
        return caption.with_tags(tuple([tag for tag in caption.tags if fold(tag.name) not in gone]))

    def claims(self) -> frozenset[Claim]:
        """Only removes; important tags only where told to, or as triggers."""
        spares = self.spare_important and self.p_trigger == 0.0
        spared: frozenset[Claim] = frozenset({"spares important"}) if spares else frozenset()
        return spared | {"subset"}


def _most(p: float | Curve) -> float:
    """The highest value that a probability can have."""
    return max(height for _, height in p.points) if isinstance(p, Curve) else p


def _said(names: Set[str], here: Mapping[str, str]) -> str:
    """Folded names as the caption spells them, in its order."""
    return ", ".join(name for key, name in here.items() if key in names)
