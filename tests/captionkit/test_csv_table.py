"""CSV tables of others: what their cells say, and what is wrong with them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import CaptionkitError, DataError, Prose, Record, Tag
from captionkit.readers.csv_cells import cell_of, fact_of
from captionkit.readers.csv_table import CsvSource
from captionkit.readers.source import strict
from captionkit.writers.csv_table import CsvTarget
from captionkit.writers.target import Losses


def read(path: Path, text: str | bytes) -> tuple[list[Record], list[str]]:
    """The records of a file with this text, and the errors."""
    path.write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
    errors: list[CaptionkitError] = []
    return list(CsvSource(path).records(errors.append)), [str(error) for error in errors]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the table lies."""
    return tmp_path / "t.csv"


# ------------------------------------------------------------------------------------------------------- laws


@given(st.text() | st.integers() | st.floats(allow_nan=False) | st.booleans())
def test_a_fact_comes_back_from_its_cell_or_has_none(value: str | int | float | bool) -> None:
    cell = cell_of(value)
    if cell is not None:
        assert fact_of(cell) == value
        assert type(fact_of(cell)) is type(value)


@given(st.text(), st.lists(st.text("a,\"\n\r\t;[]{}'\0 é", max_size=12)).map("\n".join))
def test_no_text_is_a_traceback(tmp_path_factory: pytest.TempPathFactory, head: str, rows: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    for first in (head, "id,tags,caption,info,n"):
        path.write_bytes(f"{first}\n{rows}".encode("utf-8", "surrogatepass"))
        errors: list[CaptionkitError] = []
        try:
            list(CsvSource(path).records(errors.append))
        except CaptionkitError as error:
            errors.append(error)
        assert all(str(path) in str(error) for error in errors)


# --------------------------------------------------------------------------------------------------- examples


def test_a_table_of_somebody_else(path: Path) -> None:
    text = (
        ",image, tags ,caption,score,rating,md5,safe,artist\n"
        '0,a.png,"red fox, snow","A fox, in ""snow"".\nIt waits.",7,s,007,True,\n'
        "1,b.png,solo,,-1.5,,1e5,false,x\n"
    )
    assert read(path, text) == (
        [
            Record(
                "a",
                (Tag("red fox"), Tag("snow")),
                (Prose('A fox, in "snow".\nIt waits.'),),
                "a.png",
                {"score": 7, "rating": "s", "md5": "007", "safe": True},
            ),
            Record(
                "b", (Tag("solo"),), (), "b.png", {"score": -1.5, "md5": "1e5", "safe": False, "artist": "x"}
            ),
        ],
        [],
    )


def test_json_in_cells(path: Path) -> None:
    text = (
        "id\ttags\tcaptions\tinfo\n"
        '7\t"{""species"": [""fox""]}"\t"[""One."", {""text"": ""Two."", ""source"": ""cogvlm""}]"\t\n'
        '007\t[brackets], fox\t[a] fox\t"{""text"": ""7""}"\n'
    )
    assert read(path.with_suffix(".tsv"), text) == (
        [
            Record("7", (Tag("fox", "species"),), (Prose("One."), Prose("Two.", "cogvlm"))),
            Record("007", (Tag("[brackets]"), Tag("fox")), (Prose("[a] fox"),), None, {"text": "7"}),
        ],
        [],
    )


@pytest.mark.parametrize(
    "text", ["id;tags\na;x, y\n", "id\ttags\na\tx, y\n", '\ufeffid,tags\r\na,"x, y"\r\n']
)
def test_separators_and_marks(path: Path, text: str) -> None:
    assert read(path, text) == ([Record("a", (Tag("x"), Tag("y")))], [])


def test_packed(tmp_path: Path) -> None:
    packed = gzip.compress(b"id,tags\na,x\n")
    assert read(tmp_path / "t.csv.gz", packed) == ([Record("a", (Tag("x"),))], [])
    for wrong in (packed[:-4], b"id,tags\na,x\n", packed[:12] + b"\xff\xff" + packed[14:]):
        (tmp_path / "t.csv.gz").write_bytes(wrong)
        with pytest.raises(DataError, match=r"t\.csv\.gz: cannot be"):
            list(CsvSource(tmp_path / "t.csv.gz").records(strict))


def test_what_is_written(path: Path) -> None:
    records = [
        Record("a", (Tag("red fox"), Tag("snow")), (Prose("One."),), "a.png", {"score.up": 3, "n": "7"}),
        Record("b", (Tag("a, b"),), (Prose("One."), Prose("Two.", "cogvlm")), None, {"safe": True}),
    ]
    target = CsvTarget(path)
    with target.open() as sink:
        for record in records:
            sink.append(target.encode([record], Losses()))
    assert path.read_text("utf-8") == (
        "id,image,tags,caption,score.up,safe,info\n"
        'a,a.png,"red fox, snow",One.,3,,"{""n"": ""7""}"\n'
        'b,,"[""a, b""]","[{""text"": ""One."", ""source"": ""human""}, {""text"": ""Two."", '
        '""source"": ""cogvlm""}]",,true,\n'
    )


# ----------------------------------------------------------------------------------------------------- errors


def test_errors_name_the_line_on_which_their_row_begins(path: Path) -> None:
    text = (
        'id,tags,caption\na,x,"two\nlines"\nb,x\nc,x,One.,more\nd,,\n\ne,"[""x"", """"]",\n'
        'f,x,"is "not" quoted"\ng,"{""a"": 1, ""a"": 2}",\nh,x,fine\n'
    )
    records, errors = read(path, text)
    assert [record.id for record in records] == ["a", "h"]
    starts = [error.partition(" (")[0] for error in errors]
    assert sorted(starts) == sorted(
        [
            f"{path}:4: the row has 2 cells, the first line names 3 columns",
            f"{path}:5: the row has 4 cells, the first line names 3 columns",
            f"{path}:6: has neither tags nor captions; its keys are 'id'",
            f"{path}:8: tags[1]: an empty tag: ''",
            f"{path}:9: cannot be read as CSV: ',' expected after '\"'",
            f"{path}:10: the key 'a' is there twice in one object",
        ]
    )


def test_bytes_that_are_no_utf8_spoil_one_row(path: Path) -> None:
    records, errors = read(path, b'id,tags\na,x\nb,"caf\xe9\nau lait"\nc,x\n')
    assert [record.id for record in records] == ["a", "c"]
    (error,) = errors
    assert error.startswith(f"{path}:3: is not UTF-8: byte 0xe9 at offset 18")
    with pytest.raises(DataError, match=r"UTF-16"):
        read(path, "id,tags\na,x\n".encode("utf-16"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it has no columns"),
        ("id,tag\na,x\n", "did 'tag' mean 'tags'?"),
        ("tags,n\na,x\n", "has neither a column of ids nor one of pictures; its columns are 'tags', 'n'"),
        ("id,tags,tags\na,x,y\n", "more than one column 'tags'"),
        ("id,tags\n", "holds no rows"),
    ],
)
def test_a_table_that_cannot_work_is_one_error(path: Path, text: str, message: str) -> None:
    path.write_text(text)
    with pytest.raises(DataError) as error:
        list(CsvSource(path).records(lambda _: None))
    assert str(path) in str(error.value)
    assert message in str(error.value)


def test_a_long_cell_is_read_and_a_quote_that_nobody_closes_is_an_error(path: Path) -> None:
    long = "word " * 40_000
    assert read(path, f"id,caption\na,{long}\n")[0] == [Record("a", (), (Prose(long.strip()),))]
    records, errors = read(path, 'id,caption\na,fine\nb,"never closed\nc,fine\n')
    assert [record.id for record in records] == ["a"]
    assert [error.partition(" (")[0] for error in errors] == [
        f"{path}:3: cannot be read as CSV: unexpected end of data"
    ]


def test_a_text_of_json_marks_stays_a_text(path: Path) -> None:
    records = [
        Record(str(n), (), (Prose(text),)) for n, text in enumerate(['["a"]', "{}", "[1, 2]", "[not json"])
    ]
    target = CsvTarget(path)
    with target.open() as sink:
        sink.append(target.encode(records, Losses()))
    assert list(CsvSource(path).records(strict)) == records


def test_amounts_are_the_size_of_the_file(path: Path) -> None:
    text = "id,tags\n" + "".join(f"{n},x\n" for n in range(5000))
    path.write_text(text)
    source = CsvSource(path)
    assert sum(block.amount for block in source.blocks(strict)) == source.total() == len(text)
