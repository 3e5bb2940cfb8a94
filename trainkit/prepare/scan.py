"""One block of the data, in whichever process: its records, and what was measured of their pictures."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from captionkit import CaptionkitError, Record
from captionkit.readers.source import Block, Report
from captionkit.writers.arrow_parts import encode_arrow
from captionkit.writers.fields import TAKEN, has_content
from captionkit.writers.target import Losses
from trainkit.keys import key_of
from trainkit.mask_names import is_mask, names_of_masked
from trainkit.prepare.fingerprint import content_of
from trainkit.prepare.look import look_at
from trainkit.prepare.measured import (
    ANIMATED,
    DECODED,
    HASHED,
    Known,
    Measured,
    format_number,
)
from trainkit.prepare.places import Places, Spot, inside_of
from trainkit.prepare.problems import Fault, Problem, UnusableError
from trainkit.prepare.settings import PrepareConfig
from trainkit.store.store import digest_of

COLUMNS = frozenset(
    {"container", "offset", "length", "digest", "mtime_ns", "width", "height", "key", "phash", "flags"}
)
"""Columns of a prepared manifest that say something about the picture's file; a fact of such a name stands in
the column info."""

ROW = np.dtype([("key", "<u8"), ("container", "<i4"), ("content", "V16")])
"""Of a row besides what was measured: the id's key, the tar's place in the block's list or -1, and a digest
of the id and the record."""


@dataclass(slots=True)
class Scanned:
    """What became of one block."""

    records: bytes = b""
    """The usable records as `encode_arrow` gives them; empty where there is none."""
    measured: bytes = b""
    """As many elements of MEASURED."""
    rows: bytes = b""
    """As many elements of ROW."""
    containers: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    num_read: int = 0
    """How many pictures were read; the others were known."""


@dataclass(frozen=True)
class Scan:
    """What a process does with every block. It can be pickled."""

    root: Path
    config: PrepareConfig
    known: Path
    """The file of earlier measurements; it need not be there."""

    def __call__(self, block: Block, report: Report) -> Scanned:
        """Nothing is reported: what cannot be used stands among the problems, in order."""
        del report
        scanned = Scanned()
        records: list[Record] = []
        measured: list[bytes] = []
        rows = np.empty(block_limit := 256, ROW)

        def told(error: CaptionkitError) -> None:
            # A mask lies among the pictures and looks like one without captions.
            if error.where is None or not is_mask(Path(error.where)):
                scanned.problems.append(problem_of(error, self.root))

        config = self.config
        places, known = self._at_hand
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Decoders warn of odd metadata; sizes are judged in `look_at`.
            for record in block.records(told):
                if config.untagged and not has_content(record) and _is_mask(record, places):
                    continue
                try:
                    spot = places.find(record.image)
                    found, fresh = self._measured(spot, known)
                except UnusableError as error:
                    name = record.image or record.id
                    scanned.problems.append(Problem(name, error.fault, error.detail))
                    scanned.num_read += error.fault in (Fault.BROKEN, Fault.TRUNCATED, Fault.BOMB)
                    continue
                scanned.num_read += fresh
                if len(records) == block_limit:
                    rows = np.concatenate([rows, np.empty(block_limit, ROW)])
                    block_limit *= 2
                record = replace(record, image=spot.image)
                rows[len(records)] = (
                    key_of(record.id),
                    _place_of(spot.container, scanned.containers),
                    content_of(record),
                )
                records.append(record)
                measured.append(found.packed())
        if records:
            scanned.records = encode_arrow(records, Losses(), TAKEN | COLUMNS, keep_empty=config.untagged)
            scanned.measured, scanned.rows = b"".join(measured), rows[: len(records)].tobytes()
        return scanned

    @cached_property
    def _at_hand(self) -> tuple[Places, Known]:
        """What a process keeps from block to block."""
        return Places(self.root), Known(self.known)

    def _measured(self, spot: Spot, known: Known) -> tuple[Measured, bool]:
        """What there is to know, and whether the picture was read for it."""
        config, key = self.config, key_of(spot.image)
        before = known.get(key)
        wanted = HASHED * config.near | DECODED * config.decode
        if (
            before is not None
            and (before.mtime_ns, before.offset, before.length) == (spot.mtime_ns, spot.offset, spot.length)
            and before.marks & wanted == wanted
            and before.width * before.height <= config.max_pixels
        ):
            return before, False
        data = spot.read()
        look = look_at(data, max_pixels=config.max_pixels, decode=config.decode)
        phash = _hash(data) if config.near else 0
        return Measured(
            image=key,
            mtime_ns=spot.mtime_ns,
            offset=spot.offset,
            length=spot.length,
            digest=digest_of(data),
            width=look.width,
            height=look.height,
            phash=phash,
            format=format_number(look.format),
            marks=ANIMATED * look.animated | wanted,
        ), True


def _is_mask(record: Record, places: Places) -> bool:
    """Whether a record is no picture but the mask of one, on the disk or in a tar."""
    for name in names_of_masked(record.image or ""):
        with suppress(UnusableError):
            places.find(name)
            return True
    return False


def _hash(data: bytes) -> int:
    from trainkit.prepare.phash import perceptual_hash

    try:
        return perceptual_hash(data)
    except Exception as error:  # As in `look_at`: the pixels are decoded here, if nowhere else.
        truncated = isinstance(error, OSError) and "truncated" in str(error)
        fault = Fault.TRUNCATED if truncated else Fault.BROKEN
        raise UnusableError(fault, f"cannot be decoded ({error or type(error).__name__})") from None


def _place_of(container: str | None, containers: list[str]) -> int:
    if container is None:
        return -1
    if container not in containers[-1:]:  # Records of one tar mostly stand together.
        if container in containers:
            return containers.index(container)
        containers.append(container)
    return len(containers) - 1


def problem_of(error: CaptionkitError, root: Path) -> Problem:
    """What a reader says, as a problem; its name is relative to the root where it lies below it."""
    where = error.where or str(root)
    try:
        name = inside_of(os.path.abspath(root), where)
    except UnusableError:
        name = where
    empty = error.what.startswith(("has neither tags nor captions", "has no tags"))
    detail = error.what if error.hint is None else f"{error.what} ({error.hint})"
    return Problem(name, Fault.EMPTY if empty else Fault.RECORD, detail)
