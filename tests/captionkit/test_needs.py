"""What is not installed is said in one line, with what installs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from captionkit import CaptionkitError
from captionkit.needs import MissingPackageError, needed

ROOT = Path(__file__).resolve().parents[2]


def test_a_package_that_is_not_there_is_both_errors() -> None:
    told = "reading cheese needs the package nope_cheese, which is not installed"
    for kind in (MissingPackageError, CaptionkitError, ImportError):
        with pytest.raises(kind) as caught:
            needed("nope_cheese.hard", "tables", "reading cheese")
        assert str(caught.value) == f"{told} (pip install 'captionkit[tables]')"


@pytest.mark.parametrize("script", ["import captionkit.testing", "04_own_policy.py"])
def test_without_hypothesis_testing_says_what_it_needs(script: str, tmp_path: Path) -> None:
    # A finder in front of all others, for which there is no hypothesis, as in an environment without it.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name.partition('.')[0] == 'hypothesis':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
    )
    words = [str(ROOT / "examples" / script)] if script.endswith(".py") else ["-c", script]
    done = subprocess.run(
        [sys.executable, *words],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.stderr.strip().endswith(
        "testing policies (captionkit.testing) needs the package hypothesis, which is not installed "
        "(pip install 'captionkit[test]')"
    )
