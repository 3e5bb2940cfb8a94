"""A server may send megabytes of anything: they are judged in linear time."""

from __future__ import annotations

import time

import pytest

from trainkit.captioning.faults import has_markup, has_tokens


@pytest.mark.parametrize("piece", ["[a", "![a](", "**a", "<a ", "| a |\n", "# a\n"])
def test_long_answers_take_linear_time(piece: str) -> None:
    """Processor time: links once took a minute, looking for each one's end through all of the text."""
    text = piece * (400_000 // len(piece))
    start = time.process_time()
    has_markup(text)
    has_tokens(text)
    assert time.process_time() - start < 20
