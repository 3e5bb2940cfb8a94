"""Where additions lie in a prepared folder."""

from __future__ import annotations

from pathlib import Path

from trainkit.additions.addition import PERSON, check_name
from trainkit.errors import TrainkitError
from trainkit.prepared import is_prepared

FOLDER = "additions"
SUFFIX = ".jsonl"


def additions_in(manifest: Path) -> list[str]:
    """The names of the finished additions of a folder: a person's first, the others in alphabetical order."""
    folder = manifest / FOLDER
    if not folder.is_dir():
        return []
    names = [path.name.removesuffix(SUFFIX) for path in folder.glob(f"[!.]*{SUFFIX}") if path.is_file()]
    for name in names:
        check_name(name, person=True)
    return sorted(names, key=lambda name: (name != PERSON, name))


def file_of(manifest: Path, name: str) -> Path:
    """The file of a finished addition."""
    return manifest / FOLDER / f"{name}{SUFFIX}"


def journal_of(manifest: Path, name: str) -> Path:
    """The folder of an addition that is being made."""
    return manifest / FOLDER / f".{name}"


def check_prepared(manifest: Path) -> None:
    """Raise TrainkitError when a path is no prepared folder: only there additions have a place."""
    if not (manifest.is_dir() and is_prepared(manifest)):
        raise TrainkitError(
            f"{manifest} is no folder that trainkit prepare wrote, so nothing can be added to it; first "
            "trainkit prepare DATA -o FOLDER (with --untagged for pictures without tags and captions)"
        )
