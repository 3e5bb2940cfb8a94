"""Single settings of a recipe changed by their address, without writing the recipe again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

from captionkit.errors import RecipeError
from captionkit.policy import Config, Policy
from captionkit.steps import segments

C = TypeVar("C", bound=Config)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting to change."""

    address: str
    """As the user wrote it, for messages."""
    path: tuple[str, ...]
    """Steps from the outermost inwards, such as ("short prompt", "otherwise")."""
    field: str
    value: Any


def read_setting(address: str, value: Any) -> Setting:
    """``short prompt/otherwise.rate`` as a path and a field. `RecipeError` when it is not of that form."""
    steps, dot, field = address.rpartition(".")
    if not dot or not steps or not field:
        raise RecipeError(
            f"{address!r} names no setting",
            hint="write the step's address, a dot and the field: drop_tags.rate",
        )
    return Setting(address, tuple(steps.split("/")), field, value)


def adjusted(policies: tuple[Policy, ...], setting: Setting, depth: int = 0) -> tuple[Policy, ...]:
    """The policies with one setting changed. `RecipeError` when there is no such step or field, or the value
    is not allowed there."""
    wanted = setting.path[depth]
    names = segments(policies)
    # The one unnamed step of a kind may be called by its kind alone.
    found = [at for at, name in enumerate(names) if name == wanted] or [
        at for at, name in enumerate(names) if name.partition("#")[0] == wanted
    ]
    if len(found) != 1:
        fault = f"{len(found)} steps are called" if found else "no step is called"
        raise _unknown(setting, f"{fault} {wanted!r}", wanted, names)
    changed = _changed(policies[found[0]], setting, depth + 1)
    return (*policies[: found[0]], changed, *policies[found[0] + 1 :])


def _changed(policy: Policy, setting: Setting, depth: int) -> Policy:
    if depth == len(setting.path):
        return with_field(policy, setting)
    wanted = setting.path[depth]
    inner = getattr(policy, wanted, None) if wanted in type(policy).model_fields else None
    if isinstance(inner, Policy):
        return with_value(policy, wanted, _changed(inner, setting, depth + 1))
    for name in type(policy).model_fields:
        members = getattr(policy, name)
        if isinstance(members, tuple) and members and all(isinstance(one, Policy) for one in members):
            return with_value(policy, name, adjusted(members, setting, depth))
    known = [n for n in type(policy).model_fields if isinstance(getattr(policy, n), Policy)]
    raise _unknown(setting, f"{policy.kind!r} holds no policy called {wanted!r}", wanted, known)


def with_field(config: C, setting: Setting) -> C:
    """A table of the recipe with one field changed. `RecipeError` for an unknown field or a wrong value."""
    if setting.field not in type(config).model_fields or setting.field in ("kind", "name"):
        known = [name for name in type(config).model_fields if name not in ("kind", "name")]
        raise _unknown(setting, f"there is no field {setting.field!r}", setting.field, known)
    try:
        return with_value(config, setting.field, setting.value)
    except RecipeError as error:
        raise RecipeError(f"{setting.address}: {error}") from error


def with_value(config: C, field: str, value: Any) -> C:
    """The same table with another value, checked as if it had been written so."""
    given = {name: getattr(config, name) for name in config.model_fields_set}
    return type(config)(**given | {field: value})


def rates_in(policies: tuple[Policy, ...], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every number with a fraction, and every curve, of some policies: (address with the field, value)."""
    for segment, policy in zip(segments(policies), policies, strict=True):
        yield from _rates_of(policy, f"{above}{segment}")


def _rates_of(policy: Policy, address: str) -> Iterator[tuple[str, Any]]:
    for name in type(policy).model_fields:
        value = getattr(policy, name)
        if isinstance(value, Policy):
            yield from _rates_of(value, f"{address}/{name}")
        elif isinstance(value, tuple) and value and all(isinstance(one, Policy) for one in value):
            yield from rates_in(value, f"{address}/")
        elif isinstance(value, float) or hasattr(value, "points"):
            yield f"{address}.{name}", value


def _unknown(setting: Setting, fault: str, wanted: str, known: Iterable[str]) -> RecipeError:
    names = list(known)
    near = get_close_matches(wanted, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(map(repr, names)) or 'nothing'}"
    return RecipeError(f"{setting.address}: {fault}", hint=hint)
