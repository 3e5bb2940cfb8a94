"""Prepared folders: the same pictures as the folder they were made of, and nothing believed that can hurt."""

from __future__ import annotations

import gc
import json
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captionkit import CaptionPipeline
from tests.trainkit.processes import environment
from trainkit.apart import split
from trainkit.data_config import DataConfig
from trainkit.errors import PictureError, TrainkitError
from trainkit.manifest import Manifest
from trainkit.pictures import DataSet, read_data
from trainkit.prepare import PrepareConfig, prepare
from trainkit.prepared import is_prepared, read_prepared
from trainkit.validation import ValidationConfig


def read(path: Path, **settings: Any) -> DataSet:
    return read_data(DataConfig(path=path, **settings), [CaptionPipeline()])


@pytest.fixture(scope="module")
def folder(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder of the drawn pictures, in parts of eight; tests must not change it."""
    out = tmp_path_factory.mktemp("prepared") / "manifest"
    prepare(pictures, out, PrepareConfig(rows_per_part=8, min_side=16), processes=1)
    return out


@pytest.fixture
def own(folder: Path, pictures: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    copy = tmp_path / "manifest"
    copy.mkdir()
    for file in (*folder.glob("*.arrow"), folder / "manifest.json"):
        (copy / file.name).write_bytes(file.read_bytes())
    change(copy, root=str(pictures))
    return copy


def change(folder: Path, **fields: Any) -> None:
    summary = folder / "manifest.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | fields))


def test_a_prepared_folder_is_the_folder_it_was_made_of(folder: Path, pictures: Path) -> None:
    one, other = read(pictures), read(folder)
    assert len(list(folder.glob("*.arrow"))) == 3
    found = {p.record.id: p for p in other.pictures}
    assert other.sizes.dtype == np.int32
    for i, picture in enumerate(one.pictures):
        twin = found[picture.record.id]
        assert repr(twin.record) == repr(picture.record)
        assert (twin.size, twin.may_flip, twin.weight) == (picture.size, picture.may_flip, picture.weight)
        assert os.path.samefile(twin.place.path, picture.place.path)
        assert one.sizes[i].tolist() == list(twin.size)
        assert twin.place.length == Path(picture.place.path).stat().st_size
        assert len(twin.place.digest or b"") == 16
    assert len(found) == len(one.pictures) == len(other.pictures)


def test_the_same_pictures_are_held_out_of_a_folder_and_of_every_table(
    folder: Path, pictures: Path, tmp_path: Path
) -> None:
    parts = [pa.ipc.open_file(str(file)).read_all() for file in sorted(folder.glob("*.arrow"))]
    whole = pa.concat_tables(parts).unify_dictionaries()
    table = whole.select([n for n in whole.schema.names if n in ("image", "id", "width", "height", "tags")])
    pq.write_table(table, tmp_path / "t.parquet")
    with pa.ipc.new_file(str(tmp_path / "t.arrow"), table.schema) as file:
        file.write_table(table)
    for seed in range(3):
        config = ValidationConfig(share=0.3, seed=seed)
        apart = []
        for path in (pictures, folder, tmp_path / "t.parquet", tmp_path / "t.arrow"):
            trained, held = split(read(path), config)
            assert len(trained.pictures) + len(held.pictures) == 21
            apart.append({p.record.id for p in held.pictures})
            assert apart[0] == apart[-1]
            assert not apart[0] & {p.record.id for p in trained.pictures}


def test_fingerprints_tell_data_apart_and_not_their_form(
    folder: Path, pictures: Path, tmp_path: Path
) -> None:
    assert read(folder).fingerprint == json.loads((folder / "manifest.json").read_text())["fingerprint"]
    one = read(pictures)
    table: dict[str, Any] = {
        "image": [p.place.path for p in one.pictures],
        "id": [p.record.id for p in one.pictures],
        "width": one.sizes[:, 0],
        "height": one.sizes[:, 1],
        "tags": [["fox"]] * len(one.pictures),
    }
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet").fingerprint == one.fingerprint
    table["height"] = table["height"] + 1
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet").fingerprint != one.fingerprint
    assert one.subset([0, 1]).fingerprint == one.fingerprint


def test_a_copy_in_another_process_is_small_and_opens_anew(folder: Path) -> None:
    data = read(folder)
    assert len(pickle.dumps(data.pictures)) < len(pickle.dumps(data.pictures[0])) + 2000
    copy = pickle.loads(pickle.dumps(data.pictures))
    assert [p.record for p in copy] == [p.record for p in data.pictures]
    some = data.subset(range(20)).pictures
    assert [p.record.id for p in pickle.loads(pickle.dumps(some))] == [p.record.id for p in some]


def test_opening_makes_no_object_for_a_row(tmp_path: Path) -> None:
    # Objects are what forked workers copy: a count written into each of them is enough.
    count = 20_000
    table = pa.table(
        {
            "image": [f"{i}.png" for i in range(count)],
            "width": pa.array([8] * count, pa.int32()),
            "height": pa.array([8] * count, pa.int32()),
            "tags": [["fox"]] * count,
        }
    )
    with pa.ipc.new_file(str(tmp_path / "t.arrow"), table.schema) as file:
        file.write_table(table)
    read(tmp_path / "t.arrow")
    gc.collect()
    before = sys.getallocatedblocks()
    data = read(tmp_path / "t.arrow")
    trained, _ = split(data, ValidationConfig(share=0.5))
    gc.collect()
    assert len(trained.pictures) > 9000
    assert sys.getallocatedblocks() - before < 4000


def test_pages_that_are_given_back_are_read_again(folder: Path) -> None:
    manifest = Manifest(folder)
    records = [manifest.record(row) for row in range(len(manifest))]
    manifest.release()
    assert [manifest.record(row) for row in range(len(manifest))] == records


def test_a_sidecar_of_this_name_is_no_prepared_folder(own_pictures: Path) -> None:
    (own_pictures / "000.png").rename(own_pictures / "manifest.png")
    (own_pictures / "000.json").rename(own_pictures / "manifest.json")
    assert not is_prepared(own_pictures)
    assert "manifest" in [p.record.id for p in read(own_pictures).pictures]


def test_parts_that_are_not_what_was_written_are_named(own: Path) -> None:
    part = own / "part-00001.arrow"
    whole = part.read_bytes()
    part.unlink()
    with pytest.raises(TrainkitError, match=r"part-00001\.arrow is not there, but manifest\.json names it"):
        read(own)
    part.write_bytes(whole[:-1000])
    with pytest.raises(TrainkitError, match=r"part-00001\.arrow has [\d,]+ bytes, manifest\.json says"):
        read(own)
    part.write_bytes(whole[:-100] + bytes(100))
    with pytest.raises(TrainkitError, match=r"part-00001\.arrow cannot be read: "):
        read(own)
    table = pa.ipc.open_file(pa.BufferReader(whole)).read_all()
    for other, message in (
        (table.drop_columns(["key"]), "has no column 'key': it is no part of a prepared folder"),
        (table.drop_columns(["width"]), "has no column 'width'"),
        (table.set_column(2, "offset", table.column("id")), "column 'offset' is string, must be int64"),
        (table.append_column("id", table.column("id")), "has more than one column 'id'"),
        (table.slice(1), "has 7 rows, manifest.json says 8"),
        (table.set_column(9, "key", pa.array([7] * 8, pa.uint64())), "its key is not that of its id"),
    ):
        with pa.ipc.new_file(str(part), other.schema) as file:
            file.write_table(other)
        parts = json.loads((own / "manifest.json").read_text())["parts"]
        change(
            own, parts=[p | ({"bytes": part.stat().st_size} if p["file"] == part.name else {}) for p in parts]
        )
        with pytest.raises(TrainkitError) as caught:
            read(own)
        assert message in str(caught.value)
        assert str(part) in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": 2}, "format: Input should be 1"),
        ({"rows": 2**70}, "rows: "),
        ({"rows": -1}, "rows: "),
        ({"rows": True}, "rows: "),
        ({"rows": 7}, "rows is 7, but its parts have 21"),
        ({"fingerprint": "../../etc"}, "fingerprint: "),
        ({"ids_distinct": "yes"}, "ids_distinct: "),
        ({"root": "a\0b"}, "root is 'a\\x00b', must be a path or a URL"),
        ({"root": 5}, "root: "),
        ({"parts": {}}, "parts: "),
        ({"parts": [], "rows": 0}, "holds no rows"),
        *(
            ({"parts": [{"file": name, "rows": 21, "bytes": 1, "digest": "00" * 16}]}, "in the folder")
            for name in ("../x.arrow", "/etc/passwd", "a/b.arrow", "..", "", ".hidden", "a\0.arrow", "..\\x")
        ),
        ({"parts": [{"file": "x", "rows": 1, "bytes": 1, "digest": "00" * 16}] * 21}, "name 'x' 21 times"),
    ],
)
def test_a_manifest_json_that_cannot_be_meant_is_refused(
    own: Path, fields: dict[str, Any], message: str
) -> None:
    change(own, **fields)
    with pytest.raises(TrainkitError) as caught:
        read(own)
    assert message in str(caught.value)
    assert str(own) in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"no JSON", b"[" * 100_000, b"5", b"\xff", b'{"rows": 1' + b"0" * 9999]
)
def test_a_manifest_json_that_is_none_is_refused(own: Path, content: bytes) -> None:
    (own / "manifest.json").write_bytes(content)
    with pytest.raises(TrainkitError, match=r"manifest\.json.*prepare the folder again"):
        read(own)


def replaced(own: Path, column: str, values: list[Any]) -> None:
    """Other values in a column of the first part."""
    part = own / "part-00000.arrow"
    table = pa.ipc.open_file(pa.BufferReader(part.read_bytes())).read_all()
    at = table.schema.get_field_index(column)
    table = table.set_column(at, column, pa.array(values, table.schema.field(column).type))
    with pa.ipc.new_file(str(part), table.schema) as file:
        file.write_table(table)
    parts = json.loads((own / "manifest.json").read_text())["parts"]
    parts[0]["bytes"] = part.stat().st_size
    change(own, parts=parts)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("image", "../../etc/passwd", "leads out of"),
        ("image", "/etc/passwd", "is absolute"),
        ("image", "a\0b", "leads out of"),
        ("image", None, "the row names no picture"),
        ("container", "../x.tar", "leads out of"),
        ("container", "file:///etc/x.tar", "is no store"),
        ("container", "s3://me:secret@x/y.tar", "holds a name or password"),
        ("offset", -1, "must be 0 or more"),
        ("length", -5, "must be 0 or more"),
    ],
)
def test_a_row_that_leads_elsewhere_is_skipped_by_name(
    own: Path, column: str, value: Any, message: str
) -> None:
    part = pa.ipc.open_file(pa.BufferReader((own / "part-00000.arrow").read_bytes())).read_all()
    replaced(own, column, [value, *part.column(column).to_pylist()[1:]])
    data = read(own, max_bad_share=0.5)
    (skipped,) = data.skipped
    assert skipped.name == f"{own / 'part-00000.arrow'}: row 1"
    assert message in skipped.reason
    assert "secret" not in skipped.reason
    assert len(data.pictures) == 20


def test_ids_are_looked_through_where_nobody_promises(own: Path) -> None:
    ids = [p.record.id for p in read(own).pictures][:8]
    keys = Manifest(own).keys[:8].tolist()
    replaced(own, "id", [ids[1], *ids[1:]])
    replaced(own, "key", [keys[1], *keys[1:]])
    read(own)  # As manifest.json promises that they are distinct.
    change(own, ids_distinct=False)
    with pytest.raises(TrainkitError, match=f"1 ids stand there more than once, such as '{ids[1]}'"):
        read(own)


_WORDS = (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\0\0\0\0", b"\1\0\0\0", b"\x80\0\0\0")


def damage(data: bytes, rng: random.Random) -> bytes:
    """The bytes with some words replaced, as offsets and numbers stand in Arrow files; or cut, or longer."""
    if rng.random() < 0.1:
        at = rng.randrange(len(data))
        return rng.choice([data[:at], data[:at] + rng.randbytes(8) + data[at:], data[at:] + data[:at], b""])
    damaged = bytearray(data)
    for _ in range(rng.choice([1, 4, 16])):
        at = rng.randrange(len(data) // 4) * 4
        damaged[at : at + 4] = rng.choice([*_WORDS, rng.randbytes(4)])
    return bytes(damaged[: len(data)])


def hostile(folder: Path, scratch: Path, first: int, count: int) -> None:
    """Open damaged copies of a prepared folder and look at all of them; run in a process of its own, which a
    table that lies well enough could end."""
    files = {file.name: file.read_bytes() for file in (*folder.glob("*.arrow"), folder / "manifest.json")}
    root = str((folder / json.loads(files["manifest.json"])["root"]).resolve())
    for seed in range(first, first + count):
        print(seed, flush=True)
        rng = random.Random(seed)
        names = sorted(files) if seed % 4 == 0 else ["part-00000.arrow"]
        damaged = files | {(name := rng.choice(names)): damage(files[name], rng)}
        for name, content in damaged.items():
            (scratch / name).write_bytes(content)
        if name != "manifest.json":  # What is found by its length alone is no test of what comes after.
            summary = json.loads(damaged["manifest.json"]) | {"root": root, "ids_distinct": False}
            for part in summary["parts"]:
                part["bytes"] = len(damaged[part["file"]])
            (scratch / "manifest.json").write_text(json.dumps(summary))
        for path in (scratch, scratch / "part-00000.arrow"):
            try:
                data = read(path, max_bad_share=1.0)
                split(data, ValidationConfig(share=0.5))
            except TrainkitError:
                continue
            for i in range(len(data.pictures)):
                try:
                    data.pictures[i].place.path.encode()
                except PictureError:
                    continue


def test_three_hundred_damaged_folders_are_errors_or_data(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.trainkit.test_prepared import hostile; "
        "hostile(Path(sys.argv[1]), Path(sys.argv[2]), 0, 300)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(folder), str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, f"seed {done.stdout.split()[-1:]}: {done.stderr[-3000:]}"
    assert done.stdout.split() == [str(seed) for seed in range(300)]
    assert read_prepared(folder).rows == 21
