"""The text-to-image script of diffusers, in the shape its functions have, over a real image folder.

The script itself is in no wheel; what is copied here is its use of `datasets`, the loader and the tokenizer
(examples/text_to_image/train_text_to_image.py: tokenize_captions, preprocess_train, collate_fn).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from captionkit import CaptionPipeline, DataError, Renderer, WordMemory
from captionkit.adapters.diffusers import DiffusersCaptions
from captionkit.policies import ShuffleTags
from tests.captionkit.adapters.little_data import SIZE, recipe, tags_of, wanted
from trainkit.export.vocabulary import clip_tokenizer

# What PyTorch says of two workers on one core.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return clip_tokenizer()


def folder(path: Path) -> Path:
    """Pictures that rise from left to right, and what is known of each."""
    lines = []
    for index in range(SIZE):
        picture = np.repeat(np.arange(0, 8, dtype=np.uint8)[None, :, None] + 20 * index, 4, axis=0)
        Image.fromarray(picture.repeat(3, axis=2)).save(path / f"{index}.png")
        lines.append(json.dumps({"file_name": f"{index}.png", "key": f"p{index:03}", "text": tags_of(index)}))
    (path / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return path


class Script:
    """What the script does with its arguments `--train_data_dir`, `--image_column`, `--caption_column`."""

    def __init__(self, data_dir: Path, cache: Path, tokenizer: Any, kit: DiffusersCaptions) -> None:
        self.tokenizer, self.kit = tokenizer, kit
        self.image_column, self.caption_column = "image", "text"
        dataset = datasets.load_dataset("imagefolder", data_dir=str(data_dir), cache_dir=str(cache))
        self.train_dataset = dataset["train"].with_transform(self.preprocess_train)

    def tokenize_captions(self, examples: Any, is_train: bool = True) -> Any:
        captions = list(examples[self.caption_column])
        assert all(isinstance(caption, str) for caption in captions)
        length = self.tokenizer.model_max_length
        inputs = self.tokenizer(
            captions, max_length=length, padding="max_length", truncation=True, return_tensors="pt"
        )
        return inputs.input_ids

    def preprocess_train(self, examples: Any) -> Any:
        examples = self.kit(examples)  # The line that is added.
        images = [image.convert("RGB") for image in examples[self.image_column]]
        examples["pixel_values"] = [torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images]
        examples["input_ids"] = self.tokenize_captions(examples)
        return examples

    @staticmethod
    def collate_fn(examples: Any) -> Any:
        pixel_values = torch.stack([example["pixel_values"] for example in examples])
        input_ids = torch.stack([example["input_ids"] for example in examples])
        return {"pixel_values": pixel_values.contiguous().float(), "input_ids": input_ids}

    def loader(self, num_workers: int, how: str | None) -> Any:
        return torch.utils.data.DataLoader(
            self.train_dataset,
            shuffle=True,
            collate_fn=self.collate_fn,
            batch_size=5,
            num_workers=num_workers,
            multiprocessing_context=how,
            persistent_workers=num_workers > 0,
        )


def kit(pipeline: CaptionPipeline | None = None, **settings: Any) -> DiffusersCaptions:
    columns = {"id": "key", "tags": "text"}
    return DiffusersCaptions(pipeline or recipe(), columns=columns, **settings)


@pytest.mark.parametrize(("workers", "how"), [(0, None), (2, "fork"), (2, "spawn")])
def test_the_script_trains_on_the_texts_of_the_epoch(
    tmp_path: Path, tokenizer: Any, workers: int, how: str | None
) -> None:
    captions = kit()
    script = Script(folder(tmp_path), tmp_path / "cache", tokenizer, captions)
    loader = script.loader(workers, how)
    for epoch in (0, 1):
        captions.set_epoch(epoch)  # The other line, at the head of the loop over epochs.
        said = set()
        for batch in loader:
            for pixels, ids in zip(batch["pixel_values"], batch["input_ids"], strict=True):
                index = int(pixels.min()) // 20
                text = tokenizer.decode(ids, skip_special_tokens=True)
                said.add((f"p{index:03}", text.replace(" ", ""), bool(pixels[0, 0, 0] > pixels[0, 0, -1])))
        assert said == {(name, text.replace(" ", ""), flip) for name, (text, flip) in wanted(epoch).items()}


def test_a_token_budget_by_the_scripts_own_tokenizer(tmp_path: Path, tokenizer: Any) -> None:
    def count(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
        return ids

    pipeline = CaptionPipeline(steps=(ShuffleTags(),), text=Renderer(max_tokens=7))
    captions = kit(pipeline.with_counter(WordMemory(count).count))
    rows = Script(folder(tmp_path), tmp_path / "cache", tokenizer, captions).train_dataset[:]
    for text, ids in zip(rows["text"], rows["input_ids"], strict=True):
        assert int((ids != tokenizer.pad_token_id).sum()) <= 1 + 7
        assert len(count(text)) <= 7


def test_what_the_script_cannot_use() -> None:
    with pytest.raises(DataError, match='on_error is "keep"'):
        kit(on_error="keep")
    batch = {"key": ["p000"], "text": [tags_of(0)], "picture": [Image.new("RGB", (2, 2))]}
    with pytest.raises(DataError, match="there is no column 'image'; there are 'key', 'text', 'picture'"):
        kit()(batch)
    with pytest.raises(DataError, match="row 0: has no id and no picture's path"):
        DiffusersCaptions(recipe(), columns={"tags": "text"})(batch)


def test_the_input_is_left_alone_and_bad_rows_can_leave() -> None:
    pictures = [Image.new("RGB", (2, 2))] * 3
    batch = {"key": ["p000", "bad", "p002"], "text": [tags_of(0), None, tags_of(2)], "image": pictures}
    before = dict(batch)
    with pytest.warns(UserWarning, match="row 1: has neither tags nor captions"):
        out = kit(on_error="drop")(batch)
    assert batch == before
    assert out["text"] == [wanted(0)[name][0] for name in ("p000", "p002")]
    assert list(out) == ["key", "text", "image"]
    assert len(out["image"]) == 2
