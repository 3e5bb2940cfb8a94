"""A few pictures of which little is known, prepared, for the tests of additions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from captionkit import Record
from captionkit.writers.fields import fields_of
from tests.trainkit.prepare.drawn import drawn, encoded
from trainkit.manifest import Manifest
from trainkit.prepare import PrepareConfig, prepare

ROWS = 7
SETTINGS = PrepareConfig(untagged=True, min_side=0, rows_per_part=3)
"""Three parts, so that something can go wrong between two of them."""


def put_pictures(folder: Path) -> Path:
    """As many small pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(ROWS):
        (folder / f"{number}.png").write_bytes(encoded(drawn(20, 16 + number, seed=number), "PNG"))
    return folder


def put_records(folder: Path, records: Sequence[Record]) -> Path:
    """A table of records for these pictures."""
    table = folder / "records.jsonl"
    lines = [json.dumps(fields_of(record) | {"image": f"{record.id}.png"}) + "\n" for record in records]
    table.write_text("".join(lines), encoding="utf-8")
    return table


def prepared(data: Path, out: Path) -> Path:
    """The prepared folder of a table or of pictures without anything."""
    prepare(data, out, SETTINGS, processes=1)
    return out


def records_in(manifest: Path) -> list[Record]:
    """All records of a manifest."""
    opened = Manifest(manifest)
    return [opened.record(row) for row in range(len(opened))]


def files_in(manifest: Path) -> dict[str, bytes]:
    """All that a run reads, to the byte."""
    paths = [manifest / "manifest.json", *manifest.glob("*.arrow")]
    return {path.name: path.read_bytes() for path in paths}
