"""The folder of a tagger of others: which file is the model, which the list of tags, what is said of both.

What a folder does not tell stands in ``trainkit.toml`` beside the model:

    tags = "tags.json"                  # where several files could be it
    activation = "sigmoid"              # the model gives logits
    [input]                             # how it wants its pictures
    mean = [0.5, 0.5, 0.5]
    std = [0.5, 0.5, 0.5]
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from trainkit.errors import ModelError
from trainkit.settings import checked_settings, read_settings
from trainkit.tagging.foreign_input import InputConfig
from trainkit.tagging.foreign_tags import Board, ForeignTags, read_tags
from trainkit.tagging.place import folder_of
from trainkit.tagging.pointer import refuse_pointer

SETTINGS = "trainkit.toml"

_MODELS = (".onnx", ".safetensors")
_PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
_LISTS = ("selected_tags.csv", "tags-selected.csv", "tags.json", "tag_mapping.json", "tags.csv", "tags.txt")
"""Names of lists of tags, the usual first."""
_MOST_BYTES = 16 << 20


class ForeignConfig(BaseModel):
    """The content of ``trainkit.toml`` in the folder of a tagger of others."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str | None = None
    """The source of its tags; None takes the folder's name."""
    model: str | None = None
    """The model's file in the folder; None looks for one."""
    tags: str | None = None
    """The file with its tags; None looks for one."""
    board: Board | None = None
    """Whose numbers of categories it uses; None tells by the numbers: only e621 has 6, 7 and 8."""
    output: str | None = None
    """Which output of an ONNX model holds the scores; None takes the one that has one for each tag."""
    activation: Literal["auto", "none", "sigmoid"] = "auto"
    """What turns outputs into probabilities: "auto" looks at pictures of one colour, whose outputs lie
    between 0 and 1 only where they are probabilities."""
    heads: int | None = None
    """Attention heads of a vision transformer, where its weights alone are there and its width is unusual."""
    input: InputConfig | None = None
    """How it wants its pictures; None takes what the folder says."""


@dataclass(frozen=True, slots=True)
class ForeignFolder:
    """What was found in a folder."""

    folder: Path
    model: Path
    config: ForeignConfig
    about: dict[str, Any]
    """``config.json``; empty when there is none."""

    @property
    def name(self) -> str:
        """The source of its tags, unless another is asked for."""
        return self.config.name or source_name(self.folder.resolve().name)

    def tags(self) -> ForeignTags:
        """Its list of tags. Raises ModelError."""
        file = self.tags_file()
        refuse_pointer(file)
        return read_tags(file, self.config.board)

    def tags_file(self) -> Path:
        """The file with its tags. Raises ModelError when there is none, or more than one could be it."""
        if self.config.tags is not None:
            return inside(self.folder, self.config.tags, "tags")
        found = [self.folder / name for name in _LISTS if (self.folder / name).is_file()]
        if not found:
            found = sorted(
                path
                for path in self.folder.iterdir()
                if path.suffix.lower() in (".csv", ".json")
                and ("tags" in path.stem or "metadata" in path.stem)
            )
            if len(found) > 1:
                raise ModelError(
                    f"{self.folder}: {' and '.join(p.name for p in found)} could be the tags; say which in "
                    f'{SETTINGS}: tags = "{found[0].name}"'
                )
        if not found:
            raise ModelError(
                f"{self.folder} holds no list of tags: none of {', '.join(_LISTS)}. Put the one of "
                f"{self.model.name} beside it; another name is said in {SETTINGS}: tags = "
                '"NAME"'
            )
        return found[0]


def open_folder(path: Path) -> ForeignFolder:
    """Look at a folder, or at the model's file in one. Raises ModelError when no model is there."""
    folder = folder_of(path)
    if not path.exists():
        raise ModelError(f"{path} is not there; a tagger is a folder with a model and its list of tags")
    config = ForeignConfig()
    if (folder / SETTINGS).is_file():
        config = checked_settings(ForeignConfig, read_settings(folder / SETTINGS), str(folder / SETTINGS))
    model = path if path.is_file() else _model_in(folder, config)
    if model.suffix.lower() not in _MODELS:
        raise ModelError(_no_model(model.name, folder, [model]))
    refuse_pointer(model)
    return ForeignFolder(folder, model, config, read_about(folder / "config.json"))


def inside(folder: Path, name: str, what: str) -> Path:
    """A file of the folder by its name. Raises ModelError when it lies elsewhere or is not there."""
    path = folder / name
    if not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ModelError(f"{folder}: {what} is {name!r}, must be the name of a file in the folder")
    if not path.is_file():
        raise ModelError(f"{folder}: {what} is {name!r}, which is not there")
    return path


def read_about(path: Path) -> dict[str, Any]:
    """The object in a small JSON file; empty when there is no file. Raises ModelError."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        told = json.loads(content) if len(content) <= _MOST_BYTES else None
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read: {str(error)[:200]}") from error
    if not isinstance(told, dict):
        raise ModelError(f"{path}: must hold one JSON object")
    return told


def source_name(text: str) -> str:
    """A name that can be the source of tags, from a folder's: other signs become "-"."""
    name = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "._-") else "-" for sign in text)
    return name.strip("._-")[:80] or "tagger"


def _model_in(folder: Path, config: ForeignConfig) -> Path:
    if config.model is not None:
        return inside(folder, config.model, "model")
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for suffix in _MODELS:
        if (folder / f"model{suffix}").is_file():
            return folder / f"model{suffix}"
        found = [path for path in files if path.suffix.lower() == suffix]
        if len(found) > 1:
            raise ModelError(
                f"{folder} holds several models: {', '.join(path.name for path in found[:5])}; give the path "
                f'of one, or say which in {SETTINGS}: model = "{found[0].name}"'
            )
        if found:
            return found[0]
    raise ModelError(_no_model("", folder, files))


def _no_model(name: str, folder: Path, files: list[Path]) -> str:
    pickles = [path.name for path in files if path.suffix.lower() in _PICKLES]
    if pickles:
        return (
            f"{folder}: {pickles[0]} is a pickle, which can run anything when opened, and never is. "
            "Use the tagger's .onnx or .safetensors file"
        )
    return (
        f"{folder}: {name or 'there'} is no model; a tagger is one of trainkit's (tagger.json), or a folder "
        "with a .onnx or .safetensors file and its list of tags"
    )
