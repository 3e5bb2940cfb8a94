"""What a tagger is told apart by: a hash of the files that its scores come from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from trainkit.errors import ModelError, TrainkitError
from trainkit.file_hash import blake2b_of
from trainkit.tagging.onnx_files import check_external_files, external_files
from trainkit.tagging.place import folder_of

_TELLING = (".safetensors", ".onnx", ".csv", ".json", ".toml", ".txt")
_ABOUT = "tagger.json"
_LEFT_OUT = frozenset({_ABOUT, "evaluation.json", "applied.json"})


def mark_of(path: Path) -> str:
    """A hash of a tagger's files; other files, other scores. What an evaluation writes does not count, and of
    ``tagger.json`` neither, since temperatures are in it: the network is in the other files.

    Raises TrainkitError when one cannot be read.
    """
    return _hash(_telling(path), path)


def exact_mark_of(path: Path) -> str:
    """The same with ``tagger.json``: other temperatures are other probabilities, too."""
    folder = folder_of(path)
    about = [folder / _ABOUT] if (folder / _ABOUT).is_file() else []
    return _hash([*_telling(path), *about], path)


def _hash(files: Iterator[Path] | list[Path], path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    try:
        for file in files:
            digest.update(f"{file.name}\0{blake2b_of(file)}\0".encode("utf-8", "surrogatepass"))
    except OSError as error:
        raise TrainkitError(f"{error.filename} cannot be read: {error.strerror or error}") from error
    if path.is_file():  # Which of several models it is.
        digest.update(path.name.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _telling(path: Path) -> Iterator[Path]:
    folder = folder_of(path)
    for file in sorted([*folder.iterdir(), *(folder / "backbone").glob("*.json")]):
        if file.is_file() and file.suffix.lower() in _TELLING and file.name not in _LEFT_OUT:
            yield file
            if file.suffix.lower() == ".onnx":
                yield from _outside(file)


def _outside(model: Path) -> Iterator[Path]:
    """The files beside a model that hold its weights."""
    try:
        check_external_files(model)
    except ModelError:
        return  # Loading it is refused; there may be another model beside it.
    yield from (model.parent / name for name in sorted(external_files(model)))
