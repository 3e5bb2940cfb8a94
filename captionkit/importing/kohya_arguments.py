"""Trainer arguments of sd-scripts as the dataset TOML that says the same about pictures and captions."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from captionkit.importing.written import toml_value
from captionkit.readers.kohya_arguments import TrainerArgumentsError, found
from captionkit.readers.kohya_config import wrong_option
from captionkit.readers.kohya_options import OPTIONS

RENAMED = {
    "train_batch_size": "batch_size",
    "max_resolution": "resolution",
    "caption_extention": "caption_extension",
}
"""Arguments that have another name in a dataset TOML; `max_resolution` is of kohya_ss."""
NOT_TAKEN = ("max_token_length", "debug_dataset", "num_repeats")
"""Arguments of the trainer that only look like options of a dataset."""


def dataset_toml(given: TrainerArgumentsError) -> str:
    """The dataset TOML of these arguments.

    Folders such as `10_red fox` below `train_data_dir` and `reg_data_dir` become subsets with
    `num_repeats = 10` and `class_tokens = "red fox"`, as sd-scripts takes them. Where none is there, one
    stands as an example.
    """
    subsets = list(_subsets(given.arguments, given.path))
    options = _options(given.arguments)
    lines = ["# From arguments of kohya sd-scripts: look through it.", "[general]"]
    if "caption_extension" not in options and (seen := _only_txt(subsets, given.path)):
        lines.append("# The arguments name no caption_extension; texts that end in .txt were found.")
        options = {"caption_extension": seen} | options
    lines += [f"{name} = {toml_value(value)}" for name, value in options.items()]
    lines += ["", "[[datasets]]"]
    if "resolution" not in options:
        lines.append("resolution = 512")
    for comment, subset in subsets:
        lines += ["", *([f"# {comment}"] if comment else []), "[[datasets.subsets]]"]
        lines += [f"{name} = {toml_value(value)}" for name, value in subset.items()]
    return "\n".join(lines) + "\n"


def _options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The options that all subsets inherit, without those at their defaults and those that are wrong."""
    options: dict[str, Any] = {}
    for key, given in arguments.items():
        name = RENAMED.get(key, key)
        option = OPTIONS.get(name)
        if option is None or option.only is not None or name in NOT_TAKEN:
            continue
        value = _number(given) if isinstance(given, str) and str not in option.kinds else given
        extension = name == "caption_extension"
        if value in ("", None, []) or (value == option.default and not extension):
            continue
        if wrong_option(name, value, "general") is None and _is_plain(value):
            options[name] = value
    return options


def _is_plain(value: Any) -> bool:
    """Whether it is a single value, or a list of sensible numbers."""
    if isinstance(value, list):
        return all(type(one) in (int, float) and 0 <= one <= 1e9 for one in value)
    return not isinstance(value, dict) and (not isinstance(value, str) or _is_text(value))


def _number(text: str) -> Any:
    """What a field of kohya_ss says as text: `0.1`, or `512,512`."""
    try:
        numbers = [float(part) for part in text.split(",")]
        numbers = [int(one) if one.is_integer() else one for one in numbers]
    except (ValueError, OverflowError):
        return text
    return numbers[0] if len(set(numbers)) == 1 else numbers


def _subsets(arguments: Mapping[str, Any], file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each subset with what is to be said of it."""
    folder, metadata = _text(arguments, "train_data_dir"), _text(arguments, "in_json")
    if metadata:
        own = {"image_dir": folder} if folder else {}
        repeats = arguments.get("dataset_repeats", 1)
        told = repeats not in (0, 1) and wrong_option("num_repeats", repeats, "subsets") is None
        yield "", own | {"metadata_file": metadata} | ({"num_repeats": repeats} if told else {})
        return
    made = list(_folders(folder, file, {})) if folder else []
    if not made:
        example = f"{folder or 'train'}/10_red fox"
        why = "No folder such as this one was found" if folder else "The arguments name no train_data_dir"
        comment = f"{why}: write one of these for each folder of pictures."
        made = [(comment, {"image_dir": example, "num_repeats": 10, "class_tokens": "red fox"})]
    yield from made
    if others := _text(arguments, "reg_data_dir"):
        yield from _folders(others, file, {"is_reg": True})


def _folders(folder: str, file: Path, more: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The folders `10_red fox` below a folder, by name."""
    try:
        names = sorted(entry.name for entry in os.scandir(found(folder, file)) if entry.is_dir())
    except (OSError, ValueError):
        return
    for name in names:
        repeats, _, tokens = name.partition("_")
        if re.fullmatch("[0-9]{1,9}", repeats) and int(repeats) > 0 and _is_text(name):
            subset: dict[str, Any] = {"image_dir": f"{folder.rstrip('/')}/{name}"}
            subset["num_repeats"] = int(repeats)
            yield "", subset | ({"class_tokens": tokens} if tokens else {}) | dict(more)


def _is_text(name: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in name)


def _text(arguments: Mapping[str, Any], name: str) -> str:
    value = arguments.get(name)
    return value if isinstance(value, str) and _is_text(value) else ""


def _only_txt(subsets: list[tuple[str, dict[str, Any]]], file: Path) -> str:
    """`.txt` where texts end so, and none ends in `.caption`."""
    ends: set[str] = set()
    for _, subset in subsets:
        if "image_dir" in subset:
            try:
                ends |= {
                    os.path.splitext(one.name)[1] for one in os.scandir(found(subset["image_dir"], file))
                }
            except (OSError, ValueError):
                continue
    return ".txt" if ".txt" in ends and ".caption" not in ends else ""
