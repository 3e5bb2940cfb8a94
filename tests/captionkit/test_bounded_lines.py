"""Lines without end and pipes without writers: neither fills memory, neither waits for ever."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import CaptionkitError, DataError, read_folder, read_jsonl
from captionkit.readers import open_source, text
from captionkit.readers.source import strict


@given(
    st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b" ") + b"\n")), st.integers(1, 60)
)
def test_all_lines_come_once_and_in_order(lines: list[bytes], amount: int) -> None:
    import io

    opened, found = io.BytesIO(b"".join(lines)), list[bytes]()
    while some := text.next_lines(opened, Path("x"), len(found) + 1, amount):
        assert sum(map(len, some[:-1])) < amount
        found += some
    assert found == lines


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.csv", "x.csv.gz", "posts.jsonl.gz"])
def test_a_line_without_end(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A file of 6 MB, packed, unpacked to a line that filled all memory.
    monkeypatch.setattr(text, "LONGEST_LINE", 1 << 20)
    file = tmp_path / name
    first = b'{"image": "a.png", "tags": ["a"]}\n'
    if "csv" in name:
        first = b"image,tags\na.png,a\n"
    elif "posts" in name:
        first = b'{"id": 1, "tag_string": "a", "md5": "0", "file_ext": "png"}\n'
    whole = first + b'{"image": "' + b"x" * (2 << 20)
    file.write_bytes(gzip.compress(whole) if name.endswith(".gz") else whole)
    with pytest.raises(DataError, match=r"line is longer than 1 MiB") as caught:
        list(open_source(file).records(strict))
    assert f":{first.count(10) + 1}" in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_beside_a_picture_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    os.mkfifo(tmp_path / "a.txt")
    found: list[CaptionkitError] = []
    assert list(read_folder(tmp_path, on_error=found.append)) == []
    assert "is no regular file" in str(found[0])


def test_plain_lines_are_read_as_before(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text('{"image": "a.png", "tags": ["a"]}\n\n{"image": "b.png", "tags": ["b"]}')
    assert [record.id for record in read_jsonl(file)] == ["a", "b"]
