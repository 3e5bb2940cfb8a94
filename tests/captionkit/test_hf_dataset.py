"""Hugging Face datasets: opened by `datasets` itself, and read from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from captionkit import CaptionkitError, DataError, Prose, Record, Tag
from captionkit.readers.hf_dataset import HfSource, dataset_records
from captionkit.readers.source import strict
from captionkit.writers.hf_dataset import HfTarget
from captionkit.writers.target import Losses

datasets: Any = pytest.importorskip("datasets")
datasets.disable_progress_bars()

ROWS = {"image": ["a.png", "b.png"], "tags": [["x", "y"], ["z"]], "text": ["One.", None], "n": [1, 2]}
RECORDS = [
    Record("a", (Tag("x"), Tag("y")), (Prose("One."),), "a.png", {"n": 1}),
    Record("b", (Tag("z"),), (), "b.png", {"n": 2}),
]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing is fetched."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def read(source: HfSource) -> list[Record]:
    """The records, none of them bad."""
    return list(source.records(strict))


def write(path: Path, records: list[Record]) -> None:
    """A folder of these records."""
    target = HfTarget(path)
    with target.open() as sink:
        sink.append(target.encode(records, Losses()))


def test_a_folder_by_save_to_disk(tmp_path: Path) -> None:
    datasets.Dataset.from_dict(ROWS).save_to_disk(str(tmp_path / "one"))
    source = HfSource(tmp_path / "one")
    assert read(source) == RECORDS
    assert source.total() == 2
    assert source.root == tmp_path / "one"


def test_rows_that_were_chosen_are_those_that_are_read(tmp_path: Path) -> None:
    chosen = datasets.Dataset.from_dict(ROWS).select([1])
    assert list(dataset_records(chosen)) == RECORDS[1:]
    chosen.save_to_disk(str(tmp_path / "one"))
    assert read(HfSource(tmp_path / "one")) == RECORDS[1:]


def test_splits(tmp_path: Path) -> None:
    splits = {"train": datasets.Dataset.from_dict(ROWS), "test": datasets.Dataset.from_dict(ROWS).select([1])}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path))
    assert read(HfSource(tmp_path, "train")) == RECORDS
    assert read(HfSource(tmp_path, "test")) == RECORDS[1:]
    for split, message in (
        (None, "has 2 splits: 'train', 'test'"),
        ("val", "has no split 'val'; its splits are"),
    ):
        with pytest.raises(DataError, match=message):
            read(HfSource(tmp_path, split))
    datasets.DatasetDict({"train": splits["train"]}).save_to_disk(str(tmp_path / "single"))
    assert read(HfSource(tmp_path / "single")) == RECORDS


def test_pictures_are_not_decoded_and_labels_are_names(tmp_path: Path) -> None:
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "text": datasets.Value("string"),
            "rating": datasets.ClassLabel(names=["safe", "explicit"]),
        }
    )
    broken = {"bytes": b"no picture", "path": None}
    rows = {
        "image": [{"bytes": b"no picture", "path": "a.png"}, broken],
        "text": ["One.", "Two."],
        "rating": [1, -1],
    }
    dataset = datasets.Dataset.from_dict(rows, features=features)
    expected = [Record("a", (), (Prose("One."),), "a.png", {"rating": "explicit"})]
    dataset.save_to_disk(str(tmp_path / "set"))
    assert read(HfSource(tmp_path / "set")) == [*expected, Record("set/2", (), (Prose("Two."),))]
    assert list(dataset_records(dataset))[:1] == expected
    assert list(dataset_records(dataset.to_iterable_dataset()))[:1] == expected


def test_a_dataset_in_memory_with_a_format_and_a_transform() -> None:
    dataset = datasets.Dataset.from_dict(ROWS)
    dataset.set_transform(lambda rows: {"tags": ["not asked"] * len(rows["tags"])})
    assert list(dataset_records(dataset)) == RECORDS

    def rows() -> Any:
        yield {"id": "a", "tags": ["x"]}
        yield {"id": "b", "tags": []}

    errors: list[CaptionkitError] = []
    streamed = datasets.IterableDataset.from_generator(rows)
    assert list(dataset_records(streamed, on_error=errors.append)) == [Record("a", (Tag("x"),))]
    assert [str(error) for error in errors] == [
        "dataset: row 2: has neither tags nor captions; its keys are 'id', 'tags'"
        " (give it 'tags' or 'caption', or take it out)"
    ]


def test_a_folder_of_data_files_is_streamed(tmp_path: Path) -> None:
    lines = [json.dumps({"id": str(n), "tags": ["x"], "n": n}) for n in range(3)]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    source = HfSource(f"hf:{tmp_path}")
    assert read(source) == [Record(str(n), (Tag("x"),), (), None, {"n": n}) for n in range(3)]
    assert source.root == tmp_path


def test_a_name_that_is_not_there_is_an_error() -> None:
    with pytest.raises(DataError, match=r"^hf:captionkit/no_such: cannot be loaded: "):
        read(HfSource("hf:captionkit/no_such"))


def test_no_code_of_a_dataset_is_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    folder = tmp_path / "scripted"
    folder.mkdir()
    (folder / "scripted.py").write_text(f"open({str(ran)!r}, 'w')\n")
    with pytest.raises(DataError):
        read(HfSource(f"hf:{folder}"))
    assert not ran.exists()


@pytest.mark.parametrize("name", ["../outside.arrow", "/etc/passwd", "a/b.arrow", None])
def test_files_outside_the_folder_are_not_opened(tmp_path: Path, name: str | None) -> None:
    folder = tmp_path / "set"
    write(folder, RECORDS)
    write(tmp_path / "other", RECORDS)
    (tmp_path / "other" / "data-00000-of-00001.arrow").rename(tmp_path / "outside.arrow")
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(state | {"_data_files": [{"filename": name}]}))
    with pytest.raises(DataError, match="which is not in its folder"):
        read(HfSource(folder))


@pytest.mark.parametrize("file", ["state.json", "dataset_info.json", "data-00000-of-00001.arrow"])
@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xff\xff\xff\x10\0\0\0", b"[" * 100_000])
def test_a_damaged_folder_is_an_error(tmp_path: Path, file: str, content: bytes) -> None:
    write(tmp_path / "set", RECORDS)
    (tmp_path / "set" / file).write_bytes(content)
    with pytest.raises(DataError) as error:
        read(HfSource(tmp_path / "set"))
    assert str(tmp_path / "set") in str(error.value)


def test_datasets_opens_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captionkit.writers.hf_dataset.SHARD_BYTES", 1)
    monkeypatch.setattr("captionkit.writers.hf_dataset.ROWS_PER_BATCH", 1)
    path = tmp_path / "set"
    target = HfTarget(path)
    with target.open() as sink:
        for record in RECORDS:
            sink.append(target.encode([record], Losses()))
    assert sorted(file.name for file in path.iterdir()) == [
        *("data-00000-of-00002.arrow", "data-00001-of-00002.arrow", "dataset_info.json", "state.json")
    ]
    dataset = datasets.load_from_disk(str(path))
    assert dataset.to_list() == [
        {"id": "a", "image": "a.png", "tags": ["x", "y"], "caption": "One.", "n": 1},
        {"id": "b", "image": "b.png", "tags": ["z"], "caption": None, "n": 2},
    ]
    assert dataset.features["tags"] == datasets.List(datasets.Value("string"))
    # What `map` remembers hangs on the fingerprint.
    write(tmp_path / "other", RECORDS[:1])
    assert datasets.load_from_disk(str(tmp_path / "other"))._fingerprint != dataset._fingerprint
    assert dataset.map(lambda row: {"more": row["n"] + 1})["more"][:] == [2, 3]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "diary.txt").write_text("dear diary")
    with pytest.raises(DataError, match="is a folder of something else"):
        write(tmp_path / "set", RECORDS)
    assert (tmp_path / "set" / "diary.txt").read_text() == "dear diary"
    with pytest.raises(DataError, match="is a file, not a folder"):
        write(tmp_path / "set" / "diary.txt", RECORDS)
