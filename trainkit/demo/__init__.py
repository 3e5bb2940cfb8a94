"""The embedded default: a small world of drawn scenes on which the whole recipe is watched in minutes."""

from __future__ import annotations

from pathlib import Path

DEMO_BASE = "demo-base"
"""As ``model.base`` in a run file this name stands for the small base model that ships with the package."""


def base_folder() -> Path:
    """The small base model in the package: SD 1.5's architecture, epsilon prediction, plain scenes."""
    return Path(__file__).parent / "base"
