"""The settings of a recipe by their address, and those that differ between two."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from captionkit.compare.result import Change
from captionkit.load import dump_pipeline
from captionkit.pipeline import CaptionPipeline
from captionkit.policy import Policy
from captionkit.steps import segments

ORDER = "order of the steps"


def changed_settings(a: CaptionPipeline, b: CaptionPipeline) -> tuple[Change, ...]:
    """What is written differently, in the order of the second recipe, then what only the first one has.

    A step that only one of them has is one change, under its address. Another order is one too.
    """
    old, new = dict(settings_of(a)), dict(settings_of(b))
    steps_a, steps_b = old.pop(ORDER), new.pop(ORDER)
    changes = [
        Change(address, old.get(address), value)
        for address, value in new.items()
        if address not in old or old[address] != value
    ]
    changes += [Change(address, value, None) for address, value in old.items() if address not in new]
    shared_a = [step for step in steps_a if step in steps_b]
    shared_b = [step for step in steps_b if step in steps_a]
    if shared_a != shared_b:
        changes.append(Change(ORDER, shared_a, shared_b))
    return tuple(_whole_steps(changes, set(steps_a) ^ set(steps_b)))


def _whole_steps(changes: list[Change], lone: set[str]) -> Iterator[Change]:
    """Changes of a step that only one recipe has, as one."""
    seen: set[str] = set()
    for change in changes:
        step = next((step for step in lone if change.address.startswith((f"{step}.", f"{step}/"))), None)
        if step is None:
            yield change
        elif step not in seen:
            seen.add(step)
            inner = {one.address.removeprefix(step).lstrip("./"): one for one in changes if _is_in(one, step)}
            a = {name: one.a for name, one in inner.items() if one.a is not None}
            b = {name: one.b for name, one in inner.items() if one.b is not None}
            yield Change(step, a or None, b or None)


def _is_in(change: Change, step: str) -> bool:
    return change.address.startswith((f"{step}.", f"{step}/"))


def settings_of(pipeline: CaptionPipeline) -> Iterator[tuple[str, Any]]:
    """Every setting: (address, JSON value), in the order of the recipe."""
    plain = dump_pipeline(pipeline)
    yield "seed", plain["seed"]
    yield from _of_steps(pipeline.steps, plain["steps"], "")
    for table in ("flip", "text"):
        for field, value in plain[table].items():
            yield f"{table}.{field}", value
    yield ORDER, list(segments(pipeline.steps))


def _of_steps(policies: tuple[Policy, ...], plain: list[Any], above: str) -> Iterator[tuple[str, Any]]:
    for segment, policy, written in zip(segments(policies), policies, plain, strict=True):
        yield from _of_step(policy, written, f"{above}{segment}")


def _of_step(policy: Policy, written: dict[str, Any], address: str) -> Iterator[tuple[str, Any]]:
    for field, value in written.items():
        held = getattr(policy, field)
        if isinstance(held, Policy):
            yield from _of_step(held, value, f"{address}/{field}")
        elif isinstance(held, tuple) and held and all(isinstance(one, Policy) for one in held):
            yield from _of_steps(held, value, f"{address}/")
        elif field != "name":
            yield f"{address}.{field}", value
