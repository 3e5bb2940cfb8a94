"""Text around the caption: `a photo of {}`."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import AfterValidator, model_validator

from captionkit.curves import Amount, Rate, can_all_be_zero, value_at
from captionkit.draws import Draws
from captionkit.policy import Claim, Policy
from captionkit.record import Caption, Source

_BRACES = re.compile(r"(\{\{|\}\}|\{\}|[{}])")
_LITERAL = {"{{": "{", "}}": "}"}


def _templates(templates: tuple[str, ...]) -> tuple[str, ...]:
    if not templates:
        raise ValueError('no template; give at least one, such as "a photo of {}"')
    for template in templates:
        around(template)
    return templates


class Template(Policy):
    """Put the caption into a template, with probability `p`; an empty caption stays empty.

    The words of a template are no tags: no step drops, moves or counts them. Where later steps leave nothing
    of the caption, the template's words stay alone. Of two templates, the later one stands around the
    earlier.
    """

    kind: Literal["template"] = "template"
    templates: Annotated[tuple[str, ...], AfterValidator(_templates)]
    """Texts with one `{}`, where the caption goes; other braces are doubled: `{{`, `}}`."""
    weights: tuple[Amount, ...] | None = None
    """How often each is drawn, in any unit; left out means equally often."""
    p: Rate = 1.0
    """How often there is a template at all."""

    @model_validator(mode="after")
    def _weights_fit(self) -> Template:
        if self.weights is not None and len(self.weights) != len(self.templates):
            raise ValueError(
                f"{len(self.weights)} weights for {len(self.templates)} templates; give one for each"
            )
        if self.weights is not None and can_all_be_zero(self.weights):
            raise ValueError("all weights are 0, at least at some time; one must be above at any")
        return self

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption with the template's words before and behind it."""
        if caption.source is Source.EMPTY or not draws.chance(value_at(self.p, draws)):
            return caption
        weights = None if self.weights is None else [value_at(weight, draws) for weight in self.weights]
        template = draws.child("template").choice(self.templates, weights)
        if draws.trace is not None:
            draws.note(f"template: {template}")
        before, after = around(" ".join(template.splitlines()))  # The text is one line.
        return replace(caption, before=before + caption.before, after=caption.after + after)

    def claims(self) -> frozenset[Claim]:
        """Tags and captions stay; words come in."""
        return frozenset({"spares important", "off at zero"})


@lru_cache(maxsize=1024)
def around(template: str) -> tuple[str, str]:
    """The text before and behind the `{}` of a template.

    >>> around("a {{large}} photo of {}, best quality")
    ('a {large} photo of ', ', best quality')

    Raises `ValueError` unless there is exactly one `{}`, and for a single brace.
    """
    pieces = _BRACES.split(template)
    if single := [piece for piece in pieces if piece in ("{", "}")]:
        raise ValueError(
            f"{template!r} has a single {single[0]!r}; the caption goes where `{{}}` stands, "
            f"other braces are doubled"
        )
    if pieces.count("{}") != 1:
        raise ValueError(
            f"{template!r} has {pieces.count('{}')} places for the caption, must have one `{{}}`"
        )
    at = pieces.index("{}")
    before, after = ("".join([_LITERAL.get(p, p) for p in part]) for part in (pieces[:at], pieces[at + 1 :]))
    return before, after
