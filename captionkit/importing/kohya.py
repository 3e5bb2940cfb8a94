"""A kohya dataset TOML as a recipe: the same options by meaning, and a word about each that differs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from captionkit.errors import DataError
from captionkit.importing.kohya_folders import Texts, look_into
from captionkit.importing.kohya_steps import Change, batch_matters, steps_of
from captionkit.importing.written import COMMENT, Step, bare, recipe_text
from captionkit.load import load_pipeline
from captionkit.pipeline import CaptionPipeline
from captionkit.readers.kohya_config import KohyaConfig, KohyaSubset, read_kohya_config
from captionkit.readers.kohya_options import FACT, OPTIONS, About


@dataclass(frozen=True, slots=True)
class ImportedRecipe:
    """A recipe that was made of another trainer's settings."""

    pipeline: CaptionPipeline
    text: str
    """The same recipe as TOML, with a comment for each step that says which option it is."""
    changes: tuple[Change, ...]
    """Each option that is not kept exactly: what happens instead, and what to do."""
    unread: tuple[DataError, ...]
    """What the trainer itself would refuse or pass over, such as an unknown option."""
    data: tuple[DataError, ...]
    """What is odd about the folders that are named: they are not there, or their texts end otherwise."""
    elsewhere: tuple[str, ...]
    """The options that are not about captions; they stay with the trainer."""


def import_kohya(
    path: str | Path, *, subset: str | None = None, max_train_steps: int | None = None, seed: int = 0
) -> ImportedRecipe:
    """The recipe of a `--dataset_config` file of sd-scripts.

    Subsets whose captions are treated differently get a `when` each, on the fact `kohya.subset` that
    `KohyaDatasetSource` gives their pictures. `subset`, such as "1.2" (the second subset of the first
    dataset) or its folder as it is written there, asks for the recipe of that one alone.
    `max_train_steps` is what a `token_warmup_step` below 1 is a share of. The first texts of each folder
    are looked at, so that nothing is said of what none of them has.

    Raises `DataError` when the file cannot be read, and for a subset that is not there;
    `TrainerArgumentsError` when it holds the trainer's arguments instead.
    """
    config = read_kohya_config(path)
    chosen = config.subsets if subset is None else (_one(config, subset),)
    groups = _groups(chosen)
    folders = {subset.number: look_into(subset, config.path) for subset in chosen}
    changes: list[Change] = []
    parts = []
    for group in groups:
        texts = [folders[subset.number].texts for subset in group]
        all_texts = Texts(any(text.braces for text in texts), any(text.lines for text in texts))
        made = steps_of(group[0], max_train_steps, all_texts)
        parts.append(made.steps)
        changes += made.changes
    steps = parts[0] if len(groups) == 1 else _apart(groups, parts)
    changes += _about_all(chosen)
    flip: Step = {COMMENT: _flip_comment(chosen), "p": 0.5 if any(map(_flips, chosen)) else 0.0}
    if any(map(_flips, chosen)) and not all(map(_flips, chosen)):
        flip["facts"] = {"kohya.flip_aug": [True]}
    text: Step = {
        COMMENT: "Tags to the letter. max_tokens = 225 would stand here for max_token_length = 225.",
        "underscores": "keep",
    }
    recipe = {"seed": seed, "steps": steps, "flip": flip, "text": text}
    return ImportedRecipe(
        load_pipeline(bare(recipe)),
        recipe_text(_head(config, chosen), recipe),
        tuple(dict.fromkeys(changes)),
        config.faults,
        tuple(folder.fault for folder in folders.values() if folder.fault is not None),
        tuple(_elsewhere(chosen)),
    )


def _one(config: KohyaConfig, wanted: str) -> KohyaSubset:
    found = [subset for subset in config.subsets if wanted in (subset.number, subset.name)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{subset.number} ({subset.name})" for subset in config.subsets[:20])
    what = "no subset is called" if not found else f"{len(found)} subsets are called"
    raise DataError(f"{what} {wanted!r}", where=str(config.path), hint=f"there are {known}")


class _Treatment(NamedTuple):
    """All that decides on the steps of a subset."""

    options: tuple[Any, ...]
    metadata: bool
    batch_size: int | None


def _treatment(subset: KohyaSubset) -> _Treatment:
    options = tuple(
        subset.get(name)
        for name, option in OPTIONS.items()
        if option.about is About.CAPTIONS and name != "flip_aug"
    )
    batch = subset.get("batch_size") if batch_matters(subset) else None
    return _Treatment(options, "metadata_file" in subset.values, batch)


def _groups(subsets: Iterable[KohyaSubset]) -> list[list[KohyaSubset]]:
    """The subsets that one list of steps serves, in their order."""
    groups: dict[_Treatment, list[KohyaSubset]] = {}
    for subset in subsets:
        groups.setdefault(_treatment(subset), []).append(subset)
    return list(groups.values())


def _apart(groups: Sequence[Sequence[KohyaSubset]], parts: Sequence[list[Step]]) -> list[Step]:
    """One step for each group, which lets its pictures alone pass."""
    apart: list[Step] = []
    for group, steps in zip(groups, parts, strict=True):
        if not steps:  # Nothing happens to its captions.
            continue
        numbers = ", ".join(subset.number for subset in group)
        apart.append(
            {
                COMMENT: f"{'Subset' if len(group) == 1 else 'Subsets'} {numbers}.",
                "kind": "when",
                "name": f"subset {numbers}",
                "facts": {f"{FACT}subset": list(dict.fromkeys(subset.name for subset in group))},
                "then": {"kind": "sequence", "steps": steps},
            }
        )
    return apart


def _about_all(subsets: Sequence[KohyaSubset]) -> list[Change]:
    """What cannot be kept because a recipe has one of it for all subsets; and a trap of the trainer's."""
    changes: list[Change] = []
    names = [subset.name for subset in subsets]
    for subset in subsets:
        if (
            names.count(subset.name) > 1
            and len({_treatment(s) for s in subsets if s.name == subset.name}) > 1
        ):
            place = subset.places.get("image_dir") or subset.places["metadata_file"]
            what = f"{subset.name!r} stands in several datasets that treat captions differently, and its"
            what += " pictures go through the steps of all of them"
            changes.append(Change(place, "image_dir", what, "write one recipe for each with --subset"))
            break
    for subset in subsets:
        if subset.get("cache_info") and subset.get("validation_split") > 0:
            what = "together with validation_split, sd-scripts pairs pictures with other pictures' captions"
            do = "take cache_info out; the adapter with data looks captions up by picture, and is not hit"
            changes.append(Change(subset.places["cache_info"], "cache_info", what, do))
            break
    return changes


def _flips(subset: KohyaSubset) -> bool:
    return bool(subset.get("flip_aug"))


def _flip_comment(subsets: Sequence[KohyaSubset]) -> str:
    if not any(map(_flips, subsets)):
        return "flip_aug = false."
    return 'flip_aug. Pictures with such a tag could be spared: no_flip = ["text on*", "*left*", "*right*"].'


def _elsewhere(subsets: Iterable[KohyaSubset]) -> list[str]:
    given = {name for subset in subsets for name in subset.values}
    return [name for name, option in OPTIONS.items() if option.about is not About.CAPTIONS and name in given]


def _head(config: KohyaConfig, subsets: Sequence[KohyaSubset]) -> list[str]:
    """What stands at the top of the file."""
    which = f", subset {subsets[0].number}" if len(subsets) < len(config.subsets) else ""
    return [
        f"From {config.path.name}{which}, a dataset configuration of kohya sd-scripts.",
        f"See it: captionkit preview THIS_FILE {config.path.name}",
        "",
        "An epoch is one of sd-scripts', which counts from 1.",
    ]
