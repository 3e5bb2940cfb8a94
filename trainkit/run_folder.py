"""A run's folder that explains itself: what every file is, what the run ran in, how each start ended."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from trainkit.config import RunConfig
from trainkit.starts import Start
from trainkit.surroundings import environment, git_state
from trainkit.whole_file import write_whole

README = """\
# A training run of trainkit

`trainkit status .` tells how it is doing; `starts.jsonl` has the command that goes on with it.

| file | |
|---|---|
| `model/` | the result, when the run is done: a diffusers folder |
| `ema/` | averages of the weights, and snapshots from which others can be made |
| `adapter*.safetensors` | of a run with adapters: what front ends load |
| `checkpoints/<samples seen>/` | where the run can go on: weights, optimizer, averages, `state.json` |
| `previews/<samples seen>.png` | samples from fixed noise, the prompts underneath |
| `log.jsonl` | a line per optimizer step: loss, gradient norm, learning rates, samples/s, share of waiting |
| `validation.jsonl` | losses on held-out pictures, lightness of the black and white probe |
| `skipped.jsonl` | every picture or record that could not be used, and why |
| `events.jsonl` | what else went wrong and was mended: data workers, stores, trackers, alerts |
| `tensorboard/`, `wandb/`, `trackers.json` | the same figures elsewhere, and which runs they are there |
| `run.json` | the whole configuration, defaults and overrides included |
| `accepted.jsonl` | changes of it that were accepted although they usually may not be |
| `starts.jsonl` | every start: when, where, command, from which sample, what was changed, how it ended |
| `ended.json` | how the last start ended; not there while the run goes on |
| `environment.json` | machine, GPUs, driver, Python, all packages, environment variables that matter |
| `git.json`, `git.diff` | commit and uncommitted changes of the run file's folder, where git knows it |
| `data.json` | what the data set holds: number, fingerprint, tags, sources of captions, sizes |
| `progress.json` | written every few seconds while it trains; what `trainkit status` reads first |
| `ranks/` | what every process does at this moment |
| `cache/` | latents and texts, encoded once; can be deleted when the run is done |
| `.lock` | held by the process that trains; nothing to delete by hand |
"""


@contextlib.contextmanager
def explained(run: RunConfig, home: Path) -> Iterator[Start]:
    """The run's folder while one start of it lasts, on the main process. ``home`` is the folder of the run
    file, whose state in git is kept."""
    start = Start(run.out, run.alerts)
    with start.to_the_end():
        surroundings = environment()
        settings = run.model_dump(mode="json")
        start.begin(settings, surroundings, int(os.environ.get("WORLD_SIZE", "1")))
        if start.killed_before:
            tqdm.write("note: the last start of this run did not end by itself (killed, or a power cut)")
        (run.out / "README.md").write_text(README, encoding="utf-8")
        write_whole(run.out / "environment.json", surroundings)
        _keep_git(run.out, home)
        yield start


def _keep_git(out: Path, home: Path) -> None:
    told, diff = git_state(home)
    own, _ = git_state(Path(__file__).parent)
    if own:
        told["trainkit"] = {key: own[key] for key in ("commit", "branch", "dirty")}
    for name in ("git.json", "git.diff"):
        (out / name).unlink(missing_ok=True)
    if told:
        write_whole(out / "git.json", told)
    if diff:
        (out / "git.diff").write_bytes(diff)
