"""One caption of a model, cleaned: the rules of `clean_captions` as a function."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from captionkit.policies.clean import CleanCaptions


def clean(
    text: str,
    *,
    markup: bool = True,
    lead_ins: bool = True,
    hedges: bool = True,
    meta: bool = True,
    loops: bool = True,
    unfinished: bool = True,
    skip: tuple[str, ...] = (),
    rules: str | Path | None = None,
) -> str:
    """A caption by a vision-language model without lead-ins, doubts, repetitions and talk about the picture.

    The settings are those of the policy `clean_captions`: groups of rules, names of rules that shall not
    work, and a file of rules of your own. Empty when the text held nothing else. A second cleaning changes
    nothing.

    >>> clean("The image shows a man who appears to be asleep. There are no visible watermarks.")
    'A man who is asleep.'
    >>> clean("The image shows a man who appears to be asleep.", hedges=False)
    'A man who appears to be asleep.'

    Raises `RecipeError` for a file of rules that cannot be used, and `ValueError` for a rule in `skip` that
    nobody knows.
    """
    groups = (markup, lead_ins, hedges, meta, loops, unfinished)
    return _rules(*groups, tuple(skip), None if rules is None else str(rules)).clean(text)


@lru_cache(maxsize=16)
def _rules(
    markup: bool,
    lead_ins: bool,
    hedges: bool,
    meta: bool,
    loops: bool,
    unfinished: bool,
    skip: tuple[str, ...],
    rules: str | None,
) -> CleanCaptions:
    """The rules, read when the first text comes: importing captionkit must not pay for them."""
    from captionkit.policies.clean import CleanCaptions

    return CleanCaptions(
        markup=markup,
        lead_ins=lead_ins,
        hedges=hedges,
        meta=meta,
        loops=loops,
        unfinished=unfinished,
        skip=skip,
        rules=() if rules is None else rules,  # type: ignore[arg-type]  # The field takes a path as well.
    )
