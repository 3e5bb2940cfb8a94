"""Which data sets a cache is known to hold as a whole, so that a start need not look for every picture.

To ask for the rows of millions of pictures means to make each of their records: a quarter of an hour. What a
prepared folder asks for is a function of its fingerprint, the buckets and the recipes; the hash of these is
written down when all of it was there, with the names of the shards. As long as they are all still there,
nothing is missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from captionkit import CaptionPipeline
from trainkit.cache.shard import write_cached
from trainkit.cache.store import Store
from trainkit.errors import CacheError
from trainkit.pictures import DataSet
from trainkit.rows import Rows


def question_of(data: DataSet, pipelines: Iterable[CaptionPipeline], *more: bytes) -> str | None:
    """A name for what a data set asks for under these recipes and ``more``; None unless it is a prepared
    folder, of which alone it is known without asking."""
    rows = data.pictures
    if not isinstance(rows, Rows) or rows.manifest.prepared is None or not data.fingerprint:
        return None
    digest = hashlib.blake2b(data.fingerprint.encode(), digest_size=16)
    # A range says little in few bytes, also of millions.
    which = repr(rows.rows).encode() if isinstance(rows.rows, range) else np.asarray(rows.rows).tobytes()
    for part in (which, *(pipeline.model_dump_json().encode() for pipeline in pipelines), *more):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def is_complete(store: Store, question: str | None) -> bool:
    """Whether all that was asked for is known to be there. The store has just been refreshed."""
    if question is None:
        return False
    try:
        names = json.loads(_path(store, question).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(names, list) and set(map(str, names)) <= set(store.index.shard_names())


def note_complete(store: Store, question: str | None) -> None:
    """Write down that all that was asked for is there."""
    if question is None:
        return
    with contextlib.suppress(CacheError):  # Then the next start looks for all of it again.
        write_cached(_path(store, question), json.dumps(store.index.shard_names()).encode())


def _path(store: Store, question: str) -> Path:
    return store.folder / "complete" / f"{question}.json"
