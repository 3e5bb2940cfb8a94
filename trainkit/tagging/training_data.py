"""The pictures that a tagger learns from and is judged by, and what is known of each."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from tqdm import tqdm

from captionkit import CaptionkitError, CaptionPipeline, Record, load_pipeline, preset
from captionkit.patterns import compile_patterns
from captionkit.record import fold
from trainkit.additions.addition import PERSON
from trainkit.config import is_recipe_file
from trainkit.errors import ConfigError, PictureError, TrainkitError
from trainkit.keys import key_of
from trainkit.manifest import Manifest
from trainkit.manifest_pictures import ManifestPictures
from trainkit.progress import bar_style
from trainkit.tagging.answers import answers_in
from trainkit.tagging.augment import AugmentConfig
from trainkit.tagging.corrections import Corrections, read_corrections
from trainkit.tagging.labels import Census, LearnConfig, choose_labels, facts_of
from trainkit.tagging.learned import Learned
from trainkit.tagging.outputs import Outputs
from trainkit.tagging.said import unmet
from trainkit.tagging.split import SplitConfig
from trainkit.tagging.targets import Closing, Known, Targets


class TaggerDataConfig(BaseModel):
    """Which pictures."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    path: Path
    """A manifest: the folder that `trainkit prepare` wrote, or a Parquet or Arrow table."""
    corrections: tuple[Path, ...] = ()
    """Files of corrections, as the page of `trainkit tagger review` writes them; a later one outweighs an
    earlier one."""
    leave_out_sources: tuple[str, ...] = ()
    """Tags of these sources do not count, so that no tagger learns from another one's mistakes. Those of this
    tagger never do."""
    transparent_as: str = "white"
    """Colour that shows through transparent parts."""
    threads: int = Field(default=2, ge=1, le=256)
    """That decode pictures."""
    resolution: float = Field(default=1.25, ge=1, le=4)
    """Pictures are kept at so many times the side that the network sees: enlarged parts stay sharp."""
    memory_mb: int = Field(default=2048, ge=0, le=2**40)
    """Decoded pictures that are kept in memory, in megabytes per process; what does not fit is decoded anew
    in each epoch."""


@dataclass(frozen=True)
class TrainingData:
    """N pictures; each is known by its place among them."""

    pictures: ManifestPictures
    rows: NDArray[np.int64]
    """[N]: the row of each in the manifest."""
    keys: NDArray[np.uint64]
    """[N]: of its record's id."""
    digests: tuple[str, ...]
    """Of its bytes; the record's id where the manifest knows none."""
    held: NDArray[np.bool_]
    """[N]: whether it is held out."""
    may_flip: NDArray[np.bool_]
    """[N]: whether the recipe lets it be mirrored."""
    targets: Targets
    outputs: Outputs
    sided: NDArray[np.bool_]
    """[L]: labels of which a mirrored picture says nothing."""
    unlabelled: NDArray[np.bool_]
    """[L]: labels that are learned from pictures of which nothing is known, too (`LossConfig.priors`)."""
    skipped: tuple[str, ...]
    """What is wrong with rows that cannot be used."""
    nothing_known: int = 0
    """Pictures that neither a record nor a person tells anything of; they are left out."""
    learned: tuple[Learned, ...] = ()
    """What a person said of these pictures."""
    unmet: tuple[str, ...] = ()
    """Which corrections say nothing, in words."""
    machines: tuple[str, ...] = ()
    """Taggers that wrote into the manifest, and whose tags count as truth here."""

    def fingerprint(self) -> str:
        """A hash of all pictures and of what is known of each, in hexadecimal."""
        digest = hashlib.blake2b(digest_size=16)
        for array in (self.keys, self.targets.starts, self.targets.present):
            digest.update(np.ascontiguousarray(array).data)
        digest.update(repr(sorted(self.targets.certain.items())).encode())
        digest.update(np.flatnonzero(self.targets.silent).tobytes())
        return digest.hexdigest()

    def unknown(self, places: Sequence[int]) -> NDArray[np.bool_]:
        """[B, L]: labels of pictures without tags of which nobody says whether they are there; of a group
        all, or none when one is known."""
        present, certain = self.targets.dense(places)
        told = present | certain
        for of in self.outputs.groups.values():
            told[:, of] = told[:, of].any(axis=1, keepdims=True)
        return ~told & self.targets.silent[list(places)][:, None]

    @property
    def train(self) -> NDArray[np.int64]:
        """The pictures that are learned from."""
        return np.flatnonzero(~self.held)

    @property
    def test(self) -> NDArray[np.int64]:
        """The pictures that are held out."""
        return np.flatnonzero(self.held)


def read_training_data(
    data: TaggerDataConfig,
    learn: LearnConfig,
    split: SplitConfig,
    augment: AugmentConfig,
    source: str,
    *,
    unlabelled: Collection[str] = (),
    show: bool = False,
) -> TrainingData:
    """Read all records twice: to count tags, and to note what is known. Of the tags ``unlabelled``, pictures
    of which nothing is known tell something; without such tags, these pictures are left out.

    Raises ConfigError where there is nothing to learn, TrainkitError where no picture is left to learn from
    or, with a split, to be judged by.
    """
    pictures = ManifestPictures.open(data.path, transparent_as=data.transparent_as)
    unheard = frozenset((*data.leave_out_sources, source))
    corrections = read_corrections(*data.corrections) if data.corrections else Corrections()
    pipeline = flip_pipeline(augment)

    census = Census(facts_of(learn), learn.implications)
    skipped: list[str] = []
    for _, record in _records(pictures, unheard, skipped, "counting tags", show):
        census.take(record, ((said.tag, said.right) for said in corrections.of(record.id)))
    outputs = choose_labels(learn, census)

    facts = {name: group.fact for name, group in learn.groups.items() if group.fact is not None}
    closing = Closing(outputs, learn.implications, facts, answers=answers_in(data.path))
    lacking_tells = bool(len(outputs.singles) or outputs.none_of)
    known: list[Known] = []
    rows: list[int] = []
    nothing_known = 0
    learned: list[Learned] = []
    keys, digests, held, may_flip = [], [], [], []
    for row, record in _records(pictures, unheard, [], "reading labels", show):
        one = closing.known(record, [(s.tag, s.right) for s in corrections.of(record.id)])
        tells = one.present or one.certain or (lacking_tells and not one.silent)
        if not (tells or unlabelled):
            nothing_known += 1
            continue
        known.append(one)
        rows.append(row)
        digest = pictures.digest(row)
        learned += [Learned(said, digest) for said in corrections.of(record.id)]
        keys.append(key_of(record.id))
        digests.append(digest or f"id/{record.id}")
        held.append(split.held_out(record.id, digest))
        may_flip.append(augment.flip > 0 and pipeline.may_flip(record))
    if len(known) == sum(held):
        raise TrainkitError(
            f"data.path: {data.path}: no picture is left to learn from: {sum(held):,} are held out, and "
            f"nothing is known of {nothing_known:,}"
        )
    if split.share and not any(held):
        raise TrainkitError(
            f"split.share = {split.share} holds out none of {len(held)} pictures; raise it, or set it to 0 "
            "to train without being judged"
        )
    return TrainingData(
        pictures,
        np.array(rows, np.int64),
        np.array(keys, np.uint64),
        tuple(digests),
        np.array(held, np.bool_),
        np.array(may_flip, np.bool_),
        Targets.of(known, len(outputs.labels)),
        outputs,
        sided_labels(outputs, augment, pipeline),
        np.array([fold(label.name) in set(map(fold, unlabelled)) for label in outputs.labels], np.bool_),
        tuple(skipped),
        nothing_known,
        tuple(learned),
        unmet(corrections, pictures.keys, closing.tells) if len(corrections) else (),
        tuple(name for name in _machines(pictures.manifest) if name not in unheard),
    )


def _machines(manifest: Manifest) -> list[str]:
    """The additions in a manifest that brought tags, but for a person's."""
    added = {} if manifest.prepared is None else manifest.prepared.additions
    return [name for name, one in added.items() if one.tags and name != PERSON]


def flip_pipeline(augment: AugmentConfig) -> CaptionPipeline:
    """The recipe whose flip rules hold. Raises ConfigError when it is none."""
    recipe = augment.recipe
    try:
        if isinstance(recipe, str) and not is_recipe_file(recipe):
            return preset(recipe)
        return load_pipeline(recipe)
    except CaptionkitError as error:
        raise ConfigError("augment.recipe", str(error).splitlines()) from error


def sided_labels(outputs: Outputs, augment: AugmentConfig, pipeline: CaptionPipeline) -> NDArray[np.bool_]:
    """[L]: labels that match a pattern which forbids mirroring."""
    patterns = compile_patterns((*augment.sided, *pipeline.flip.no_flip))
    return np.array([patterns.match(label.name) for label in outputs.labels], np.bool_)


def without_sources(record: Record, sources: Collection[str]) -> Record:
    """The record without the tags of some sources."""
    if not any(tag.source in sources for tag in record.tags):
        return record
    return replace(record, tags=tuple(tag for tag in record.tags if tag.source not in sources))


def _records(
    pictures: ManifestPictures, unheard: Collection[str], skipped: list[str], doing: str, show: bool
) -> Iterator[tuple[int, Record]]:
    for row in tqdm(range(len(pictures)), doing, disable=not show, delay=2, leave=False, **bar_style()):
        try:
            record = pictures.record(row)
        except PictureError as error:
            skipped.append(str(error))
            continue
        yield row, without_sources(record, unheard)
