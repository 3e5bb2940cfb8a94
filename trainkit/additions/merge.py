"""Bring the finished additions of a prepared folder into its manifest."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from captionkit import CaptionkitError
from captionkit.readers.parallel import usable_cores
from trainkit.additions.addition import PERSON
from trainkit.additions.places import additions_in, check_prepared, file_of
from trainkit.additions.sources import check_free
from trainkit.errors import TrainkitError
from trainkit.prepare.folder import OutFolder, file_digest, out_folder, write_flushed
from trainkit.prepare.merged import MergedRows, merge_rows
from trainkit.prepare.parts import PartWriter
from trainkit.prepare.settings import rows_per_part
from trainkit.prepared import SUMMARY, Added, Prepared, read_prepared, some
from trainkit.progress import progress

_SHOWN = 5
"""So many damaged lines are named."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What `merge_additions` did."""

    manifest: Path
    rows: int
    changed: bool
    """Whether the manifest was written anew; not when all of it was in there already."""
    fingerprint: str
    additions: Mapping[str, Added]
    """What became of each, by its name."""
    damaged: tuple[str, ...] = ()
    """The places of lines that cannot be read."""

    def describe(self) -> str:
        """A line for each addition, and what should be looked at."""
        does = "written anew" if self.changed else "had all of it already"
        lines = [f"{self.manifest}: {some(self.rows, 'picture')}, {does}"]
        lines += [f"  {name}: {added.described()}" for name, added in self.additions.items()]
        lines += [f"  {place}" for place in self.damaged[:_SHOWN]]
        return "\n".join(lines)


def merge_additions(
    manifest: Path, *, processes: int | None = None, show: bool = False, again: bool = False
) -> Merged:
    """Bring all finished additions of a folder into its manifest, at once: whoever looks, and whenever this
    is killed, finds the old one or the new one.

    Each addition owns the tags and captions whose source is its name: those of before leave, also when its
    file is gone. What other sources said is never touched, and no tag is added twice. Only a person's
    corrections (`PERSON`) take out tags of the data; to have these back, prepare again. ``processes`` is how
    many work, None for one a core; ``again`` writes also what is in there already; ``show`` draws a bar.

    While another process writes the folder, such as a second tagger that has just ended, this waits for it.

    Raises TrainkitError for a folder that `prepare` did not write, for a name that the data themselves use
    as a source, and when the disk is full; the manifest is as it was then.
    """

    def waiting() -> None:
        print(f"waiting for another process that writes {manifest}", file=sys.stderr, flush=True)

    check_prepared(manifest)
    with out_folder(manifest, waiting=waiting) as folder:
        before = read_prepared(manifest)
        digests = {name: file_digest(file_of(manifest, name)) for name in additions_in(manifest)}
        there = {name: added.digest for name, added in before.additions.items()}
        if digests == there and not (again and there):
            return Merged(manifest, before.rows, False, before.fingerprint, before.additions)
        for name in digests.keys() - {PERSON}:
            check_free(manifest, name)
        try:
            merged = _merge(folder, before, processes or usable_cores(), show)
        except (OSError, CaptionkitError) as error:
            raise TrainkitError(
                f"{manifest} could not be written: {error}; it is as it was, and what was made is kept in "
                f"{manifest / 'additions'}: the same command goes on"
            ) from error
    return Merged(manifest, before.rows, True, merged.fingerprint, merged.additions, merged.damaged)


def _merge(folder: OutFolder, before: Prepared, processes: int, show: bool) -> MergedRows:
    writer = PartWriter(folder.new, rows_per_part(before.settings), by_content=True)
    with progress("adding", "rows", before.rows, show=show) as done:
        merged = merge_rows(
            folder.path,
            folder.path,
            frozenset(before.additions),
            folder.work,
            writer,
            processes=processes,
            done=done,
        )
    told = json.loads((folder.path / SUMMARY).read_text(encoding="utf-8")) | merged.told()
    write_flushed(folder.new / SUMMARY, json.dumps(told, indent=2) + "\n")
    folder.finish()
    return merged
