"""The options of a kohya dataset TOML: what each may be, where it may stand, and what it is about.

As in sd-scripts 48d368f (`library/config_util.py`, docs/config_README), with the few that later versions
added.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from captionkit.record import Fact


class About(Enum):
    """What an option is about."""

    CAPTIONS = "captions"
    DATA = "data"
    """Where pictures and texts lie, and how often a picture comes."""
    TRAINER = "the trainer"
    """Sizes, batches, pixels: nothing that a caption could say."""


class Option(NamedTuple):
    """One option."""

    about: About
    kinds: tuple[type, ...]
    """What its value may be in TOML."""
    default: Fact | None
    """Its value where nobody gives one; None where there is none."""
    only: str | None = None
    """The one table in which it may stand, such as "subsets"; None where lower tables inherit it."""


_BOOL, _INT, _NUMBER, _TEXT, _LIST = (bool,), (int,), (int, float), (str,), (list,)
_CAPTIONS, _DATA, _TRAINER = About.CAPTIONS, About.DATA, About.TRAINER

OPTIONS: dict[str, Option] = {
    "shuffle_caption": Option(_CAPTIONS, _BOOL, False),
    "keep_tokens": Option(_CAPTIONS, _INT, 0),
    "keep_tokens_separator": Option(_CAPTIONS, _TEXT, ""),
    "secondary_separator": Option(_CAPTIONS, _TEXT, ""),
    "caption_separator": Option(_CAPTIONS, _TEXT, ","),
    "caption_dropout_rate": Option(_CAPTIONS, _NUMBER, 0.0),
    "caption_dropout_every_n_epochs": Option(_CAPTIONS, _INT, 0),
    "caption_tag_dropout_rate": Option(_CAPTIONS, _NUMBER, 0.0),
    "caption_prefix": Option(_CAPTIONS, _TEXT, ""),
    "caption_suffix": Option(_CAPTIONS, _TEXT, ""),
    "enable_wildcard": Option(_CAPTIONS, _BOOL, False),
    "token_warmup_min": Option(_CAPTIONS, _INT, 1),
    "token_warmup_step": Option(_CAPTIONS, _NUMBER, 0),
    "flip_aug": Option(_CAPTIONS, _BOOL, False),
    "image_dir": Option(_DATA, _TEXT, None, "subsets"),
    "metadata_file": Option(_DATA, _TEXT, None, "subsets"),
    "is_reg": Option(_DATA, _BOOL, False, "subsets"),
    "class_tokens": Option(_DATA, _TEXT, None),
    "caption_extension": Option(_DATA, _TEXT, ".caption"),
    "num_repeats": Option(_DATA, _INT, 1),
    "cache_info": Option(_DATA, _BOOL, False),
    "batch_size": Option(_TRAINER, _INT, 1),
    "validation_split": Option(_TRAINER, _NUMBER, 0.0),
    "validation_seed": Option(_TRAINER, _INT, None),
    "resolution": Option(_TRAINER, (int, list), None),
    "enable_bucket": Option(_TRAINER, _BOOL, False),
    "min_bucket_reso": Option(_TRAINER, _INT, 256),
    "max_bucket_reso": Option(_TRAINER, _INT, 1024),
    "bucket_reso_steps": Option(_TRAINER, _INT, 64),
    "bucket_no_upscale": Option(_TRAINER, _BOOL, False),
    "skip_image_resolution": Option(_TRAINER, (int, list), None),
    "network_multiplier": Option(_TRAINER, _NUMBER, 1.0),
    "prior_loss_weight": Option(_TRAINER, _NUMBER, 1.0),
    "color_aug": Option(_TRAINER, _BOOL, False),
    "face_crop_aug_range": Option(_TRAINER, _LIST, None),
    "random_crop": Option(_TRAINER, _BOOL, False),
    "alpha_mask": Option(_TRAINER, _BOOL, False),
    "resize_interpolation": Option(_TRAINER, _TEXT, None),
    "custom_attributes": Option(_TRAINER, (dict,), None),
    "conditioning_data_dir": Option(_TRAINER, _TEXT, None, "subsets"),
    "debug_dataset": Option(_TRAINER, _BOOL, False),
    "max_token_length": Option(_TRAINER, _INT, None),
}
"""Every option by its name."""

FACT = "kohya."
"""Begins the names of the facts that a subset gives its pictures: `kohya.num_repeats`."""

FACTS = (
    *(name for name, option in OPTIONS.items() if option.about is About.CAPTIONS),
    *("num_repeats", "is_reg"),
)
"""The options that become facts of a picture."""


def facts_of(values: dict[str, Fact | None], subset: str) -> dict[str, Fact]:
    """What a subset says about each of its pictures: `kohya.subset`, `kohya.num_repeats`, and every option
    whose value is not the default.

    >>> facts_of({"keep_tokens": 2, "num_repeats": 1, "flip_aug": False}, "train/fox")
    {'kohya.subset': 'train/fox', 'kohya.num_repeats': 1, 'kohya.keep_tokens': 2}
    """
    facts: dict[str, Fact] = {f"{FACT}subset": subset, f"{FACT}num_repeats": values.get("num_repeats") or 1}
    for name in FACTS:
        value = values.get(name)
        if value is not None and value != OPTIONS[name].default:
            facts[FACT + name] = value
    return facts
