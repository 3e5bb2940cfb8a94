"""How additions come into a record: who may add what, and what is never touched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import replace

from captionkit import Prose, Record
from captionkit.record import fold
from trainkit.additions.addition import PERSON, Addition


def with_additions(
    record: Record,
    owned: Set[str],
    additions: Sequence[tuple[str, Addition]],
    count: Counter[tuple[str, str]],
) -> Record:
    """A record with what additions say of it, each with its name; a person's is the first of them.

    All tags and captions whose source is in ``owned`` are dropped: additions of these names made them. Others
    stay as they are and where they are, but for tags that a person denies. Then each addition's own are
    added at the end: a tag only when none of its spelling (`captionkit.record.fold`) is there and nobody
    denies it. ``count`` is told (name, "tags" | "captions" | "known" | "denied"): how many are in the record
    now, how many of others were there already, and how many a person denies.
    """
    denied = {fold(tag) for name, addition in additions for tag in addition.denied if name == PERSON}
    tags = [t for t in record.tags if t.source not in owned and not (denied and fold(t.name) in denied)]
    prose = [piece for piece in record.prose if piece.source not in owned]
    there = {fold(tag.name) for tag in tags} if additions else set()
    own_before = {tag for tag in tags if tag.source == PERSON}
    for name, addition in additions:
        count[name, "denied"] += len(addition.denied) if name == PERSON else 0
        for said in addition.tags:
            tag = said if said.source == name else replace(said, source=name)
            spelling = fold(tag.name)
            if tag in own_before:  # Nobody drops what a person added before.
                own_before.remove(tag)
                count[name, "tags"] += 1
            elif spelling in there:
                count[name, "known"] += 1
            elif spelling in denied:
                count[name, "denied"] += 1
            else:
                count[name, "tags"] += 1
                there.add(spelling)
                tags.append(tag)
        for piece in addition.prose:
            own = Prose(piece.text.strip(), name)
            if own.text and own not in prose:
                count[name, "captions"] += 1
                prose.append(own)
    return replace(record, tags=tuple(tags), prose=tuple(prose))
