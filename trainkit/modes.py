"""Who may read what is written."""

from __future__ import annotations

import os
from pathlib import Path


def open_to_others(path: Path) -> None:
    """Give a file, or all files of a folder, the mode that any new file of this process has.

    safetensors makes files that their owner alone may read, whatever the umask says.
    """
    mask = os.umask(0)
    os.umask(mask)
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            file.chmod(0o666 & ~mask)
