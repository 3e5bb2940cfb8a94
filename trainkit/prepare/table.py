"""What a run of ``prepare`` found, as a short text and as JSON."""

from __future__ import annotations

from trainkit.prepare.prepare import Prepared
from trainkit.prepare.problems import Fault

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


def summary(prepared: Prepared) -> dict[str, object]:
    """The same as one JSON object."""
    return {
        "folder": str(prepared.folder),
        "root": str(prepared.root),
        "rows": prepared.rows,
        "left_out": prepared.left_out,
        "read": prepared.num_read,
        "parts": len(prepared.parts),
        "bytes": sum(part["bytes"] for part in prepared.parts),
        "fingerprint": prepared.fingerprint,
        "found": prepared.found,
    }


def describe(prepared: Prepared) -> str:
    """A few lines: how many rows there are, and how many of each problem."""
    known = prepared.rows + prepared.left_out
    size = sum(part["bytes"] for part in prepared.parts) / 1e6
    lines = [
        f"{prepared.rows:,} pictures in {prepared.folder} ({size:,.1f} MB), {prepared.left_out:,} left out "
        f"of {known:,}; {prepared.num_read:,} were read, the others known",
    ]
    if prepared.found:
        width = max(len(f"{count:,}") for count in prepared.found.values())
        for problem in sorted(prepared.found, key=lambda name: (not is_fault(name), -prepared.found[name])):
            lines.append(f"  {prepared.found[problem]:>{width},}  {problem:<18} {meaning(problem)}")
        lines.append(f"each by name in {prepared.folder / 'problems.jsonl'}, shown in report.html")
    return "\n".join(lines)
