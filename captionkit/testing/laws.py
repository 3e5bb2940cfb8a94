"""The laws that every policy keeps on one caption, and those that it keeps where it claims to."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any, Literal, TypeAlias

from captionkit.draws import Draws
from captionkit.policies import ByCategory, Maybe, OneOf, Schedule, Sequence, When
from captionkit.policies.schedule import Phase
from captionkit.policy import Claim, Policy
from captionkit.record import Caption, Prose, Source, unique_tags
from captionkit.render import Renderer, estimate_tokens
from captionkit.steps import take_step

Law: TypeAlias = Callable[[Policy, Caption, Draws], None]

_BUDGET = 24  # Room for the words that `captions()` puts around a caption, and for little else.


def check_laws(policy: Policy, caption: Caption, draws: Draws) -> None:
    """The laws on one caption: for tests that draw the policy too. An `AssertionError` names the broken
    law."""
    for law in LAWS:
        law(policy, caption, draws)
    for claim in sorted(policy.claims()):
        CLAIMED[claim](policy, caption, draws)


# ------------------------------------------------------------------------------------------- laws for all


def _gives_a_caption(policy: Policy, caption: Caption, draws: Draws) -> None:
    after = policy.apply(caption, draws.child("here"))
    assert isinstance(after, Caption), f"apply returned {after!r}, must be a Caption"
    assert isinstance(after.tags, tuple), f"the tags must be a tuple, got {after.tags!r}"
    assert isinstance(after.prose, tuple), f"the captions must be a tuple, got {after.prose!r}"
    assert unique_tags(after.tags) == after.tags, "a tag's name is there twice"
    assert all(piece.text.strip() for piece in after.prose), "a caption without text was left"
    assert after.info == caption.info, "what is known about the picture was lost or changed"


def _changes_nothing_else(policy: Policy, caption: Caption, draws: Draws) -> None:
    caption_was, policy_was = pickle.dumps(caption), dict(policy)
    policy.apply(caption, draws.child("here"))
    assert pickle.dumps(caption) == caption_was, "the input caption was changed"
    assert dict(policy) == policy_was, "the policy changed itself"


def _remembers_nothing(policy: Policy, caption: Caption, draws: Draws) -> None:
    after = policy.apply(caption, draws.child("here"))
    policy.apply(after, draws.child("elsewhere"))
    policy.apply(Caption(source=Source.EMPTY), draws.child("here"))
    assert policy.apply(caption, draws.child("here")) == after, "the same address gave another caption"


def _takes_an_empty_caption(policy: Policy, caption: Caption, draws: Draws) -> None:
    for empty in (Caption(source=Source.EMPTY), caption.emptied(), replace(caption, tags=(), prose=())):
        _gives_a_caption(policy, empty, draws)


def _can_be_written_out(policy: Policy, caption: Caption, draws: Draws) -> None:
    after = policy.apply(caption, draws.child("here"))
    text = Renderer().text(after)
    assert len(text.splitlines()) <= 1, f"the text is more than one line: {text!r}"
    assert text == text.strip(), f"spaces stand around the text: {text!r}"
    fitted = Renderer(max_tokens=_BUDGET).fit(after, estimate_tokens)
    count = estimate_tokens(Renderer().text(fitted))
    assert count <= _BUDGET, f"a budget of {_BUDGET} tokens left {count}"


def _says_why(policy: Policy, caption: Caption, draws: Draws) -> None:
    after = take_step(policy, "here", caption, draws)
    traced = draws.traced()
    assert take_step(policy, "here", caption, traced) == after, "explained, it does something else"
    steps = traced.trace or []
    assert steps, "the explanation has no step"
    assert all(step.reason for step in steps), "a step of the explanation has no reason"


def _leaves_other_steps_alone(policy: Policy, caption: Caption, draws: Draws) -> None:
    alone = Sequence(steps=(_Probe(),)).apply(caption, draws)
    behind = Sequence(steps=(policy, _Probe())).apply(caption, draws)
    assert alone.prose == behind.prose, "another step's draws were moved"


def _is_left_alone_by_other_steps(policy: Policy, caption: Caption, draws: Draws) -> None:
    named = policy.model_copy(update={"name": "mine"})
    alone = policy.apply(caption, draws.child("mine"))
    drawing = Maybe(p=0.5, then=Sequence(), otherwise=Sequence())
    assert Sequence(steps=(drawing, named)).apply(caption, draws) == alone, "a step before moved the draws"
    assert Sequence(steps=(named, drawing)).apply(caption, draws) == alone, "a step behind moved the draws"


def _is_the_same_inside_others(policy: Policy, caption: Caption, draws: Draws) -> None:
    named = policy.model_copy(update={"name": "mine"})
    alone = policy.apply(caption, draws.child("mine"))
    assert OneOf(choices=(named,)).apply(caption, draws) == alone, "inside one_of it does something else"
    phases = (Phase(start=0, then=named),)
    assert draws.epoch < 0 or Schedule(phases=phases).apply(caption, draws) == alone, (
        "inside schedule it does something else"
    )
    then = policy.apply(caption, draws.child("then"))
    assert Maybe(p=1.0, then=policy).apply(caption, draws) == then, "inside maybe it does something else"
    assert Maybe(p=0.0, then=policy).apply(caption, draws) == caption, "never applied, it did something"
    always = When(sources=tuple(Source), then=policy)
    assert always.apply(caption, draws) == then, "inside when it does something else"
    if caption.tags:
        part = replace(caption, prose=(), source=Source.TAGS)
        inside = ByCategory(policies={"\0": Sequence()}, otherwise=policy).apply(caption, draws)
        expected = policy.apply(part, draws.child("otherwise"))
        assert inside.tags == expected.tags, "inside by_category it does something else"
        assert inside.prose == caption.prose, "inside by_category it reached the captions"


LAWS: tuple[Law, ...] = (
    _changes_nothing_else,  # First, while the caption is as it was given.
    _gives_a_caption,
    _remembers_nothing,
    _takes_an_empty_caption,
    _can_be_written_out,
    _says_why,
    _leaves_other_steps_alone,
    _is_left_alone_by_other_steps,
    _is_the_same_inside_others,
)
"""What every policy keeps."""


class _Probe(Policy):
    """Writes down what it draws."""

    kind: Literal["probe"] = "probe"

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        return Caption((), (Prose(repr(draws.randoms(3))),))


# ---------------------------------------------------------------------------------- laws by claim


def _subset(policy: Policy, caption: Caption, draws: Draws) -> None:
    after = policy.apply(caption, draws)
    assert set(after.tags) <= set(caption.tags), "a tag came in that was not there"
    assert set(after.prose) <= set(caption.prose), "a caption came in that was not there"
    for came, was in ((after.before, caption.before), (after.after, caption.after)):
        assert came in ("", was), f"words came in that were not there: {came!r}"


def _permutation(policy: Policy, caption: Caption, draws: Draws) -> None:
    after = policy.apply(caption, draws)
    assert sorted(map(repr, after.tags)) == sorted(map(repr, caption.tags)), "the tags are not the same tags"
    assert sorted(map(repr, after.prose)) == sorted(map(repr, caption.prose)), "the captions are not the same"
    assert (after.before, after.after) == (caption.before, caption.after), "the words around changed"


def _idempotent(policy: Policy, caption: Caption, draws: Draws) -> None:
    once = policy.apply(caption, draws.child("first"))
    assert policy.apply(once, draws.child("second")) == once, "a second time changed something more"


def _spares_important(policy: Policy, caption: Caption, draws: Draws) -> None:
    after = policy.apply(caption, draws)
    here = {tag.name for tag in caption.tags}
    assert caption.important & here <= {tag.name for tag in after.tags}, "an important tag left"


def _set_to(policy: Policy, share: float, claim: Claim) -> Policy:
    """The policy with its field p, rate or rate_range at `share`."""
    at: dict[str, Any] = {"p": share, "rate": share, "rate_range": (share, share)}
    fields = {name: value for name, value in at.items() if name in type(policy).model_fields}
    assert fields, f"claims `{claim}` without a field p, rate or rate_range"
    return policy.model_copy(update=fields)


def _off_at_zero(policy: Policy, caption: Caption, draws: Draws) -> None:
    after = _set_to(policy, 0.0, "off at zero").apply(caption, draws)
    assert after == caption, "at 0 something changed"


def _all_at_one(policy: Policy, caption: Caption, draws: Draws) -> None:
    after = _set_to(policy, 1.0, "all at one").apply(caption, draws)
    left = {tag.name for tag in after.tags} - caption.important
    assert not left, f"at 1 tags stayed that are not important: {sorted(left)}"


CLAIMED: dict[Claim, Law] = {
    "subset": _subset,
    "permutation": _permutation,
    "idempotent": _idempotent,
    "spares important": _spares_important,
    "off at zero": _off_at_zero,
    "all at one": _all_at_one,
}
"""The law behind every claim."""


# -------------------------------------------------------------------------------- repeats differ

_REPEATS = 64
_MANY = 16


def check_repeats(policy: Policy, caption: Caption) -> None:
    """Whatever part of a draw's address changes, the draws change: no two repeats, records or steps share
    theirs.

    Over 64 values of the seed, the repeat, the record and the step each: where 16 or more captions of any of
    these four differ from the most frequent one, so must at least one of each. For a policy that keeps the
    law, all 64 of one part being alike after that comes by chance less than once in 100,000 times.
    """
    axes = {
        "seeds": [Draws(n, 0, 0, "a", 0).child("s") for n in range(_REPEATS)],
        "repeats": [Draws(0, 0, n, "a", 0).child("s") for n in range(_REPEATS)],
        "records": [Draws(0, 0, 0, f"a{n}", 0).child("s") for n in range(_REPEATS)],
        "steps": [Draws(0, 0, 0, "a", 0).child(f"s{n}") for n in range(_REPEATS)],
    }
    others = {axis: _not_the_usual(policy, caption, draws) for axis, draws in axes.items()}
    if max(others.values()) >= _MANY:
        same = [axis for axis, number in others.items() if number == 0]
        assert not same, f"other {same[0]}, and always the same caption"


def _not_the_usual(policy: Policy, caption: Caption, addresses: list[Draws]) -> int:
    """How many of the captions differ from the most frequent one."""
    seen = [repr(policy.apply(caption, draws)) for draws in addresses]
    return len(seen) - max(map(seen.count, seen))


# --------------------------------------------------------------------------------- implications


def check_closures(policy: Policy) -> None:
    """Every implication graph inside a policy is closed: what a tag implies implies nothing more, and never
    the tag itself."""
    from captionkit.implications import ImplicationGraph

    for graph in [value for value in _values(policy) if isinstance(value, ImplicationGraph)]:
        for name in graph.edges():
            reached = graph.implied_by(name)
            assert name not in reached, f"{name!r} implies itself"
            beyond = chain.from_iterable(graph.implied_by(other) for other in reached)
            assert set(beyond) <= reached, f"what {name!r} implies implies more"


def _values(value: Any) -> list[Any]:
    """A value and everything inside it."""
    inside: list[Any] = []
    if isinstance(value, dict):
        inside = list(value.values())
    elif isinstance(value, tuple | list):
        inside = list(value)
    elif hasattr(type(value), "model_fields"):
        inside = [getattr(value, name) for name in type(value).model_fields]
    return [value, *chain.from_iterable(map(_values, inside))]
