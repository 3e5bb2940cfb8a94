"""Captions in real WebDataset pipelines over tars on disk."""

from __future__ import annotations

import gc
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import webdataset as wds
from PIL import Image
from torch.utils.data import DataLoader

from captionkit import DataError, Prose, Record, parse_tags, read_records
from captionkit.adapters.epoch import SharedEpoch
from captionkit.adapters.samples import Captioned
from captionkit.adapters.webdataset import CaptionSample, record_of_sample
from tests.captionkit.adapters.little_data import SIZE, recipe, tags_of, wanted

# WebDataset 1.0 leaves the tars it has read to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file <_io.FileIO name='/:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:unclosed file <_io.BufferedReader name='/:ResourceWarning"),
    # What PyTorch says of two workers on one core.
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """What a test has left is collected while its filters hold."""
    yield
    gc.collect()


def png(index: int) -> bytes:
    """4 x 2 pixels, red at the left."""
    image = Image.new("RGB", (4, 2), (0, 0, index))
    image.putpixel((0, 0), (255, 0, 0))
    data = io.BytesIO()
    image.save(data, "png")
    return data.getvalue()


def write(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def shards(folder: Path, num_shards: int = 4) -> list[str]:
    """The pictures of the other tests: half of them with .txt, half with .json."""
    paths = []
    for shard in range(num_shards):
        files: dict[str, bytes] = {}
        for index in range(shard, SIZE, num_shards):
            files[f"p{index:03}.png"] = png(index)
            if index % 2:
                files[f"p{index:03}.txt"] = tags_of(index).encode()
            else:
                files[f"p{index:03}.json"] = json.dumps({"tags": tags_of(index).split(", ")}).encode()
        paths.append(str(write(folder / f"pic-{shard:03}.tar", files)))
    return paths


def pipeline(urls: list[str], function: Any, **options: Any) -> Any:
    return wds.WebDataset(urls, shardshuffle=False, **options).decode("pil").map(function)


def red_is_right(image: Image.Image) -> bool:
    return image.getpixel((3, 0)) == (255, 0, 0)


def by_key(samples: Any) -> dict[str, tuple[str, bool]]:
    said = {}
    for sample in samples:
        assert red_is_right(sample["png"]) == sample["flip"]
        said[sample["__key__"]] = (sample["text"], sample["flip"])
    return said


@pytest.mark.parametrize(
    ("workers", "how", "persistent"),
    [(0, None, False), (2, "fork", False), (2, "fork", True), (2, "spawn", True)],
)
def test_a_text_is_a_function_of_key_and_epoch(
    tmp_path: Path, workers: int, how: str | None, persistent: bool
) -> None:
    epoch = SharedEpoch()
    data = pipeline(shards(tmp_path), CaptionSample(recipe(), epoch=epoch)).shuffle(5)
    options: Any = {"multiprocessing_context": how, "persistent_workers": persistent}
    loader: Any = DataLoader(data, batch_size=None, num_workers=workers, **options)
    for number in (0, 1, 6):
        epoch.set(number)
        assert by_key(loader) == wanted(number)


def test_webloader_and_a_set_that_never_ends(tmp_path: Path) -> None:
    epoch = SharedEpoch(2)
    data = pipeline(shards(tmp_path), CaptionSample(recipe(), epoch=epoch), resampled=True).with_epoch(40)
    loader: Any = wds.WebLoader(data, batch_size=None, num_workers=2)
    said = by_key(loader)
    assert said.items() <= wanted(2).items()
    assert len(said) > 2


def test_other_shards_and_fewer_samples_change_no_text(tmp_path: Path) -> None:
    few = shards(tmp_path, num_shards=3)[1:]
    said = by_key(pipeline(few, CaptionSample(recipe(), epoch=3)))
    assert len(said) == SIZE * 2 // 3
    assert said.items() <= wanted(3).items()


def test_before_decoding_the_flip_is_left_to_do(tmp_path: Path) -> None:
    urls = shards(tmp_path)
    left = CaptionSample(recipe(), captioned=Captioned(pictures=()))
    for sample in wds.WebDataset(urls, shardshuffle=False).map(left).decode("pil", partial=True):
        assert not red_is_right(sample["png"])
        assert (sample["text"], sample["flip"]) == wanted(0)[sample["__key__"]]
    with pytest.raises(
        DataError, match=r"pic-000\.tar: p000: the picture 'png' is not decoded.*decode\('pil'\)"
    ):
        next(iter(wds.WebDataset(urls, shardshuffle=False).map(CaptionSample(recipe()))))


def test_tensors_are_mirrored_too(tmp_path: Path) -> None:
    data = wds.WebDataset(shards(tmp_path), shardshuffle=False).decode("torchrgb")
    for sample in data.map(CaptionSample(recipe())):
        assert bool(sample["png"][0, 0, 3] == 1.0) == sample["flip"]


def test_the_records_are_those_that_the_reader_makes_of_the_tar(tmp_path: Path) -> None:
    long = {"caption": "A fox sits in the snow.", "tags": ["fox"], "rating": "s", "width": 9}
    files = {
        "a/1.jpg": png(1),
        "a/1.txt": b"A fox sits in the snow.",
        "a/1.json": json.dumps(long).encode(),
        "a/2.jpg": png(2),
        "a/2.txt": b"fox, snow, A fox sits in the snow.",
        "a/2.caption": b"One caption.\nAnother one.\n",
        "b.jpg": png(3),
        "b.json": json.dumps({"id": 77, "tags": "fox ||| owl"}).encode(),
    }
    url = write(tmp_path / "x.tar", files)
    read = [replace(record, image=None) for record in read_records(url)]
    for decoded in (False, True):
        data = wds.WebDataset([str(url)], shardshuffle=False)
        samples = list(data.decode("pil") if decoded else data)
        assert [record_of_sample(sample) for sample in samples] == read
    assert [record.id for record in read] == ["a/1", "a/2", "77"]
    with_shard = record_of_sample(samples[0], with_shard=True)
    assert with_shard == replace(read[0], id="x/a/1")


def test_a_record_of_ones_own_and_a_draw(tmp_path: Path) -> None:
    function = CaptionSample(
        recipe(),
        record=partial(_by_stem, suffix="!"),
        draw=lambda sample: int(sample["__key__"][1:]),
        captioned=Captioned("caption", "turned", pictures=()),
    )
    for sample in pipeline(shards(tmp_path), function):
        record = Record(sample["__key__"] + "!", parse_tags("a, b, c, d"))
        rendered = recipe().render(record, draw=int(sample["__key__"][1:]))
        assert (sample["caption"], sample["turned"]) == (rendered.text, rendered.flip)


def _by_stem(sample: Any, suffix: str) -> Record:
    return Record(sample["__key__"] + suffix, parse_tags("a, b, c, d"))


def test_a_bad_sample_goes_to_the_handler(tmp_path: Path) -> None:
    files = {"1.txt": b"fox", "2.txt": b"\xff\xfe", "3.json": b"{", "4.png": png(4), "5.txt": b"owl"}
    url = str(write(tmp_path / "x.tar", files))
    told: list[str] = []

    def note(error: Exception) -> bool:
        told.append(str(error))
        return True

    function = CaptionSample(recipe(), captioned=Captioned(pictures=()))
    data = wds.WebDataset([url], shardshuffle=False).map(function, handler=note)
    assert [sample["__key__"] for sample in data] == ["1", "5"]
    assert len(told) == 3
    assert "UTF-16" in told[0]
    assert "3.json:1: is not valid JSON" in told[1]
    assert "4: has neither tags nor captions" in told[2]


@pytest.mark.parametrize(
    ("sample", "says"),
    [
        ({"txt": "fox"}, "has no key"),
        ({"__key__": "1", "txt": 3}, "txt must be text, got a int"),
        ({"__key__": "1", "json": [1]}, "json must be an object, got a list"),
        ({"__key__": "1", "txt": "fox", "json": {"tags": ["owl"]}}, "tags stand here and in 1.txt too"),
    ],
)
def test_what_is_no_sample(sample: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        record_of_sample(sample)


def test_sentences_are_captions() -> None:
    record = record_of_sample({"__key__": "1", "txt": "fox, A fox sits in the snow."})
    assert record == Record("1", parse_tags("fox"), (Prose("A fox sits in the snow."),))
