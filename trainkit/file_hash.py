"""BLAKE2b of a whole file."""

from __future__ import annotations

import hashlib
from pathlib import Path


def blake2b_of(path: Path, size: int = 32) -> str:
    """BLAKE2b of ``size`` bytes over a file, hex. Raises OSError.

    The file is read, not mapped: a bad sector is then an error and not the end of the process.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=size)).hexdigest()
