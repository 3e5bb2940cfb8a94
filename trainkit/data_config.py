"""What a run file says of its pictures: the table ``data``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from PIL import ImageColor
from pydantic import BaseModel, ConfigDict, Field, field_validator

from trainkit.balance import BalanceConfig
from trainkit.buckets import BucketConfig
from trainkit.images import MAX_PIXELS, PROBABLE_BOMB
from trainkit.latents import VaeDraw
from trainkit.masks import Masks
from trainkit.picture import PictureReader
from trainkit.store.settings import StoreConfig
from trainkit.store.store import Store


class DataConfig(BaseModel):
    """The pictures and their captions."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    path: Path
    """Folder of pictures with sidecars; a .jsonl table; or a manifest: a folder that `prepare` wrote, a
    .parquet or .arrow table that says every picture's size, or a folder of such tables. Picture paths are
    relative to the table."""
    recipe: str | dict[str, object] = "hyperfusion"
    """The caption pipeline: a preset's name, a recipe file (relative to the run file), or the recipe
    itself."""
    buckets: BucketConfig = BucketConfig()
    """Shapes in which pictures are trained."""
    repeats: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """How often pictures are drawn in a pass, by patterns of their path relative to ``path``: "cosplay/*" is
    3, or 0.5 for every second pass, or 0 to leave them out. All that match multiply. Every repeat has a
    caption of its own."""
    repeats_by: str | None = None
    """The fact of a record that says the same of its picture, such as "kohya.num_repeats"; a picture without
    it is drawn once."""
    balance: BalanceConfig | None = None
    """Draw pictures with rare tags more often."""
    chunk_window: int = Field(default=0, ge=0, le=1024)
    """How many micro-batches of a bucket are sorted together by the chunks of their captions, so that fewer
    are filled up; 0 does not sort."""
    latents: Literal["cached", "live"] = "cached"
    """"cached": encode every picture once, both orientations where mirroring is allowed; "live": encode in
    each step."""
    vae: VaeDraw = "sample"
    """"sample": draw anew from the VAE's distribution in every step; "mode": take its mean. Cached, a mean
    alone is half the size."""
    cache: Path | None = None
    """Folder of cached latents and texts, which several runs may share; None keeps them in the run's own
    folder."""
    store: StoreConfig = StoreConfig()
    """How pictures are fetched from object storage."""
    verify: bool = True
    """Whether a picture's bytes are compared with the hash that `prepare` took of them. Their number is
    compared in any case."""
    max_pixels: int = Field(default=PROBABLE_BOMB, ge=1, le=MAX_PIXELS)
    """Pictures of more pixels are refused before they are decoded, which takes up to 13 bytes a pixel in
    every worker. The default is where Pillow begins to warn; Pillow itself refuses twice as many."""
    transparent_as: str = "white"
    """Colour that shows through transparent parts, a CSS name or #rrggbb."""
    masks: Masks = "none"
    """Which part of a picture counts in the loss. "none": all of it; "alpha": by its alpha channel; "file":
    by a gray picture beside it, ``<name>-masklabel.png`` or ``<name>.mask.png``, where white counts and black
    does not. A picture without a mask counts whole."""
    mask_floor: float = Field(default=0.0, ge=0, le=1)
    """How much the part that is masked out still counts; 1 is as if there were no masks."""
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Factors on the loss of pictures, by patterns of their path relative to ``path``: "cosplay/*" = 0.5. All
    that match multiply, with the picture's own ``loss_weight`` among its facts."""
    max_bad_share: float = Field(default=0.01, ge=0, le=1)
    """Records and pictures that cannot be used are skipped by name; a larger share than this stops the
    run."""
    workers: int = Field(default=2, ge=0)
    """Processes that prepare batches beside the training; 0 prepares them in the training process."""
    prefetch: int = Field(default=2, ge=1, le=1024)
    """Micro-batches that each of them prepares ahead."""
    worker_restarts: int = Field(default=3, ge=0)
    """How many of them that end (killed for want of memory) are replaced within an hour; one more stops the
    run."""
    worker_timeout: float = Field(default=900.0, gt=0)
    """Seconds after which one that is waited for and gives nothing is replaced."""

    @property
    def reader(self) -> PictureReader:
        """What fetches and decodes the pictures."""
        return PictureReader(Store(self.store, verify=self.verify), self.transparent_as, self.max_pixels)

    @field_validator("transparent_as")
    @classmethod
    def _is_colour(cls, colour: str) -> str:
        try:
            ImageColor.getrgb(colour)
        except ValueError:
            raise ValueError(f"transparent_as is {colour!r}, must be a CSS colour name or #rrggbb") from None
        return colour
