"""The entries of one big JSON file: the same as by reading it whole, wherever the pieces are cut."""

from __future__ import annotations

import gzip
import json
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import DataError
from captionkit.readers import json_stream, json_window
from captionkit.readers.json_stream import Layout, Piece, json_entries, json_pieces

OBJECT, ARRAY, POSTS = Layout(keyed=True), Layout(keyed=False), Layout(keyed=False, under=("posts",))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "all.json"


def found(file: Path, layout: Layout) -> tuple[list[tuple[str | int, Any, int]], DataError | None]:
    """(key, value, line) of all entries, and why there are no more."""
    pieces: list[Piece] = list(json_pieces(file, layout))
    assert all(piece.fault is None for piece in pieces[:-1])
    entries = [entry for piece in pieces for entry in piece.entries()]
    return [(key, json.loads(text), line) for key, text, line in entries], pieces[-1].fault


def fault(file: Path, content: str | bytes, layout: Layout = OBJECT) -> tuple[int, str]:
    """How many entries come before the fault, and its message without the folder."""
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    entries, error = found(file, layout)
    assert error is not None
    return len(entries), str(error).replace(f"{file.parent}/", "")


# ------------------------------------------------------------------------------------------------------- laws

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
entries = st.lists(st.tuples(texts, values), min_size=1, max_size=6)
spaces = st.text(" \t\r\n", max_size=3)


@st.composite
def written(draw: st.DrawFn, layout: Layout) -> tuple[bytes, list[tuple[str | int, Any, int]]]:
    """A file and what is in it: every comma and bracket with spaces around it, keys that come twice."""

    def space() -> str:
        return draw(spaces)

    compact = draw(st.booleans())
    ascii_only = draw(st.booleans())

    def dumped(value: Any) -> str:
        return json.dumps(value, ensure_ascii=ascii_only, indent=None if compact else 1)

    in_object = bool(layout.under) and draw(st.booleans())
    text = space()
    if in_object:
        others = draw(st.dictionaries(texts.filter(lambda key: key != "posts"), values, max_size=2))
        text += "{" + "".join(f"{space()}{dumped(key)}:{dumped(value)}," for key, value in others.items())
        text += f'{space()}"posts"{space()}:{space()}'
    text += "{" if layout.keyed else "["
    expected: list[tuple[str | int, Any, int]] = []
    for number, (key, value) in enumerate(draw(entries)):
        text += f"{space()}{',' if number else ''}{space()}"
        text += f"{dumped(key)}{space()}:{space()}" if layout.keyed else ""
        expected.append((key if layout.keyed else number, value, text.count("\n") + 1))
        text += dumped(value)
    text += space() + ("}" if layout.keyed else "]") + space()
    if in_object:
        text += f', {space()}"more": {dumped(draw(values))}{space()}}}{space()}'
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + text.encode(), expected


def same(read: list[tuple[str | int, Any, int]], expected: list[tuple[str | int, Any, int]]) -> bool:
    return repr(read) == repr(expected)  # NaN is not NaN, and True is 1.


@given(st.data(), st.sampled_from([OBJECT, ARRAY, POSTS]), st.integers(1, 40), st.booleans())
def test_the_entries_are_those_of_the_whole_wherever_it_is_cut(
    data: st.DataObject, layout: Layout, chunk: int, packed: bool
) -> None:
    content, expected = data.draw(written(layout))
    with tempfile.TemporaryDirectory() as folder, patch.object(json_window, "CHUNK", chunk):
        file = Path(folder) / ("all.json.gz" if packed else "all.json")
        file.write_bytes(gzip.compress(content) if packed else content)
        read, error = found(file, layout)
        assert error is None
        assert same(read, expected)
        assert sum(piece.num_bytes for piece in json_pieces(file, layout)) == len(content)


@given(st.data(), st.sampled_from([OBJECT, ARRAY, POSTS]), st.integers(1, 40))
def test_of_a_file_that_is_cut_short_the_entries_before_the_cut_are_read(
    data: st.DataObject, layout: Layout, chunk: int
) -> None:
    content, expected = data.draw(written(layout))
    content = content.rstrip()
    cut = data.draw(st.integers(min(3, len(content) - 1), len(content) - 1))  # `[0]` has no more.
    with tempfile.TemporaryDirectory() as folder, patch.object(json_window, "CHUNK", chunk):
        file = Path(folder) / "all.json"
        file.write_bytes(content[:cut])
        try:
            read, error = found(file, layout)
        except DataError:
            assert not content[:cut].strip(b" \t\r\n\xef\xbb\xbf")
            return
        assert error is not None
        assert f"{len(read)} entr" in str(error)
        assert same(read, expected[: len(read)])


@given(st.data(), st.sampled_from([OBJECT, ARRAY, POSTS]), st.integers(1, 40))
def test_a_damaged_file_is_read_or_is_our_error(data: st.DataObject, layout: Layout, chunk: int) -> None:
    content, _ = data.draw(written(layout))
    at = data.draw(st.integers(0, len(content)))
    damaged = content[:at] + data.draw(st.binary(max_size=3)) + content[at + data.draw(st.integers(0, 2)) :]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "all.json"
        file.write_bytes(damaged)
        outcomes = []
        for size in (chunk, 1 << 18):
            with patch.object(json_window, "CHUNK", size):
                try:
                    read, error = found(file, layout)
                except DataError as refused:
                    read, error = [], refused
            outcomes.append((repr(read), str(error)))
        # What is read, and what is said, does not depend on where it is cut.
        assert outcomes[0] == outcomes[1]
        if error is None and layout is not POSTS:
            assert [value for _, value, _ in read] or damaged.strip() in (b"{}", b"[]")


# --------------------------------------------------------------------------------------------------- examples


def test_a_value_that_may_go_on_behind_the_cut_is_not_taken_for_whole(file: Path) -> None:
    values = [1.5e300, -0.25, 12, True, None, float("-inf"), "🦊", "\\", {"a": 1.5}]
    for pad in range(40):
        file.write_text(json.dumps([*values, " " * pad, *values]).replace("1.5e+300", "1.5E+300"))
        with patch.object(json_window, "CHUNK", 1):
            read, error = found(file, ARRAY)
        assert error is None
        assert [value for _, value, _ in read] == [*values, " " * pad, *values]


@pytest.mark.parametrize(
    ("content", "num_before", "message"),
    [
        (
            '{"a": {},\n "b" {}}',
            1,
            "all.json:2: is not valid JSON: Expecting ':' delimiter at column 6; nothing behind it is read,"
            " 1 entry before it (mend it there; strings and keys stand in double quotes, no comma follows the"
            " last entry)",
        ),
        ('{"a": 1,\n}', 1, "all.json:2: is not valid JSON: Expecting property name enclosed in double"),
        ('{"a": {"b": 1,}}', 0, "all.json:1: is not valid JSON: "),
        ('{"a": 1 "b": 2}', 0, "all.json:1: is not valid JSON: Expecting ',' delimiter at column 9"),
        ('{"a": 1]', 0, "all.json:1: is not valid JSON: Expecting ',' delimiter at column 8"),
        ('{"a": 1, "b": tru}', 1, "all.json:1: is not valid JSON: Expecting value at column 15"),
        ('{"a\\x": 1}', 0, "all.json:1: is not valid JSON: Invalid \\escape"),
        ('{"a\n": 1}', 0, "all.json:1: is not valid JSON: Invalid control character"),
        ('{"a": 1}\n\n{"b": 2}', 1, "all.json:3: is not valid JSON: more text behind the end at column 1"),
        (
            '{"a": 1, \n\n"b": {"c": "',
            1,
            "all.json:3: ends in the middle; nothing behind it is read, 1 entry",
        ),
        ('{"a": 1, "b": ' + "[" * 100_000, 1, "brackets in brackets, too many to be a record"),
        (b'{"a": 1,\n "b": "\xff"}', 1, "all.json:2: is not UTF-8: byte 0xff at offset 16; nothing behind"),
        (b'{"a": 1,\n "b": "\x00"}', 1, "all.json:2: is not UTF-8: a NUL byte at offset 16"),
        ('{"a": 1}'.encode("utf-16"), 0, "all.json:1: is not UTF-8: it begins with a UTF-16 byte order mark"),
    ],
)
def test_what_is_broken_is_named_with_its_place(
    file: Path, content: str | bytes, num_before: int, message: str
) -> None:
    count, said = fault(file, content)
    assert count == num_before
    assert message in said


def test_the_fault_is_named_with_its_column_though_the_line_began_long_before(file: Path) -> None:
    content = '{"a": {},\n' + " " * 100 + '"b": {}, "c": {]}'
    with patch.object(json_window, "CHUNK", 7):
        count, said = fault(file, content)
    assert count == 2
    column = content.split("\n")[1].index("]") + 1
    assert (
        f"all.json:2: is not valid JSON: Expecting property name enclosed in double quotes at column {column}"
        in (said)
    )


def test_an_array_that_comes_twice_is_an_error(file: Path) -> None:
    assert fault(file, '{"posts": [{}], "posts": [{}]}', POSTS)[1].startswith(
        "all.json:1: is not valid JSON: a second array of entries, under 'posts'"
    )


def test_an_object_without_an_array_is_the_only_entry(file: Path) -> None:
    file.write_text('\n{"id": 7, "posts": {"no": "array"}}\n')
    assert found(file, POSTS) == ([(0, {"id": 7, "posts": {"no": "array"}}, 2)], None)


@pytest.mark.parametrize(
    ("content", "layout", "message"),
    [
        ("", OBJECT, "holds no entries"),
        (" \n", ARRAY, "holds no entries"),
        ("{}", OBJECT, "holds no entries"),
        ('{"posts": []}', POSTS, "holds no entries"),
        ("[]", OBJECT, "is a JSON array, wanted is one object of entries"),
        ("\n{}", ARRAY, ":2: is a JSON object, wanted is one array of entries"),
        ("id,tags", POSTS, "is no JSON: it begins with 'i'"),
    ],
)
def test_the_wrong_file_is_refused(file: Path, content: str, layout: Layout, message: str) -> None:
    file.write_text(content)
    with pytest.raises(DataError, match=r"all\.json") as error:
        found(file, layout)
    assert message in str(error.value)


def test_a_file_that_is_not_there_is_our_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        list(json_pieces(tmp_path / "none.json", OBJECT))


def test_a_packed_file_that_is_damaged_gives_what_came_before(tmp_path: Path) -> None:
    content = json.dumps({str(number): {"tags": "a" * 50} for number in range(20_000)}).encode()
    packed = bytearray(gzip.compress(content, 0))
    file = tmp_path / "all.json.gz"
    file.write_bytes(packed[: len(packed) // 2])
    read, error = found(file, OBJECT)
    assert len(read) > 5_000
    assert (
        "cannot be read: Compressed file ended before the end-of-stream marker was reached; nothing"
        in str(error)
    )
    packed[len(packed) // 2 : len(packed) // 2 + 9] = b"\xff" * 9
    file.write_bytes(packed)
    read, error = found(file, OBJECT)
    assert "cannot be read" in str(error) or "is not" in str(error)


def test_an_entry_too_long_for_the_memory_is_refused_and_the_others_are_not(file: Path) -> None:
    file.write_text('{"a": "' + "x" * 900 + '",\n"b": "' + "x" * 5_000)
    with patch.object(json_window, "CHUNK", 100):
        pieces = list(json_pieces(file, OBJECT, longest=1_000))
    assert sum(len(piece.spans) // 3 for piece in pieces) == 1
    assert f"{file}:2: an entry of more than 1,000 characters; nothing" in str(pieces[-1].fault)


def test_memory_does_not_grow_with_the_file(file: Path) -> None:
    def peak(count: int) -> int:
        entry = json.dumps({"tags": "red fox, snow, " * 30})
        with file.open("w") as out:
            out.write("[" + ",".join([entry] * count) + "]")
        tracemalloc.start()
        try:
            for _ in json_pieces(file, ARRAY):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(40_000) < 1.2 * peak(8_000) < 3_000_000


def test_entries_come_as_objects_and_a_fault_is_raised_at_its_place(file: Path) -> None:
    file.write_text('{"a": {"n": 1},\n "b": {"n": 2}, nonsense')
    entries: Iterator[Any] = json_entries(file, OBJECT)
    assert [next(entries), next(entries)] == [("a", {"n": 1}, 1), ("b", {"n": 2}, 2)]
    with pytest.raises(DataError, match="2 entries before it"):
        next(entries)


def test_a_number_of_thousands_of_digits_is_no_reason_to_stop(file: Path) -> None:
    file.write_text('{"a": {"n": ' + "9" * 5_000 + '}, "b": {"n": 2}}')
    assert sum(len(piece.spans) // 3 for piece in json_pieces(file, OBJECT)) == 2
    assert json_stream.LONGEST > 1_000_000
