"""Real processes of ``trainkit caption``, killed, stopped and multiplied: no picture is captioned twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.trainkit.captioning.caption_runs import (
    TEXT,
    additions,
    captions,
    write_manifest,
    write_run_file,
    written,
)
from tests.trainkit.captioning.caption_server import caption_server, order, seen
from tests.trainkit.processes import PATIENCE, command, environment, kill_when, run
from trainkit.additions.places import file_of
from trainkit.captioning.config import load_caption_run
from trainkit.captioning.run import caption
from trainkit.signals import Stop

PICTURES = 24
AT_ONCE = 3


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_manifest(tmp_path, PICTURES)


def asked(url: str) -> Counter[int]:
    """How often each request was asked; its seed is a function of its picture."""
    return Counter(body["seed"] for body in seen(url)["bodies"])


def seeds(lines: list[dict[str, Any]]) -> set[int]:
    return {line["detail"]["seed"] for line in lines}


def wait_for(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_killed_run_asks_again_only_what_was_on_its_way(manifest: Path, tmp_path: Path) -> None:
    with caption_server(text=TEXT) as url:
        order(url, answers=8)  # The next three are on their way, however long it takes to see that.
        backend = {"kind": "server", "urls": [url], "concurrency": AT_ONCE}
        path = write_run_file(tmp_path / "caption.toml", manifest, url, backend=backend)
        words = command("caption", path, "--json")
        kill_when(words, lambda: len(written(manifest)) == 8)
        kept = seeds(written(manifest))
        assert len(kept) == 8
        assert not file_of(manifest, "cog").exists()
        assert not any(captions(manifest).values())

        # Ctrl-C: what is on its way comes in, and the message says how to go on.
        with subprocess.Popen(words, env=environment(), stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            order(url, answers=8 + AT_ONCE + 2)  # Those that the killed one had asked for come first.
            wait_for(lambda: len(written(manifest)) > len(kept) or process.poll() is not None)
            process.send_signal(signal.SIGINT)
            heard = iter(process.stderr.readline, "")
            assert any("SIGINT: finishing" in line for line in heard)
            order(url, answers=1000)
            said = process.communicate(timeout=PATIENCE)[1]
        assert process.returncode == 130, said
        assert f"of {PICTURES} captions, which are kept; go on with the same command" in said
        assert f"caption {path} --json" in said
        assert kept < seeds(written(manifest))

        ended = caption(load_caption_run(path), Stop(), show=False)
        assert ended is not None
        assert ended.tally.captioned == PICTURES
        counts = asked(url)
        assert len(counts) == PICTURES
        assert all(counts[seed] == 1 for seed in kept)
        # The kill met at most so many requests on their way; Ctrl-C none, as they came in.
        assert sum(counts.values()) <= PICTURES + AT_ONCE
        assert len(additions(manifest)) == PICTURES
        assert all("cog" in prose for prose in captions(manifest).values())


@pytest.mark.slow
def test_two_processes_share_the_pictures(manifest: Path, tmp_path: Path) -> None:
    with caption_server(text=TEXT) as url:
        path = write_run_file(tmp_path / "caption.toml", manifest, url)
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        ended = run([*launch, *command("caption", path, "--json")[1:]])
        assert ended.returncode == 0, ended.stderr[-3000:]
        told = json.loads(ended.stdout)
        assert (told["captioned"], told["asked"]) == (PICTURES, PICTURES // 2)
        assert set(asked(url).values()) == {1}
        assert len(additions(manifest)) == PICTURES
        assert all("cog" in prose for prose in captions(manifest).values())
