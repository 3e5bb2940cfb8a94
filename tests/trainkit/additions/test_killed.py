"""Real processes that are killed while they merge or write a journal."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainkit.additions.known import ROWS, files_in, prepared, put_pictures, records_in
from tests.trainkit.additions.test_merge import zebra
from tests.trainkit.processes import PATIENCE, environment, kill_when
from tests.trainkit.tiny import ROOT
from trainkit.additions.finished import read_additions, write_additions
from trainkit.additions.journal import open_journal
from trainkit.additions.merge import merge_additions
from trainkit.manifest import Manifest
from trainkit.prepared import changed_parts

_MERGE = ROOT / "tests" / "trainkit" / "additions" / "merging.py"
_WRITE = """
import sys
from pathlib import Path
from tests.trainkit.additions.test_merge import zebra
from trainkit.additions.journal import open_journal
manifest = Path(sys.argv[1])
with open_journal(manifest, "wd", {}, rank=1, world=2) as journal:
    journal.append(zebra(manifest, range(4)))
    print("written", flush=True)
    (manifest / "written").touch()
    while True:
        journal.append(zebra(manifest, range(3, 4)))
"""


@pytest.mark.parametrize(
    ("what", "number", "new"),
    [
        ("fsync", 3, False),
        ("replace", 1, False),
        ("replace", 3, False),
        ("fsync", 7, True),
    ],
)
def test_a_killed_merge_leaves_the_old_manifest_or_the_new_one(
    tmp_path: Path, what: str, number: int, new: bool
) -> None:
    data = put_pictures(tmp_path / "data")
    manifest = prepared(data, tmp_path / "manifest")
    write_additions(manifest, "wd", {}, zebra(manifest, range(3)))
    merge_additions(manifest, processes=1)
    old = records_in(manifest)
    write_additions(manifest, "wd", {}, zebra(manifest))
    whole = Path(shutil.copytree(manifest, tmp_path / "whole"))
    merge_additions(whole, processes=1)
    ended = subprocess.run(
        [sys.executable, str(_MERGE), str(manifest), what, str(number)],
        env=environment(),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, (ended.stdout, ended.stderr.decode())
    assert changed_parts(manifest) == []
    assert records_in(manifest) == (records_in(whole) if new else old)
    merge_additions(manifest, processes=1)
    assert files_in(manifest) == files_in(whole)


def test_a_killed_journal_knows_what_was_written(tmp_path: Path) -> None:
    manifest = prepared(put_pictures(tmp_path / "data"), tmp_path / "manifest")
    kill_when([sys.executable, "-c", _WRITE, str(manifest)], (manifest / "written").exists)
    with open_journal(manifest, "wd", {}) as journal:
        keys = Manifest(manifest).keys.tolist()
        assert [row for row in range(ROWS) if keys[row] in journal.done] == [0, 1, 2, 3]
        journal.append(zebra(manifest, range(4, ROWS)))
        journal.finish()
    assert list(read_additions(manifest, "wd")) == zebra(manifest)
