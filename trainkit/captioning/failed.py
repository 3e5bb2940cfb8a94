"""Which pictures had no answer: they are asked about again only when that is wanted."""

from __future__ import annotations

from pathlib import Path

from trainkit.additions.addition import Addition
from trainkit.additions.finished import raw_lines
from trainkit.additions.lines import header_of, lines_of
from trainkit.additions.places import file_of, journal_of
from trainkit.captioning.judged import state_of


def failed_keys(manifest: Path, name: str, rank: int = 0) -> frozenset[int]:
    """Keys of the pictures whose last line in what was finished, or in this rank's journal, is a failure.

    Those of other ranks' journals are asked about again when these have been finished. Raises TrainkitError
    for a line that cannot be read.
    """
    files = [file_of(manifest, name), journal_of(manifest, name) / f"rank-{rank:05d}.jsonl"]
    lines = lines_of([path for path in files if header_of(path) is not None])
    failed: dict[int, bool] = {}
    for key, line in zip(lines.found["key"].tolist(), raw_lines(lines, lines.found), strict=True):
        failed[key] = state_of(Addition.of_line(line, f"additions {name!r} of {manifest}")) == "failed"
    return frozenset(key for key, is_so in failed.items() if is_so)
