"""What a run says about itself: JSON Lines always, TensorBoard if wanted, and a progress bar on a
terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO


class JsonLog:
    """``log.jsonl``: one object a line, one line per optimizer step; a resumed run goes on where its
    checkpoint stands."""

    def __init__(self, path: Path, samples_seen: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = (
            [line for line in read_log(path) if line["samples"] <= samples_seen]
            if samples_seen and path.exists()
            else []
        )
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        partial.replace(path)
        self._file: TextIO = path.open("a", encoding="utf-8")

    def write(self, entry: dict[str, Any]) -> None:
        """Add one line and hand it to the system, so that a killed process loses none."""
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a log; a last line that was cut off is left out."""
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
            break
    return entries
