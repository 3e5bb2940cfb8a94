"""Whether a recipe does the same over the whole run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from captionkit.curves import Curve
from captionkit.pipeline import CaptionPipeline
from captionkit.policies.schedule import Schedule
from captionkit.policy import Config


def changes_over_the_run(pipeline: CaptionPipeline) -> bool:
    """Whether what the recipe does depends on the epoch or on the samples seen, besides other draws: by a
    curve of several heights, or by a schedule, anywhere in it."""
    return _changes(pipeline)


def _changes(value: Any) -> bool:
    if isinstance(value, Curve):
        return len({height for _, height in value.points}) > 1
    if isinstance(value, Schedule) and (len(value.phases) > 1 or value.phases[0].start > 0):
        return True
    if isinstance(value, Config):
        return any(_changes(getattr(value, name)) for name in type(value).model_fields)
    if isinstance(value, Mapping):
        return any(map(_changes, value.values()))
    return isinstance(value, tuple) and any(map(_changes, value))
