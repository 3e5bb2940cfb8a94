"""From data of any kind to a prepared manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from captionkit import CaptionkitError
from captionkit.readers import open_source
from captionkit.readers.folder import FolderSource
from captionkit.readers.open import Format
from captionkit.readers.parallel import usable_cores
from captionkit.readers.source import Source
from trainkit.additions.places import additions_in
from trainkit.errors import TrainkitError
from trainkit.place import is_url
from trainkit.prepare.assemble import Assembly, Sums
from trainkit.prepare.collect import collect, remember, spools
from trainkit.prepare.folder import WORK, OutFolder, out_folder, write_flushed
from trainkit.prepare.merged import merge_rows
from trainkit.prepare.parts import Part, PartWriter
from trainkit.prepare.problem_file import problem_file
from trainkit.prepare.problems import Fault
from trainkit.prepare.scan import Scan, problem_of
from trainkit.prepare.settings import PrepareConfig
from trainkit.prepared import SUMMARY, Added
from trainkit.progress import progress

_PER_BLOCK, _HEADERS_PER_BLOCK = 100, 500
"""Pictures of a folder that one process takes at a time, with pixels decoded and without: half a second's
work. Of fewer than two blocks for each, none is started: one takes half a second to begin."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a run of `prepare` wrote."""

    folder: Path
    root: Path
    rows: int
    left_out: int
    """Records and pictures that are no rows."""
    found: dict[str, int]
    """How many of each problem, those that forbid use and those that do not."""
    num_read: int
    """Pictures that were read; the others were known from an earlier run."""
    parts: tuple[Part, ...]
    fingerprint: str
    additions: Mapping[str, Added]
    """What became of the additions that the folder holds, by name."""


def prepare(
    data: Path | str,
    out: Path,
    settings: PrepareConfig | None = None,
    *,
    format: Format | None = None,
    processes: int | None = None,
    show: bool = False,
) -> Prepared:
    """Write the prepared manifest of ``data`` into the folder ``out``.

    ``processes`` is how many read pictures, None for one a core; what is written does not depend on it. A run
    that was killed goes on, one that is repeated reads only pictures that changed. ``show`` tells of
    progress.

    Additions that the folder holds (`trainkit.additions`) come into it again.

    Raises TrainkitError when the folder holds other things or nothing can be used, CaptionkitError when there
    are no data, OSError when the disk is full.
    """
    settings = settings or PrepareConfig()
    source = _source(data, out, format, settings)
    root = settings.root if settings.root is not None else source.root
    if not root.is_dir():
        raise TrainkitError(f"no such folder: {root}; --root is where paths of pictures begin")
    scan = Scan(Path(os.path.abspath(root)), settings, out / WORK / "measured")
    with out_folder(out) as folder, spools(folder) as found:
        additions = bool(additions_in(out))
        rows_in = folder.base if additions else folder.new
        rows_in.mkdir(exist_ok=True)
        total = _total(source) if show else None
        with problem_file(folder.new, quarantine=settings.quarantine) as tell:
            sums = Sums()

            def listed(error: CaptionkitError) -> None:
                """What is wrong with the listing is said first, however far it is ahead of the reading."""
                sums.problem(problem := problem_of(error, scan.root))
                tell(problem)

            with progress("reading", source.unit, total, show=show) as done:
                cores = processes or usable_cores()
                collect(found, source, scan, folder, processes=cores, report=listed, done=done)
            writer = PartWriter(rows_in, settings.rows_per_part)
            assembly = Assembly(found, settings, writer, sums, tell)
            with progress("writing", "rows", found.num_rows, show=show) as done:
                assembly.run(done)
        if not sums.rows:
            raise TrainkitError(_nothing_usable(sums))
        prepared = Prepared(
            folder.path,
            scan.root,
            sums.rows,
            sums.left_out,
            dict(sums.problems),
            found.num_read,
            tuple(writer.parts),
            assembly.fingerprint,
            {},
        )
        # Imported here: the processes that read pictures import this file and never draw a page.
        from trainkit.prepare.report import report_page

        page = report_page(str(data), scan.root, settings, sums, assembly.fingerprint)
        write_flushed(folder.new / "report.html", page)
        if additions:
            with progress("adding", "rows", sums.rows, show=show) as done:
                prepared = _with_additions(prepared, settings, folder, cores, done)
        write_flushed(folder.new / SUMMARY, _manifest(prepared, settings))
        folder.finish()
        remember(scan, folder)
    return prepared


def _with_additions(
    prepared: Prepared,
    settings: PrepareConfig,
    folder: OutFolder,
    processes: int,
    done: Callable[[int], None],
) -> Prepared:
    """What was written into ``folder.base``, written again with the additions. As `merge_additions` would of
    that folder, so that both give the same bytes."""
    write_flushed(folder.base / SUMMARY, _manifest(prepared, settings))
    writer = PartWriter(folder.new, settings.rows_per_part, by_content=True)
    merged = merge_rows(
        folder.base, folder.path, frozenset(), folder.work, writer, processes=processes, done=done
    )
    return replace(prepared, parts=merged.parts, fingerprint=merged.fingerprint, additions=merged.additions)


def _manifest(prepared: Prepared, settings: PrepareConfig) -> str:
    """What stands in manifest.json."""
    additions = {name: added.model_dump() for name, added in prepared.additions.items()}
    told = {
        "format": 1,
        "root": settings.stored_at
        or Path(os.path.relpath(prepared.root, prepared.folder.resolve())).as_posix(),
        "rows": prepared.rows,
        "parts": prepared.parts,
        "fingerprint": prepared.fingerprint,
        "ids_distinct": True,
        "captionkit": version("captionkit"),
        "settings": {**settings.model_dump(mode="json"), "leave_out": sorted(settings.leave_out)},
        "found": dict(sorted(prepared.found.items())),
    }
    return json.dumps(told | ({"additions": additions} if additions else {}), indent=2) + "\n"


def _nothing_usable(sums: Sums) -> str:
    told = ", ".join(f"{name} {count:,}" for name, count in sums.problems.most_common())
    first = next((problem for shown in sums.examples.values() for problem in shown), None)
    such = "" if first is None else f", such as {first.name}: {first.detail}"
    untold = Fault.EMPTY.value in sums.problems
    hint = "; --untagged takes pictures of which nothing is known" if untold else ""
    return f"no picture can be used ({told}){such}{hint}"


def _source(data: Path | str, out: Path, format: Format | None, settings: PrepareConfig) -> Source:
    if is_url(str(data)):
        raise TrainkitError(
            f"{data} is a URL, and every byte is read here: give a local copy or a mount of it, and say "
            f"where training will read with --stored-at {data}"
        )
    source = open_source(data, format=format, untagged=settings.untagged)
    if not isinstance(source, FolderSource):
        return source
    inside, above = out.resolve(), source.folder.resolve()
    below = source.folder / inside.relative_to(above) if inside.is_relative_to(above) else None
    per_block = _PER_BLOCK if settings.decode or settings.near else _HEADERS_PER_BLOCK
    return replace(source, per_block=per_block, except_in=below)


def _total(source: Source) -> int | None:
    """How much there is; pictures in folders are counted, as only then the time left is known."""
    total = source.total()
    if total is None and source.unit == "pictures":
        with progress("counting", source.unit, None) as counted:
            total = 0
            for block in source.blocks(_unheard):
                total += block.amount
                counted(block.amount)
    return total


def _unheard(error: CaptionkitError) -> None:
    """It is said again when the pictures are read."""
