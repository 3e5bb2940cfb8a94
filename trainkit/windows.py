"""A second key beside the bucket: pictures with captions of about one length are trained together.

The text of a micro-batch is as many chunks long as its longest caption needs; the others are filled up. So
within a *window* of a few micro-batches of one bucket, samples are sorted by the number of chunks of their
captions before they are cut into batches. A window is a random set of pictures, and its batches stand between
those of other windows, so what is learned in a stretch of a few hundred micro-batches stays the same mixture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from captionkit import CaptionPipeline
from trainkit.cache.texts import TextCache, caption_of
from trainkit.draw import Draw
from trainkit.errors import PictureError
from trainkit.picture import Picture
from trainkit.text import Tokens

POOL = 32
"""Windows whose batches are mixed. With all windows of a pass mixed, each would be half used in the middle of
it, and a change of batch or devices there had to make the captions of all of them."""


@dataclass(frozen=True, slots=True)
class Window:
    """How many micro-batches are sorted together, and by what."""

    size: int
    """Micro-batches."""
    chunks: Callable[[Draw], int]
    """The number of chunks of a draw's caption: a pure function."""


@dataclass(frozen=True, slots=True)
class Chunks:
    """Counts the chunks of captions by making them."""

    pictures: Sequence[Picture]
    pipeline: CaptionPipeline
    tokens: Tokens
    texts: TextCache | None = None
    """Which of few captions each draw has; None when every draw has its own."""

    def __call__(self, draw: Draw) -> int:
        """The number of chunks of a draw's caption; 1 where there is no record of its picture."""
        try:
            picture = self.pictures[draw.picture]
        except PictureError:
            return 1
        return self.tokens.num_chunks(caption_of(self.pipeline, picture, draw, self.texts).text)
