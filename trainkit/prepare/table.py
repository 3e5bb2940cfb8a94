"""What a run of ``prepare`` found, as a short text and as JSON."""

from __future__ import annotations

from trainkit.amounts import gigabytes
from trainkit.prepare.prepare import Prepared
from trainkit.prepare.problems import Fault, is_fault, meaning


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
        "additions": {name: added.model_dump() for name, added in prepared.additions.items()},
    }


def describe(prepared: Prepared) -> str:
    """A few lines: how many rows there are, and how many of each problem."""
    known = prepared.rows + prepared.left_out
    size = sum(part["bytes"] for part in prepared.parts)
    lines = [
        f"{prepared.rows:,} pictures in {prepared.folder} ({gigabytes(size)}), {prepared.left_out:,} left "
        f"out of {known:,}; "
        + (
            "all were read"
            if prepared.num_read >= known
            else f"{prepared.num_read:,} were read, the others known"
        ),
    ]
    if prepared.found:
        width = max(len(f"{count:,}") for count in prepared.found.values())
        for problem in sorted(prepared.found, key=lambda name: (not is_fault(name), -prepared.found[name])):
            lines.append(f"  {prepared.found[problem]:>{width},}  {problem:<18} {meaning(problem)}")
        lines.append(f"each by name in {prepared.folder / 'problems.jsonl'}, shown in report.html")
    if Fault.EMPTY.value in prepared.found:
        lines.append("pictures of which nothing is known are taken with --untagged")
    lines += [f"added by {name}: {added.described()}" for name, added in prepared.additions.items()]
    return "\n".join(lines)
