"""What `captionkit preview` and `captionkit explain` say, as text for a screen and as values for JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any

from captionkit.errors import CaptionkitError
from captionkit.marked import Marked
from captionkit.marked_text import draw_text
from captionkit.record import Caption, Prose, Record, Rendered, Step
from captionkit.screen import Mark, Piece, Screen, columns_of, printable

NARROW = 72
"""Under this width a label stands on a line of its own, above its text."""


def _one_line(text: str) -> str:
    """The text without line ends, with which a file's name could forge lines of ours."""
    return printable(text).replace("\n", "\\n")


MAX_NAMED = 10
"""So many skipped records are named; of the others only the number is told."""


class Skipped:
    """The records that could not be read: how many, and the messages of the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self.messages: list[str] = []

    def add(self, error: CaptionkitError) -> None:
        """Take note of one; this is the readers' `on_error`."""
        self.count += 1
        if self.count <= MAX_NAMED:
            self.messages.append(str(error))

    def lines(self) -> list[str]:
        """What there is to say about them; nothing when there are none."""
        if not self.count:
            return []
        unnamed = self.count - len(self.messages)
        return [
            *(f"skipped: {_one_line(message)}" for message in self.messages),
            *([f"skipped: {unnamed} more"] if unnamed else []),
            f"records skipped: {self.count}",
        ]

    def json(self) -> dict[str, Any]:
        """The same as values."""
        return {"count": self.count, "messages": self.messages}


def preview_json(record: Record, draws: Sequence[Rendered]) -> dict[str, Any]:
    """One record and its texts, draw by draw."""
    return {
        "id": record.id,
        "image": record.image,
        "may_flip": any(draw.may_flip for draw in draws),
        "draws": [
            {"draw": number, "text": draw.text, "source": str(draw.source), "flip": draw.flip}
            for number, draw in enumerate(draws)
        ],
    }


def preview_text(record: Record, draws: Sequence[Rendered], screen: Screen) -> str:
    """One record and its texts, draw by draw."""
    head = [Piece(record.id, Mark.HEAD), Piece(_counts(record), Mark.QUIET)]
    if any(draw.may_flip for draw in draws):
        head.append(Piece("· may be mirrored", Mark.QUIET))
    lines = [screen.paragraph(head, rest="  ")]
    labels = list(map(_label, draws))
    width = max(map(len, labels), default=0)
    for number, (draw, label) in enumerate(zip(draws, labels, strict=True)):
        text = Piece(draw.text) if draw.text else Piece("(empty)", Mark.QUIET)
        lines += _labelled(f"{number:>3}", label, width, [text], screen)
    return "\n".join(lines)


def preview_marked(
    record: Record, draws: Sequence[Marked], mirror: str, spell: Callable[[str], str], screen: Screen
) -> str:
    """One record and its draws with what became of every tag and word; `mirror` is what the flip rule says,
    `spell` how a tag is written."""
    head = [Piece(record.id, Mark.HEAD), Piece(f"{_counts(record)} · {mirror}", Mark.QUIET)]
    lines = [screen.paragraph(head, rest="  ")]
    for number, draw in enumerate(draws):
        lines.append(screen.paragraph([Piece(_label(draw.rendered), Mark.QUIET)], first=f"{number:>3}  "))
        lines += draw_text(draw, spell, screen, " " * 5)
    return "\n".join(lines)


def _label(draw: Rendered) -> str:
    return f"{draw.source}, mirrored" if draw.flip else str(draw.source)


def explain_json(record: Record, rendered: Rendered, *, seed: int, epoch: int, draw: int) -> dict[str, Any]:
    """One draw of one record: every step with the caption before and after it, and the reason."""
    return {
        "id": record.id,
        "image": record.image,
        "seed": seed,
        "epoch": epoch,
        "draw": draw,
        "text": rendered.text,
        "source": str(rendered.source),
        "may_flip": rendered.may_flip,
        "flip": rendered.flip,
        "steps": [
            {
                "address": step.address,
                "kind": step.kind,
                "reason": step.reason,
                "before": _caption_json(step.before),
                "after": _caption_json(step.after),
            }
            for step in rendered.trace
        ],
    }


def explain_text(
    record: Record, rendered: Rendered, screen: Screen, *, seed: int, epoch: int, draw: int
) -> str:
    """One draw of one record: what is known, every step with what it changed and why, and the text."""
    head = [Piece(record.id, Mark.HEAD), Piece(f"· seed {seed} · epoch {epoch} · draw {draw}", Mark.QUIET)]
    lines = [screen.paragraph(head, rest="  "), "", *_known(record, screen), ""]
    titles = [_title(step) for step in rendered.trace]
    width = max(map(columns_of, titles), default=0)
    for number, (step, title) in enumerate(zip(rendered.trace, titles, strict=True), start=1):
        mark = Mark.QUIET if step.reason == "no change" else Mark.PLAIN
        lines += _labelled(f"{number:>3}", title, width, [Piece(step.reason, mark)], screen)
        lines += [screen.paragraph(pieces, first=" " * 5) for pieces in _changes(step)]
    text = Piece(rendered.text, Mark.HEAD) if rendered.text else Piece("(empty)", Mark.QUIET)
    lines += ["", screen.paragraph([text], first="  => ")]
    return "\n".join(lines)


def _counts(record: Record) -> str:
    def count(number: int, word: str) -> str:
        return f"{number} {word}" if number == 1 else f"{number} {word}s"

    return f"· {count(len(record.tags), 'tag')}, {count(len(record.prose), 'caption')}"


def _labelled(number: str, label: str, width: int, text: list[Piece], screen: Screen) -> list[str]:
    """A numbered, labelled paragraph: beside its label on a wide screen, below it on a narrow one."""
    label = printable(label)
    if screen.width < NARROW:
        return [
            screen.paragraph([Piece(label, Mark.HEAD)], first=f"{number}  "),
            screen.paragraph(text, first=" " * 5),
        ]
    padded = label + " " * (width - columns_of(label))
    return [screen.paragraph(text, first=f"{number}  {padded}  ")]


def _known(record: Record, screen: Screen) -> list[str]:
    """The record's tags by category and its captions by source, a paragraph each."""
    by_category: dict[str, list[str]] = {}
    for tag in record.tags:
        by_category.setdefault(tag.category or "tags", []).append(tag.name)
    parts = [(category, ", ".join(names)) for category, names in by_category.items()]
    parts += [(f"caption ({piece.source})", piece.text) for piece in record.prose]
    width = max(columns_of(printable(label)) for label, _ in parts) if parts else 0
    return [line for label, text in parts for line in _labelled("   ", label, width, [Piece(text)], screen)]


def _title(step: Step) -> str:
    """A step's address as one would say it; the first of its kind needs no number."""
    said = re.sub(r"#0(?=/|$)", "", step.address).removeprefix("#")
    return said if said.rpartition("/")[2].partition("#")[0] == step.kind else f"{said} ({step.kind})"


def _changes(step: Step) -> Iterator[list[Piece]]:
    """What a step did to the tags and to the captions, a paragraph each; nothing where it did nothing."""
    before, after = step.before, step.after
    if before.tags != after.tags:
        yield list(_tag_changes(before, after))
    if before.prose != after.prose:
        yield list(_prose_changes(before.prose, after.prose))


def _tag_changes(before: Caption, after: Caption) -> Iterator[Piece]:
    """The tags: those that stay in their new order, those that left in their old place."""
    stay, old = {tag.name for tag in after.tags}, {tag.name for tag in before.tags}
    order = iter(tag.name for tag in after.tags if tag.name in old)
    marks = dict.fromkeys(after.important, Mark.IMPORTANT)
    line = [
        ((name := next(order)), marks.get(name, Mark.PLAIN)) if tag.name in stay else (tag.name, Mark.GONE)
        for tag in before.tags
    ]
    line += [(tag.name, Mark.NEW) for tag in after.tags if tag.name not in old]
    for index, (name, mark) in enumerate(line):
        yield Piece(name, mark, "," if index + 1 < len(line) else "")


def _prose_changes(before: tuple[Prose, ...], after: tuple[Prose, ...]) -> Iterator[Piece]:
    """The captions, word by word."""
    yield Piece("caption:", Mark.QUIET)
    old = [word for piece in before for word in piece.text.split()]
    new = [word for piece in after for word in piece.text.split()]
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            yield Piece(" ".join(old[a:b]))
            continue
        if b > a:
            yield Piece(" ".join(old[a:b]), Mark.GONE)
        if d > c:
            yield Piece(" ".join(new[c:d]), Mark.NEW)


def _caption_json(caption: Caption) -> dict[str, Any]:
    return {
        "tags": [tag.name for tag in caption.tags],
        "captions": [piece.text for piece in caption.prose],
        "source": str(caption.source),
        "important": sorted(caption.important),
    }
