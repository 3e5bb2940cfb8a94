"""A person's word, kept in a prepared folder as the addition `PERSON`: it holds for every tagger."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterable, Iterator
from pathlib import Path

from captionkit import Tag
from trainkit.additions.addition import PERSON, Addition
from trainkit.additions.finished import read_additions, write_additions
from trainkit.additions.places import FOLDER, additions_in
from trainkit.tagging.corrections import Correction, Corrections


def kept_corrections(manifest: Path) -> Iterator[Correction]:
    """What a person said of a folder's pictures before."""
    if manifest.is_dir() and PERSON in additions_in(manifest):
        for old in read_additions(manifest, PERSON):
            yield from (Correction(old.id, tag.name, True) for tag in old.tags)
            yield from (Correction(old.id, name, False) for name in old.denied)


def keep_corrections(manifest: Path, more: Iterable[Correction]) -> None:
    """Keep what is new; it outweighs what is there, of which all else stays: other taggers, which began later
    and finished sooner, may have kept some meanwhile.

    Raises TrainkitError when it cannot be written.
    """
    more = tuple(more)
    if not more:
        return
    with _alone(manifest):
        there = tuple(kept_corrections(manifest))
        all_of_it = Corrections([*there, *more])
        if set(all_of_it) != set(there):
            write_additions(manifest, PERSON, {}, _additions(all_of_it))


def _additions(corrections: Corrections) -> Iterator[Addition]:
    for id in dict.fromkeys(correction.id for correction in corrections):
        said = corrections.of(id)
        yield Addition(
            id,
            "",
            tuple(Tag(one.tag, source=PERSON) for one in said if one.right),
            denied=tuple(one.tag for one in said if not one.right),
        )


@contextlib.contextmanager
def _alone(manifest: Path) -> Iterator[None]:
    """While nobody else keeps some: one would write over what the other did."""
    folder = manifest / FOLDER
    folder.mkdir(exist_ok=True)
    with (folder / f".{PERSON}.lock").open("w") as lock:
        with contextlib.suppress(OSError):  # Some disks know no locks.
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
