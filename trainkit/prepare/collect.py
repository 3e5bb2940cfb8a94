"""The first pass: every picture measured, and everything written down as it comes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captionkit.readers import map_blocks
from captionkit.readers.source import Report, Source
from captionkit.writers.arrow_parts import ArrowParts
from captionkit.writers.parts import Parts, parts_beside
from trainkit.prepare.folder import OutFolder
from trainkit.prepare.measured import MEASURED, Journal, drop_damaged, keep
from trainkit.prepare.problems import Fault, Problem
from trainkit.prepare.scan import ROW, Scan, Scanned


@dataclass(frozen=True, slots=True)
class BlockRows:
    """What was found in one block."""

    measured: NDArray[np.void]
    """[R] of MEASURED."""
    rows: NDArray[np.void]
    """[R] of ROW."""
    containers: list[str]
    problems: list[Problem]


@dataclass(slots=True)
class Collected:
    """What the first pass leaves: rows and records in spools, and the few bytes a row that are compared with
    all others."""

    records: ArrowParts
    spool: Parts
    keys: bytearray
    """8 bytes a row: keys of ids."""
    digests: bytearray
    """16 bytes a row: digests of pictures."""
    hashes: bytearray
    """8 bytes a row: perceptual hashes."""
    num_rows: int = 0
    num_read: int = 0
    """Pictures that were read; the others were known."""

    def take(self, scanned: Scanned) -> None:
        """Write down what became of a block."""
        measured = np.frombuffer(scanned.measured, MEASURED)
        head = {
            "rows": len(measured),
            "containers": scanned.containers,
            "problems": [asdict(problem) for problem in scanned.problems],
        }
        if scanned.records:
            self.records.append(scanned.records)
        text = json.dumps(head).encode("ascii")
        self.spool.append(len(text).to_bytes(8) + text + scanned.measured + scanned.rows)
        self.keys += np.frombuffer(scanned.rows, ROW)["key"].tobytes()
        self.digests += measured["digest"].tobytes()
        self.hashes += measured["phash"].tobytes()
        self.num_rows += len(measured)
        self.num_read += scanned.num_read

    def blocks(self) -> Iterator[tuple[BlockRows, Any]]:
        """Every block again, with its records as an Arrow record batch; None where it has none."""
        batches = self.records.batches(marked=True, rows=1)  # So many at most: every chunk by itself.
        for chunk in self.spool:
            begin = 8 + int.from_bytes(chunk[:8])
            head = json.loads(chunk[8:begin])
            middle = begin + head["rows"] * MEASURED.itemsize
            block = BlockRows(
                np.frombuffer(chunk[begin:middle], MEASURED),
                np.frombuffer(chunk[middle:], ROW),
                head["containers"],
                [Problem(p["name"], Fault(p["problem"]), p["detail"]) for p in head["problems"]],
            )
            yield block, next(batches) if head["rows"] else None


@contextmanager
def spools(folder: OutFolder) -> Iterator[Collected]:
    """Empty spools in the folder, gone afterwards."""
    with parts_beside(folder.work / "records") as records, parts_beside(folder.work / "rows") as rows:
        yield Collected(ArrowParts(records), rows, bytearray(), bytearray(), bytearray())


def collect(
    found: Collected,
    source: Source,
    scan: Scan,
    folder: OutFolder,
    *,
    processes: int,
    report: Report,
    done: Callable[[int], None],
) -> None:
    """Go over the whole source; ``report`` hears what is wrong with its listing, ``done`` of every amount.

    What was measured is in the folder's journal from then on, whatever happens to this process.
    """
    journal = folder.work / "journal"
    drop_damaged(scan.known)
    keep(journal, scan.known, only_new=False)
    with journal.open("wb") as file:
        writer = Journal(file)
        for amount, scanned in map_blocks(scan, source, processes=processes, report=report):
            writer.append(scanned.measured)
            found.take(scanned)
            done(amount)


def remember(scan: Scan, folder: OutFolder) -> None:
    """Keep what was measured now for the next run, and nothing of pictures that are gone."""
    keep(folder.work / "journal", scan.known, only_new=True)
