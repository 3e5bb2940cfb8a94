"""Small runs of ``trainkit caption``: a folder of drawn scenes, and a run file that asks a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.trainkit.processes import toml_text
from tests.trainkit.tiny import write_pictures
from trainkit.additions.addition import Addition
from trainkit.additions.finished import read_additions
from trainkit.additions.places import file_of, journal_of
from trainkit.captioning.config import CaptionConfig, make_caption_run
from trainkit.manifest import Manifest
from trainkit.prepare import PrepareConfig, prepare

TEXT = "The image showcases a shape whose mean colour is {red}, {green}, {blue} on a plain ground."
"""What the server says; cleaning takes its beginning away."""


def write_manifest(folder: Path, count: int, *, captions: bool = False) -> Path:
    """A prepared folder ``folder``/manifest of drawn scenes in ``folder``/pictures, without captions."""
    pictures = write_pictures(folder / "pictures", count)
    for path in pictures.glob("*.json"):
        record = json.loads(path.read_text())
        if not captions:
            del record["captions"]
        path.write_text(json.dumps(record))
    prepare(str(pictures), folder / "manifest", PrepareConfig(), processes=1, show=False)
    return folder / "manifest"


def run_settings(manifest: Path, url: str, /, **changes: Any) -> dict[str, Any]:
    """A run file as plain data; ``changes`` replace whole top-level settings."""
    return {
        "data": str(manifest),
        "name": "cog",
        "prompts": [{"text": "Describe the picture. It is tagged: {tags}."}],
        "choose": {"share": 1.0},
        "backend": {"kind": "server", "urls": [url], "concurrency": 2},
        "sampling": {"temperature": 0.5},
        "gate": {"languages": []},
    } | changes


def make_run(manifest: Path, url: str, /, **changes: Any) -> CaptionConfig:
    """The same as a configuration."""
    return make_caption_run(run_settings(manifest, url, **changes), Path(), "test")


def write_run_file(path: Path, manifest: Path, url: str, /, **changes: Any) -> Path:
    """The same as a file."""
    path.write_text(toml_text(run_settings(manifest, url, **changes)), encoding="utf-8")
    return path


def captions(manifest: Path) -> dict[str, dict[str, str]]:
    """The captions in a manifest, by id and source."""
    table = Manifest(manifest, allow_empty=True)
    records = [table.record(row) for row in range(len(table))]
    return {record.id: {piece.source: piece.text for piece in record.prose} for record in records}


def additions(manifest: Path, name: str = "cog") -> dict[str, Addition]:
    """What was finished, by id."""
    found = list(read_additions(manifest, name))
    assert len({addition.id for addition in found}) == len(found)
    return {addition.id: addition for addition in found}


def written(manifest: Path, name: str = "cog") -> list[dict[str, Any]]:
    """Whole lines of additions in the journals and the finished file, without the headers."""
    files = [*journal_of(manifest, name).glob("rank-*.jsonl"), file_of(manifest, name)]
    lines = [line for path in files if path.exists() for line in path.read_text().splitlines(True)[1:]]
    return [json.loads(line) for line in lines if line.endswith("\n")]
