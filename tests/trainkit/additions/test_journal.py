"""The journal: what was written is never made twice, whenever a process ended and however many there are."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captionkit import Prose, Tag
from tests.trainkit.additions.known import ROWS, prepared, put_pictures
from trainkit.additions.addition import Addition
from trainkit.additions.finished import read_additions
from trainkit.additions.journal import open_journal
from trainkit.errors import LockError, TrainkitError
from trainkit.keys import key_of
from trainkit.manifest import Manifest

HOW = {"model": "x", "precision": 0.9}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder; tests must not change it."""
    folder = tmp_path_factory.mktemp("journal")
    return prepared(put_pictures(folder / "data"), folder / "manifest")


@pytest.fixture
def manifest(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "manifest"))


def made(manifest: Path, row: int, by: object = "") -> Addition:
    opened = Manifest(manifest)
    id = opened.record(row).id
    return Addition(id, opened.digest(row).hex(), (Tag(f"tag {row}", source="wd"),), detail={"by": by})


def rows_done(manifest: Path, done: Any) -> set[int]:
    return {row for row, key in enumerate(Manifest(manifest).keys.tolist()) if key in done}


def test_what_one_rank_wrote_all_know_after_a_restart_with_other_ranks(manifest: Path) -> None:
    for rank, rows in enumerate([(5, 0), (3,), (1,)]):
        with open_journal(manifest, "wd", HOW, rank=rank, world=3) as journal:
            journal.append(made(manifest, row) for row in rows)
    with open_journal(manifest, "wd", HOW, rank=1, world=2) as journal:
        assert rows_done(manifest, journal.done) == {0, 1, 3, 5}
        assert len(journal.done) == 4
        assert key_of("nobody") not in journal.done
        assert sorted(journal.done) == sorted(key_of(str(row)) for row in (0, 1, 3, 5))
    with open_journal(manifest, "wd", HOW) as journal:
        journal.append([made(manifest, 4)])
        assert journal.finish() == manifest / "additions" / "wd.jsonl"
    assert [a.id for a in read_additions(manifest, "wd")] == ["0", "1", "3", "4", "5"]
    with open_journal(manifest, "wd", HOW) as journal:
        assert rows_done(manifest, journal.done) == {0, 1, 3, 4, 5}
        journal.append([made(manifest, 2)])
        journal.finish()
    assert [a.id for a in read_additions(manifest, "wd")] == ["0", "1", "2", "3", "4", "5"]


@settings(max_examples=12)
@given(
    st.lists(st.tuples(st.integers(0, ROWS - 1), st.integers(0, 2)), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 2), st.floats(0, 1)), max_size=3),
)
def test_cut_anywhere_it_knows_all_that_was_whole(
    base: Path, written: list[tuple[int, int]], cuts: list[tuple[int, float]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(shutil.copytree(base, Path(folder, "manifest")))
        for row, rank in written:
            with open_journal(manifest, "wd", HOW, rank=rank) as journal:
                journal.append([made(manifest, row, rank)])
        whole: set[int] = set()
        for rank, share in cuts:
            path = manifest / "additions" / ".wd" / f"rank-{rank:05d}.jsonl"
            if path.exists():
                content = path.read_bytes()
                path.write_bytes(content[: int(len(content) * share)])
        for path in (manifest / "additions" / ".wd").glob("*.jsonl"):
            lines = path.read_bytes().split(b"\n")[1:-1]  # Behind the last end of a line is nothing whole.
            whole |= {int(Addition.of_line(line, "").id) for line in lines}
        with open_journal(manifest, "wd", HOW) as journal:
            assert rows_done(manifest, journal.done) == whole
            journal.append(made(manifest, row) for row in range(ROWS) if row not in whole)
            journal.finish()
        assert [a.id for a in read_additions(manifest, "wd")] == [str(row) for row in range(ROWS)]


def test_other_settings_need_a_restart_and_the_old_stays_until_the_new_is_whole(manifest: Path) -> None:
    def finish(how: dict[str, Any], rows: range, restart: bool = False) -> None:
        with open_journal(manifest, "wd", how, restart=restart) as journal:
            journal.append(made(manifest, row, how["precision"]) for row in rows)
            journal.finish()

    finish(HOW, range(3))
    other = HOW | {"precision": 0.5}
    with pytest.raises(TrainkitError, match=r"precision: 0\.9 then, 0\.5 now(.|\n)*--restart"):
        finish(other, range(1))
    with open_journal(manifest, "wd", other, restart=True) as journal:
        assert not journal.done
        journal.append([made(manifest, 6, 0.5)])
    assert [a.id for a in read_additions(manifest, "wd")] == ["0", "1", "2"]
    with pytest.raises(TrainkitError, match=r"precision: 0\.5 then, 0\.9 now"):
        finish(HOW, range(1))
    with open_journal(manifest, "wd", other) as journal:  # It goes on; nothing of before counts.
        assert rows_done(manifest, journal.done) == {6}
        journal.finish()
    assert [(a.id, a.detail) for a in read_additions(manifest, "wd")] == [("6", {"by": 0.5})]
    with pytest.raises(TrainkitError, match="something else added under this name; take another name"):
        finish({"tagger": "another kind", "precision at": 0}, range(1))


def test_settings_are_told_by_their_address_and_hashes_not_at_all(manifest: Path) -> None:
    """One that was changed stood in a line of JSON with all that were not, beside hashes of 16 digits."""
    then = {"thresholds": {"precision": 0.9, "min_support": 10}, "tagger": "0123456789abcdef" * 2, "only": []}
    now = {"thresholds": {"precision": 0.5, "min_support": 10}, "tagger": "0123456789abcdee" * 2, "only": []}
    with open_journal(manifest, "tagger", then):
        pass
    with pytest.raises(TrainkitError) as told, open_journal(manifest, "tagger", now):
        pass
    assert str(told.value).splitlines()[1:-1] == [
        "  tagger: not the same as then",
        "  thresholds.precision: 0.9 then, 0.5 now",
    ]


def test_a_restart_with_the_same_settings_makes_all_anew(manifest: Path) -> None:
    with open_journal(manifest, "wd", HOW) as journal:
        journal.append(made(manifest, row, "first") for row in range(3))
        journal.finish()
    with open_journal(manifest, "wd", HOW, restart=True) as journal:
        journal.append([made(manifest, 0, "second")])
    with open_journal(manifest, "wd", HOW, rank=1) as journal:
        assert rows_done(manifest, journal.done) == {0}
        journal.append([made(manifest, 1, "second")])
        journal.finish()
    assert [a.detail["by"] for a in read_additions(manifest, "wd")] == ["second", "second"]


def test_a_restart_with_fewer_ranks_forgets_the_others(manifest: Path) -> None:
    for rank in range(3):
        with open_journal(manifest, "wd", HOW, rank=rank, world=3) as journal:
            journal.append([made(manifest, rank)])
    with open_journal(manifest, "wd", HOW, rank=1, world=2, restart=True):
        pass
    with open_journal(manifest, "wd", HOW, rank=0, world=2, restart=True):
        pass
    with open_journal(manifest, "wd", HOW) as journal:
        assert not journal.done


def test_a_picture_that_changed_is_made_again(base: Path, tmp_path: Path) -> None:
    data = put_pictures(tmp_path / "data")
    manifest = prepared(data, tmp_path / "manifest")
    with open_journal(manifest, "wd", HOW) as journal:
        journal.append(made(manifest, row, "before") for row in range(ROWS))
        journal.finish()
    (data / "2.png").write_bytes((data / "3.png").read_bytes())
    prepared(data, manifest)
    with open_journal(manifest, "wd", HOW, rank=4) as journal:
        assert rows_done(manifest, journal.done) == set(range(ROWS)) - {2}
        journal.append([made(manifest, 2, "after")])
        journal.finish()
    assert [a.detail["by"] for a in read_additions(manifest, "wd")].count("after") == 1


def test_nobody_else_writes_at_the_same_time(manifest: Path) -> None:
    with open_journal(manifest, "wd", HOW):
        again = open_journal(manifest, "wd", HOW)
        with pytest.raises(LockError, match=r"another process is writing .*\.wd"), again:
            pass
        with open_journal(manifest, "wd", HOW, rank=1, world=2), open_journal(manifest, "own", HOW):
            pass


def test_what_bears_another_source_is_refused(manifest: Path) -> None:
    with open_journal(manifest, "wd", HOW) as journal:
        for wrong in (
            Addition("0", "", (Tag("a"),)),
            Addition("0", "", (), (Prose("A."),)),
            Addition("0", "", (Tag("a", source="human"),)),
        ):
            with pytest.raises(ValueError, match="must be 'wd'"):
                journal.append([wrong])
    person = open_journal(manifest, "human", HOW)
    with pytest.raises(TrainkitError, match="kept for what a person says"), person:
        pass


def test_a_full_disk_is_told_and_loses_nothing(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    write = os.write

    def full(file: int, data: Any) -> int:
        if len(data) > 40:
            return write(file, data[:40])  # A torn line, and then no more.
        raise OSError(28, "No space left on device")

    with open_journal(manifest, "wd", HOW) as journal:
        journal.append([made(manifest, 0)])
        with monkeypatch.context() as patched:
            patched.setattr("os.write", full)
            with pytest.raises(TrainkitError, match=r"No space left.*the same command goes on"):
                journal.append([made(manifest, 1)])
        journal.append([made(manifest, 2)])
        journal.finish()
    assert [a.id for a in read_additions(manifest, "wd")] == ["0", "2"]


@pytest.mark.parametrize(
    "line",
    ["[]", "null", "7", '{"id": 3, "digest": ""}', '{"id": "a"}', '{"id": "a", "digest": "", "tags": 3}'],
)
def test_what_is_no_addition_is_an_error_with_its_place(line: str) -> None:
    with pytest.raises(TrainkitError, match=r"wd\.jsonl: line 3: is no addition"):
        Addition.of_line(line, "wd.jsonl: line 3")


def test_a_file_of_something_else_is_an_error(manifest: Path) -> None:
    (manifest / "additions").mkdir()
    (manifest / "additions" / "wd.jsonl").write_text('{"image": "a.png"}\n')
    journal = open_journal(manifest, "wd", HOW)
    with pytest.raises(TrainkitError, match="does not say 'trainkit addition 1'"), journal:
        pass
