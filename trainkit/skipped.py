"""What was left out of the data set: said on the terminal, and written down by name."""

from __future__ import annotations

import json
from pathlib import Path

from trainkit.pictures import DataSet, Skipped


def report_skipped(data: DataSet, out: Path) -> None:
    """Say what a user should know of the data; name what was left out, on the terminal (the first few) and in
    skipped.jsonl (all)."""
    skipped: tuple[Skipped, ...] = data.skipped
    out.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"name": s.name, "reason": s.reason, "while": "reading"}) + "\n" for s in skipped]
    (out / "skipped.jsonl").write_text("".join(lines), encoding="utf-8")
    for s in skipped[:10]:
        print(f"skipped {s.name}: {s.reason}", flush=True)
    if len(skipped) > 10:
        print(f"skipped {len(skipped) - 10} more; all are named in {out / 'skipped.jsonl'}", flush=True)
    for note in data.notes:
        print(f"note: {note}", flush=True)
