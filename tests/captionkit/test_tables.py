"""Tables: what is written to Parquet, Arrow, CSV or a Hugging Face folder is read back the same."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captionkit import CaptionkitError, DataError, Prose, Record, Tag
from captionkit.readers.arrow_table import ArrowSource
from captionkit.readers.csv_table import CsvSource
from captionkit.readers.hf_dataset import HfSource
from captionkit.readers.source import Source, strict
from captionkit.testing import strategies
from captionkit.writers.arrow_table import ArrowTarget
from captionkit.writers.csv_table import CsvTarget
from captionkit.writers.fields import has_content
from captionkit.writers.hf_dataset import HfTarget
from captionkit.writers.target import Losses, Target

pytest.importorskip("pyarrow")

Format = tuple[str, Callable[[Path], Target], Callable[[Path], Source]]
FORMATS: list[Format] = [
    ("t.parquet", ArrowTarget, ArrowSource),
    ("t.arrow", ArrowTarget, ArrowSource),
    ("t.csv", CsvTarget, CsvSource),
    ("t.tsv", CsvTarget, CsvSource),
    ("t.csv.gz", CsvTarget, CsvSource),
    ("folder", HfTarget, HfSource),
]
formats = pytest.mark.parametrize("format", FORMATS, ids=[name for name, _, _ in FORMATS])


def kinds(record: Record) -> list[type]:
    """The kinds of a record's facts, for True == 1 == 1.0."""
    return [type(record.fact(name)) for name in dict(record.info)]


def write(target: Target, chunks: list[list[Record]]) -> Losses:
    """Write the chunks, each as another process would."""
    losses = Losses()
    with target.open() as sink:
        for chunk in chunks:
            sink.append(target.encode(chunk, losses))
    return losses


def there_and_back(format: Format, chunks: list[list[Record]]) -> tuple[list[Record], Losses]:
    """The records as they are read after they were written, and what was lost."""
    name, target, source = format
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        losses = write(target(path), chunks)
        assert os.listdir(folder) == [name]  # Nothing temporary stays.
        if not any(has_content(record) for chunk in chunks for record in chunk):
            with pytest.raises(DataError, match="holds no rows"):
                list(source(path).records(strict))
            return [], losses
        return list(source(path).records(strict)), losses


def odd_texts() -> st.SearchStrategy[str]:
    """Texts that a table may take for something else."""
    known = st.sampled_from(
        (
            *("7", "-0", "007", "1e5", "1e+5", "1.0", "true", "False", "nan", "inf", "null", "[]", "{}"),
            *('["a"]', '{"a": "b"}', "[a, b]", "a,b", "a;b", 'say "no"', "'", "=1+1", "{", "\ufeffa"),
            *(
                "a\nb",
                "a\r\nb",
                "a\rb",
                "\ta",
                " a ",
                "\0",
                "a\0b",
                "{red, x|blue} fox",
                "\u2028",
                "犬",
                "🦊",
            ),
        )
    )
    return known | st.text(max_size=6)


def odd_records() -> st.SearchStrategy[Record]:
    """Records of which every text may be odd, and facts of mixed kinds under names that mean something."""
    texts = odd_texts()
    names = texts.filter(str.strip)
    tags = st.builds(Tag, names, st.none() | texts, st.none() | texts, st.none() | st.floats(-9, 9))
    plain = st.builds(Tag, names)
    numbers = (
        st.integers() | st.floats(allow_nan=False) | st.sampled_from([2**53 + 1, 2**63, -(2**63), 10**80])
    )
    facts = st.dictionaries(
        st.sampled_from(["x", "y", "score.up", "text", "id", "tags", "info", " x", "\0", "a,b"]) | names,
        texts | numbers | st.booleans(),
        max_size=4,
    )
    prose = st.builds(Prose, texts) | st.builds(Prose, texts, texts)
    return st.builds(
        Record,
        names,
        (st.lists(plain, max_size=4) | st.lists(tags, max_size=3)).map(tuple),
        st.lists(prose, max_size=2).map(tuple),
        st.none() | names,
        facts,
    )


def chunks_of(records: st.SearchStrategy[Record]) -> st.SearchStrategy[list[list[Record]]]:
    """Chunks of a few records."""
    return st.lists(st.lists(records, max_size=3), min_size=1, max_size=3)


# ------------------------------------------------------------------------------------------------------- laws


@formats
@given(chunks=chunks_of(strategies.records() | odd_records()))
def test_what_is_not_lost_comes_back(format: Format, chunks: list[list[Record]]) -> None:
    back, losses = there_and_back(format, chunks)
    records = [record for chunk in chunks for record in chunk if has_content(record)]
    assert [record.id for record in back] == [record.id for record in records]
    if losses.counts.keys() <= {"records without tags and captions, left out"}:
        assert back == records
        assert list(map(kinds, back)) == list(map(kinds, records))
    # What was written the second time is all there.
    again, lost = there_and_back(format, [back]) if back else ([], Losses())
    assert again == back
    assert not lost.counts


@formats
@given(
    values=st.lists(
        st.sampled_from([0, 1, -7, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 0.5, -0.0, 1.0, 1e300, True, "1", "x"])
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False),
        min_size=1,
        max_size=4,
    ),
    cut=st.integers(0, 4),
)
def test_facts_keep_their_kinds_whatever_the_others_are(
    format: Format, values: list[str | int | float | bool], cut: int
) -> None:
    records = [Record(str(n), (Tag("x"),), (), None, {"n": value}) for n, value in enumerate(values)]
    back, losses = there_and_back(format, [records[:cut], records[cut:]])
    assert not losses.counts
    assert [repr(record.fact("n")) for record in back] == list(map(repr, values))


@formats
@pytest.mark.parametrize(
    "values",
    [
        (1, 0.5),
        (1, 1.0),
        (1.0, 1),
        (0.5, 2**53 + 1),
        (1, 1.0, 0.5),
        (1, -0.0),
        (2**53 + 1, 0.5),
        (-(2**53) - 1, 0.5),
        (2**63, 1),
        (True, 1),
    ],
)
def test_whole_numbers_stay_whole_beside_decimals(format: Format, values: tuple[float, ...]) -> None:
    records = [Record(str(n), (Tag("x"),), (), None, {"n": value}) for n, value in enumerate(values)]
    for chunks in ([records], [[record] for record in records]):
        back, _ = there_and_back(format, chunks)
        assert [repr(record.fact("n")) for record in back] == list(map(repr, values))


@formats
@given(record=strategies.records() | odd_records())
def test_what_is_lost_is_all_that_changes(format: Format, record: Record) -> None:
    """Of one record, so that each loss can be looked for in it."""
    (back, losses) = there_and_back(format, [[record]])
    assert ("records without tags and captions, left out" in losses.counts) == (not has_content(record))
    if not back:
        return
    if not any("tags" in what for what in losses.counts):
        assert [tag.name for tag in back[0].tags] == [tag.name for tag in record.tags]
    if not any("captions" in what for what in losses.counts):
        assert back[0].prose == record.prose
    if not any("facts" in what for what in losses.counts):
        assert back[0].info == record.info


@formats
@pytest.mark.parametrize(
    "names", [["{red", "x|blue}"], ["{red, x|blue} fox"], ["[]"], ["a,b"], ["|||", "a", "||| |||"]]
)
def test_names_of_tags_that_look_like_lists_come_back(format: Format, names: list[str]) -> None:
    record = Record("a", tuple(map(Tag, names)))
    assert there_and_back(format, [[record]])[0] == [record]


@formats
def test_how_records_are_chunked_does_not_change_what_is_read(format: Format) -> None:
    records = [
        Record("a", (Tag("x"),), (), None, {"n": 1, "only a": "a"}),
        Record("b", (Tag("x", "species"), Tag("y", None, "human", 0.5)), (), None, {"n": 1.5}),
        Record("c", (), (Prose("One."),), "c.png", {"n": True}),
        Record("d", (Tag("x"),), (Prose("One."), Prose("Two.", "cogvlm")), "d.png", {"n": "text"}),
    ]
    for chunks in ([records], [[record] for record in records], [records[:2], records[2:]]):
        back, losses = there_and_back(format, chunks)
        assert back == records
        assert list(map(kinds, back)) == list(map(kinds, records))
        assert not losses.counts


# --------------------------------------------------------------------------------------------------- examples


def read(source: Source) -> tuple[list[Record], list[str]]:
    """The records and the errors."""
    errors: list[CaptionkitError] = []
    return list(source.records(errors.append)), [str(error) for error in errors]


def test_the_columns_of_a_table(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "t.parquet"
    write(
        ArrowTarget(path),
        [
            [Record("a", (Tag("x"), Tag("y")), (Prose("One."),), "a.png", {"score.up": 3, "year": 2021})],
            [Record("b", (Tag("x"),), (), "b.png", {"score.up": 2.5, "year": "2021?", "safe": True})],
        ],
    )
    table = pq.read_table(path)
    assert [(field.name, field.type) for field in table.schema] == [
        ("id", pa.string()),
        ("image", pa.string()),
        ("tags", pa.list_(pa.field("element", pa.string()))),
        ("caption", pa.string()),
        ("score.up", pa.float64()),
        ("safe", pa.bool_()),
        ("info", pa.string()),
    ]
    assert table.column("score.up").to_pylist() == [3.0, 2.5]
    assert table.column("info").to_pylist() == ['{"year": 2021}', '{"year": "2021?"}']
    assert [record.info for record in ArrowSource(path).records(strict)] == [
        (("score.up", 3), ("year", 2021)),
        (("safe", True), ("score.up", 2.5), ("year", "2021?")),
    ]


def test_details_of_one_tag_make_structs_of_all(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = tmp_path / "t.parquet"
    write(ArrowTarget(path), [[Record("a", (Tag("x"),))], [Record("b", (Tag("y", "species"),))]])
    rows = pq.read_table(path).column("tags").to_pylist()
    assert rows[0] == [{"name": "x", "category": None, "source": None, "score": None}]
    assert rows[1] == [{"name": "y", "category": "species", "source": None, "score": None}]


def test_what_is_written_is_a_manifest_of_trainkit_and_the_other_way_round(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    from trainkit.manifest import Manifest

    records = [
        Record("a", (Tag("x", "species"),), (Prose("One."),), "a.png", {"width": 640, "height": 480, "n": 1}),
        Record(
            "b", (Tag("y"),), (Prose("Two.", "cogvlm"),), "b.png", {"width": 512, "height": 512, "n": 2.5}
        ),
    ]
    for name in ("t.parquet", "t.arrow"):
        path = tmp_path / name
        write(ArrowTarget(path), [records[:1], records[1:]])
        manifest = Manifest(path)
        assert manifest.bad_rows(manifest.sizes()) == {}
        assert manifest.sizes().tolist() == [[640, 480], [512, 512]]
        assert (
            [manifest.record(row) for row in range(2)] == records == list(ArrowSource(path).records(strict))
        )


def test_a_folder_of_tables_is_read_by_name(tmp_path: Path) -> None:
    for name in ("2.parquet", "1.arrow", "10.parquet"):
        write(ArrowTarget(tmp_path / name), [[Record(name, (Tag("x"),))]])
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / ".hidden.parquet").write_bytes(b"no table")
    source = ArrowSource(tmp_path)
    assert [record.id for record in source.records(strict)] == ["1.arrow", "10.parquet", "2.parquet"]
    assert source.total() == 3
    assert source.root == tmp_path


def table(path: Path, columns: dict[str, Any]) -> Path:
    """A Parquet file of these columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path)
    return path


def test_types_that_others_write(tmp_path: Path) -> None:
    import datetime
    from decimal import Decimal

    import pyarrow as pa

    noon = datetime.datetime(2021, 5, 1, 12, 0, 0, 250_000)
    columns = {
        "image": pa.array(["a.png"], pa.large_string()),
        "tags": pa.array([["x", "y"]], pa.list_(pa.dictionary(pa.int32(), pa.string()))),
        "text": pa.array([b"One."], pa.binary()),
        "day": pa.array([noon.date()]),
        "when": pa.array([noon], pa.timestamp("ns")),
        "zoned": pa.array([noon], pa.timestamp("ms", "Europe/Berlin")),
        "hour": pa.array([datetime.time(12)]),
        "price": pa.array([Decimal("12.50")]),
        "number": pa.array([Decimal(10**30)]),
        "small": pa.array([7], pa.uint8()),
        "half": pa.array([0.5], pa.float32()),
        "rating": pa.array(["s"]).dictionary_encode(),
        "nothing": pa.nulls(1),
        "embedding": pa.array([[0.5] * 8]),
        "bytes": pa.array([b"\xff\xd8"]),
        "score": pa.array([{"up": 3, "down": None, "raw": b"\xff"}]),
        "extra": pa.array([[("k", "v")]], pa.map_(pa.string(), pa.string())),
    }
    expected = Record(
        "a",
        (Tag("x"), Tag("y")),
        (Prose("One."),),
        "a.png",
        {
            "day": "2021-05-01",
            "when": "2021-05-01T12:00:00.25",
            "zoned": "2021-05-01T12:00:00.25Z",
            "hour": "12:00:00",
            "price": 12.5,
            "number": 10**30,
            "small": 7,
            "half": 0.5,
            "rating": "s",
            "score.up": 3,
            "extra.k": "v",
        },
    )
    path = table(tmp_path / "t.parquet", columns)
    assert read(ArrowSource(path)) == ([expected], [])
    arrow = tmp_path / "t.arrow"
    views = {
        "tags": pa.array([["x", "y"]], pa.list_view(pa.string_view())),
        "rating": pa.array(["s"], pa.string_view()),
        "small": pa.compute.run_end_encode(pa.array([7])),
    }
    for opened in (pa.ipc.new_file, pa.ipc.new_stream):
        rows = pa.table(columns | views)
        with opened(str(arrow), rows.schema) as writer:
            writer.write_table(rows)
        assert read(ArrowSource(arrow)) == ([expected], [])


@pytest.mark.parametrize(
    "tags",
    [
        [{"name": "fox", "category": "species", "source": None, "score": 0.5}],
        {"species": ["fox"], "general": []},
        "fox, fox",
    ],
)
def test_forms_of_tags(tmp_path: Path, tags: Any) -> None:
    path = table(tmp_path / "t.parquet", {"id": [7], "tags": [tags]})
    records, errors = read(ArrowSource(path))
    assert not errors
    assert records[0].id == "7"
    assert records[0].tags[0].name == "fox"


def test_pictures_in_the_table_are_not_read(tmp_path: Path) -> None:
    import pyarrow as pa

    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pictures = pa.array([{"bytes": b"\x89PNG", "path": "a.png"}, {"bytes": b"\x89PNG", "path": None}], kind)
    path = table(tmp_path / "train-0.parquet", {"image": pictures, "text": ["One.", "Two."]})
    records, errors = read(ArrowSource(path))
    assert not errors
    assert [(record.id, record.image) for record in records] == [("a", "a.png"), ("train-0/2", None)]
    path = table(tmp_path / "t.parquet", {"image": [b"\x89PNG"], "text": ["One."]})
    assert [record.id for record in ArrowSource(path).records(strict)] == ["t/1"]


# ----------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": ["a"], "tag": ["x"]}, "did 'tag' mean 'tags'?"),
        (
            {"image": ["a"], "n": [1]},
            "has neither a column of tags nor one of captions; its columns are 'image', 'n'",
        ),
        (
            {"tags": ["x"], "n": [1]},
            "has neither a column of ids nor one of pictures; its columns are 'tags', 'n'",
        ),
    ],
)
def test_columns_that_cannot_work_are_one_error(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    path = table(tmp_path / "t.parquet", {name: values * 3 for name, values in columns.items()})
    with pytest.raises(DataError) as error:
        list(ArrowSource(path).records(lambda _: None))
    assert message in str(error.value)


def test_a_column_twice_is_one_error(tmp_path: Path) -> None:
    import pyarrow as pa

    rows = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["id", "tags", "tags"])
    path = tmp_path / "t.arrow"
    with pa.ipc.new_file(str(path), rows.schema) as writer:
        writer.write_table(rows)
    with pytest.raises(DataError, match="more than one column 'tags'; its columns are 'id', 'tags', 'tags'"):
        list(ArrowSource(path).records(strict))


def test_what_is_no_utf8_spoils_one_row(tmp_path: Path) -> None:
    import pyarrow as pa

    texts = pa.array([b"fine", b"caf\xe9", b"fine"]).view(pa.string())
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), texts)
    ids = pa.array(["a", "b", "c"])
    for column, name in ((texts, "caption"), (lists, "tags")):
        rows = pa.table({"id": ids, name: column})
        path = tmp_path / "t.arrow"
        with pa.ipc.new_file(str(path), rows.schema) as writer:
            writer.write_table(rows)
        parquet = table(tmp_path / "t.parquet", {"id": ids, name: column})
        for file in (path, parquet):
            records, errors = read(ArrowSource(file))
            assert [record.id for record in records] == ["a", "c"]
            (error,) = errors
            assert error.startswith(f"{file}: row 2: column '{name}' is not UTF-8: byte 0xe9")


def test_bad_rows_are_named_and_skipped(tmp_path: Path) -> None:
    path = table(tmp_path / "t.parquet", {"id": ["a", "b", None], "tags": [["x"], [], ["y"]], "n": [1, 2, 3]})
    records, errors = read(ArrowSource(path))
    assert [record.id for record in records] == ["a"]
    assert [error.partition(": has")[0] for error in errors] == [f"{path}: row 2", f"{path}: row 3"]


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.feather"])
@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"ARROW1", b"FEA1....", b"\xff" * 64, b"ARROW1\0\0" + b"\x07" * 99]
)
def test_what_is_no_table_is_an_error(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        list(ArrowSource(path).records(strict))
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
@given(at=st.integers(0, 5000), byte=st.integers(0, 255))
@settings(max_examples=100)
def test_a_damaged_file_is_no_traceback(name: str, at: int, byte: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(ArrowTarget(path), [[Record("a", (Tag("x"), Tag("yy"))), Record("b", (), (Prose("One."),))]])
        data = bytearray(path.read_bytes())
        data[at % len(data)] = byte
        path.write_bytes(data)
        with contextlib.suppress(CaptionkitError):
            read(ArrowSource(path))


def test_offsets_that_lead_out_of_a_file_are_an_error(tmp_path: Path) -> None:
    import pyarrow as pa

    names = pa.array(["x", "y"])
    wrong = pa.ListArray.from_buffers(
        pa.list_(pa.string()), 2, [None, pa.array([0, 1 << 24, 2], pa.int32()).buffers()[1]], children=[names]
    )
    rows = pa.RecordBatch.from_arrays([pa.array(["a", "b"]), wrong], names=["id", "tags"])
    path = tmp_path / "t.arrow"
    for opened in (pa.ipc.new_file, pa.ipc.new_stream):
        with opened(str(path), rows.schema) as writer:
            writer.write_batch(rows)
        with pytest.raises(DataError, match=r"t\.arrow: cannot be read: "):
            read(ArrowSource(path))


def test_rows_are_counted_over_batches_and_blocks(tmp_path: Path) -> None:
    import pyarrow as pa

    rows = pa.table({"id": ["a"] * 9000, "tags": [["x"]] * 4999 + [[]] + [["x"]] * 4000})
    path = tmp_path / "t.arrow"
    for size in (3000, 9000):
        with pa.ipc.new_file(str(path), rows.schema) as writer:
            writer.write_table(rows, max_chunksize=size)
        records, errors = read(ArrowSource(path))
        assert len(records) == 8999
        assert [error.partition(": has")[0] for error in errors] == [f"{path}: row 5000"]


def test_a_bad_table_in_a_folder_leaves_the_others(tmp_path: Path) -> None:
    write(ArrowTarget(tmp_path / "2.parquet"), [[Record("a", (Tag("x"),))]])
    (tmp_path / "1.parquet").write_bytes(b"no table")
    records, errors = read(ArrowSource(tmp_path))
    assert [record.id for record in records] == ["a"]
    assert len(errors) == 1
    assert str(tmp_path / "1.parquet") in errors[0]


@formats
def test_an_error_leaves_what_was_there(tmp_path: Path, format: Format) -> None:
    name, target, source = format
    path = tmp_path / name
    write(target(path), [[Record("old", (Tag("x"),))]])
    with contextlib.suppress(ZeroDivisionError), target(path).open() as sink:
        sink.append(target(path).encode([Record("new", (Tag("x"),))], Losses()))
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == [name]
    assert [record.id for record in source(path).records(strict)] == ["old"]
    write(target(path), [[Record("new", (Tag("x"),))]])
    assert [record.id for record in source(path).records(strict)] == ["new"]


@formats
def test_where_nothing_can_be_written_is_an_error(tmp_path: Path, format: Format) -> None:
    name, target, _ = format
    with (
        pytest.raises(DataError, match=r"cannot be written|its folder is not there"),
        target(tmp_path / "none" / name).open(),
    ):
        pass


def test_halves_of_surrogate_pairs_are_replaced_and_noted() -> None:
    for format in FORMATS:
        back, losses = there_and_back(format, [[Record("a\udcff", (Tag("x\ud800"), Tag("y")))]])
        assert back == [Record("a\ufffd", (Tag("x\ufffd"), Tag("y")))]
        assert losses.counts == {"halves of surrogate pairs in texts": 1}


def test_a_row_group_of_many_rows_is_read_in_pieces(tmp_path: Path) -> None:
    rows = 10_000
    path = table(tmp_path / "t.parquet", {"id": [str(row) for row in range(rows)], "tags": [["x"]] * rows})
    blocks = list(ArrowSource(path).blocks(strict))
    assert [block.amount for block in blocks] == [4096, 4096, 1808]
    assert [record.id for record in ArrowSource(path).records(strict)] == [str(row) for row in range(rows)]


def test_facts_beyond_the_most_columns_stand_in_info(tmp_path: Path) -> None:
    records = [Record(str(n), (Tag("x"),), (), None, {"all": 1, f"fact {n}": n}) for n in range(600)]
    for format in FORMATS[0], FORMATS[2]:
        back, losses = there_and_back(format, [records[:100], records[100:]])
        assert back == records
        assert not losses.counts
    path = tmp_path / "t.parquet"
    write(ArrowTarget(path), [records[:100], records[100:]])
    import pyarrow.parquet as pq

    names = pq.read_schema(path).names
    assert "all" in names
    assert len(names) == 4 + 500 + 1
