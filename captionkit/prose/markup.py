"""Markdown that a chat model puts into a caption."""

from __future__ import annotations

import re

_EMPHASIS = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1")
_LINE_MARKS = re.compile(r"^\s*(?:#{1,6}|[-*•])\s+", re.MULTILINE)


def plain_line(text: str) -> str:
    """The text without Markdown's emphasis, headings and bullets, on one line with single spaces.

    >>> plain_line("## Scene\\n- a **red** fox\\n- snow")
    'Scene a red fox snow'
    """
    if "**" in text or "__" in text:
        text = _EMPHASIS.sub(r"\2", text)
    if "\n" in text or text[:1] in ("#", "-", "*", "•"):
        text = _LINE_MARKS.sub("", text)
    return " ".join(text.split())
