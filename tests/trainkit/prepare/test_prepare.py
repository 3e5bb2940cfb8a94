"""The prepared manifest: what is in it, and that it depends on the data alone."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from captionkit import CaptionkitError, Record, read_records
from captionkit.testing import records as any_records
from captionkit.writers import open_target
from captionkit.writers.fields import has_content
from tests.trainkit.prepare.drawn import drawn, encoded, put, put_many
from tests.trainkit.processes import environment
from trainkit.errors import TrainkitError
from trainkit.prepare import PrepareConfig, prepare

SMALL = PrepareConfig(min_side=0, rows_per_part=7)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    manifest = json.loads((folder / "manifest.json").read_text())
    found: list[dict[str, Any]] = []
    for part in manifest["parts"]:
        data = (folder / part["file"]).read_bytes()
        assert part["bytes"] == len(data)
        assert part["digest"] == hashlib.blake2b(data, digest_size=16).hexdigest()
        with pa.memory_map(str(folder / part["file"])) as file:
            table = pa.ipc.open_file(file).read_all()
        assert part["rows"] == table.num_rows
        found += table.to_pylist()
    assert manifest["rows"] == len(found)
    return found


def problems_of(folder: Path) -> list[tuple[str, str]]:
    lines = (folder / "problems.jsonl").read_text().splitlines()
    return [(line["name"], line["problem"]) for line in map(json.loads, lines)]


def files_of(folder: Path) -> dict[str, bytes]:
    """Everything that is there for users."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """450 pictures with a few problems; tests must not change them."""
    folder = tmp_path_factory.mktemp("many") / "data"
    put_many(folder, 450)
    same = (folder / "set0" / "0000.jpg").read_bytes()
    put(folder, "set1/zz.jpg", same)
    put(folder, "set0/cut.jpg", same[:900])
    (folder / "set1" / "silent.jpg").write_bytes(same)
    return folder


def test_what_is_written_does_not_depend_on_the_number_of_processes(many: Path, tmp_path: Path) -> None:
    for processes in (1, 2):
        prepare(many, tmp_path / str(processes), SMALL, processes=processes)
    one, two = files_of(tmp_path / "1"), files_of(tmp_path / "2")
    assert one == two
    assert sorted(one) == sorted(
        [*(f"part-{n:05d}.arrow" for n in range(65)), "manifest.json", "problems.jsonl", "report.html"]
    )


def test_every_row_leads_to_its_bytes(many: Path, tmp_path: Path) -> None:
    prepare(many, tmp_path / "out", PrepareConfig(min_side=0, near=True), processes=1)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    root = tmp_path / "out" / manifest["root"]
    records = {r.id: r for r in read_records(many, on_error=lambda error: None)}
    rows = rows_of(tmp_path / "out")
    for row in rows:
        data = (root / row["image"]).read_bytes()
        assert (row["container"], row["offset"], row["length"]) == (None, 0, len(data))
        assert row["digest"] == hashlib.blake2b(data, digest_size=16).digest()
        assert row["mtime_ns"] == (root / row["image"]).stat().st_mtime_ns
        with Image.open(io.BytesIO(data)) as image:
            assert (row["width"], row["height"]) == image.size
        key = hashlib.blake2b(row["id"].encode(), digest_size=8).digest()
        assert row["key"] == int.from_bytes(key, "little")
        assert row["tags"] == [tag.name for tag in records[row["id"]].tags]
        assert isinstance(row["phash"], int)
    assert len({row["id"] for row in rows}) == len(rows) == 451
    assert [row["flags"] for row in rows if row["flags"]] == [["duplicate of set0/0000"]]
    assert problems_of(tmp_path / "out") == [
        ("set0/cut.jpg", "truncated"),
        ("set1/silent.jpg", "empty record"),
        ("set1/zz.jpg", "duplicate"),
    ]


@settings(
    max_examples=25,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(any_records().filter(has_content), min_size=1, max_size=12, unique_by=lambda record: record.id)
)
def test_any_record_comes_back_as_captionkit_reads_it(tmp_path: Path, records: list[Record]) -> None:
    """Also one whose facts are called as our columns are."""
    shutil.rmtree(tmp_path / "all", ignore_errors=True)
    folder = tmp_path / "all"
    put(folder, "a.png", encoded(drawn(8, 8), "PNG"))
    told = [
        Record(r.id, r.tags, r.prose, "a.png", (*r.info, ("width", "wide"), ("key", n)))
        for n, r in enumerate(records)
    ]
    target = open_target(folder / "all.jsonl")
    write(target, told)
    expected = list(read_records(folder / "all.jsonl"))
    prepare(folder / "all.jsonl", tmp_path / "all" / "out", PrepareConfig(min_side=0, rows_per_part=5))
    found = [r for part in parts_of(folder / "out") for r in read_records(part)]
    assert found == expected


def write(target: Any, records: list[Record]) -> None:
    from captionkit.writers.target import Losses

    with target.open() as sink:
        sink.append(target.encode(records, Losses()))


def parts_of(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.glob("part-*.arrow"))


def test_a_second_run_reads_only_what_changed(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    put_many(data, 30)
    assert prepare(data, out, SMALL, processes=1).num_read == 30
    times = {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
    again = prepare(data, out, SMALL, processes=1)
    assert again.num_read == 0
    assert {p.name: p.stat().st_mtime_ns for p in parts_of(out)}.items() <= times.items()

    (data / "set0" / "0000.jpg").unlink()
    put(data, "set0/0002.jpg", encoded(drawn(333, 300, 9), "JPEG"))
    (data / "set1" / "0001.txt").write_text("only the tags are new")
    put(data, "set9/new.jpg", encoded(drawn(300, 300, 10), "JPEG"))
    os.utime(data / "set0" / "0004.jpg", ns=(1, 1))
    assert prepare(data, out, SMALL, processes=1).num_read == 3
    rows = {row["id"]: row for row in rows_of(out)}
    assert "set0/0000" not in rows
    assert rows["set0/0002"]["width"] == 333
    assert rows["set1/0001"]["tags"] == ["only the tags are new"]
    prepare(data, tmp_path / "fresh", SMALL, processes=1)
    assert files_of(out) == files_of(tmp_path / "fresh")


def test_other_limits_need_no_reading_and_other_looks_do(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    put_many(data, 10)
    prepare(data, out, SMALL, processes=1)
    found = prepare(data, out, PrepareConfig(min_side=320, max_aspect=1.1), processes=1)
    assert found.num_read == 0
    assert found.found["too small"] > 0
    assert prepare(data, out, PrepareConfig(near=True), processes=1).num_read == 10
    assert prepare(data, out, PrepareConfig(), processes=1).num_read == 0
    assert prepare(data, out, PrepareConfig(decode=True), processes=1).num_read == 10


def test_leaving_out_makes_a_remark_a_fault(many: Path, tmp_path: Path) -> None:
    config = PrepareConfig(min_side=0, leave_out=frozenset({"duplicate"}), quarantine=True)  # type: ignore[arg-type]
    prepared = prepare(many, tmp_path / "out", config, processes=1)
    assert (prepared.rows, prepared.left_out) == (450, 3)
    assert "set1/zz" not in {row["id"] for row in rows_of(tmp_path / "out")}
    assert (tmp_path / "out" / "quarantine.txt").read_text().split() == [
        "set0/cut.jpg",
        "set1/silent.jpg",
        "set1/zz.jpg",
    ]
    prepare(many, tmp_path / "out", PrepareConfig(min_side=0), processes=1)
    assert not (tmp_path / "out" / "quarantine.txt").exists()


def packed(path: Path, files: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_pictures_in_tars_are_found_by_offset(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    pictures = {f"in/{n}.jpg": encoded(drawn(300, 300, n), "JPEG") for n in range(9)}
    for shard in range(3):
        files: dict[str, bytes] = {}
        for name in list(pictures)[3 * shard : 3 * shard + 3]:
            files |= {name: pictures[name], name.replace(".jpg", ".txt"): b"fox"}
        packed(folder / f"{shard}.tar", files)
    prepare(folder, tmp_path / "out", SMALL)
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 9
    for row in rows:
        data = (folder / row["container"]).read_bytes()[row["offset"] : row["offset"] + row["length"]]
        assert row["image"] == f"{row['container']}/{row['id']}.jpg"
        assert data == pictures[f"{row['id']}.jpg"]
    assert prepare(folder, tmp_path / "out", SMALL).num_read == 0


def test_a_packed_tar_cannot_be_read_at_random(tmp_path: Path) -> None:
    files = {"a.jpg": encoded(drawn(300, 300), "JPEG"), "a.txt": b"fox"}
    packed(tmp_path / "a.tar.gz", files, "w:gz")
    with pytest.raises(TrainkitError, match=r"packed 1.*unpack that to \.tar"):
        prepare(tmp_path / "a.tar.gz", tmp_path / "out")


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        ("../secret.jpg", "outside"),
        ("sub/../../secret.jpg", "outside"),
        ("{absolute}", "outside"),
        ("a\0b.jpg", "outside"),
        ("not there.jpg", "missing"),
        ("good.jpg/inside.jpg", "missing"),
        ("shard.tar/../../../secret.jpg", "outside"),
        ("x" * 5000, "unreadable file"),
        (".", "outside"),
        ("sub", "unreadable file"),
        ("pipe", "unreadable file"),
    ],
)
def test_paths_that_are_not_followed(tmp_path: Path, image: str, problem: str) -> None:
    data = tmp_path / "data"
    picture = encoded(drawn(300, 300), "JPEG")
    put(data, "good.jpg", picture)
    (data / "sub").mkdir()
    os.mkfifo(data / "pipe")
    secret = put(tmp_path, "secret.jpg", picture)
    image = image.replace("{absolute}", str(secret))
    lines = [{"id": "1", "image": "good.jpg", "tags": "a"}, {"id": "2", "image": image, "tags": "b"}]
    (data / "all.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    prepare(data / "all.jsonl", tmp_path / "out")
    assert [row["id"] for row in rows_of(tmp_path / "out")] == ["1"]
    assert problems_of(tmp_path / "out") == [(image, problem)]


def test_ids_are_distinct_and_the_second_is_told(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        put(tmp_path, name, encoded(drawn(300, 300, len(name)), "JPEG"))
    lines = [{"id": "same", "image": name, "tags": "x"} for name in ("a.jpg", "b.jpg")]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    prepare(tmp_path / "all.jsonl", tmp_path / "out")
    assert [row["image"] for row in rows_of(tmp_path / "out")] == ["a.jpg"]
    line = json.loads((tmp_path / "out" / "problems.jsonl").read_text())
    assert line == {
        "name": "b.jpg",
        "problem": "id twice",
        "detail": "the id 'same' is a.jpg's",
        "left_out": True,
    }


def test_the_fingerprint_is_of_what_is_trained(tmp_path: Path) -> None:
    data = tmp_path / "data"
    put_many(data, 12)
    first = prepare(data, tmp_path / "1", SMALL, processes=1).fingerprint
    moved = Path(shutil.move(data, tmp_path / "moved"))
    os.utime(moved / "set0" / "0000.jpg", ns=(5, 5))
    assert prepare(moved, tmp_path / "2", PrepareConfig(rows_per_part=3), processes=1).fingerprint == first
    (moved / "set0" / "0000.txt").write_text("other tags")
    assert prepare(moved, tmp_path / "2", SMALL, processes=1).fingerprint != first


def test_the_folder_may_lie_in_the_data_and_move_with_them(tmp_path: Path) -> None:
    data = tmp_path / "data"
    put_many(data, 6)
    prepare(data, data / "manifest", SMALL, processes=1)
    before = files_of(data / "manifest")
    put(data / "manifest", "stray.jpg", encoded(drawn(300, 300, 99), "JPEG"))
    prepare(data, data / "manifest", SMALL, processes=1)
    assert before.items() <= files_of(data / "manifest").items()
    assert json.loads(before["manifest.json"])["root"] == ".."


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    put_many(tmp_path / "data", 2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(TrainkitError, match=r"holds other things, such as 'thesis.txt'"):
        prepare(tmp_path / "data", tmp_path / "out")
    with pytest.raises(TrainkitError, match="holds other things"):
        prepare(tmp_path / "data", tmp_path / "data")
    with pytest.raises(TrainkitError, match="is a file"):
        prepare(tmp_path / "data", tmp_path / "out" / "thesis.txt")


def test_nothing_usable_is_an_error_that_says_why(tmp_path: Path) -> None:
    put(tmp_path / "data", "a.jpg", b"no picture")
    with pytest.raises(TrainkitError, match=r"no picture can be used \(broken 1\), such as a\.jpg: is not"):
        prepare(tmp_path / "data", tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()
    with pytest.raises(CaptionkitError, match="no such file or folder"):
        prepare(tmp_path / "nowhere", tmp_path / "out2")
    assert not (tmp_path / "out2").exists()


def test_the_page_stands_alone_and_escapes(tmp_path: Path) -> None:
    put_many(tmp_path / "data", 3)
    put(tmp_path / "data", "<script>alert(1)<b>.jpg", b"x")
    prepare(tmp_path / "data", tmp_path / "out", processes=1)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;b&gt;.jpg" in page
    assert page.count('fill="currentColor"') >= 2, "words of plots are black in dark mode, too"
    assert not [word for word in ('src="http', 'href="http', "url(http") if word in page]


def test_the_page_shows_a_double_beside_what_it_looks_like(tmp_path: Path) -> None:
    """Regression: one picture alone stood there; and all that was smaller than 5 MB had 0.00 GB."""
    put(tmp_path / "data", "a.png", encoded(drawn(300, 280, 1), "PNG"))
    put(tmp_path / "data", "b.jpg", encoded(drawn(300, 280, 1), "JPEG", quality=90))
    put(tmp_path / "data", "c.png", encoded(drawn(300, 280, 1), "PNG"))
    prepare(tmp_path / "data", tmp_path / "out", PrepareConfig(near=True), processes=1)
    page = (tmp_path / "out" / "report.html").read_text()
    cards = re.findall(r"<figure.*?</figure>", page, re.DOTALL)
    told = {re.findall(r"<b>(.*?)</b><br>(.*?)</fig", card)[0]: card.count("<img") for card in cards}
    assert told == {("b.jpg", "looks like a.png"): 2, ("c.png", "has the bytes of a.png"): 2}
    assert re.search(r"pictures to train on, [\d.]+ kB<", page)


def test_a_process_that_reads_pictures_does_not_load_what_it_does_not_need() -> None:
    """Every one of them pays for it before its first picture."""
    told = (
        "import sys, trainkit.prepare.scan; print(*{'torch', 'jinja2', 'scipy', 'tqdm'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, env=environment())
    assert ran.stdout.strip() == "", ran.stderr


def test_masks_beside_pictures_are_no_problem(tmp_path: Path) -> None:
    put_many(tmp_path / "data", 2)
    (tmp_path / "data" / "set0" / "0000.mask.png").write_bytes(encoded(drawn(300, 300), "PNG"))
    prepare(tmp_path / "data", tmp_path / "out", processes=1)
    assert problems_of(tmp_path / "out") == []


def test_the_root_may_be_a_store_of_which_the_data_are_a_copy(tmp_path: Path) -> None:
    put_many(tmp_path / "data", 3)
    config = PrepareConfig(stored_at="s3://bucket/pictures")
    for second in (1, 2):
        os.utime(tmp_path / "data" / "set0" / "0000.jpg", ns=(second, second))
        prepare(tmp_path / "data", tmp_path / str(second), config, processes=1)
    assert json.loads((tmp_path / "1" / "manifest.json").read_text())["root"] == "s3://bucket/pictures"
    assert {row["mtime_ns"] for row in rows_of(tmp_path / "1")} == {0}
    assert [p.read_bytes() for p in parts_of(tmp_path / "1")] == [
        p.read_bytes() for p in parts_of(tmp_path / "2")
    ]


@pytest.mark.parametrize("url", ["file:///etc", "s3://key:secret@bucket", "simplecache::s3://b", "pictures"])
def test_what_is_no_store(url: str) -> None:
    with pytest.raises(ValueError, match="stored_at"):
        PrepareConfig(stored_at=url)
