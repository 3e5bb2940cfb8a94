"""What the fork server of ``warm`` imports once, before it makes processes: all of trainkit."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys

import tests.trainkit.warm  # noqa: F401
import trainkit
from trainkit.cli import main

kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
os.dup2(nowhere, 2)  # Not sys.stderr: what libraries keep of it must be the children's later.
try:
    # The command sets what libraries read when they are imported, imports them and finds no file.
    main(["check", os.path.join(os.devnull, "run.toml")])
    for module in pkgutil.walk_packages(trainkit.__path__, "trainkit."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    sys.stderr.flush()
finally:
    os.dup2(kept, 2)
    os.close(kept)
    os.close(nowhere)
