"""The gallery of a page: as many records as fit into so many bytes, an even sample where not all do."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from captionkit.errors import DataError
from captionkit.page.cards import Cards, with_picture
from captionkit.pictures import PictureFolders, thumbnail
from captionkit.record import Record

SIDES_PX = (192, 128, 96, 72)
"""The longer side of the pictures: the largest with which all records fit, else the smallest."""
PROBED = 24
"""So many records tell how large cards become."""


@dataclass(frozen=True, slots=True)
class Gallery:
    """The cards of a page."""

    cards: tuple[dict[str, Any], ...]
    num_records: int
    """Of how many records they are an even sample; all of them where the numbers are equal."""
    broken: tuple[str, ...]
    """What is wrong with each picture that could not be shown, with its name."""
    side_px: int
    bytes_each: float
    """About what a record takes with its picture as small as it may be."""


def gallery(
    cards: Cards,
    records: Sequence[Record],
    num_records: int,
    pictures: PictureFolders,
    max_bytes: int,
    done: Callable[[int], None],
) -> Gallery:
    """The cards of an even sample of `records` that takes at most `max_bytes` as JSON.

    `records` are themselves an even sample of `num_records`. `done` takes note of cards that are made.
    """
    broken: dict[str, str] = {}
    side, count, each = _fitting(cards, records, pictures, max_bytes)
    made: dict[int, dict[str, Any]] = {}
    sizes: dict[int, int] = {}
    while True:
        # Fewer of them are chosen anew out of all, so that the gaps stay alike.
        places = evenly(range(len(records)), count)
        for at in places:
            if at not in made:
                made[at] = _card(cards, records[at], pictures, side, broken)
                sizes[at] = card_bytes(made[at])
                done(1)
        size = sum(sizes[at] for at in places)
        if size <= max_bytes:
            break
        count = min(count - 1, int(count * max_bytes / size))
    kept = tuple(made[at] for at in places)
    return Gallery(kept, num_records, tuple(broken.values()), side, each)


def evenly(items: Sequence[Any], count: int) -> list[Any]:
    """`count` of the items, spread evenly over all of them, in their order; all where there are no more."""
    if count >= len(items):
        return list(items)
    return [items[at * len(items) // count] for at in range(count)]


def _fitting(
    cards: Cards, records: Sequence[Record], pictures: PictureFolders, max_bytes: int
) -> tuple[int, int, float]:
    """The side of the pictures, about how many records then fit, and the bytes of one."""
    probes = evenly(records, PROBED)
    each = 0.0
    for side in SIDES_PX:
        sizes = [card_bytes(_card(cards, record, pictures, side, {})) for record in probes]
        each = sum(sizes) / max(1, len(sizes))
        if each * len(records) * 1.05 <= max_bytes:
            return side, len(records), each
    return SIDES_PX[-1], min(len(records), int(max_bytes / each)), each


def _card(
    cards: Cards, record: Record, pictures: PictureFolders, side: int, broken: dict[str, str]
) -> dict[str, Any]:
    card = cards.card(record)
    if record.image is None:
        return card
    try:
        return with_picture(card, thumbnail(pictures.find(record.image), side))
    except DataError as error:
        broken[record.id] = str(DataError(error.what, where=record.image, hint=error.hint))
        return card | {"e": error.what}


def card_bytes(card: dict[str, Any]) -> int:
    """How many bytes a card takes on the page."""
    return (
        len(json.dumps(card, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")) + 1
    )
