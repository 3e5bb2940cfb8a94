"""Keep separators in lists of tags, brought into one form."""

from __future__ import annotations

from dataclasses import replace

from captionkit.record import Tag

SEPARATOR = "|||"
"""What divides fixed tags from loose ones in the files of other trainers; `keep_fixed` reads it."""


def part_at_separators(tags: tuple[Tag, ...]) -> tuple[Tag, ...]:
    """The tags with each separator as a tag of its own, though it was written as `solo ||| red fox`.

    A name can stand once in a caption, so the second separator is named `||| |||`.
    """
    if SEPARATOR not in "\n".join([tag.name for tag in tags]):
        return tags
    parted: list[Tag] = []
    count = 0
    for tag in tags:
        for number, piece in enumerate(tag.name.split(SEPARATOR)):
            if number > 0:
                count += 1
                parted.append(Tag(SEPARATOR if count == 1 else f"{SEPARATOR} {SEPARATOR}"))
            if piece.strip():
                parted.append(tag if piece == tag.name else replace(tag, name=piece))
    return tuple(parted)
