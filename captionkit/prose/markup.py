"""Markdown that a chat model puts into a caption, and the lines it breaks the caption into."""

from __future__ import annotations

import re

_EMPHASIS = re.compile(
    r"__(?=\S)(.+?)(?<=\S)__|(?<![\w*`])([*`])(?=[^\s*`])([^*`\n]+?)(?<=[^\s*`])\2(?![\w*`])"
)
_BOLD = re.compile(r"\*\*(?=\S)(.+?)(?<=\S)\*\*")
_MARKED = re.compile(r"\s*(?:#{1,6}|[-*•])\s+|\s*(?=\d+[.)]\s)")
_END_MARKS = (".", "!", "?", "…", ":", ";", ",", '."', '!"', '?"', ".'", ".”")


def without_emphasis(text: str) -> str:
    """The text without Markdown's marks of emphasis and code.

    >>> without_emphasis("A *red* fox on a `rock`, 2 * 3")
    'A red fox on a rock, 2 * 3'
    """
    if not any(mark in text for mark in ("*", "__", "`")):
        return text
    return _EMPHASIS.sub(lambda found: found[1] or found[3], text)


def without_bold(text: str) -> str:
    """The text without `**`, which models put even into quotations.

    >>> without_bold('The sign says "**SALE**".')
    'The sign says "SALE".'
    """
    return _BOLD.sub(r"\1", text) if "**" in text else text


def joined_lines(text: str) -> str:
    """The text on one line, without Markdown's headings and bullets.

    A line that begins a new thought (a heading, a bullet, a number, a paragraph) is parted from the one
    before by a full stop, or by a comma where it begins small; a line that was merely broken is joined.

    >>> joined_lines("## Scene\\n- a red fox\\n- snow")
    'Scene, a red fox, snow'
    >>> joined_lines("A fox\\n\\nIt sleeps\\nin the snow.")
    'A fox. It sleeps in the snow.'
    """
    return _joined(text.split("\n")) if "\n" in text or text[:1] in ("#", "-", "*", "•") else text


def _joined(lines: list[str]) -> str:
    """The lines as one, parted where a new thought begins."""
    joined: list[str] = []
    in_quotation = new_thought = False
    for line in lines:
        mark = _MARKED.match(line)
        rest = (line[mark.end() :] if mark else line).strip()
        new_thought = new_thought or mark is not None or not rest
        if not rest:
            continue
        # Inside a quotation that spans lines nothing may be put in.
        if joined and new_thought and not in_quotation and not joined[-1].endswith(_END_MARKS):
            joined[-1] += "," if rest[0].islower() else "."
        joined.append(rest)
        in_quotation ^= rest.count('"') % 2 == 1
        new_thought = line.lstrip().startswith("#")  # A heading ends with its line.
    return " ".join(joined)
