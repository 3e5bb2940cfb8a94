"""How additions come into a record: who may add what, and what is never touched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import replace

from captionkit import Prose, Record, Tag
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
    denies it. ``count`` is told (name, "tags" | "captions" | "known" | "denied").
    """
    denied = {fold(tag): name for name, addition in additions for tag in addition.denied if name == PERSON}
    tags: list[Tag] = []
    for tag in record.tags:
        if tag.source in owned:
            continue
        if denied and fold(tag.name) in denied:
            count[PERSON, "denied"] += 1
        else:
            tags.append(tag)
    prose = [piece for piece in record.prose if piece.source not in owned]
    there = {fold(tag.name) for tag in tags}
    for name, addition in additions:
        for tag in addition.tags:
            spelling = fold(tag.name)
            if spelling in there:
                count[name, "known"] += 1
            elif spelling in denied:
                count[name, "denied"] += 1
            else:
                count[name, "tags"] += 1
                there.add(spelling)
                tags.append(replace(tag, source=name))
        for piece in addition.prose:
            own = Prose(piece.text.strip(), name)
            if own.text and own not in prose:
                count[name, "captions"] += 1
                prose.append(own)
    return replace(record, tags=tuple(tags), prose=tuple(prose))
