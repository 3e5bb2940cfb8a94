"""Additions in a prepared folder, over real files."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captionkit import Prose, Record, Tag, read_records
from captionkit.testing import records
from tests.trainkit.additions.known import ROWS, files_in, prepared, put_pictures, put_records, records_in
from tests.trainkit.additions.test_rule import MACHINES, OWNED, additions
from trainkit.additions.addition import PERSON, Addition
from trainkit.additions.finished import read_additions, write_additions
from trainkit.additions.merge import merge_additions
from trainkit.additions.rule import with_additions
from trainkit.errors import TrainkitError
from trainkit.manifest import Manifest
from trainkit.prepare.folder import out_folder
from trainkit.prepared import changed_parts, read_prepared


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return put_pictures(tmp_path_factory.mktemp("merge") / "data")


@pytest.fixture
def manifest(data: Path, tmp_path: Path) -> Path:
    """Pictures of which nothing is known."""
    return prepared(data, tmp_path / "manifest")


def zebra(manifest: Path, rows: range = range(ROWS), name: str = "wd") -> list[Addition]:
    opened = Manifest(manifest)
    return [
        Addition(
            opened.record(row).id,
            opened.digest(row).hex(),
            (Tag("zebra", "animal", name, 0.5 + row / 100),),
            (Prose(f"Zebra {row}.", name),),
            detail={"raw": f" zebra {row}"},
        )
        for row in rows
    ]


def fingerprint(manifest: Path) -> str:
    return read_prepared(manifest).fingerprint


some_records = st.lists(records(), min_size=ROWS, max_size=ROWS)
some_additions = st.fixed_dictionaries(
    {},
    optional={
        name: st.dictionaries(st.integers(0, ROWS - 1), additions(name, denied=name == PERSON))
        for name in (*MACHINES, PERSON)
    },
)


@settings(max_examples=7)
@given(some_records, some_additions, some_additions)
def test_laws_of_a_whole_folder(
    data: Path,
    told: list[Record],
    before: dict[str, dict[int, Addition]],
    said: dict[str, dict[int, Addition]],
) -> None:
    with tempfile.TemporaryDirectory() as made:
        table = put_records(data, [Record(str(i), r.tags, r.prose, None, r.info) for i, r in enumerate(told)])
        base = prepared(table, Path(made, "base"))
        manifest = Path(shutil.copytree(base, Path(made, "manifest")))
        plain, first = records_in(base), fingerprint(base)

        def add(some: dict[str, dict[int, Addition]]) -> None:
            shutil.rmtree(manifest / "additions", ignore_errors=True)
            for name, by_row in some.items():
                lines = [
                    Addition(str(row), Manifest(base).digest(row).hex(), a.tags, a.prose, a.denied)
                    for row, a in by_row.items()
                ]
                write_additions(manifest, name, {}, lines)
            merge_additions(manifest, processes=1)

        if PERSON not in before:  # What a person took out only `prepare` brings back.
            add(before)
        add(said)
        order = [name for name in (PERSON, "own", "wd") if name in said]
        assert records_in(manifest) == [
            with_additions(
                r, OWNED, [(name, said[name][row]) for name in order if row in said[name]], Counter()
            )
            for row, r in enumerate(plain)
        ]
        assert changed_parts(manifest) == []
        once = files_in(manifest)
        assert merge_additions(manifest, processes=1, again=True).changed == bool(said)
        assert files_in(manifest) == once
        if said:
            prepared(table, manifest)
            assert files_in(manifest) == once
        assert (fingerprint(manifest) == first) == (records_in(manifest) == plain)


def test_untagged_pictures_get_tags_and_captions_and_lose_them_again(manifest: Path) -> None:
    first, plain = fingerprint(manifest), records_in(manifest)
    assert all(not record.tags and not record.prose for record in plain)
    write_additions(manifest, "wd", {"model": "x"}, zebra(manifest, range(2, ROWS)))
    merged = merge_additions(manifest)
    assert merged.changed
    assert "wd: 5 tags and 5 captions for 5 pictures" in merged.describe()
    assert records_in(manifest)[3].tags == (Tag("zebra", "animal", "wd", 0.53),)
    assert records_in(manifest)[3].prose == (Prose("Zebra 3.", "wd"),)
    assert fingerprint(manifest) == merged.fingerprint != first
    again = merge_additions(manifest)
    assert not again.changed
    assert again.additions == merged.additions
    (manifest / "additions" / "wd.jsonl").unlink()
    assert merge_additions(manifest).fingerprint == first
    assert records_in(manifest) == plain


def test_what_else_the_manifest_says_stays(manifest: Path) -> None:
    before = [batch.to_pylist() for _, batch in Manifest(manifest).batches()]
    write_additions(manifest, "wd", {}, zebra(manifest))
    merge_additions(manifest)
    kept = set(before[0][0]) - {"tags", "caption", "captions"}
    after = [batch.to_pylist() for _, batch in Manifest(manifest).batches()]
    assert [[{k: row[k] for k in kept} for row in part] for part in after] == [
        [{k: row[k] for k in kept} for row in part] for part in before
    ]
    told = json.loads((manifest / "manifest.json").read_text())
    assert told["settings"]["rows_per_part"] == 3
    assert len(told["parts"]) == len(list(manifest.glob("part-*.arrow"))) == 3


def test_several_processes_write_the_same(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainkit.prepare.merged._PER_BLOCK", 1)  # So that there are blocks for two.
    two = [prepared(data, tmp_path / name) for name in ("one", "two")]
    for processes, manifest in enumerate(two, 1):
        write_additions(manifest, "wd", {}, zebra(manifest))
        merge_additions(manifest, processes=processes)
    assert files_in(two[0]) == files_in(two[1])


def test_of_a_picture_that_changed_nothing_is_added_and_it_is_told(
    data: Path, manifest: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(data, tmp_path / "own"))
    manifest = prepared(own, tmp_path / "of own")
    write_additions(manifest, "wd", {}, [*zebra(manifest), Addition("gone", "", (Tag("a", source="wd"),))])
    (own / "2.png").write_bytes((own / "3.png").read_bytes())
    prepared(own, manifest)
    assert records_in(manifest)[2].tags == ()
    added = read_prepared(manifest).additions["wd"]
    assert (added.pictures, added.tags, added.stale, added.gone) == (ROWS - 1, ROWS - 1, 1, 1)
    # The line is kept: the picture may come back.
    assert len(list(read_additions(manifest, "wd"))) == ROWS + 1


def test_damaged_lines_are_named_and_left_out(manifest: Path) -> None:
    path = write_additions(manifest, "wd", {}, zebra(manifest))
    lines = path.read_text().splitlines(keepends=True)
    lines[2] = "{broken\n"
    lines[4] = lines[4].replace('"score": 0.5', '"score": "high", "s": 0.5')
    path.write_text("".join(lines))
    merged = merge_additions(manifest)
    assert merged.additions["wd"].damaged == 2
    assert merged.additions["wd"].pictures == merged.additions["wd"].tags == ROWS - 2
    assert f"{path}: line 3 is no addition" in merged.describe()
    assert f"{path}: at byte " in merged.describe()


def test_half_a_character_in_an_id_is_damage(manifest: Path) -> None:
    """Regression: JSON can write it, and it was a traceback."""
    path = write_additions(manifest, "wd", {}, zebra(manifest))
    with path.open("a") as file:
        file.write('{"id": "\\udfff", "digest": ""}\n{"digest": "", "id": "\\udfff"}\n')
    assert merge_additions(manifest, processes=1).additions["wd"].damaged == 2


def test_a_source_of_the_data_is_no_name_for_an_addition(data: Path, tmp_path: Path) -> None:
    told = [Record(str(i), (Tag("fox", source="wd"),), (Prose("A.", "cogvlm"),)) for i in range(ROWS)]
    manifest = prepared(put_records(data, told), tmp_path / "manifest")
    for name in ("wd", "cogvlm"):
        path = write_additions(manifest, name, {}, zebra(manifest, name=name))
        with pytest.raises(TrainkitError, match=f"name is {name!r}: the data themselves"):
            merge_additions(manifest)
        path.unlink()
    write_additions(manifest, "wd2", {}, zebra(manifest, name="wd2"))
    assert merge_additions(manifest).changed


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "a/b", "a\\b", ".hidden", "a\0b", "x" * 81, "é"])
def test_a_name_that_could_leave_the_folder_is_refused(manifest: Path, name: str) -> None:
    with pytest.raises(TrainkitError, match="name is"):
        write_additions(manifest, name, {}, [])


def test_only_a_prepared_folder_takes_additions(data: Path) -> None:
    with pytest.raises(TrainkitError, match=r"trainkit prepare DATA .* --untagged"):
        merge_additions(data)


def test_captionkit_reads_the_folder(manifest: Path) -> None:
    write_additions(manifest, "wd", {}, zebra(manifest, range(1, ROWS)))
    merge_additions(manifest)
    (manifest / "part-99999.arrow").write_bytes(b"what a killed run left")
    read = list(read_records(manifest))
    assert read == records_in(manifest)
    assert read[1].tags == (Tag("zebra", "animal", "wd", 0.51),)


def test_who_opens_it_just_as_it_is_written_is_told_to_come_again(manifest: Path) -> None:
    """Regression: a part was said to be missing, and that all of it must be prepared again."""
    opened = Manifest(manifest)
    assert opened.prepared is not None
    write_additions(manifest, "wd", {}, zebra(manifest))
    merge_additions(manifest, processes=1)
    with pytest.raises(TrainkitError, match=r"written anew just as it was opened.*same command again"):
        len(opened)


def test_two_at_once_take_turns(manifest: Path) -> None:
    """Regression: of two taggers that ended at the same time the second failed, with all its work done."""
    write_additions(manifest, "wd", {}, zebra(manifest))
    # A file of our own: capsys may drop what another thread writes while it is read.
    with ThreadPoolExecutor() as pool, contextlib.redirect_stderr(io.StringIO()) as told:
        with out_folder(manifest):
            merging = pool.submit(merge_additions, manifest, processes=1)
            while "waiting for another process" not in told.getvalue() and not merging.done():
                time.sleep(0.01)
            assert not merging.done()
        assert merging.result().changed
    assert read_prepared(manifest).additions["wd"].tags == ROWS
