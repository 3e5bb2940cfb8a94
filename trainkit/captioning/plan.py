"""What a run has to ask: the chosen pictures, the prompts of each, less what was answered before."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

from captionkit import Record
from trainkit.captioning.choose import Choice, choice_of
from trainkit.captioning.config import CaptionConfig
from trainkit.captioning.prompts import PromptConfig, draw_prompts
from trainkit.errors import PictureError
from trainkit.keys import key_of
from trainkit.manifest_pictures import ManifestPictures


@dataclass(frozen=True, slots=True)
class Plan:
    """The share of one rank."""

    todo: Mapping[int, tuple[str, ...]]
    """For each row that must be looked at, in order, the names of the prompts that are still to be asked."""
    answered: int
    """Captions that were asked for before."""

    @property
    def count(self) -> int:
        """Captions to ask for."""
        return sum(map(len, self.todo.values()))


def choose_pictures(pictures: ManifestPictures, config: CaptionConfig) -> Choice:
    """The pictures that get captions. Rows without a record are passed over.

    What the run itself has added before does not count, so that it chooses the same pictures as it goes on.
    """
    records = ((row, without(record, config.ours)) for row, record in _records(pictures))
    return choice_of(records, config.choose)


def plan_of(
    pictures: ManifestPictures,
    config: CaptionConfig,
    rows: tuple[int, ...],
    done: Mapping[str, Set[int]],
    *,
    rank: int = 0,
    world: int = 1,
) -> Plan:
    """The part of the chosen rows that falls to a rank; ``done`` holds the keys of what each source has.

    The rows are dealt out before what is done is left out: ranks may know different things to be done.
    """
    todo: dict[int, tuple[str, ...]] = {}
    answered = 0
    for row in rows[rank::world]:
        id = pictures.record(row).id
        key = key_of(id)
        prompts = prompts_of(config, id)
        left = tuple(prompt.name for prompt in prompts if key not in done[config.source_of(prompt)])
        answered += len(prompts) - len(left)
        if left:
            todo[row] = left
    return Plan(todo, answered)


def prompts_of(config: CaptionConfig, id: str) -> list[PromptConfig]:
    """The prompts that a picture gets."""
    if len(config.prompts) == 1:
        return list(config.prompts)
    return draw_prompts(config.prompts, config.num_per_picture, id, config.seed)


def without(record: Record, sources: Set[str]) -> Record:
    """A record without the captions of some sources."""
    if all(piece.source not in sources for piece in record.prose):
        return record
    kept = tuple(piece for piece in record.prose if piece.source not in sources)
    return dataclasses.replace(record, prose=kept)


def _records(pictures: ManifestPictures) -> Iterator[tuple[int, Record]]:
    for row in range(len(pictures)):
        try:
            yield row, pictures.record(row)
        except PictureError:
            continue
