"""Remembered words and chunks: the tokenizer's own ids, cut where the text allows it."""

from __future__ import annotations

import pickle
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import WordMemory, chunked_length, split_chunks

COMMA = 44
id_lists = st.lists(st.sampled_from([COMMA, 1, 2, 3]), max_size=60)


def by_letters(text: str) -> list[int]:
    """A tokenizer of the kind WordMemory is for: pieces never cross a space."""
    return [ord(char) for word in re.split(r"\s+", text) for char in word]


@given(st.lists(st.text(alphabet="ab,.é\t\n ", max_size=12), max_size=8))
def test_the_ids_are_the_tokenizers_own_however_often_words_recur(texts: list[str]) -> None:
    memory = WordMemory(by_letters, max_words=3)  # So few that it forgets in between.
    for text in [*texts, *texts]:
        assert memory.ids(text) == by_letters(text)
        assert memory.count(text) == len(by_letters(text))


def test_a_word_is_asked_for_once() -> None:
    asked: list[str] = []

    def tokenize(text: str) -> list[int]:
        asked.append(text)
        return by_letters(text)

    memory = WordMemory(tokenize)
    memory.ids("red fox, red fox,")
    memory.count("fox, red")
    assert asked == ["red", "fox,"]


def test_it_can_go_to_worker_processes() -> None:
    memory = WordMemory(by_letters)
    assert pickle.loads(pickle.dumps(memory)).ids("ab") == memory.ids("ab")


@given(id_lists, st.integers(1, 12), st.integers(0, 14))
def test_chunks_hold_all_ids_in_order_and_never_too_many(ids: list[int], size: int, backtrack: int) -> None:
    chunks = split_chunks(ids, separators={COMMA}, size=size, backtrack=backtrack)
    assert [one for chunk in chunks for one in chunk] == ids
    assert all(0 < len(chunk) <= size for chunk in chunks) or chunks == [[]]
    assert chunked_length(chunks, size) == len(ids) + sum(size - len(chunk) for chunk in chunks[:-1])


def front_end(ids: Sequence[int], size: int, backtrack: int) -> list[list[int]]:
    """What the usual front end does at inference, written from its documented behaviour: one token at a time,
    the place of the last comma kept in mind; when a chunk is full and a comma near, what follows it moves."""
    chunks: list[list[int]] = []
    chunk: list[int] = []
    last_comma = -1
    for one in ids:
        if one == COMMA:
            last_comma = len(chunk)
        elif len(chunk) == size and last_comma != -1 and len(chunk) - last_comma <= backtrack:
            moved = chunk[last_comma + 1 :]
            chunks.append(chunk[: last_comma + 1])
            chunk, last_comma = moved, -1
        if len(chunk) == size:
            chunks.append(chunk)
            chunk, last_comma = [], -1
        chunk.append(one)
    return [*chunks, chunk]


@given(id_lists, st.integers(8, 12), st.integers(0, 7))
def test_chunks_are_those_of_the_front_ends(ids: list[int], size: int, backtrack: int) -> None:
    assert split_chunks(ids, separators={COMMA}, size=size, backtrack=backtrack) == front_end(
        ids, size, backtrack
    )


def test_a_tag_is_not_torn_where_a_blind_cut_would_tear_it() -> None:
    tag = [7, 8, 9, 10, 11, COMMA]
    ids = tag * 13  # 78 tokens: a blind cut falls in the middle of the last tag.
    assert [len(chunk) for chunk in split_chunks(ids, separators={COMMA})] == [72, 6]
    assert [len(chunk) for chunk in split_chunks(ids, separators={COMMA}, backtrack=0)] == [75, 3]


@pytest.mark.parametrize(("size", "backtrack"), [(0, 1), (5, -1)])
def test_sizes_that_make_no_sense_are_refused(size: int, backtrack: int) -> None:
    with pytest.raises(ValueError, match=f"got {size} and {backtrack}"):
        split_chunks([1, 2], separators=(), size=size, backtrack=backtrack)
