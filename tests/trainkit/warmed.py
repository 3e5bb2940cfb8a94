"""What the fork server of ``warm`` imports once, before it makes processes: all of trainkit."""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil

import tests.trainkit.warm  # noqa: F401
import trainkit
from trainkit.cli import main

with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stderr(nowhere):
    # The command sets what libraries read when they are imported, imports them and finds no file.
    main(["check", os.path.join(os.devnull, "run.toml")])

for module in pkgutil.walk_packages(trainkit.__path__, "trainkit."):
    if not module.name.endswith(".__main__"):
        importlib.import_module(module.name)
