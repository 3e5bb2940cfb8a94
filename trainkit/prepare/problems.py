"""What can be wrong with a picture or its record, by name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """Why a picture is left out."""

    RECORD = "unreadable record"
    """Its sidecar, line or row cannot be read."""
    EMPTY = "empty record"
    """It has neither tags nor captions."""
    TWICE = "id twice"
    """Another picture before it has the same id."""
    UNNAMED = "no picture"
    """The record names none."""
    MISSING = "missing"
    """There is no such file."""
    OUTSIDE = "outside"
    """Its path leads out of the root, where nothing is read."""
    PACKED = "packed"
    """It lies in a packed tar, where it can only be read from the beginning on."""
    UNREADABLE = "unreadable file"
    """The system does not let us read it, or it is no plain file, or too large for a picture."""
    BROKEN = "broken"
    """It is no picture that Pillow can read."""
    TRUNCATED = "truncated"
    """Its end is not there."""
    BOMB = "too many pixels"
    """It has, or claims, more pixels than are decoded."""


class Remark(StrEnum):
    """What does not forbid use, unless `PrepareConfig.leave_out` names it."""

    MISLABELLED = "mislabelled"
    """Its suffix says another format than it has."""
    SMALL = "too small"
    """Its shorter side is shorter than `min_side`."""
    ASPECT = "extreme aspect"
    """Its longer side is more than `max_aspect` times the shorter."""
    ANIMATED = "animated"
    """It has several frames; the first is trained."""
    DUPLICATE = "duplicate"
    """A picture before it has the same bytes."""
    NEAR = "near duplicate"
    """A picture before it looks nearly the same, by its perceptual hash."""


_MEANS = {
    "unreadable record": "its sidecar, line or row cannot be read",
    "empty record": "neither tags nor captions",
    "id twice": "another picture before it has the same id",
    "no picture": "the record names none",
    "missing": "no such file",
    "outside": "its path leads out of the root",
    "packed": "in a packed tar: unpack that to .tar",
    "unreadable file": "the system does not let us read it, or it is no plain file",
    "broken": "no picture that can be read",
    "truncated": "its end is not there",
    "too many pixels": "more than are decoded",
    "mislabelled": "its suffix says another format",
    "too small": "its shorter side is below --min-side",
    "extreme aspect": "beyond --max-aspect",
    "animated": "the first frame is trained",
    "duplicate": "the same bytes as one before it",
    "near duplicate": "looks like one before it",
}


def meaning(problem: str) -> str:
    """A problem in a few words."""
    return _MEANS[problem]


def is_fault(problem: str) -> bool:
    """Whether it always forbids use."""
    return problem in {fault.value for fault in Fault}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing about one picture."""

    name: str
    """The picture's path relative to the root, or the place of a record that cannot be read."""
    problem: Fault | Remark
    detail: str
    left_out: bool = True
    like: str = ""
    """The picture that this one is a double of, relative to the root; empty where there is none."""

    def line(self) -> str:
        """As it stands in problems.jsonl."""
        told = {
            "name": self.name,
            "problem": self.problem.value,
            "detail": self.detail,
            "left_out": self.left_out,
        }
        return json.dumps(told, ensure_ascii=False) + "\n"


class UnusableError(Exception):
    """A picture that must be left out. Never leaves this package."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault
        self.detail = detail
