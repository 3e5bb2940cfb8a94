"""The pages about data loaders: every example on them runs and gives what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = ROOT / "docs" / "trainers"

# Every warning is an error, but for these of the libraries.
FEW_CORES = "ignore:This DataLoader will create:UserWarning"  # PyTorch, of two workers on one core.
FILTERS = {
    "torchdata": ["ignore:'set_vital' is deprecated:UserWarning"],  # torchdata 0.11 on torch 2.13.
    "webdataset": ["ignore:unclosed file:ResourceWarning"],  # WebDataset 1.0 leaves its tars open.
    "ray": ["ignore::DeprecationWarning:ray.data.context"],  # Ray 2.60, of its own settings.
}
RUN = """
import doctest, pathlib, re, sys
blocks = re.findall(r"```python\\n(.*?)```", pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"), re.DOTALL)
examples = [example for block in blocks for example in doctest.DocTestParser().get_examples(block)]
print(len(examples), "examples")
page = doctest.DocTest(examples, {"__name__": "page"}, sys.argv[1], sys.argv[1], 0, None)
sys.exit(doctest.DocTestRunner().run(page).failed or not examples)
"""


@pytest.mark.parametrize(
    "page",
    [
        "pytorch",
        "hf-datasets",
        "webdataset",
        "torchdata",
        "diffusers",
        pytest.param("ray", marks=pytest.mark.slow),
    ],
)
def test_page(page: str) -> None:
    path = PAGES / f"{page}.md"
    options = [option for rule in ("error", FEW_CORES, *FILTERS.get(page, [])) for option in ("-W", rule)]
    # Not pytest's folder: the paths of Ray's sockets would be too long in it. What Ray still writes there
    # when it has ended is no error.
    with tempfile.TemporaryDirectory(prefix="ck", ignore_cleanup_errors=True) as folder:
        env = {"PYTHONPATH": str(ROOT), "HOME": folder, "RAY_TMPDIR": folder, "HF_HOME": f"{folder}/hf"}
        process = subprocess.run(
            [sys.executable, *options, "-c", RUN, path],
            cwd=folder,
            env=os.environ | env | {"RAY_USAGE_STATS_ENABLED": "0"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    assert process.returncode == 0, process.stdout + process.stderr


@pytest.mark.parametrize("page", ["pytorch", "hf-datasets", "webdataset", "torchdata", "diffusers", "ray"])
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)#]+)", (PAGES / f"{page}.md").read_text(encoding="utf-8")):
        assert (PAGES / link).is_file(), link
