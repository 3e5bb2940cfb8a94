"""How a tagger's tags are written into records, and which of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from captionkit import PatternList
from captionkit.emoticons import is_emoticon
from captionkit.patterns import compile_patterns
from captionkit.record import fold
from trainkit.errors import TrainkitError
from trainkit.tagging.foreign_tags import RATING
from trainkit.tagging.label import Label

_MOST_BYTES = 64 << 20


class ChosenConfig(BaseModel):
    """Which tags are written, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    only: PatternList = ()
    """Only tags that match one of these; all when empty. Patterns see the tagger's names and the new ones."""
    leave_out: PatternList = ()
    """Tags that match one of these are not written."""
    ratings: bool = False
    """Whether ratings are written, too: of the taggers' categories the one that is no content."""
    underscores: Literal["space", "keep"] = "space"
    """What becomes of the underscores of names. In emoticons such as ^_^ they stay."""
    rename: Mapping[str, str] = {}
    """Other names for some tags, by the tagger's name; spelling does not count, as everywhere."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A tagger's labels as they are written."""

    labels: tuple[Label, ...]
    """[L], in the tagger's order."""
    wanted: NDArray[np.bool_]
    """[L], which of them are written at all."""


def chosen_labels(labels: tuple[Label, ...], config: ChosenConfig) -> Chosen:
    """How labels are written and which. Raises TrainkitError when none is left, or when a pattern of ``only``
    or a renaming fits no tag."""
    renamed = {fold(old): new.strip() for old, new in config.rename.items()}
    known = {fold(label.name) for label in labels}
    if strange := [old for old in config.rename if fold(old) not in known]:
        raise TrainkitError(f"rename: the tagger has no tag {strange[0]!r}")
    written = tuple(replace(label, name=_written(label.name, config, renamed)) for label in labels)
    names = [(old.name, new.name) for old, new in zip(labels, written, strict=True)]
    for pattern in config.only:
        if not any(compile_patterns((pattern,)).among({*pair}) for pair in names):
            raise TrainkitError(f"--only {pattern!r} fits no tag of the tagger; patterns match whole tags")
    only, leave_out = compile_patterns(config.only), compile_patterns(config.leave_out)
    wanted = [
        (not config.only or bool(only.among({*pair})))
        and not leave_out.among({*pair})
        and (config.ratings or label.category != RATING)
        for pair, label in zip(names, labels, strict=True)
    ]
    if not any(wanted):
        raise TrainkitError("no tag of the tagger is left to be written; see --only and --except")
    return Chosen(written, np.array(wanted))


def read_renames(path: Path) -> dict[str, str]:
    """New names by old ones, from a CSV of two columns. Raises TrainkitError with file and line."""
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TrainkitError(f"{path} cannot be read: {error}") from error
    renames: dict[str, str] = {}
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in lines:
            if not cells or not any(cell.strip() for cell in cells):
                continue
            if len(cells) != 2 or not all(cell.strip() for cell in cells):
                raise TrainkitError(f"{path}:{lines.line_num}: must be two names, old,new; is {cells[:3]}")
            old, new = (cell.strip() for cell in cells)
            if renames.setdefault(old, new) != new:
                raise TrainkitError(f"{path}:{lines.line_num}: {old!r} is renamed a second time")
    except csv.Error as error:
        raise TrainkitError(f"{path}:{lines.line_num}: is no CSV: {error}") from error
    return renames


def _written(name: str, config: ChosenConfig, renamed: Mapping[str, str]) -> str:
    new = renamed.get(fold(name))
    if new is not None:
        return new
    if config.underscores == "keep" or is_emoticon(name):
        return name
    return " ".join(name.replace("_", " ").split()) or name
