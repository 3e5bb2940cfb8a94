"""Captions in the text-to-image scripts of diffusers: at the head of `preprocess_train`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, SupportsIndex

from captionkit.adapters.epoch import SharedEpoch
from captionkit.adapters.pictures import mirrored
from captionkit.adapters.table import OnError, RenderBatch
from captionkit.errors import DataError
from captionkit.pipeline import CaptionPipeline


class DiffusersCaptions:
    """One line in the script: `examples = kit(examples)`, the first of `preprocess_train`.

    The script's caption column then holds this epoch's texts, and pictures are mirrored where the draw says
    so, before they are cropped: leave the script's `--random_flip` off. A second line, `kit.set_epoch(epoch)`
    at the head of the loop over epochs, reaches the workers too.

    `image_column` and `caption_column` are the script's. `columns` and `id` say of which columns a record is
    made, as `RenderBatch` has it; the folder's own `file_name` is gone by then (`datasets` turns it into the
    picture), so metadata.jsonl needs a column that tells rows apart.
    """

    def __init__(
        self,
        pipeline: CaptionPipeline,
        *,
        image_column: str = "image",
        caption_column: str = "text",
        columns: Mapping[str, str] | Sequence[str] | None = None,
        id: str | None = None,
        epoch: SupportsIndex = 0,
        on_error: OnError = "raise",
        mirror: Callable[[Any], Any] = mirrored,
    ) -> None:
        """Raises `DataError` for `on_error="keep"`, since the script can tokenize no missing text."""
        if on_error == "keep":
            raise DataError('on_error is "keep"', hint='the script needs a text: "empty", "drop" or "raise"')
        self.epoch = SharedEpoch.of(epoch)
        self.image_column, self.caption_column = image_column, caption_column
        self.mirror = mirror
        self.render = RenderBatch(
            pipeline,
            columns=columns,
            id=id,
            epoch=self.epoch,
            text=caption_column,
            flip=_FLIP,
            source=None,
            on_error=on_error,
        )

    def set_epoch(self, epoch: SupportsIndex) -> None:
        """The epoch for this process and for all workers."""
        self.epoch.set(epoch)

    def __call__(self, examples: Mapping[str, Any]) -> dict[str, Any]:
        """The batch with its texts and its pictures mirrored. Raises `DataError` without the image column."""
        batch: dict[str, Any] = dict(self.render(dict(examples)))
        flips = batch.pop(_FLIP)
        if self.image_column not in batch:
            raise DataError(
                f"there is no column {self.image_column!r}; there are {', '.join(map(repr, batch))}",
                hint="image_column must be the script's --image_column",
            )
        pictures = zip(batch[self.image_column], flips, strict=True)
        batch[self.image_column] = [self.mirror(picture) if flip else picture for picture, flip in pictures]
        return batch


_FLIP = "\0flip"  # No column of a data set has this name.
