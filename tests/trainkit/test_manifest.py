"""Manifests: rows become the records of the same lines in JSON Lines, and what is wrong is named."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import CaptionPipeline, FlipRule, Record, Tag, read_jsonl
from captionkit.writers import open_target
from captionkit.writers.target import Losses
from trainkit.data_config import DataConfig
from trainkit.errors import PictureError, TrainkitError
from trainkit.keys import key_of
from trainkit.manifest import Manifest
from trainkit.pictures import DataSet, read_data
from trainkit.table_files import INDEX, is_manifest


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "image": f"{i % 3}/{i}.png",
            "width": 64 + i,
            "height": 48,
            "tags": ["fox", f"tag {i}"],
            "caption": f"Picture {i}." if i % 2 else None,
        }
        for i in range(count)
    ]


def write(path: Path, table: pa.Table | list[dict[str, Any]], *, per_group: int = 4) -> Path:
    """A table as its suffix says, in several groups of rows."""
    whole = pa.Table.from_pylist(table) if isinstance(table, list) else table
    if path.suffix == ".parquet":
        pq.write_table(whole, path, row_group_size=per_group)
    else:
        with pa.ipc.new_file(str(path), whole.schema) as file:
            file.write_table(whole, max_chunksize=per_group)
    return path


def read(path: Path, **settings: Any) -> DataSet:
    return read_data(DataConfig(path=path, **settings), [CaptionPipeline()])


def ids_of(manifest: Manifest) -> list[str]:
    return [name for stretch in manifest.ids() for name in stretch.to_pylist()]


names = st.text("ab_é (", min_size=1, max_size=5).filter(str.strip)
facts = st.none() | st.integers(-9, 9) | st.booleans() | st.text("xyz", max_size=3)


@st.composite
def tag_columns(draw: st.DrawFn) -> Any:
    """Values of a column of tags in one of the forms that are allowed, one for each of four rows."""
    names_of = st.lists(names, min_size=1, max_size=4)
    entry = st.fixed_dictionaries(
        {"name": names, "category": st.none() | names, "score": st.none() | st.sampled_from([0.25, 1.0])}
    )
    form = draw(
        st.sampled_from(
            [
                names_of,
                names_of.map(", ".join),
                st.lists(entry, min_size=1, max_size=3),
                # The keys of a column stand in one order.
                st.tuples(st.none() | names_of, names_of).map(lambda t: {"species": t[0], "artist": t[1]}),
            ]
        )
    )
    return [draw(form) for _ in range(4)]


@given(tag_columns(), st.lists(facts.filter(lambda f: f != ""), min_size=4, max_size=4), st.booleans())
def test_a_row_is_the_record_of_its_line(
    tmp_path_factory: pytest.TempPathFactory, tags: list[Any], fact: list[Any], by_source: bool
) -> None:
    folder = tmp_path_factory.mktemp("m")
    kind = type(next((f for f in fact if f is not None), None))
    table = [
        {
            "image": f"{i}.png",
            "width": 8,
            "height": 8,
            "tags": tags[i],
            "captions": {"human": "One.", "other": ["Two.", "Three."]} if by_source else ["One."],
            "rating": fact[i] if type(fact[i]) is kind else None,  # A column has one type.
            "score": {"up": i, "down": None},
        }
        for i in range(4)
    ]
    (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    expected = list(read_jsonl(folder / "m.jsonl"))
    for name in ("m.parquet", "m.arrow"):
        manifest = Manifest(write(folder / name, table, per_group=3))
        assert [manifest.record(i) for i in range(4)] == expected


@given(st.lists(st.text("a./é", min_size=1, max_size=7), min_size=1, max_size=20))
def test_ids_are_what_splitext_leaves(tmp_path_factory: pytest.TempPathFactory, images: list[str]) -> None:
    path = tmp_path_factory.mktemp("m") / "m.arrow"
    table = pa.table({"image": images, "width": [1] * len(images), "height": [1] * len(images)})
    assert ids_of(Manifest(write(path, table))) == [os.path.splitext(name)[0] for name in images]


@pytest.mark.parametrize("name", ["m.parquet", "m.arrow", "m.feather", "shards"])
def test_every_kind_of_table_gives_the_same(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "shards":
        path.mkdir()
        for start in (0, 5, 10):  # In the order of their names.
            write(path / f"part-{start:02d}.parquet", rows(15)[start : start + 5])
        (path / ".hidden.parquet").write_bytes(b"nothing")
        (path / "note.txt").write_text("nothing")
    elif name == "m.feather":
        pa.feather.write_feather(pa.Table.from_pylist(rows(15)), path)
    else:
        write(path, rows(15))
    assert is_manifest(path)
    data = read(path)
    assert [p.record.id for p in data.pictures] == [f"{i % 3}/{i}" for i in range(15)]
    folder = path if name == "shards" else tmp_path
    assert data.pictures[7].place.path == str(folder / "1/7.png")
    assert data.pictures[7].size == (71, 48)
    assert data.sizes.tolist() == [[64 + i, 48] for i in range(15)]
    assert data.pictures[-1].record.prose == ()
    assert [p.size[0] for p in data.pictures[3:9:2]] == [67, 69, 71]
    copy = pickle.loads(pickle.dumps(data))
    assert [p.record for p in copy.pictures] == [p.record for p in data.pictures]
    some = data.subset([9, 2, 2])
    assert [p.record.id for p in some.pictures] == ["0/9", "2/2", "2/2"]
    assert some.sizes[:, 0].tolist() == [73, 66, 66]
    assert some.keys.tolist() == [key_of(name) for name in ("0/9", "2/2", "2/2")]
    with pytest.raises(IndexError):
        data.pictures[15]


@pytest.mark.parametrize(
    "text", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_texts_of_every_kind_are_texts(tmp_path: Path, text: pa.DataType) -> None:
    plain = pa.Table.from_pylist([row | {"id": f"id {i}"} for i, row in enumerate(rows(5))])
    fields = {"image": text, "id": text, "tags": pa.list_(text), "caption": text}
    schema = pa.schema([pa.field(f.name, fields.get(f.name, f.type)) for f in plain.schema])
    table = pa.Table.from_pylist(plain.to_pylist(), schema=schema)
    data = read(write(tmp_path / "m.arrow", table, per_group=5))
    expected = read(write(tmp_path / "m.parquet", plain))
    assert [p.record for p in data.pictures] == [p.record for p in expected.pictures]


def test_what_is_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    assert not is_manifest(tmp_path / "pictures")
    assert not is_manifest(tmp_path / "m.jsonl")


def test_rows_without_name_or_size_are_skipped_by_row(tmp_path: Path) -> None:
    table = rows(12)
    table[1]["image"] = None
    table[4]["width"] = None
    table[6]["height"] = -3
    table[7]["tags"] = None  # And no caption: no record.
    table[7]["caption"] = None
    (tmp_path / "shards").mkdir()
    write(tmp_path / "shards/a.parquet", table[:5])
    write(tmp_path / "shards/b.parquet", table[5:])
    data = read(tmp_path / "shards", max_bad_share=0.5)
    a, b = tmp_path / "shards/a.parquet", tmp_path / "shards/b.parquet"
    assert [(s.name, s.reason.split(" (")[0]) for s in data.skipped] == [
        (f"{a}: row 2", "the row names no picture"),
        (f"{a}: row 5", "width and height are 0 and 48, must be pixels from 1 to 1000000"),
        (f"{b}: row 2", "width and height are 70 and -3, must be pixels from 1 to 1000000"),
        (
            f"{b}: row 3",
            "has neither tags nor captions; its keys are 'image', 'width', 'height', 'tags', 'caption'",
        ),
    ]
    assert [p.record.id for p in data.pictures] == [f"{i % 3}/{i}" for i in (0, 2, 3, 5, 8, 9, 10, 11)]
    assert data.sizes[:, 0].tolist() == [64 + i for i in (0, 2, 3, 5, 8, 9, 10, 11)]
    with pytest.raises(TrainkitError, match=r"4 of 12 pictures cannot be used \(33\.3%"):
        read(tmp_path / "shards")


def test_ids_that_stand_there_twice_are_refused(tmp_path: Path) -> None:
    table = rows(10)
    table[8]["image"] = "1/4.jpg"  # Another picture, the same id as 1/4.png.
    with pytest.raises(
        TrainkitError, match=r"1 ids stand there more than once, such as '1/4'; their captions"
    ):
        read(write(tmp_path / "m.parquet", table))
    own = [row | {"id": i} for i, row in enumerate(table)]
    assert [p.record.id for p in read(write(tmp_path / "m.parquet", own)).pictures] == list("0123456789")
    own[3]["id"] = None  # Falls back on the picture's path.
    assert read(write(tmp_path / "m.parquet", own)).pictures[3].record.id == "0/3"
    own[3]["id"] = 5
    with pytest.raises(TrainkitError, match="such as '5'"):
        read(write(tmp_path / "m.parquet", own))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": None}, "has no column 'width'; a manifest needs image (text), width and height"),
        ({"image": None}, "has no column 'image'; a manifest needs"),
        ({"width": 64.5}, "column 'width' is double, must be whole numbers"),
        ({"image": 7}, "column 'image' is int64, must be text"),
        ({"file": "a.png"}, "has columns 'image' and 'file'; keep one of them"),
        ({"id": 0.5}, "column 'id' is double, must be text or whole numbers"),
    ],
)
def test_columns_that_cannot_be_used_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    table = [
        {key: value for key, value in (row | change).items() if not (key in change and value is None)}
        for row in rows(3)
    ]
    for name in ("m.parquet", "m.arrow"):
        with pytest.raises(TrainkitError) as caught:
            read(write(tmp_path / name, table))
        assert message in str(caught.value)
        assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("name", ["m.parquet", "m.arrow", "m.feather"])
@pytest.mark.parametrize("content", [b"", b"no table at all", b"PAR1PAR1"])
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TrainkitError, match=rf"data\.path: .*{name} cannot be read: "):
        read(tmp_path / name)


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    empty = pa.Table.from_pylist(rows(1)).slice(0, 0)
    with pytest.raises(TrainkitError, match=r"m\.parquet holds no rows"):
        read(write(tmp_path / "m.parquet", empty))


def test_rows_that_are_no_records_stop_the_run_before_it_begins(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(rows(2000)).append_column("text", pa.array(["Two keys."] * 2000))
    with pytest.raises(TrainkitError) as caught:
        read(write(tmp_path / "m.parquet", table, per_group=500))
    assert "131 of 256 rows that were tried are no records (data.max_bad_share allows 1.0%), such as" in str(
        caught.value
    )
    assert "captions stand under 2 keys: 'caption', 'text'" in str(caught.value)


def test_a_single_row_that_is_no_record_is_told_when_asked_for(tmp_path: Path) -> None:
    table = rows(2000)
    table[1001] |= {"tags": ["fox", " "]}
    path = write(tmp_path / "m.parquet", table, per_group=500)
    data = read(path)
    assert len(data.pictures) == 2000
    with pytest.raises(PictureError) as caught:
        data.pictures[1001]
    assert caught.value.picture == f"{path}: row 1002"
    assert caught.value.reason == "tags[1]: an empty tag: ' ' (take the entry out)"
    found = data.spread(2000)
    assert len(found) == 1999
    assert [p.record.id for p in data.spread(3)] == ["0/0", "0/999", "1/1999"]


def test_pictures_that_are_not_there_are_a_note(tmp_path: Path) -> None:
    path = write(tmp_path / "m.parquet", rows(3))
    first = tmp_path / "0/0.png"
    assert read(path).notes == (
        f"data.path: 3 of 3 pictures that were looked for are not there, such as {first}",
    )
    for row in rows(3):
        (tmp_path / row["image"]).parent.mkdir(exist_ok=True)
        (tmp_path / row["image"]).touch()
    assert read(path).notes == ()


def test_tags_are_kept_as_numbers(tmp_path: Path) -> None:
    # 3.3 million rows of 40 tags are 0.6 GB that way, and 1.8 GB as text.
    (part,) = Manifest(write(tmp_path / "m.parquet", rows(4)))._parts
    assert pa.types.is_dictionary(part.batch.schema.field("tags").type.value_type)
    (part,) = Manifest(tmp_path / "m.parquet", INDEX)._parts
    assert part.batch.schema.names == ["image", "width", "height"]


def test_a_recipe_decides_what_may_be_mirrored(tmp_path: Path) -> None:
    path = write(tmp_path / "m.parquet", rows(4))
    always, never = CaptionPipeline(), CaptionPipeline(flip=FlipRule(no_flip=("fox",)))
    config = DataConfig(path=path)
    assert [p.may_flip for p in read_data(config, [never]).pictures] == [False] * 4
    assert [p.may_flip for p in read_data(config, [never, always]).pictures] == [True] * 4


def test_ids_of_one_shard_count_where_another_has_none(tmp_path: Path) -> None:
    # All ids were once ignored then: pictures were held out by names that their records did not have.
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: dict[str, list[object]] = {"image": ["a.png", "b.png"], "width": [8, 8], "height": [8, 8]}
    rows["tags"] = ["x", "y"]
    pq.write_table(pa.table(rows | {"id": ["one", "two"]}), tmp_path / "0.parquet")
    pq.write_table(pa.table(rows | {"image": ["c.png", "d.png"]}), tmp_path / "1.parquet")
    manifest = Manifest(tmp_path)
    assert ids_of(manifest) == [manifest.record(row).id for row in range(4)] == ["one", "two", "c", "d"]


def arrow(path: Path, columns: dict[str, Any] | pa.Table, **options: Any) -> Path:
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    with pa.ipc.new_file(str(path), table.schema, options=pa.ipc.IpcWriteOptions(**options)) as file:
        file.write_table(table)
    return path


@pytest.mark.parametrize("kind", [pa.uint64(), pa.int64(), pa.dictionary(pa.int8(), pa.uint64())])
def test_widths_beyond_all_measure_are_told_as_they_are(tmp_path: Path, kind: pa.DataType) -> None:
    much = 2**63 - 1 if kind == pa.int64() else 2**64 - 1
    columns = {
        "image": ["a.png", "b.png", "c.png"],
        "width": pa.array([much, 8, None], pa.uint64() if pa.types.is_dictionary(kind) else kind),
        "height": [8, 8, 8],
        "tags": [["x"]] * 3,
    }
    if pa.types.is_dictionary(kind):
        columns["width"] = columns["width"].dictionary_encode().cast(kind)
    data = read(arrow(tmp_path / "m.arrow", columns), max_bad_share=0.9)
    assert [s.reason.split(",")[0] for s in data.skipped] == [
        f"width and height are {much} and 8",
        "width and height are 0 and 8",
    ]
    assert data.sizes.tolist() == [[8, 8]]


def test_names_that_are_no_utf8_are_skipped_by_row(tmp_path: Path) -> None:
    offsets = pa.array([0, 5, 6, 11], pa.int32()).buffers()[1]
    broken = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"a.png\xffb.png")])
    columns = {"image": broken, "width": [8] * 3, "height": [8] * 3, "tags": [["x"]] * 3}
    data = read(arrow(tmp_path / "m.arrow", columns), max_bad_share=0.9)
    assert [(s.name, s.reason) for s in data.skipped] == [
        (f"{tmp_path / 'm.arrow'}: row 2", "column 'image' is not UTF-8: byte 0xff")
    ]
    assert [p.record.id for p in data.pictures] == ["a", "b"]
    assert len(set(data.keys.tolist())) == 2


def test_batches_that_lie_are_not_given_out(tmp_path: Path) -> None:
    offsets = pa.array([0, 900, 2], pa.int32()).buffers()[1]
    tags = pa.Array.from_buffers(pa.list_(pa.string()), 2, [None, offsets], children=[pa.array(["x", "y"])])
    columns = {"image": ["a.png", "b.png"], "width": [8] * 2, "height": [8] * 2, "tags": tags}
    manifest = Manifest(arrow(tmp_path / "m.arrow", columns))
    with pytest.raises(TrainkitError, match=r"m\.arrow: row 1 and after: "):
        list(manifest.batches())


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a.png"])] * 2, names=["image", "image"])
    with pytest.raises(TrainkitError, match=r"m\.arrow has more than one column 'image'; keep one"):
        read(arrow(tmp_path / "m.arrow", table))


def test_a_map_with_a_key_twice_is_told_by_its_row(tmp_path: Path) -> None:
    kind = pa.map_(pa.string(), pa.list_(pa.string()))
    tags = pa.array([[("species", ["fox"])], [("a", ["x"]), ("a", ["y"])]], kind)
    columns = {"image": ["a.png", "b.png"], "width": [8] * 2, "height": [8] * 2, "tags": tags}
    data = read(arrow(tmp_path / "m.arrow", columns), max_bad_share=0.9)
    assert [t.category for t in data.pictures[0].record.tags] == ["species"]
    (skipped,) = data.skipped
    assert skipped.name == f"{tmp_path / 'm.arrow'}: row 2"
    assert "duplicate key was 'a'" in skipped.reason


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_buffers_that_lie_are_errors(tmp_path: Path, codec: str) -> None:
    path = arrow(tmp_path / "m.arrow", pa.Table.from_pylist(rows(200)), compression=codec)
    expected = [p.record for p in read(path).pictures]
    assert len(expected) == 200
    whole = path.read_bytes()
    rng = random.Random(0)
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        at = rng.randrange(8, len(whole) - 8)
        damaged[at : at + 8] = rng.choice([rng.randbytes(8), b"\xff" * 7 + b"\x7f", bytes(8)])
        path.write_bytes(damaged)
        try:
            data = read(path, max_bad_share=1.0)
        except TrainkitError as error:
            refused += str(path) in str(error)
            continue
        for i in range(len(data.pictures)):
            with contextlib.suppress(PictureError):
                data.pictures[i]
    assert refused > 10


def test_whole_numbers_of_a_column_of_decimals_keep_their_kind(tmp_path: Path) -> None:
    # captionkit's writer marks such a column; "score: 3" once became "score: 3.0" in captions.
    records = [
        Record("a", (Tag("x"),), (), "a.png", {"width": 8, "height": 8, "score": 3}),
        Record("b", (Tag("x"),), (), "b.png", {"width": 8, "height": 8, "score": 2.5}),
    ]
    target = open_target(tmp_path / "m.parquet")
    with target.open() as sink:
        sink.append(target.encode(records, Losses()))
    manifest = Manifest(tmp_path / "m.parquet")
    assert [repr(manifest.record(row)) for row in range(2)] == [repr(record) for record in records]
