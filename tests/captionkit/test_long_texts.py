"""A model that loops may write megabytes, and a server may send anything: every text is read in linear time.

The bound is processor time, which other work on the machine does not count into. Each case took minutes while
its time grew with the square of the length, and takes under a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

import captionkit
from captionkit.prose.agreement import denied_tags
from captionkit.prose.markup import joined_lines
from captionkit.prose.sentences import split_sentences

TAGS = ["dog", "red_dog", "smiling", "1girl", "solo"]


def _denied(text: str) -> object:
    return denied_tags(text, TAGS)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (split_sentences, "." * 120_000),
        (split_sentences, "1. a " * 400_000),
        (joined_lines, "- a\n" * 250_000),
        (joined_lines, "1. a\n" * 250_000),
        (captionkit.clean, "." * 120_000),
        (_denied, "no " * 30_000),
        (_denied, "no dog, " * 12_000),
        (_denied, "without a " * 15_000),
        (_denied, "it is not " * 20_000),
    ],
)
def test_long_texts_take_linear_time(read: Callable[[str], object], text: str) -> None:
    start = time.process_time()
    read(text)
    assert time.process_time() - start < 20


def test_a_denial_that_never_ends_says_nothing() -> None:
    assert [one.tag for one in denied_tags("very " * 200 + "there is no dog.", TAGS)] == ["dog"]
    assert denied_tags("there is no " + "very " * 200 + "small dog.", ["small dog"]) == ()
