"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainkit.whole_file import replace_whole, whole_file

NAMES = ("a.txt", "[a]*?.txt", ".hidden")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("flushed", [False, True])
def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path, name: str, flushed: bool) -> None:
    path = tmp_path / name
    with whole_file(path, flushed=flushed) as partial:
        partial.write_bytes(b"half")
        assert not path.exists()
        partial.write_bytes(b"whole")
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError("the disk is full"), KeyboardInterrupt()])
def test_where_writing_fails_the_old_file_stays_and_nothing_is_left(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "a.txt"
    replace_whole(path, b"old")

    def fail() -> None:
        with whole_file(path) as partial:
            partial.write_bytes(b"half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("alone", [False, True])
def test_only_who_writes_alone_clears_up_and_only_its_own(tmp_path: Path, name: str, alone: bool) -> None:
    mine, others = tmp_path / f".{name}.host-1.partial", tmp_path / ".a [a] other.txt.host-1.partial"
    for leftover in (mine, others):
        leftover.write_bytes(b"half")
    with whole_file(tmp_path / name, alone=alone) as partial:
        partial.write_bytes(b"whole")
    assert mine.exists() == (not alone)
    assert others.exists()
