"""An open set of kinds without a registry: what a recipe may name comes with the recipe.

Pydantic hands the validation context to nested models, so a field of type `AnyPolicy` finds the class of a
`kind` in it, however deep it stands, and the path of an error stays whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, ValidationInfo

from captionkit.errors import RecipeError
from captionkit.policy import Policy
from captionkit.problems import did_you_mean as did_you_mean

ENTRY_POINT_GROUP = "captionkit.policies"
"""Installed distributions offer policies here: the entry point's name is the kind, its object the class."""


@dataclass(frozen=True)
class RecipeContext:
    """What a recipe is read against: the kinds it may name, and the folder its relative paths start from."""

    kinds: Mapping[str, type[Policy]] = field(default_factory=dict)
    base: Path = Path()

    def get(self, kind: object) -> type[Policy] | None:
        """The class of a kind, None when nobody offers it."""
        if not isinstance(kind, str):
            return None
        return self.kinds.get(kind) or _installed(kind)

    def find(self, kind: object) -> type[Policy]:
        """The class of a kind: built in, given by the caller, or installed. `RecipeError` names the
        nearest."""
        found = self.get(kind)
        if found is None:
            raise RecipeError(f"unknown policy kind {kind!r}{did_you_mean(kind, self.kinds)}")
        return found


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
        raise ValueError(
            f'a policy is a table with a `kind`, such as {{kind = "shuffle_tags"}}, got {value!r}'
        )
    if not isinstance(info.context, RecipeContext):
        raise ValueError("a table is read by load_pipeline only; here, give a policy object")
    if "kind" not in value:
        raise ValueError(f"a policy needs a `kind`; known: {', '.join(sorted(info.context.kinds))}")
    return info.context.find(value["kind"]).model_validate(dict(value), context=info.context)


AnyPolicy = Annotated[SerializeAsAny[Policy], BeforeValidator(_by_kind)]
"""The type of a field that holds a policy of any kind."""


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
