"""From any format to any other, by the command: what comes back, where pictures are, what is told."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captionkit import Prose, Record, Tag, read_records
from captionkit.cli import main
from captionkit.convert import moved, way
from captionkit.readers import open_source
from captionkit.readers.jsonl import BYTES_PER_BLOCK

RECORDS = (
    Record(
        "cats/one",
        (Tag("cat", "species", "human", 0.5), Tag("red_fox", "species"), Tag("a, b")),
        (Prose("A cat sits.\nIt sleeps.", "cogvlm"), Prose("A cat.")),
        "cats/one.png",
        {"rating": "s", "score": 7, "score.up": 9, "share": 0.5, "solo": True, "text": "so"},
    ),
    Record("two", (Tag("fox"),), (), "two.png", {"score": 1.5}),
    Record("three", (), (Prose("Snow."),), "three.png", {"rating": "7"}),
)
NAMES = (
    "a.jsonl",
    "a.jsonl.gz",
    "a.csv",
    "a.tsv",
    "a.csv.gz",
    "a.parquet",
    "a.arrow",
    "a.feather",
    "hf",
    "tars",
)


def lay_pictures(folder: Path) -> Path:
    """Pictures, and a JSON Lines file about them."""
    lines = []
    for record in RECORDS:
        picture = folder / str(record.image)
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(b"no picture, but no command looks into it")
        tags = [
            {"name": t.name, "category": t.category, "source": t.source, "score": t.score}
            for t in record.tags
        ]
        prose = [{"text": piece.text, "source": piece.source} for piece in record.prose]
        fields = {"id": record.id, "file": record.image, "tags": tags, "captions": prose}
        lines.append(json.dumps(fields | {"info": dict(record.info)}))
    (folder / "all.jsonl").write_text("\n".join(lines))
    return folder / "all.jsonl"


def run(*arguments: object) -> int:
    """The command's exit status."""
    return main(["convert", *map(str, arguments), "--processes", "1"])


def target(path: Path) -> tuple[object, ...]:
    """The arguments of a target."""
    formats = {"hf": ("--to", "hf"), "tars": ("--to", "webdataset", "--pictures", path.parents[1])}
    return (path, *formats.get(path.name, ()))


def without_image(path: Path) -> list[Record]:
    """The records there, by id."""
    return sorted((replace(record, image=None) for record in read_records(path)), key=lambda one: one.id)


@pytest.mark.parametrize(("one", "other"), [*product(NAMES[:3], NAMES), *product(NAMES[3:], NAMES[:1])])
def test_every_record_comes_through_two_formats(tmp_path: Path, one: str, other: str) -> None:
    lines = lay_pictures(tmp_path)
    first, second = tmp_path / "first" / one, tmp_path / "second" / other
    first.parent.mkdir()
    second.parent.mkdir()
    assert run(lines, *target(first)) == 0
    assert run(first, *target(second)) == 0
    assert without_image(second) == without_image(lines)
    if other != "tars":
        for record in read_records(second):
            place = (second if other == "hf" else second.parent) / str(record.image)
            assert place.is_file() or ".tar/" in str(record.image)


def test_a_folder_of_its_own_and_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = lay_pictures(tmp_path / "data")
    assert run(lines, tmp_path / "out", "--to", "folder") == 0
    assert (tmp_path / "out/cats/one.png").is_symlink()
    assert without_image(tmp_path / "out") == without_image(lines)
    assert run(lines, tmp_path / "data", "--to", "folder") == 0
    assert not (tmp_path / "data/cats/one.png").is_symlink()
    assert without_image(tmp_path / "data") == without_image(lines)
    (tmp_path / "data/two.txt").write_text("somebody's own")
    capsys.readouterr()
    assert run(lines, tmp_path / "data", "--to", "folder") == 2
    assert "two.txt" in capsys.readouterr().err
    assert (tmp_path / "data/two.txt").read_text() == "somebody's own"


def test_what_is_lost_and_what_is_skipped_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = lay_pictures(tmp_path)
    with lines.open("a") as file:
        file.write("\nbroken")
    assert run(lines, tmp_path / "a.json") == 0
    told = capsys.readouterr()
    assert told.out == f"{tmp_path}/a.json: 3 records\n"
    assert f"{lines}:4: is not valid JSON" in told.err
    assert "captionkit: lost: categories of tags, of 1 record, such as 'cats/one'" in told.err
    assert f"next: captionkit preview hyperfusion {tmp_path}/a.json " in told.err
    assert run(lines, tmp_path / "b.json", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["records"], said["skipped"]["count"], said["lost"]["categories of tags"]) == (3, 1, 1)


def test_nothing_is_written_over_unless_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = lay_pictures(tmp_path)
    there = tmp_path / "a.csv"
    there.write_text("mine")
    assert run(lines, there) == 2
    assert "a.csv: is there already (another name, or --overwrite)" in capsys.readouterr().err
    assert there.read_text() == "mine"
    assert run(lines, there, "--overwrite") == 0
    assert without_image(there) == without_image(lines)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet", "a.json"])
def test_a_conversion_that_fails_leaves_what_was_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "bad.jsonl").write_text("broken\n" * 3)
    (tmp_path / name).write_text("mine")
    assert run(tmp_path / "bad.jsonl", tmp_path / name, "--overwrite") == 2
    assert "no record could be read" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == sorted(["bad.jsonl", name])


def test_processes_write_the_same_bytes(tmp_path: Path) -> None:
    line = json.dumps({"tags": [f"tag {index}" for index in range(40)]})[1:]
    with (tmp_path / "a.jsonl").open("w") as file:
        for number in range(6 * BYTES_PER_BLOCK // len(line)):
            file.write(f'{{"id": {number}, {line}\n')
    for name in ("a.csv", "a.parquet"):
        written = []
        for processes in (1, 2):
            place = tmp_path / f"{processes}-{name}"
            assert (
                main(["convert", str(tmp_path / "a.jsonl"), str(place), "--processes", str(processes)]) == 0
            )
            written.append(place.read_bytes())
        assert written[0] == written[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gone", "a.csv"], "gone: no such file or folder"),
        (["", "a.csv"], "the path is empty"),
        (["all.jsonl", ""], "the path is empty (give the file or folder to write)"),
        (["all.jsonl", "out"], "what shall be written there is not known: its suffix is ''"),
        (["all.jsonl", "a.xlsx"], "its suffix is '.xlsx' (one of .jsonl"),
        (["all.jsonl", "gone/a.csv"], "gone"),
        (["notes.md", "a.csv"], "notes.md: is no file of records that we know"),
        ([".", "a.csv", "--from", "csv"], ".: is a folder, and csv is a file"),
        (["all.jsonl", "a.csv", "--from", "folder"], "all.jsonl: is a file, not a folder"),
        (["all.jsonl", "a.csv", "--from", "xml"], "invalid choice: 'xml'"),
        (["all.jsonl", "a.csv", "--from", "arrow"], "all.jsonl: cannot be read"),
        (["all.jsonl#train", "a.csv"], "all.jsonl: has no splits"),
    ],
)
def test_a_mistake_is_one_message(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    says: str,
) -> None:
    lay_pictures(tmp_path)
    (tmp_path / "notes.md").write_text("x")
    monkeypatch.chdir(tmp_path)
    try:
        status = main(["convert", *arguments, "--processes", "1"])
    except SystemExit as error:  # Of argparse.
        status = int(str(error.code))
    told = capsys.readouterr()
    assert (status, told.out) == (2, "")
    assert says in told.err
    assert "Traceback" not in told.err


names = st.lists(st.sampled_from(["a", "b", "c d", ".."]), min_size=1, max_size=4).map("/".join)


@given(names, names, names)
@settings(max_examples=200)
def test_a_moved_path_leads_to_the_same_picture(source: str, target: str, image: str) -> None:
    root, home = Path("/x/y/z/x/y/z", source), Path("/x/y/z/x/y/z", target)
    record = moved(Record("1", image=image), way(root, home))
    assert os.path.normpath(home / str(record.image)) == os.path.normpath(root / image)


@pytest.mark.parametrize("image", ["/a/b.png", "https://example.org/a.png", None])
def test_a_path_that_is_not_relative_stays(image: str | None) -> None:
    assert moved(Record("1", image=image), "somewhere").image == image


def test_what_lies_at_a_path_is_seen_from_its_name_or_its_beginning(tmp_path: Path) -> None:
    lay_pictures(tmp_path / "pictures")
    laid = {
        "a.json": ('{"cats/a": {"tags": "a"}}', "KohyaMetadataSource"),
        "b.json": ('\ufeff {"posts": []}', "PostsSource"),
        "c.json": ('[{"id": 1}]', "PostsSource"),
        "d.jsonl": ('{"id": 1, "tag_string": "a b"}', "PostsSource"),
        "e.jsonl": ('{"id": 1, "file": {"md5": "0"}, "tags": {}}', "PostsSource"),
        "f.jsonl": ('{"id": 1, "file": "a.png", "tags": "a"}', "JsonlSource"),
        "g.jsonl": ("broken", "JsonlSource"),
        "h.csv": ("id,tags\n", "CsvSource"),
        "i.csv": ("id,md5,tag_string\r\n", "PostsSource"),
        "J.TSV": ("id\ttags\n", "CsvSource"),
        "k.toml": ('[[datasets]]\n[[datasets.subsets]]\nimage_dir = "pictures"', "KohyaDatasetSource"),
    }
    for name, (text, kind) in laid.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert type(open_source(tmp_path / name)).__name__ == kind, name
    assert type(open_source(tmp_path / "pictures")).__name__ == "FolderSource"
    for name, kind in {
        "x.tar": "WebDatasetSource",
        "y.parquet": "ArrowSource",
        "z.tar.gz": "WebDatasetSource",
    }.items():
        folder = tmp_path / f"folder of {name}"
        folder.mkdir()
        (folder / name).write_bytes(b"")
        assert type(open_source(folder)).__name__ == kind
    assert type(open_source(tmp_path / "pic-{000..009}.tar")).__name__ == "WebDatasetSource"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_behind(tmp_path: Path, sent: signal.Signals) -> None:
    """SIGTERM left temporary files, and workers that lived on."""
    line = json.dumps({"tags": [f"tag {index}" for index in range(40)]})[1:]
    with (tmp_path / "a.jsonl").open("w") as file:
        file.writelines(f'{{"id": {number}, {line}\n' for number in range(150_000))
    command = [sys.executable, "-m", "captionkit", "convert", "a.jsonl", "b.parquet", "--processes", "2"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=_hears_interrupts
    )
    # Ctrl-C while the workers still start, once they were waited for for ever; SIGTERM while they read.
    there = _starts if sent == signal.SIGINT else _reads
    until = time.monotonic() + 300
    while not there(process.pid, tmp_path):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    os.killpg(process.pid, sent) if sent == signal.SIGINT else process.send_signal(sent)
    _, err = process.communicate(timeout=600)  # Ends when no worker holds the stream any more.
    assert process.returncode == 128 + sent
    assert b"Traceback" not in err
    assert os.listdir(tmp_path) == ["a.jsonl"]


def _starts(parent: int, folder: Path) -> bool:
    """Whether a process has a worker."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # It may end meanwhile.
            of = int(status.read_text().rpartition(")")[2].split()[1])
            if of == parent and b"spawn_main" in status.with_name("cmdline").read_bytes():
                return True
    return False


def _reads(parent: int, folder: Path) -> bool:
    """Whether workers have brought what they read."""
    return any(parts.stat().st_size > 0 for parts in folder.glob(".b.parquet.*.parts"))


def _hears_interrupts() -> None:
    """A shell that starts tests in the background has interrupts ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_damaged_gz_is_an_error_of_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = bytearray(gzip.compress(b'{"id": 1, "tags": "a"}\n' * 50))
    packed[12] ^= 0xFF
    (tmp_path / "a.jsonl.gz").write_bytes(bytes(packed))
    assert run(tmp_path / "a.jsonl.gz", tmp_path / "b.csv") == 2
    assert "a.jsonl.gz: cannot be read" in capsys.readouterr().err


def test_links_on_the_way_lead_to_the_same_picture(tmp_path: Path) -> None:
    """`lnk/../pics` was taken for `pics`."""
    (tmp_path / "real/deep/data").mkdir(parents=True)
    (tmp_path / "real/deep/data/d.jsonl").write_text('{"image": "../pics/a.png", "tags": "fox"}')
    (tmp_path / "lnk").symlink_to("real/deep/data")
    assert run(tmp_path / "lnk/d.jsonl", tmp_path / "out.jsonl") == 0
    (record,) = read_records(tmp_path / "out.jsonl")
    assert record.image == "real/deep/pics/a.png"


def test_names_forge_no_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "b\ncaptionkit: error: forged.png").touch()
    (tmp_path / "c\rforged.png").touch()
    (tmp_path / "good.png").touch()
    (tmp_path / "good.txt").write_text("fox")
    assert run(tmp_path, tmp_path / "out.jsonl") == 0
    err = capsys.readouterr().err
    assert "\r" not in err
    assert not any(line.startswith("captionkit: error") for line in err.splitlines())


def test_json_is_json_on_a_stream_of_few_characters(tmp_path: Path) -> None:
    (tmp_path / "u.jsonl").write_text(
        '{"image": "\U0001f600.png", "tags": ["\U0001f600 fox"]}', encoding="utf-8"
    )
    said = subprocess.run(
        [sys.executable, "-m", "captionkit", "preview", "hyperfusion", "u.jsonl", "--json"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
    ).stdout
    assert json.loads(said)["records"][0]["id"] == "\U0001f600"
