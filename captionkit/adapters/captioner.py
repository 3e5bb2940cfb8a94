"""A recipe with its data, ready for the hooks of trainers."""

from __future__ import annotations

import os
from pathlib import Path

from captionkit.adapters.lookup import PathLike, Records
from captionkit.adapters.visits import Visits
from captionkit.errors import DataError
from captionkit.load import load_pipeline
from captionkit.pipeline import CaptionPipeline
from captionkit.record import Record, Rendered

RECIPE, DATA, EPOCH, REPEATS = (f"CAPTIONKIT_{name}" for name in ("RECIPE", "DATA", "EPOCH", "REPEATS"))
"""The environment variables that `Captioner.from_environment` reads."""


class Captioner:
    """Captions for trainers that hand over a text, perhaps with its picture's path, and want a text back.

    It can be pickled and shared by workers; `Visits` says what they share.

    >>> from captionkit import CaptionPipeline
    >>> Captioner(CaptionPipeline()).render("fox, snow").text
    'fox, snow'
    """

    def __init__(
        self,
        recipe: CaptionPipeline | PathLike,
        data: Records | PathLike | None = None,
        *,
        mirror: bool = True,
        first_epoch: int = 0,
        repeats: int = 1,
    ) -> None:
        """`recipe`: a pipeline or a recipe's file. `data`: records, or what `read_records` reads; without it
        the trainer's own texts are all there is. `mirror`: whether the trainer can mirror a picture when it
        is told to; where not, the text is that of the picture as it is. `first_epoch`, `repeats`: see
        `Visits`.

        Raises `RecipeError` and `DataError`.
        """
        pipeline = recipe if isinstance(recipe, CaptionPipeline) else load_pipeline(Path(recipe))
        self.pipeline = pipeline if mirror else unmirrored(pipeline)
        if data is None:
            data = Records(())
        self.records = data if isinstance(data, Records) else Records.read(data)
        self.visits = Visits(self.records, first_epoch=first_epoch, repeats=repeats)

    @classmethod
    def from_environment(cls, *, mirror: bool = True) -> Captioner:
        """The captioner that the environment describes, for trainers that are configured by a name alone.

        `CAPTIONKIT_RECIPE`: the recipe's file. `CAPTIONKIT_DATA`: folder or file of records; may be missing.
        `CAPTIONKIT_EPOCH`, `CAPTIONKIT_REPEATS`: as `first_epoch` and `repeats`.
        Raises `DataError` when there is no recipe, or a number is none.
        """
        recipe = os.environ.get(RECIPE, "")
        if not recipe:
            raise DataError(
                f"the environment variable {RECIPE} is not set",
                hint=f"{RECIPE}=recipe.toml {DATA}=pictures/ in front of the trainer's command",
            )
        return cls(
            recipe,
            os.environ.get(DATA) or None,
            mirror=mirror,
            first_epoch=_number(EPOCH, 0),
            repeats=_number(REPEATS, 1),
        )

    def render(self, text: str, path: PathLike | None = None) -> Rendered:
        """The next rendering of the picture with this text and path: the record is looked up by
        `Records.record`, its epoch and draw are counted by `Visits`."""
        return self.render_next(self.records.record(text, path))

    def render_next(self, record: Record) -> Rendered:
        """The next rendering of a record."""
        visit = self.visits.next(record)
        return self.pipeline.render(record, epoch=visit.epoch, draw=visit.draw)


def unmirrored(pipeline: CaptionPipeline) -> CaptionPipeline:
    """The same pipeline, which never mirrors: the same texts as where it draws not to."""
    return pipeline.with_settings({"flip.p": 0.0})


def mirrored(pipeline: CaptionPipeline) -> CaptionPipeline:
    """The same pipeline, which mirrors whatever it may: the texts of pictures that are mirrored already."""
    return pipeline.with_settings({"flip.p": 1.0})


def _number(name: str, otherwise: int) -> int:
    text = os.environ.get(name, "").strip()
    if text and not text.isdecimal():
        raise DataError(f"must be a whole number, got {text!r}", where=name)
    return int(text) if text else otherwise
