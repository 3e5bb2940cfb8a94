"""WebDataset: what is written is read back, by us and by the real package; bad tars are clear reports."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import CaptionkitError, DataError, Prose, Record, Tag, parse_tags
from captionkit.convert import convert
from captionkit.readers import tar as tar_module
from captionkit.readers.folder import FolderSource
from captionkit.readers.open import open_source
from captionkit.readers.shards import expand, find_shards
from captionkit.readers.source import strict
from captionkit.readers.webdataset import WebDatasetSource, key_of
from captionkit.testing import strategies
from captionkit.writers.fields import fields_of, has_content
from captionkit.writers.folder import FolderTarget
from captionkit.writers.picture_files import PictureFiles
from captionkit.writers.target import Losses
from captionkit.writers.webdataset import WebDatasetTarget

Files = dict[str, str | bytes]


def tar(path: Path, files: Files, *, pack: bool = False) -> Path:
    """A tar of these files, in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if pack else "w") as out:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return path


def read(path: str | Path) -> tuple[list[Record], list[str]]:
    """The records and what was reported."""
    told: list[CaptionkitError] = []
    return list(WebDatasetSource(path).records(told.append)), [str(error) for error in told]


def write(target: WebDatasetTarget, records: list[Record]) -> Losses:
    losses = Losses()
    with target.open() as sink:
        for record in records:
            sink.append(target.encode([record], losses))
    return losses


def placed(records: list[Record]) -> list[Record]:
    return [replace(record, image=None) for record in records]


# ------------------------------------------------------------------------------------------------------ laws


@given(st.lists(strategies.records(), max_size=8), st.integers(1, 4))
def test_what_is_not_lost_comes_back(records: list[Record], samples: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        target = WebDatasetTarget(Path(folder) / "out", None, samples_per_shard=samples)
        kept = [record for record in records if has_content(record)]
        if not kept:
            with pytest.raises(DataError, match="no record can be written"):
                write(target, records)
            return
        write(target, records)
        back, told = read(Path(folder) / "out")
        assert not told
        assert [record.id for record in back] == [record.id for record in kept]
        for one, other in zip(back, kept, strict=True):
            losses = Losses()
            fields_of(other, losses)
            assert losses.counts or one == other
        shards = sorted((Path(folder) / "out").iterdir())
        assert len(shards) == -(-len(kept) // samples)


@given(st.lists(st.sampled_from(["a", "b/a", "a.b", "a_b", "__m__/x", ".h/y", "c?d", "é/漢", "x" * 150])))
def test_pictures_go_along_under_keys_of_their_own(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        records = []
        for number, name in enumerate(names):
            image = f"{number}/{name}.png" if number % 2 else f"{name}.PNG"
            (pictures / image).parent.mkdir(parents=True, exist_ok=True)
            (pictures / image).write_bytes(image.encode())
            records.append(Record(f"{number}", parse_tags("fox"), image=image))
        if not records:
            return
        write(WebDatasetTarget(Path(folder) / "out.tar", pictures), records)
        back, told = read(Path(folder) / "out.tar")
        assert not told
        assert placed(back) == placed(records)
        with tarfile.open(Path(folder) / "out.tar") as tar_file:
            for one, other in zip(back, records, strict=True):
                shard, _, member = (one.image or "").partition("/")
                assert shard == "out.tar"
                file = tar_file.extractfile(member)
                assert file is not None
                assert file.read() == (other.image or "").encode()


def test_the_same_records_give_the_same_bytes_however_they_come(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    records = []
    for number in range(25):
        (pictures / f"{number}.png").write_bytes(bytes([number]) * (100 * number))
        records.append(Record(f"{number}", parse_tags("fox, snow"), (Prose("A fox."),), f"{number}.png"))
    first = WebDatasetTarget(tmp_path / "a", pictures, samples_per_shard=10)
    write(first, records)
    second = WebDatasetTarget(tmp_path / "b", pictures, samples_per_shard=10)
    with second.open() as sink:
        sink.append(second.encode(records, Losses()))
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["pic-000000.tar", "pic-000001.tar", "pic-000002.tar"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    # And written over itself: it is a conversion's folder.
    write(first, records[:3])
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["pic-000000.tar"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "pictures"]


def test_a_shard_ends_before_it_has_too_many_bytes(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(b"x" * (5000 if number == 2 else 1000))
    records = [Record(f"{number}", parse_tags("fox"), image=f"{number}.png") for number in range(6)]
    write(WebDatasetTarget(tmp_path / "out", tmp_path, bytes_per_shard=2500), records)
    sizes = []
    for shard in sorted((tmp_path / "out").iterdir()):
        with tarfile.open(shard) as file:
            sizes.append([name for name in file.getnames() if name.endswith(".png")])
    assert sizes == [["0.png", "1.png"], ["2.png"], ["3.png", "4.png"], ["5.png"]]


# ------------------------------------------------------------------------------------------ the real package


# It leaves its files open.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_real_package_reads_what_we_write(tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset")
    (tmp_path / "cats").mkdir()
    for name in ("cats/v1.5 two", "b", "ö" * 120):
        (tmp_path / f"{name}.jpg").write_bytes(name.encode())
    records = [
        Record(
            "7", (Tag("fox", "species", "human", 0.5),), (Prose("A fox.", "cogvlm"),), "cats/v1.5 two.jpg"
        ),
        Record("8", parse_tags("snow"), (), "b.jpg", {"rating": "s"}),
        Record("9", parse_tags("tree"), (), f"{'ö' * 120}.jpg"),
    ]
    write(WebDatasetTarget(tmp_path / "out", tmp_path, samples_per_shard=2), records)
    dataset: Any = wds.WebDataset(
        [str(tmp_path / "out" / f"pic-{number:06d}.tar") for number in range(2)], shardshuffle=False
    )
    samples = list(dataset)
    assert [sample["__key__"] for sample in samples] == ["cats/v1_5 two", "b", "ö" * 120]
    assert [sample["jpg"].decode() for sample in samples] == ["cats/v1.5 two", "b", "ö" * 120]
    assert [json.loads(sample["json"])["id"] for sample in samples] == ["7", "8", "9"]
    with tarfile.open(tmp_path / "out" / "pic-000000.tar") as file:
        assert {(info.mtime, info.uid, info.gid, info.uname, info.gname) for info in file} == {
            (0, 0, 0, "", "")
        }


def test_we_read_what_the_real_package_writes(tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset")
    with wds.ShardWriter(str(tmp_path / "x-%06d.tar"), maxcount=3, verbose=0) as out:
        for number in range(7):
            out.write(
                {
                    "__key__": f"cats/{number:03d}",
                    "png": b"no picture",
                    "txt": "red fox, snow",
                    "json": {"captions": ["A fox."], "rating": "s", "n": number},
                    "cls": number,
                }
            )
    back, told = read(f"{tmp_path}/x-{{000000..000002}}.tar")
    assert not told
    assert back == [
        Record(
            f"cats/{number:03d}",
            parse_tags("red fox, snow"),
            (Prose("A fox."),),
            f"x-{number // 3:06d}.tar/cats/{number:03d}.png",
            {"n": number, "rating": "s"},
        )
        for number in range(7)
    ]
    assert read(tmp_path)[0] == back


def test_what_img2dataset_writes_is_read(tmp_path: Path) -> None:
    fields = {
        "caption": " a red fox in snow ",
        "url": "https://example.org/1.jpg",
        "key": "000000007",
        "status": "success",
        "error_message": None,
        "width": 512,
        "height": 384,
        "original_width": 1024,
        "original_height": 768,
        "exif": "{}",
        "sha256": "ab",
    }
    shard = tar(
        tmp_path / "00000.tar",
        {"000000007.jpg": b"", "000000007.txt": "a red fox in snow", "000000007.json": json.dumps(fields)},
    )
    (record,), told = read(shard)
    assert not told
    assert (record.id, record.image) == ("000000007", "00000.tar/000000007.jpg")
    assert record.tags == ()
    assert record.prose == (Prose("a red fox in snow"),)
    assert record.fact("width") == 512
    assert record.fact("url") == "https://example.org/1.jpg"
    assert record.fact("status") == "success"


# ---------------------------------------------------------------------------------------------------- shapes


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", ("a", ".jpg")),
        ("v1.5/a.b.JPG", ("v1.5/a", ".b.jpg")),
        ("a", ("a", "")),
        ("a.", ("a.", "")),
        (".hidden.jpg", (".hidden.jpg", "")),
        ("x/._a.jpg", ("x/._a.jpg", "")),
        ("__meta__/a.jpg", ("__meta__/a.jpg", "")),
        ("__a__.jpg", ("__a__", ".jpg")),
    ],
)
def test_the_key_is_the_name_up_to_the_first_dot(name: str, expected: tuple[str, str]) -> None:
    assert key_of(name) == expected


@pytest.mark.parametrize("pack", [False, True])
def test_a_folder_that_was_packed_with_tar_is_the_folder(tmp_path: Path, pack: bool) -> None:
    files: Files = {
        "./a.jpg": b"x" * 100_000,
        "./a.txt": "red fox, A fox sits in the snow.",
        "./b/c.PNG": b"y" * 512,
        "./b/c.caption": "One.\nTwo.\n",
        "./b/c.json": '{"tags": {"species": ["fox"]}, "rating": "s"}',
    }
    back, told = read(tar(tmp_path / ("x.tar.gz" if pack else "x.tar"), files, pack=pack))
    for name, content in files.items():
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_bytes(content.encode() if isinstance(content, str) else content)
    assert not told
    assert placed(back) == placed(list(FolderSource(tmp_path / "f").records(strict)))


def test_texts_without_pictures_are_records_too(tmp_path: Path) -> None:
    shard = tar(
        tmp_path / "x.tar", {"a.json": '{"id": 7, "tags": "fox", "file_name": "c/a.png"}', "b.txt": "snow"}
    )
    back, told = read(shard)
    assert not told
    assert back == [Record("7", parse_tags("fox"), image="c/a.png"), Record("b", parse_tags("snow"))]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (
            {"a.jpg": b"", "b.jpg": b"", "b.txt": "fox"},
            "x.tar/a.jpg: has neither tags nor captions beside it",
        ),
        ({"a.jpg": b"", "b.txt": "x", "a.txt": "fox"}, "the files of a sample stand together"),
        ({"a.jpg": b"", "a.png": b"", "a.txt": "fox"}, "2 pictures are one sample: a.jpg, a.png"),
        ({"a.jxl": b"", "a.txt": "fox"}, ".jxl is no kind of picture that is read"),
        ({"v1.5.jpg": b"", "v1.5.txt": "fox"}, "has a dot before its suffix"),
        ({"a.jpg": b"", "a.txt": "fox", "a.TXT": "cat"}, "stands beside a.txt in one sample"),
        ({"a.jpg": b"", "a.txt": ""}, "x.tar/a.txt:1: holds no tags"),
        ({"a.jpg": b"", "a.txt": b"\xff\xfea"}, "is not UTF-8"),
        ({"a.jpg": b"", "a.json": '{"tags": "fox",\n}'}, "x.tar/a.json:2: is not valid JSON"),
        ({"a.jpg": b"", "a.txt": "fox", "a.json": '{"tags": "cat"}'}, "tags stand here and in a.txt too"),
        ({"README": "x"}, "holds no samples"),
        ({}, "holds no samples"),
    ],
)
def test_a_bad_sample_is_reported_and_the_next_is_read(tmp_path: Path, files: Files, says: str) -> None:
    back, told = read(tar(tmp_path / "x.tar", files))
    assert len(told) == 1
    assert says in told[0]
    assert all(record.tags == parse_tags("fox") or record.id == "b" for record in back)
    back, told = read(tar(tmp_path / "x.tar", {**files, "z.jpg": b"", "z.txt": "fox"}))
    assert back[-1].id == "z"
    with pytest.raises(DataError):
        list(WebDatasetSource(tar(tmp_path / "x.tar", files)).records(strict))


# ------------------------------------------------------------------------------------------ damaged, hostile


def shard_of(tmp_path: Path, number: int = 20, pack: bool = False) -> Path:
    rng = random.Random(1)
    files: Files = {}
    for index in range(number):
        files[f"{index:03d}.jpg"] = rng.randbytes(2000)
        files[f"{index:03d}.txt"] = f"fox, n{index}"
    return tar(tmp_path / ("x.tar.gz" if pack else "x.tar"), files, pack=pack)


@pytest.mark.parametrize("pack", [False, True])
@given(share=st.floats(0.0, 1.0))
def test_of_a_tar_cut_short_what_stands_before_is_read(pack: bool, share: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shard = shard_of(Path(folder), pack=pack)
        whole, _ = read(shard)
        data = shard.read_bytes()
        # Of the empty blocks at the end any number may be missing: they say nothing.
        end = len(data.rstrip(b"\0")) if not pack else len(data)
        size = int(share * (end - 1))
        shard.write_bytes(data[:size])
        back, told = read(shard)
        assert back == whole[: len(back)]
        assert len(told) >= 1
        assert str(shard) in told[-1]
        # Nothing that is there whole is lost: a sample takes 4,096 bytes here.
        assert pack or len(back) >= size // 4096 - 1


def test_a_damaged_header_in_the_middle_is_no_quiet_end(tmp_path: Path) -> None:
    shard = shard_of(tmp_path)
    data = bytearray(shard.read_bytes())
    data[4096 * 5 : 4096 * 5 + 100] = b"\x07" * 100
    shard.write_bytes(data)
    back, told = read(shard)
    assert len(back) == 5
    assert len(told) == 1
    assert f"{shard}: byte 20,480: is damaged: what stands here is no header" in told[0]


def test_two_tars_joined_are_no_quiet_end(tmp_path: Path) -> None:
    shard = shard_of(tmp_path)
    shard.write_bytes(shard.read_bytes() * 2)
    back, told = read(shard)
    assert len(back) == 20
    assert len(told) == 1
    assert "more stands behind the end of the tar" in told[0]


@given(st.binary(max_size=3000), st.integers(0, 20 * 4096), st.booleans())
def test_whatever_stands_in_a_tar_is_records_or_reports(noise: bytes, place: int, pack: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shard = shard_of(Path(folder), pack=pack)
        data = bytearray(shard.read_bytes())
        place %= len(data)
        data[place : place + len(noise)] = noise
        shard.write_bytes(data)
        read(shard)
        shard.write_bytes(noise)
        back, told = read(shard)
        assert back or told


def hostile(change: Callable[[tarfile.TarInfo], None], name: str = "b.txt") -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with tarfile.open(path, "w") as out:
            for member in ("a.txt", name, "c.txt"):
                info = tarfile.TarInfo(member)
                info.size = 3
                if member == name:
                    change(info)
                out.addfile(info, io.BytesIO(b"fox") if info.isreg() else None)

    return make


def kind(letter: bytes, link: str = "") -> Callable[[tarfile.TarInfo], None]:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname, info.size = letter, link, 0

    return change


def nothing(info: tarfile.TarInfo) -> None:
    del info


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (hostile(nothing, "../../b.txt"), "leads out of the tar"),
        (hostile(nothing, "x/../../b.txt"), "leads out of the tar"),
        (hostile(nothing, "/etc/b.txt"), "leads out of the tar"),
        (hostile(nothing, "C:\\b.txt"), "leads out of the tar"),
        (hostile(nothing, "x\\..\\b.txt"), "leads out of the tar"),
        (hostile(nothing, "b\x1b[31m.txt"), "control character"),
        (hostile(nothing, "b\udcff.txt"), "not UTF-8"),
        (hostile(kind(tarfile.SYMTYPE, "/etc/passwd")), "is a link to '/etc/passwd'"),
        (hostile(kind(tarfile.LNKTYPE, "a.txt")), "is a link to 'a.txt'"),
        (hostile(kind(tarfile.CHRTYPE)), "is a device"),
        (hostile(kind(tarfile.FIFOTYPE)), "is a device"),
    ],
)
def test_a_hostile_file_is_refused_and_the_others_are_read(
    tmp_path: Path, make: Callable[[Path], None], says: str
) -> None:
    make(tmp_path / "x.tar")
    back, told = read(tmp_path / "x.tar")
    assert [record.id for record in back] == ["a", "c"]
    assert len(told) == 1
    assert says in told[0]


def test_a_huge_sidecar_is_refused_without_being_read(tmp_path: Path) -> None:
    shard = tar(tmp_path / "x.tar", {"a.txt": b"x" * (tar_module.MAX_SIDECAR + 1), "b.txt": "fox"})
    back, told = read(shard)
    assert [record.id for record in back] == ["b"]
    assert len(told) == 1
    assert "16,777,217 bytes; of a sidecar are allowed 16,777,216" in told[0]


@pytest.mark.parametrize("letter", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
@pytest.mark.parametrize("size", [1 << 40, tar_module.MAX_HEADER + 1])
def test_a_huge_header_is_refused_without_being_read(tmp_path: Path, letter: bytes, size: int) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = letter, size
    shard = tar(tmp_path / "x.tar", {"a.txt": "fox", "b.txt": "fox"})
    head = shard.read_bytes()[:2048]
    shard.write_bytes(head + info.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    back, told = read(shard)
    assert [record.id for record in back] == ["a"]
    assert "a header of" in told[0]


def test_thousands_of_headers_in_a_row_are_a_report(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 512
    block = info.tobuf(tarfile.PAX_FORMAT) + b"11 path=ab\n".ljust(512, b"\0")
    (tmp_path / "x.tar").write_bytes(block * 5000)
    back, told = read(tmp_path / "x.tar")
    assert not back
    assert len(told) == 1


def test_a_bomb_in_gzip_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_module, "RATIO_FROM", 4 << 20)  # So that the test takes no seconds.
    info = tarfile.TarInfo("b.jpg")
    info.size = 64 << 20
    first = tar(tmp_path / "a.tar", {"a.txt": "fox", "a.jpg": random.Random(1).randbytes(3000)}).read_bytes()
    with gzip.open(tmp_path / "x.tar.gz", "wb") as out:
        out.write(first.rstrip(b"\0").ljust(-(-len(first.rstrip(b"\0")) // 512) * 512, b"\0"))
        out.write(info.tobuf())
        for _ in range(64):
            out.write(bytes(1 << 20))
        out.write(bytes(10240))
    back, told = read(tmp_path / "x.tar.gz")
    assert [record.id for record in back] == ["a"]
    assert len(told) == 1
    assert "no data set packs so well" in told[0]


# ---------------------------------------------------------------------------------------------------- shards


def test_a_pattern_names_the_shard_that_is_missing(tmp_path: Path) -> None:
    for number in (8, 9, 11):
        tar(tmp_path / "s" / f"x-{number:03d}.tar", {f"{number}.txt": "fox"})
    pattern = f"{tmp_path}/s/x-{{008..009}}.tar"
    assert find_shards(pattern)[0] == tmp_path / "s"
    assert [record.id for record in open_source(pattern).records(strict)] == ["8", "9"]
    with pytest.raises(DataError, match=r"1 of 4 shards are missing, the first is .*x-010\.tar"):
        find_shards(f"{tmp_path}/s/x-{{008..011}}.tar")


def test_a_pattern_over_folders_begins_above_them(tmp_path: Path) -> None:
    for folder in ("a1", "a2"):
        tar(tmp_path / folder / "x-0.tar", {f"{folder}.jpg": b"", f"{folder}.txt": "fox"})
    back, told = read(f"{tmp_path}/a{{1..2}}/x-{{0..0}}.tar")
    assert not told
    assert [record.image for record in back] == ["a1/x-0.tar/a1.jpg", "a2/x-0.tar/a2.jpg"]


@pytest.mark.parametrize("pattern", ["x-{9..1}.tar", "x-{0..99999999}.tar", "{0..9999}/{0..9999}.tar"])
def test_a_pattern_that_is_a_slip_is_an_error(pattern: str) -> None:
    with pytest.raises(DataError):
        list(expand(pattern))


def test_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "x.tar")
    with pytest.raises(DataError, match="no tar in this folder"):
        read(tmp_path)


# --------------------------------------------------------------------------------------------------- writing


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.png").write_bytes(b"a")
    (tmp_path / "secret.png").write_bytes(b"s")
    (tmp_path / "p" / "key.pem").write_bytes(b"k")
    fox = parse_tags("fox")
    records = [
        Record("in", fox, image="a.png"),
        Record("absolute", fox, image=str(tmp_path / "p" / "a.png")),
        Record("gone", fox, image="b.png"),
        Record("out", fox, image="../secret.png"),
        Record("far", fox, image=str(tmp_path / "secret.png")),
        Record("key", fox, image="key.pem"),
        Record("none", fox),
        Record("empty", image="a.png"),
        Record("half", (Tag("\ud83e"),), image="a.png"),
    ]
    losses = write(WebDatasetTarget(tmp_path / "out", tmp_path / "p"), records)
    back, _ = read(tmp_path / "out")
    assert [record.id for record in back] == ["in", "absolute", "half"]
    assert losses.examples == {
        "records whose picture is not there, left out": "gone",
        "records whose picture lies outside the folder, left out": "out",
        "records whose picture is of no kind that is read, left out": "key",
        "records without a picture, left out": "none",
        "records without tags and captions, left out": "empty",
        "halves of surrogate pairs in texts": "half",
    }
    assert losses.counts["records whose picture lies outside the folder, left out"] == 2


def test_a_folder_of_other_things_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    target = WebDatasetTarget(tmp_path, None)
    with pytest.raises(DataError, match=r"other files in it, such as notes\.txt"), target.open():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    target = WebDatasetTarget(tmp_path / "out", None)
    write(target, [Record("a", parse_tags("fox"))])
    before = (tmp_path / "out" / "pic-000000.tar").read_bytes()
    (tmp_path / "gone.png").touch()
    target = replace(target, pictures=tmp_path)
    chunk = target.encode([Record("b", parse_tags("fox"), image="gone.png")], Losses())
    (tmp_path / "gone.png").unlink()
    with pytest.raises(DataError), target.open() as sink:
        sink.append(chunk)
    assert (tmp_path / "out" / "pic-000000.tar").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_converting_in_two_processes_is_the_same(tmp_path: Path) -> None:
    for number in range(6):
        files: Files = {}
        for index in range(5):
            files |= {f"{number}-{index}.jpg": b"", f"{number}-{index}.txt": f"fox, n{index}"}
        tar(tmp_path / "in" / f"x-{number}.tar", files)
    for processes in (1, 2):
        source, target = (
            WebDatasetSource(tmp_path / "in"),
            WebDatasetTarget(tmp_path / f"out{processes}", None),
        )
        assert convert(source, target, processes=processes, report=strict).num_records == 30
    assert read(tmp_path / "out1") == read(tmp_path / "out2")
    assert len(read(tmp_path / "out1")[0]) == 30


@pytest.mark.parametrize("pack", [False, True])
def test_pictures_are_taken_out_of_tars(tmp_path: Path, pack: bool) -> None:
    """Tars become other tars and folders, with their pictures, whatever order these come in."""
    (tmp_path / "in").mkdir()
    for number in range(3):
        files: Files = {}
        for index in range(4):
            files |= {f"./c/{number}-{index}.jpg": b"%d-%d" % (number, index) * 300}
            files |= {f"./c/{number}-{index}.txt": f"fox, n{index}"}
        tar(tmp_path / "in" / f"x-{number}{'.tar.gz' if pack else '.tar'}", files, pack=pack)
    source = WebDatasetSource(tmp_path / "in")
    whole = list(source.records(strict))
    convert(source, WebDatasetTarget(tmp_path / "out", source.root, samples_per_shard=5), report=strict)
    assert placed(read(tmp_path / "out")[0]) == placed(whole)
    assert len(list((tmp_path / "out").iterdir())) == 3
    folder = FolderTarget(tmp_path / "folder", source.root, "copy")
    for _ in range(2):
        assert not convert(source, folder, report=strict).losses.counts
        assert placed(list(FolderSource(folder.path).records(strict))) == placed(whole)
    assert (folder.path / "c" / "1-2.jpg").read_bytes() == b"1-2" * 300
    pictures = PictureFiles(source.root)
    for record in [*reversed(whole), *whole]:
        with pictures.open(str(record.image)) as (file, size):
            assert file.read() == record.id[2:].encode() * 300
            assert size == 900
    pictures.close()
    with pytest.raises(DataError, match="into which no link can lead"):
        convert(source, replace(folder, path=tmp_path / "linked", pictures="link"), report=strict)
    assert not (tmp_path / "linked").exists()
