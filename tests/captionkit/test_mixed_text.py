"""Tags and sentences in one text: no sentence is torn at its commas, no list of tags is taken for one."""

from __future__ import annotations

import csv
import gzip
import json
import random
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import Prose, Tag, read_folder, read_records
from captionkit.prose.sentences import split_sentences
from captionkit.readers import parse_caption

# Names with marks and words as in sentences, which are tags nevertheless.
TRICKY = (
    *("1girl", "solo", "red fox", "!", "?", "...", "!?", "hello!", "who's that?", "mr. x", "dr. slump", "a."),
    *("st. louis (azur lane)", "a.i. channel", "the end", "it's a trap!", "super smash bros.", "titan a.e."),
    *(
        "we can do it!",
        "ok k.o.! let's be heroes",
        "plants vs. zombies",
        "h. p. lovecraft",
        "^_^",
        ">_<",
        "犬",
    ),
    *("apple inc.", "the venture bros.", "no.", "3.5", "a cat", "there you go!"),
)
SENTENCES = (
    *(
        "A cat sits on a mat, licking its paw.",
        "Dr. Who waits, alone, in a blue box.",
        "It is 3.5 m tall!",
    ),
    *(
        "Overall, the image conveys calm.",
        "Trees, shrubs, and grass line the road.",
        "Is it a fox, or a dog?",
    ),
    *("a cat is sitting on a mat, licking its paw.", "There is a sign, which reads 'STOP, now!' in red."),
    *("The truck is in Lincoln, Nebraska, on a road.", "2. A man, in red, stands in the rain."),
)


def names(text: str) -> list[str]:
    return [tag.name for tag in parse_caption(text)[0]]


def texts(text: str) -> list[str]:
    return [piece.text for piece in parse_caption(text)[1]]


# ------------------------------------------------------------------------------------------------------- laws


@given(st.lists(st.sampled_from(TRICKY), max_size=12), st.sampled_from([", ", ","]))
def test_tags_alone_are_tags(tags: list[str], separator: str) -> None:
    line = separator.join(tags)
    assert parse_caption(line) == (tuple(map(Tag, tags)), ())


@given(
    st.lists(st.sampled_from(TRICKY[:20]), max_size=4),
    st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=3),
    st.lists(st.sampled_from(["rain", "red fox", "^_^", "solo"]), max_size=4),
    st.sampled_from([", ", " "]),
)
def test_sentences_come_out_whole_and_tags_as_they_were(
    before: list[str], sentences: list[str], behind: list[str], joint: str
) -> None:
    said = " ".join(sentences)
    line = ", ".join([*before, said]) + (joint + ", ".join(behind) if behind else "")
    assert texts(line) == [said]
    assert names(line) == [*before, *behind]


@given(st.text(max_size=60))
def test_any_text_is_parted_without_a_loss(text: str) -> None:
    tags, prose = parse_caption(text)
    letters = [character for character in text if character.isalnum()]
    parts = [tag.name for tag in tags] + [piece.text for piece in prose]
    left = [character for part in parts for character in part if character.isalnum()]
    assert sorted(left) == sorted(letters)


# -------------------------------------------------------------------------------------------------- real data


@cache
def _names(shared: Path) -> list[str]:
    with gzip.open(shared / "data/e621/tags-2026-04-01.csv.gz", "rt", encoding="utf-8") as file:
        return [row[0] for row in csv.reader(file) if row[0]]


@cache
def _captions(shared: Path) -> list[str]:
    cog = (shared / "data/captions/cogvlm_2000.jsonl").read_text(encoding="utf-8").splitlines()
    llava = json.loads((shared / "data/captions/llava_next_590.json").read_text(encoding="utf-8"))
    return [" ".join(text.split()) for text in [*(json.loads(line)["text"] for line in cog), *llava.values()]]


@pytest.mark.parametrize("space", ["_", " "])
def test_no_list_of_real_tags_holds_a_sentence(shared: Path, space: str) -> None:
    every = [name.replace("_", space) for name in _names(shared)]
    random.Random(0).shuffle(every)
    assert [name for name in every if parse_caption(name)[1]] == []  # Each by itself.
    # Each once among others, 30 to a line: 4,655 lines.
    assert [line for at in range(0, len(every), 30) if texts(line := ", ".join(every[at : at + 30]))] == []


def test_no_real_tag_begins_as_a_sentence_but_seven(shared: Path) -> None:
    """Why the law above holds for nearly any list: without a capital, only these can begin a sentence, and
    only with one of the 271 names that end in a mark at most three commas behind them."""
    every = [name.replace("_", " ") for name in _names(shared)]
    assert not any(character.isupper() for name in every for character in name)
    begin = [name for name in every if texts(f"{name}, hello!")]
    assert begin == [
        "a cat is fine too",
        "the one piece is real",
        "this egg got me acting unwise",
        "there once was a dog",
        "the cake is a lie",
        "this taste is the taste of a liar",
        "the masterful cat is depressed again today",
    ]


@pytest.mark.parametrize(
    ("line", "num_torn"),
    [
        # Three have no end mark; five are pieces of quotations, or have a capital behind a comma.
        ("{tags}, {said}", 8),
        # Eleven more end in a quotation, "... reads 'STOP.'": with a small letter behind, it may go on.
        ("{tags}, {said}, {more}", 19),
        ("{tags}, {said} {more}", 19),
    ],
)
def test_real_sentences_among_real_tags_come_out_whole(shared: Path, line: str, num_torn: int) -> None:
    every = [name.replace("_", " ") for name in _names(shared)]
    drawn = random.Random(0)
    sentences = [said for caption in _captions(shared) for said in split_sentences(caption)]
    assert len(sentences) == 15_278
    torn = 0
    for said in sentences:
        tags, more = ([*drawn.choices(every, k=3)] for _ in range(2))
        text = line.format(tags=", ".join(tags), said=said, more=", ".join(more))
        torn += texts(text) != [said] or names(text) != tags + (more if "{more}" in line else [])
    assert torn <= num_torn


def test_real_captions_come_out_whole(shared: Path) -> None:
    captions = _captions(shared)
    assert len(captions) == 2590
    assert (
        sum(
            parse_caption(f"1girl, solo, smile. {caption}") != parse_caption_of(caption)
            for caption in captions
        )
        <= 5
    )


def parse_caption_of(caption: str) -> tuple[tuple[Tag, ...], tuple[Prose, ...]]:
    return (Tag("1girl"), Tag("solo"), Tag("smile")), (Prose(caption),)


# --------------------------------------------------------------------------------------------------- examples


@pytest.mark.parametrize(
    ("text", "tags", "prose"),
    [
        # The trainer most people use made of this: 'rain, A cat sits on a mat, cat'.
        (
            "1girl, solo, A cat sits on a mat, licking its paw. rain",
            "1girl|solo|rain",
            "A cat sits on a mat, licking its paw.",
        ),
        ("A girl stands. She smiles. 1girl, solo", "1girl|solo", "A girl stands. She smiles."),
        (
            "Solo, Hat, A girl stands in a field, smiling., Rain",
            "Solo|Hat|Rain",
            "A girl stands in a field, smiling.",
        ),
        (
            "solo, smile. The girl stands in a field, smiling.",
            "solo|smile",
            "The girl stands in a field, smiling.",
        ),
        ("It is wet. rain, It is cold., snow", "rain|snow", "It is wet. It is cold."),
        (
            "A sign reads 'Stop!', says the guide, smiling.",
            "",
            "A sign reads 'Stop!', says the guide, smiling.",
        ),
        ("a girl standing in a field, smiling", "a girl standing in a field|smiling", ""),
        ("Looking At Viewer, Hat, Omg Hi!", "Looking At Viewer|Hat|Omg Hi!", ""),
        # Before another sentence `embassy` is taken for a tag behind `U.S.`, as `rain` above is.
        (
            "Dr. Who waits, alone, in the U.S. embassy.",
            "",
            "Dr. Who waits, alone, in the U.S. embassy.",
        ),
        ("solo, A cat.", "solo|A cat.", ""),
        ("a cat is fine too, b, c, d, hello!", "a cat is fine too|b|c|d|hello!", ""),
        ("solo, Princess Peach Showtime!", "solo|Princess Peach Showtime!", ""),
        ("solo\nA fox runs, fast, in the snow.\nrain", "solo|rain", "A fox runs, fast, in the snow."),
        ("", "", ""),
    ],
)
def test_texts(text: str, tags: str, prose: str) -> None:
    assert "|".join(names(text)) == tags
    assert " / ".join(texts(text)) == prose


def test_each_line_is_a_caption_of_its_own() -> None:
    assert texts("A fox runs in snow. It is fast.\nsolo\nA fox is there.") == [
        "A fox runs in snow. It is fast.",
        "A fox is there.",
    ]


def test_a_hostile_text_takes_no_long_time() -> None:
    # Two of these took 8 and 10 seconds when every end mark looked at the whole rest of the line.
    for text in (
        "A!," * 30_000,
        "a is b! " * 20_000,
        "A is! " * 20_000,
        "The " * 30_000 + ".",
        "," * 100_000 + ".",
    ):
        parse_caption(text)


def test_a_text_file_with_both_is_read_as_both(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "a.txt").write_text("1girl, solo, A cat sits on a mat, licking its paw. rain")
    (record,) = read_folder(tmp_path)
    assert [tag.name for tag in record.tags] == ["1girl", "solo", "rain"]
    assert record.prose == (Prose("A cat sits on a mat, licking its paw."),)
    (tmp_path / "a.caption").write_text("A cat.")
    (record,) = read_records(tmp_path)
    assert record.prose == (Prose("A cat."), Prose("A cat sits on a mat, licking its paw."))
    for read in (read_folder, read_records):
        (record,) = read(tmp_path, sentences=False)
        assert len(record.tags) == 4
        assert record.prose == (Prose("A cat."),)


def test_a_text_file_may_hold_sentences_alone(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "a.txt").write_text("A cat sits on a mat, licking its paw. It is wet.")
    (record,) = read_folder(tmp_path)
    assert (record.tags, len(record.prose)) == ((), 1)
