"""Sidecars from which the records are read again; nothing is overwritten, nothing leaves the folder."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import DataError, Prose, Record, Tag, parse_tags
from captionkit.convert import convert
from captionkit.readers import read_folder
from captionkit.readers.folder import FolderSource
from captionkit.readers.jsonl import JsonlSource
from captionkit.readers.source import strict
from captionkit.testing import strategies
from captionkit.writers.fields import has_content
from captionkit.writers.folder import FolderTarget
from captionkit.writers.sidecar_texts import Style
from captionkit.writers.target import Losses


def write(target: FolderTarget, records: list[Record]) -> Losses:
    losses = Losses()
    with target.open() as sink:
        for record in records:
            sink.append(target.encode([record], losses))
    return losses


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def lay(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


# ------------------------------------------------------------------------------------------------------ laws

# Tags and captions as people write them: commas, dots, quotes and line ends are where plain text breaks.
pieces = st.lists(
    st.sampled_from(
        ["fox", "A", "the", " ", ", ", ".", "\n", "!", '"', "|||", "{a|b}", "\r", "\u2028", "\ufeff", "\0"]
    ),
    min_size=1,
    max_size=6,
).map("".join)
names = pieces.filter(str.strip)
tags = st.builds(
    Tag, names, st.none() | st.just("species"), st.none() | st.just("human"), st.none() | st.floats(0, 1)
)
plain_tags = st.builds(Tag, names)
prose = st.builds(Prose, pieces, st.sampled_from(["human", "human", "cogvlm"]))
facts = st.dictionaries(
    st.sampled_from(["rating", "captoin", "text", "caption", "id", "info"]), st.integers() | pieces
)
written = st.builds(
    Record,
    st.just("x"),
    st.lists(plain_tags, max_size=4) | st.lists(tags, max_size=3),
    st.lists(prose, max_size=3),
    st.none(),
    facts,
)


@given(st.lists(written | strategies.records(), max_size=6), st.sampled_from(["plain", "json"]))
def test_what_is_not_lost_comes_back(records: list[Record], style: Style) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        placed = [
            replace(record, id=f"{number % 2}/{number}", image=f"{number % 2}/{number}.png")
            for number, record in enumerate(records)
        ]
        lay(folder, *(str(record.image) for record in placed if has_content(record)))
        kept = sorted(filter(has_content, placed), key=lambda record: record.id)
        if not kept:
            with pytest.raises(DataError, match="no record can be written"):
                write(FolderTarget(folder, style=style), placed)
            return
        losses = write(FolderTarget(folder, style=style), placed)
        back = {record.id: record for record in read_folder(folder)}
        assert back.keys() == {record.id for record in kept}
        for record in kept:
            alone = Losses()
            FolderTarget(folder, style=style).encode([record], alone)
            assert alone.counts or back[record.id] == record
        # What was read is written without a loss, and where nothing was lost before, no file changes.
        before = tree(folder)
        again = write(FolderTarget(folder, style=style, overwrite=True), list(back.values()))
        assert not again.counts
        assert list(back.values()) == list(read_folder(folder))
        assert losses.counts or tree(folder) == before


@given(st.lists(plain_tags, min_size=1, max_size=4, unique_by=lambda tag: tag.name))
def test_a_style_of_one_line_is_one_line(tags: list[Tag]) -> None:
    target = FolderTarget(Path("x"), style="tags")
    chunk = target.encode([Record("a", tuple(tags), image="a.png")], Losses()).decode()
    text = json.loads(chunk)[1][".txt"]
    assert text.splitlines() == [text.rstrip("\n")]


# -------------------------------------------------------------------------------------------------- examples


def test_the_plainest_files_that_hold_it(tmp_path: Path) -> None:
    records = [
        Record("a", parse_tags("fox, snow"), (), "a.png"),
        Record("b", (), (Prose("A fox."), Prose("Snow, and a fox.")), "b.png"),
        Record("c", parse_tags("fox"), (Prose("A fox."),), "c.png", {"rating": "s"}),
        Record("d", (Tag("fox", "species"),), (Prose("A fox."),), "d.png"),
        Record("e", parse_tags("fox"), (Prose("One\nTwo."),), "e.png"),
        Record("f", (Tag("A fox sits in the snow."), Tag("a, b")), (), "f.png"),
        Record("g", parse_tags("fox"), (Prose("fox", "cogvlm"),), "g.png"),
        Record("h", parse_tags("fox"), (Prose("fox"),), "h.png"),
    ]
    lay(tmp_path, *(str(record.image) for record in records))
    assert not write(FolderTarget(tmp_path), records).counts
    assert {name: text.decode() for name, text in tree(tmp_path).items() if not name.endswith(".png")} == {
        "a.txt": "fox, snow\n",
        "b.caption": "A fox.\nSnow, and a fox.\n",
        "c.txt": "fox\n",
        "c.caption": "A fox.\n",
        "c.json": '{"rating": "s"}\n',
        "d.caption": "A fox.\n",
        "d.json": '{"tags": {"species": ["fox"]}}\n',
        "e.txt": "fox\n",
        "e.json": '{"caption": "One\\nTwo."}\n',
        "f.json": '{"tags": ["A fox sits in the snow.", "a, b"]}\n',
        "g.txt": "fox\n",
        "g.json": '{"captions": [{"text": "fox", "source": "cogvlm"}]}\n',
        "h.txt": "fox\n",
        "h.caption": "fox\n",
    }
    assert list(read_folder(tmp_path)) == records


@pytest.mark.parametrize(
    ("style", "text", "lost"),
    [
        (
            "tags",
            "red fox, a, b\n",
            {
                "captions": 1,
                "facts": 1,
                "categories of tags": 1,
                "sources and scores of tags": 1,
                "commas inside tags, which part them there": 1,
            },
        ),
        (
            "caption",
            "One two.\n",
            {"tags": 1, "facts": 1, "captions behind the first": 1, "sources of captions": 1},
        ),
    ],
)
def test_a_style_for_other_trainers_says_what_it_loses(
    tmp_path: Path, style: Style, text: str, lost: dict[str, int]
) -> None:
    record = Record(
        "a",
        (Tag("red\nfox", "species"), Tag("a, b", score=0.5)),
        (Prose("One\ntwo."), Prose("Three.", "cogvlm")),
        "a.png",
        {"rating": "s"},
    )
    losses = write(FolderTarget(lay(tmp_path, "a.png"), style=style), [record])
    assert (tmp_path / "a.txt").read_text() == text
    assert losses.counts == lost


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    fox = parse_tags("fox")
    lay(tmp_path, "f/a.png", "f/h.png", "out.png")
    records = [
        Record("a", fox, image="a.png"),
        Record("7", fox, image=str(tmp_path / "f" / "b" / ".." / "c.png")),
        Record("out", fox, image="../out.png"),
        Record("far", fox, image=str(tmp_path / "out.png")),
        Record("../up", fox),
        Record("deep", fox, image="x/../../out.png"),
        Record("hidden", fox, image=".h/a.png"),
        Record("text", fox, image="a.txt"),
        Record("nothing", image="n.png"),
        Record("h", (Tag("\ud83e"),), image="h.png"),
    ]
    losses = write(FolderTarget(tmp_path / "f"), records)
    assert sorted(tree(tmp_path)) == ["f/a.png", "f/a.txt", "f/c.txt", "f/h.json", "f/h.png", "out.png"]
    assert losses.examples == {
        "ids that are not the picture's path": "7",
        "records whose picture is not in the folder, so that they are not read there": "7",
        "records whose picture lies outside the folder, left out": "out",
        "records without a picture, left out": "../up",
        "records whose picture is hidden by a dot before its name, left out": "hidden",
        "records whose picture is of no kind that is read, left out": "text",
        "records without tags and captions, left out": "nothing",
        "halves of surrogate pairs in texts": "h",
    }


# ----------------------------------------------------------------------------------------------- overwriting


def test_what_says_something_else_is_not_overwritten(tmp_path: Path) -> None:
    lay(tmp_path, "a.png", "b.png")
    (tmp_path / "b.txt").write_text("mine")
    before = tree(tmp_path)
    records = [Record(name, parse_tags("fox"), image=f"{name}.png") for name in "ab"]
    with pytest.raises(DataError, match=r"b\.txt: is there already and holds something else"):
        write(FolderTarget(tmp_path), records)
    assert tree(tmp_path) == before
    assert sorted(os.listdir(tmp_path)) == ["a.png", "b.png", "b.txt"]
    write(FolderTarget(tmp_path, overwrite=True), records)
    assert list(read_folder(tmp_path)) == records


@pytest.mark.parametrize("old", ["a.json", "a.caption", "a.TXT"])
def test_a_sidecar_that_would_be_read_too_is_something_else(tmp_path: Path, old: str) -> None:
    lay(tmp_path, "a.png")
    (tmp_path / old).write_text('{"tags": "cat"}')
    record = Record("a", parse_tags("fox"), image="a.png")
    with pytest.raises(DataError, match="is there already"):
        write(FolderTarget(tmp_path), [record])
    write(FolderTarget(tmp_path, overwrite=True), [record])
    assert list(read_folder(tmp_path)) == [record]


@pytest.mark.parametrize("second", ["a.png", "a.jpg"])
def test_two_records_of_one_picture_are_an_error(tmp_path: Path, second: str) -> None:
    lay(tmp_path, "a.png")
    records = [
        Record("a", parse_tags("fox"), image="a.png"),
        Record("a", (), (Prose("A fox."),), image=second),
    ]
    with pytest.raises(DataError, match="two records write the sidecars of one picture"):
        write(FolderTarget(tmp_path), records)
    assert sorted(tree(tmp_path)) == ["a.png"]


# -------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("pictures", ["copy", "link"])
def test_pictures_are_brought(tmp_path: Path, pictures: str) -> None:
    source = lay(tmp_path / "in", "x/a.png", "b.PNG")
    (source / "x" / "a.png").write_bytes(b"a")
    (source / "x" / "a.txt").write_text("fox, snow")
    (source / "b.PNG").write_bytes(b"b")
    (source / "b.txt").write_text("tree")
    target = FolderTarget(tmp_path / "out", source, pictures="copy" if pictures == "copy" else "link")
    for _ in range(2):  # The second time nothing is left to do.
        converted = convert(FolderSource(source), target, report=strict)
        assert not converted.losses.counts
        assert list(read_folder(tmp_path / "out")) == list(read_folder(source))
        assert tree(tmp_path / "out") == {
            "b.PNG": b"b",
            "b.txt": b"tree\n",
            "x/a.png": b"a",
            "x/a.txt": b"fox, snow\n",
        }
    assert (tmp_path / "out" / "b.PNG").is_symlink() == (pictures == "link")
    (tmp_path / "out" / "b.PNG").unlink()
    (tmp_path / "out" / "b.PNG").write_bytes(b"other")
    with pytest.raises(DataError, match=r"b\.PNG: is there already"):
        convert(FolderSource(source), target, report=strict)
    convert(FolderSource(source), replace(target, overwrite=True), report=strict)
    assert tree(tmp_path / "out")["b.PNG"] == b"b"


def test_a_folder_is_rewritten_in_its_place(tmp_path: Path) -> None:
    lay(tmp_path, *(f"{number}.png" for number in range(30)))
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text(f"fox, n{number}")
    before = list(read_folder(tmp_path))
    convert(FolderSource(tmp_path), FolderTarget(tmp_path, style="json", overwrite=True), report=strict)
    assert list(read_folder(tmp_path)) == before
    assert not list(tmp_path.glob("*.txt"))
    assert len(list(tmp_path.glob("*.json"))) == 30


def test_a_table_beside_its_pictures_becomes_sidecars(tmp_path: Path) -> None:
    lay(tmp_path, "pictures/a.png")
    (tmp_path / "table.jsonl").write_text('{"image": "pictures/a.png", "tags": "fox"}\n')
    target = FolderTarget(tmp_path / "pictures")
    converted = convert(JsonlSource(tmp_path / "table.jsonl"), target, report=strict)
    assert converted.losses.examples == {"ids that are not the picture's path": "pictures/a"}
    assert (tmp_path / "pictures" / "a.txt").read_text() == "fox\n"
