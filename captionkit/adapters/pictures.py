"""Mirroring a picture, whatever library it belongs to."""

from __future__ import annotations

import sys
from typing import Any

from captionkit.errors import DataError

_MOST_CHANNELS = 4


def mirrored(picture: Any) -> Any:
    """The picture with left and right exchanged: a torch tensor whose last dimension is its width
    ([..., height, width]), or a PIL image.

    Raises `DataError` for anything else, and for a tensor that looks like [height, width, channels].
    """
    # A picture of a library is there only when the library is: nothing need be imported to tell.
    torch, image = sys.modules.get("torch"), sys.modules.get("PIL.Image")
    if torch is not None and isinstance(picture, torch.Tensor):
        shape = tuple(picture.shape)
        if len(shape) < 2:
            raise DataError(f"a picture must be a tensor [..., height, width], got the shape {shape}")
        if len(shape) >= 3 and shape[-1] <= _MOST_CHANNELS < shape[-3]:
            raise DataError(
                f"the picture's shape {shape} is [height, width, channels], must be [..., height, width]",
                hint="move the channels to the front (picture.permute(2, 0, 1)), or give `mirror` a function",
            )
        return torch.flip(picture, (-1,))
    if image is not None and isinstance(picture, image.Image):
        return picture.transpose(image.Transpose.FLIP_LEFT_RIGHT)
    raise DataError(
        f"cannot mirror a {type(picture).__module__}.{type(picture).__name__}, only tensors and PIL images",
        hint="give `mirror` a function of your own, or pictures=() and look at the flip yourself",
    )
