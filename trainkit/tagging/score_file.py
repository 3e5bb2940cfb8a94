"""A file of scores: those of a picture that are high enough, found by the picture's key.

The header says which tagger's scores these are, and from which score on each label's are kept. Entries
follow: a picture's key, and labels with their scores. Each carries a checksum; what a killed process left
behind the last whole one is none.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

_MAGIC = b"trainkit scores 1\n"
_CHECK = struct.Struct("<I")
_HEAD = struct.Struct("<QI")
"""Of an entry: the picture's key, and how many scores."""
_HEAD_BYTES = _HEAD.size + _CHECK.size
_SCORE = np.dtype([("label", "<u4"), ("score", "<f4")])
_GUESS = 2048
"""Bytes that are read of an entry at first: more than most have."""


@dataclass(frozen=True, slots=True)
class ScoreFile:
    """Where everything stands in a file."""

    path: Path
    floors: NDArray[np.float32]
    """[L]: from which score on each label's are kept."""
    keys: NDArray[np.uint64]
    """[E]: the picture of each entry."""
    offsets: NDArray[np.uint64]
    """[E], rising: where each entry begins."""
    end: int
    """Of the last whole entry."""
    damaged: bool
    """Whether more stands behind it than a killed process leaves."""


def header(mark: str, floors: NDArray[np.float32]) -> bytes:
    """The beginning of a file; ``mark`` names the tagger."""
    told = _begin(mark, len(floors)) + floors.astype("<f4").tobytes()
    return told + _CHECK.pack(crc32(told))


def entry(key: int, scores: NDArray[np.float32], floors: NDArray[np.float32]) -> bytes:
    """What is kept of one picture's scores, [L]."""
    labels = np.flatnonzero(scores >= floors)
    some = np.empty(len(labels), _SCORE)
    some["label"], some["score"] = labels, scores[labels]
    head, body = _HEAD.pack(key, len(some)), some.tobytes()
    return head + _CHECK.pack(crc32(body, crc32(head))) + body


def read_score_file(path: Path, mark: str, num_labels: int) -> ScoreFile:
    """Find the entries of a file; seconds for millions.

    Raises ValueError, which says what is wrong, for a file that is damaged at its beginning or of another
    tagger, OSError when it cannot be read.
    """
    with path.open("rb", buffering=1 << 20) as file:
        floors = _floors(file, mark, num_labels)
        start = file.tell()
        keys, lengths, damaged = _scan(file, num_labels)
    ends = start + np.cumsum(lengths, dtype=np.uint64)
    end = int(ends[-1]) if len(ends) else start
    return ScoreFile(path, floors, keys, ends - lengths, end, damaged)


def scores_at(file: int, offset: int, key: int, num_labels: int) -> NDArray[np.float32] | None:
    """The scores, [L], of the entry at a place of an open file, 0 where none is kept; None when it is not
    there any more."""
    read = os.pread(file, _GUESS, offset)
    if len(read) < _HEAD_BYTES:
        return None
    found, count = _HEAD.unpack_from(read)
    whole = _HEAD_BYTES + count * _SCORE.itemsize
    if found != key or count > num_labels:
        return None
    if whole > len(read):
        read = os.pread(file, whole, offset)
    body = read[_HEAD_BYTES:whole]
    if len(read) < whole or not _is_whole(read[:_HEAD_BYTES], body):
        return None
    some = np.frombuffer(body, _SCORE)
    if not (some["label"] < num_labels).all() or not np.isfinite(some["score"]).all():
        return None
    scores = np.zeros(num_labels, np.float32)
    scores[some["label"]] = some["score"]
    return scores


def _begin(mark: str, num_labels: int) -> bytes:
    return _MAGIC + mark.encode("ascii") + b"\n" + _CHECK.pack(num_labels)


def _floors(file: BinaryIO, mark: str, num_labels: int) -> NDArray[np.float32]:
    begin = _begin(mark, num_labels)
    found = file.read(len(begin))
    told = found + file.read(4 * num_labels)
    check = file.read(_CHECK.size)
    if not found.startswith(_MAGIC) or len(found) < len(begin):
        raise ValueError("is no file of scores, or is damaged")
    if found != begin:
        raise ValueError("holds the scores of another tagger, or of this one before it was changed")
    if check != _CHECK.pack(crc32(told)):
        raise ValueError("is damaged")
    return np.frombuffer(told, "<f4", offset=len(begin)).astype(np.float32)


def _scan(file: BinaryIO, num_labels: int) -> tuple[NDArray[np.uint64], NDArray[np.uint32], bool]:
    """Keys and lengths of the entries that follow, and whether something else comes then."""
    keys, lengths = array("Q"), array("I")
    damaged = False
    for key, length in _entries(file, num_labels):
        if not length:
            damaged = True
            break
        keys.append(key)
        lengths.append(length)
    return np.frombuffer(keys, np.uint64), np.frombuffer(lengths, np.uint32), damaged


def _entries(file: BinaryIO, num_labels: int) -> Iterator[tuple[int, int]]:
    """Key and length of each entry; a length of 0 for what is none."""
    while len(head := file.read(_HEAD_BYTES)) == _HEAD_BYTES:
        key, count = _HEAD.unpack_from(head)
        if count > num_labels:
            yield key, 0
            return
        body = file.read(count * _SCORE.itemsize)
        if len(body) < count * _SCORE.itemsize:
            return
        yield key, _HEAD_BYTES + len(body) if _is_whole(head, body) else 0


def _is_whole(head: bytes, body: bytes) -> bool:
    return bool(_CHECK.pack(crc32(body, crc32(head[: _HEAD.size]))) == head[_HEAD.size :])
