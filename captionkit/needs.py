"""Packages that only some parts of captionkit need: imported when used, with a way to install them."""

from __future__ import annotations

import importlib
from typing import Any

from captionkit.errors import CaptionkitError


class MissingPackageError(CaptionkitError, ImportError):
    """A package is asked for that is not installed; says how to install it.

    pip takes the captionkit that is installed, from wherever it came, and adds the packages of the extra.
    """


def needed(module: str, extra: str, what: str) -> Any:
    """The module, imported now: `needed("pyarrow", "tables", "reading Parquet")`.

    Raises `MissingPackageError` when it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise  # It is there, and something of its own is not.
        package = module.partition(".")[0]
        raise MissingPackageError(
            f"{what} needs the package {package}, which is not installed",
            hint=f"pip install 'captionkit[{extra}]'",
        ) from None
