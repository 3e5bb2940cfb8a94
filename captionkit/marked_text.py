"""A draw for the terminal: what left struck out and numbered by the step that took it, what came in green."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from captionkit.fate import Cause, Fate, called
from captionkit.flip import NOT_TRUE, FlipRule
from captionkit.marked import Marked
from captionkit.marked_prose import MarkedProse
from captionkit.marked_tags import MarkedTag
from captionkit.record import Record, Step
from captionkit.screen import Mark, Piece, Screen

MANY = 4
"""Of more tags than this, all of which left at one step, only the number is told."""
LONG = 60
"""So many letters are shown of a caption that left as a whole."""

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

_MARKS = {Fate.KEPT: Mark.PLAIN, Fate.DROPPED: Mark.GONE, Fate.ADDED: Mark.NEW, Fate.RENAMED: Mark.PLAIN}


def draw_text(draw: Marked, spell: Callable[[str], str], screen: Screen, indent: str) -> list[str]:
    """The lines of one draw: its pieces as one paragraph, and under it who dropped and added what."""
    notes = _Notes(screen.colour)
    tags, prose = (
        list(_tag_pieces(draw.tags, spell, notes)),
        list(_prose_pieces(draw.prose, draw.rendered.trace, notes)),
    )
    pieces = tags + prose if draw.tags_first else prose + tags
    around = [[Piece(text.strip(), Mark.NEW)] if text.strip() else [] for text in (draw.before, draw.after)]
    pieces = [*around[0], *pieces, *around[1]]
    if not draw.rendered.text:
        pieces.append(Piece("(empty)", Mark.QUIET))
    lines = [screen.paragraph(pieces, first=indent)]
    if notes.steps:
        lines.append(screen.paragraph([Piece(notes.legend(), Mark.QUIET)], first=indent))
    return lines


def mirror_text(flip: FlipRule, record: Record) -> str:
    """What the flip rule says of a picture, with the pattern that forbids it."""
    forbidden = flip.forbidden_by(record)
    if forbidden is not None:
        pattern, why = forbidden
        return f"not mirrored: {why}" + ("" if pattern in NOT_TRUE else f" (pattern {pattern!r})")
    return "may be mirrored" if flip.may_flip(record) else "not mirrored: p is 0"


class _Notes:
    """The steps that changed something, numbered in the order in which the text meets them."""

    def __init__(self, raised: bool) -> None:
        self.steps: dict[str, int] = {}
        self._raised = raised

    def mark(self, cause: Cause | None) -> str:
        if cause is None:
            return ""
        number = str(self.steps.setdefault(cause.step, len(self.steps) + 1))
        return number.translate(_RAISED) if self._raised else f"^{number}"

    def legend(self) -> str:
        marks = {step: str(number) for step, number in self.steps.items()}
        return "  ".join(
            f"{mark.translate(_RAISED) if self._raised else f'^{mark}'} {step}"
            for step, mark in marks.items()
        )


def _tag_pieces(tags: Sequence[MarkedTag], spell: Callable[[str], str], notes: _Notes) -> Iterator[Piece]:
    """Tag by tag; where one step took all of them, only how many there were."""
    takers = {tag.cause for tag in tags if tag.fate is Fate.DROPPED}
    if len(tags) > MANY and len(takers) == 1 and all(tag.fate is Fate.DROPPED for tag in tags):
        yield Piece(f"{len(tags)} tags", Mark.GONE, notes.mark(takers.pop()))
        return
    for index, tag in enumerate(tags):
        mark = _MARKS[tag.fate]
        if tag.important and mark is Mark.PLAIN:
            mark = Mark.IMPORTANT
        noted = notes.mark(None if tag.fate is Fate.RENAMED else tag.cause)
        yield Piece(spell(tag.name), mark, noted + ("," if index + 1 < len(tags) else ""))


def _prose_pieces(prose: Sequence[MarkedProse], trace: Sequence[Step], notes: _Notes) -> Iterator[Piece]:
    """Words by words; of a caption that left as a whole its beginning, and the step that took the rest."""
    order = {called(step.address): number for number, step in enumerate(trace)}
    for caption in prose:
        if caption.dropped:
            causes = [words.cause for words in caption.words if words.cause is not None]
            last = max(causes, key=lambda cause: order.get(cause.step, len(order)))
            text = " ".join(words.text for words in caption.words)
            short = text if len(text) <= LONG else f"{text[:LONG].rstrip()} ..."
            yield Piece(short, Mark.GONE, notes.mark(last))
            continue
        for words in caption.words:
            yield Piece(words.text, _MARKS[words.fate], notes.mark(words.cause))
