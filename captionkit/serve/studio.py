"""What the page answers to each movement: a function of the recipe, the record and where the knobs stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from captionkit.compare.settings import changed_settings
from captionkit.errors import CaptionkitError, RecipeError
from captionkit.load import dump_toml
from captionkit.marked import marked
from captionkit.pictures import PictureFolders
from captionkit.pipeline import CaptionPipeline
from captionkit.record import Record
from captionkit.serve.html import (
    changes_html,
    draws_html,
    error_html,
    picture_html,
    record_html,
    steps_html,
)
from captionkit.serve.knobs import Knob, knobs, moved


@dataclass(frozen=True, slots=True)
class Place:
    """Which draws are shown."""

    id: str
    seed: int
    epoch: int
    draws: int
    draw: int
    """The one that is shown step by step."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything on the page that depends on the knobs."""

    captions: str
    steps: str
    changes: str
    toml: str


class Studio:
    """A recipe over some records, without anything that changes."""

    def __init__(
        self,
        pipeline: CaptionPipeline,
        records: Sequence[Record],
        folders: PictureFolders,
        *,
        samples: int | None,
        save: Path | None,
    ) -> None:
        self.pipeline = pipeline
        self.knobs: tuple[Knob, ...] = knobs(pipeline)
        self.save_path = save
        self._records = {record.id: record for record in records}
        self._folders = folders
        self._samples = samples

    @property
    def ids(self) -> list[str]:
        """The ids of the records, in their order."""
        return list(self._records)

    @property
    def first(self) -> str:
        """The record to begin with: the first that has both tags and a caption, else the first."""
        told = (id for id, record in self._records.items() if record.tags and record.prose)
        return next(told, self.ids[0])

    def picture(self, id: str) -> tuple[str, str]:
        """The picture of a record, and what is known about it."""
        record = self._records.get(id)
        if record is None:
            return error_html(f"no record has the id {id!r}"), ""
        pipeline = self.pipeline
        about = record_html(record, pipeline.may_flip(record), pipeline.flip.veto(record))
        return picture_html(record, self._folders), about

    def answer(self, place: Place, values: Sequence[float]) -> Answer:
        """The captions of a record with the knobs at these values."""
        try:
            pipeline = self.moved(place.seed, values)
            record = self._records.get(place.id)
            if record is None:
                raise CaptionkitError(f"no record has the id {place.id!r}")
            draws = [
                marked(pipeline, record, epoch=place.epoch, draw=draw, samples=self._samples)
                for draw in range(place.draws)
            ]
            one = marked(pipeline, record, epoch=place.epoch, draw=place.draw, samples=self._samples)
        except CaptionkitError as error:
            told = error_html(str(error))
            return Answer(told, told, told, "")
        return Answer(
            draws_html(draws, pipeline.text),
            steps_html(one),
            changes_html(changed_settings(self.pipeline, pipeline)),
            dump_toml(pipeline),
        )

    def moved(self, seed: int, values: Sequence[float]) -> CaptionPipeline:
        """The recipe as the knobs have it. `RecipeError` for values that do not go together."""
        return moved(self.pipeline, self.knobs, values).with_seed(seed)

    def save(self, seed: int, values: Sequence[float], *, replace: bool) -> str:
        """Write the recipe to the path of --save, and say so. `RecipeError` when it is there already and
        shall not be replaced, and when it cannot be written."""
        path = self.save_path
        if path is None:
            raise RecipeError("there is no path to save to", hint="start with --save recipe.toml")
        toml = dump_toml(self.moved(seed, values))
        try:
            with path.open("w" if replace else "x", encoding="utf-8") as file:
                file.write(toml)
        except FileExistsError as error:
            hint = "tick “replace it”, or start with another --save"
            raise RecipeError("is there already and was left as it is", where=str(path), hint=hint) from error
        except OSError as error:
            raise RecipeError(f"cannot be written: {error.strerror}", where=str(path)) from error
        return f"written: {path}"
