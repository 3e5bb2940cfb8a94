"""A folder that `trainkit prepare` wrote: which of its files hold the records, and where its pictures lie."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from captionkit.errors import DataError
from captionkit.readers.text import unreadable

SUMMARY = "manifest.json"
_MOST_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class PreparedFolder:
    """What manifest.json says that a reader needs."""

    files: tuple[Path, ...]
    """Arrow files, in the order of their records."""
    root: Path
    """Where paths of pictures begin; the folder itself for those that lie in a store."""


def prepared_folder(folder: Path) -> PreparedFolder | None:
    """What a folder's manifest.json says; None when there is none, or one of something else, such as the
    sidecar of a picture.

    Raises `DataError` when it names files that are not in the folder.
    """
    summary = folder / SUMMARY
    try:
        with summary.open("rb") as file:
            told = json.loads(file.read(_MOST_BYTES))
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    except OSError as error:
        raise unreadable(summary, error) from error
    if not isinstance(told, dict) or not isinstance(told.get("parts"), list):
        return None
    names = [part.get("file") if isinstance(part, dict) else None for part in told["parts"]]
    root = told.get("root")
    for name in names:
        if not isinstance(name, str) or name != os.path.basename(name) or not name.endswith(".arrow"):
            raise DataError(
                f"names the part {name!r}, must be an .arrow file of the folder",
                where=str(summary),
                hint="prepare the folder again",
            )
    below = not isinstance(root, str) or "://" in root or "\0" in root
    return PreparedFolder(
        tuple(folder / str(name) for name in names), folder if below else folder / str(root)
    )
