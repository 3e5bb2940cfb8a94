"""What a person had said when a tagger was trained, kept in its folder: it counts when the tagger is judged.

    {"id": "fox/001", "digest": "0c31...", "tag": "day", "right": true}

Ids such as "001" are in many manifests: a line holds only for the very picture that it was said of.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainkit.errors import TrainkitError
from trainkit.keys import key_of
from trainkit.manifest_pictures import ManifestPictures
from trainkit.tagging.corrections import Correction, lines_in
from trainkit.whole_file import replace_whole

LEARNED = "learned_corrections.jsonl"


@dataclass(frozen=True, slots=True)
class Learned:
    """One correction that a tagger learned from."""

    said: Correction
    digest: str
    """Of the picture; empty where the manifest knew none."""


def write_learned(folder: Path, some: Iterable[Learned]) -> None:
    """Write them into a tagger's folder, or take away those of an earlier training. Raises OSError."""
    lines = [
        json.dumps({"id": o.said.id, "digest": o.digest, "tag": o.said.tag, "right": o.said.right}) + "\n"
        for o in some
    ]
    if lines:
        replace_whole(folder / LEARNED, "".join(lines).encode("ascii"))
    else:
        (folder / LEARNED).unlink(missing_ok=True)


def learned_corrections(folder: Path, pictures: ManifestPictures) -> Iterator[Correction]:
    """Those of a tagger's folder that are of pictures of a manifest; none where the folder has no such file.

    Raises TrainkitError, with file and line, for what is no correction.
    """
    path = folder / LEARNED
    if not path.is_file():
        return
    some = [(said, _digest(line, where)) for line, said, where in lines_in(path)]
    keys = pictures.keys
    rows = np.flatnonzero(np.isin(keys, [key_of(said.id) for said, _ in some])).tolist()
    there = {int(keys[row]): pictures.digest(row) for row in rows}
    yield from (said for said, digest in some if there.get(key_of(said.id)) == digest)


def _digest(line: bytes, where: str) -> str:
    digest = json.loads(line).get("digest", "")
    if not isinstance(digest, str):
        raise TrainkitError(f"{where}: digest is {str(digest)[:80]}, must be text; train the tagger again")
    return digest
