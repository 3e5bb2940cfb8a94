"""A policy is its configuration: a frozen model with a `kind` and one method, from caption to caption."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationInfo,
)

from captionkit.draws import Draws
from captionkit.errors import RecipeError
from captionkit.record import Caption, Step

T = TypeVar("T")

ENTRY_POINT_GROUP = "captionkit.policies"
"""Installed distributions offer policies here: the entry point's name is the kind, its object the class."""

Probability = Annotated[float, Field(strict=True, ge=0.0, le=1.0, allow_inf_nan=False)]
"""Between 0 and 1, both possible: 15 % is 0.15. Neither text nor true and false count as numbers."""

Weight = Annotated[float, Field(strict=True, ge=0.0, allow_inf_nan=False)]
"""A share in any unit, 0 or above."""

Claim = Literal["subset", "permutation", "idempotent", "spares important", "off at zero"]
"""A law that a policy says it keeps; `captionkit.testing.check_policy` holds it to that.

- subset: every tag and every caption in the result was in the input
- permutation: the same tags and captions, perhaps in another order
- idempotent: a second time, with whatever draws, changes nothing more
- spares important: no important tag leaves
- off at zero: with its field `p`, `rate` or `rate_range` at 0 it changes nothing
"""


class Config(BaseModel):
    """What everything that can be written in a recipe shares: frozen, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Policy(Config, ABC):
    """One step from caption to caption.

    A subclass gives `kind` a literal type and a default, declares its settings as fields, and writes `apply`,
    which must not change its arguments and must take all its randomness from `draws`.
    """

    kind: str
    """Which policy this is."""
    name: Annotated[str, Field(pattern=r"^[^/#]+$")] | None = None
    """Names the step, so that its draws stay the same when other steps of its kind come before it."""

    @abstractmethod
    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption after this step."""

    def claims(self) -> frozenset[Claim]:
        """The laws this policy, as configured, says it keeps; all are optional."""
        return frozenset()


class Rule(Policy, ABC):
    """A policy that draws nothing: the same caption always becomes the same caption."""

    @abstractmethod
    def rewrite(self, caption: Caption) -> Caption:
        """The caption after this step."""

    @final
    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption after this step; `draws` is not touched."""
        return self.rewrite(caption)


@dataclass(frozen=True)
class RecipeContext:
    """What a recipe is read against: the kinds it may name, and the folder its relative paths start from."""

    kinds: Mapping[str, type[Policy]] = field(default_factory=dict)
    base: Path = Path()

    def find(self, kind: object) -> type[Policy]:
        """The class of a kind: built in, given by the caller, or installed. `RecipeError` names the
        nearest."""
        found = self.kinds.get(kind) if isinstance(kind, str) else None
        if found is None and isinstance(kind, str):
            found = _installed(kind)
        if found is None:
            raise RecipeError(f"unknown policy kind {kind!r}{did_you_mean(kind, self.kinds)}")
        return found


def kind_of(policy: type[Policy]) -> str:
    """The kind a class stands for. `RecipeError` when it has none."""
    kind = policy.model_fields["kind"].default
    if not isinstance(kind, str):
        raise RecipeError(
            f"{policy.__name__} has no kind",
            hint=f'write `kind: Literal["my_kind"] = "my_kind"` in {policy.__name__}',
        )
    return kind


def did_you_mean(value: object, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known one, or all of them."""
    names = sorted(known)
    near = get_close_matches(value, names, n=1) if isinstance(value, str) else []
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(names)}"


def resolve_path(path: str | Path, info: ValidationInfo) -> Path:
    """A path of a recipe, made absolute: relative ones start at the recipe's folder, else the working
    folder."""
    base = info.context.base if isinstance(info.context, RecipeContext) else Path()
    return (base / Path(path).expanduser()).absolute()


def _by_kind(value: Any, info: ValidationInfo) -> Any:
    """A policy as it is, or a table with a `kind` as the policy of that kind.

    The kinds come with the validation context, not from a registry; pydantic hands the context to nested
    models and keeps the path of their errors.
    """
    if isinstance(value, Policy):
        return value
    if not isinstance(value, Mapping):
        raise ValueError("a policy is a table with a `kind`")
    if not isinstance(info.context, RecipeContext):
        raise ValueError("a table is read by load_pipeline only; here, give a policy object")
    if "kind" not in value:
        raise ValueError(f"a policy needs a `kind`; known: {', '.join(sorted(info.context.kinds))}")
    return info.context.find(value["kind"]).model_validate(dict(value), context=info.context)


AnyPolicy = Annotated[SerializeAsAny[Policy], BeforeValidator(_by_kind)]
"""The type of a field that holds a policy of any kind."""


def take_step(policy: Policy, segment: str, caption: Caption, draws: Draws) -> Caption:
    """Apply a policy at the address `segment` under `draws`; every combinator runs its members through
    here."""
    inner = draws.child(segment)
    after = policy.apply(caption, inner)
    if draws.trace is not None:
        _trace(draws.trace, policy, inner, caption, after)
    return after


def segments(policies: tuple[Policy, ...]) -> tuple[str, ...]:
    """The address of each member: its name, or its kind and how many unnamed ones of that kind came before.

    Positions play no part, so that a step put in between leaves the others' draws alone.
    """
    return _segments(tuple((policy.name, policy.kind) for policy in policies))


def require_distinct_names(policies: tuple[Policy, ...]) -> tuple[Policy, ...]:
    """The same policies. `ValueError` when two have one name, since they would share their draws."""
    names = [policy.name for policy in policies if policy.name is not None]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two steps are named {name!r}; they would share their draws, so rename one")
    return policies


@lru_cache(maxsize=1024)
def _segments(labels: tuple[tuple[str | None, str], ...]) -> tuple[str, ...]:
    def each() -> Iterator[str]:
        seen: dict[str, int] = {}
        for name, kind in labels:
            if name is not None:
                yield name
            else:
                yield f"{kind}#{seen.get(kind, 0)}"
                seen[kind] = seen.get(kind, 0) + 1

    return tuple(each())


@lru_cache(maxsize=64)
def _installed(kind: str) -> type[Policy] | None:
    """The policy an installed distribution offers under this kind, looked up only when no other has it."""
    for entry in entry_points(group=ENTRY_POINT_GROUP, name=kind):
        found = entry.load()
        if not (isinstance(found, type) and issubclass(found, Policy)):
            raise RecipeError(
                f"entry point {kind!r} of {ENTRY_POINT_GROUP} is {found!r}, must be a Policy class"
            )
        return found
    return None


def _trace(trace: list[Step], policy: Policy, draws: Draws, before: Caption, after: Caption) -> None:
    """Add the step; a combinator, whose members have added theirs already, only when it has something to
    say."""
    inside = draws.address + "/"
    first = len(trace)
    while first > 0 and trace[first - 1].address.startswith(inside):
        first -= 1
    reason = "; ".join(draws.notes)
    if first < len(trace) and not reason:
        return
    # A combinator's decision stands before its members' steps, and changes nothing by itself.
    settled = before if first < len(trace) else after
    trace.insert(
        first, Step(draws.address, policy.kind, before, settled, reason or difference(before, after))
    )


def difference(before: Caption, after: Caption) -> str:
    """What changed between two captions, in words.

    >>> from captionkit.record import parse_tags
    >>> difference(Caption(parse_tags("fox, tree")), Caption(parse_tags("tree")))
    'left out: fox'
    """
    parts = []
    old, new = [tag.name for tag in before.tags], [tag.name for tag in after.tags]
    if gone := [name for name in old if name not in new]:
        parts.append(f"left out: {', '.join(gone)}")
    if come := [name for name in new if name not in old]:
        parts.append(f"new: {', '.join(come)}")
    if not gone and not come and old != new:
        parts.append("tags in another order")
    if before.prose != after.prose:
        parts.append("captions changed" if after.prose else "captions left out")
    if before.source != after.source:
        parts.append(f"source: {after.source}")
    if marked := sorted(after.important - before.important):
        parts.append(f"important: {', '.join(marked)}")
    return "; ".join(parts) or "no change"
