"""Which tags of a manifest are a person's answers about single tags, rather than all that a picture has."""

from __future__ import annotations

from pathlib import Path

from trainkit.additions.addition import PERSON
from trainkit.additions.places import additions_in


def answers_in(manifest: Path) -> tuple[str, ...]:
    """The sources of such tags: `trainkit tagger apply` writes corrections into the manifest as an addition.
    Tags of the same source that the data came with are tags like all others."""
    return (PERSON,) if manifest.is_dir() and PERSON in additions_in(manifest) else ()
