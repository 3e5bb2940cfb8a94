"""The running commentary of a training run: progress bar, log file, trackers, pictures that had to be
skipped."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from tqdm import tqdm

from trainkit.config import RunConfig
from trainkit.errors import TrainkitError
from trainkit.feed import Batch
from trainkit.log import JsonLog, read_log
from trainkit.phases import Phase
from trainkit.validation import TextKind, TextResult

_RECENT = 100
"""Optimizer steps over which the share of clipped ones is told."""


class Reporter:
    """Tells about every optimizer step, on the main process only; counts skipped pictures on every
    process."""

    def __init__(
        self, run: RunConfig, accelerator: Accelerator, samples_seen: int, total_samples: int
    ) -> None:
        self.run = run
        self.accelerator = accelerator
        self.samples_seen = samples_seen
        self.samples_asked = 0
        self.broken: set[str] = set()
        self.log: JsonLog | None = None
        self.validation: JsonLog | None = None
        if accelerator.is_main_process:
            self.log = JsonLog(run.out / "log.jsonl", samples_seen)
            if run.validation.share or run.probe.pictures:
                self.validation = JsonLog(run.out / "validation.jsonl", samples_seen)
        self.bar = tqdm(
            total=total_samples,
            initial=samples_seen,
            unit="sample",
            desc="training",
            disable=not accelerator.is_main_process,
            dynamic_ncols=True,
        )
        if run.tensorboard:
            accelerator.init_trackers("tensorboard")
        self._last = time.monotonic()
        before = read_log(run.out / "log.jsonl") if self.log is not None else []
        self._clipped: deque[bool] = deque((line["clipped"] for line in before), maxlen=_RECENT)

    def say(self, text: str) -> None:
        """One line above the progress bar, on the main process."""
        if self.accelerator.is_main_process:
            tqdm.write(text)

    def enter(self, phase: Phase) -> None:
        """A phase begins, or goes on after a restart."""
        self._phase = phase
        self._last = time.monotonic()
        if self.run.phases:
            side, batch = phase.run.data.buckets.resolution, phase.group
            self.say(
                f"{phase.name}: samples {phase.first_sample} to {phase.end}, resolution {side}, {batch} "
                f"samples per step, {phase.run.optim.optimizer}"
            )

    def step(
        self, samples_seen: int, epoch: int, entry: dict[str, float], rates: dict[str, float], waited: float
    ) -> None:
        """Report one optimizer step, for which the device waited ``waited`` seconds for its samples."""
        now = time.monotonic()
        seconds = max(1e-9, now - self._last)
        self._last = now
        self._clipped.append(entry["grad_norm"] > self._phase.run.optim.max_grad_norm)
        told: dict[str, Any] = entry | {
            "clipped": self._clipped[-1],
            "clipped_share": sum(self._clipped) / len(self._clipped),
            **{f"lr_{name}": rate for name, rate in rates.items()},
            "samples_per_s": round((samples_seen - self.samples_seen) / seconds, 3),
            "waited": round(min(1.0, waited / seconds), 4),
        }
        if self.accelerator.device.type == "cuda":
            told["gpu_memory_gb"] = round(torch.cuda.max_memory_allocated() / 2**30, 3)
        if self.log is not None:
            phase = {"phase": self._phase.number} if self.run.phases else {}
            self.log.write({"samples": samples_seen, "epoch": epoch, **phase, **told})
        self.accelerator.log(told, step=samples_seen)
        self.bar.update(samples_seen - self.samples_seen)
        shown = "/".join(f"{rate:.2g}" for rate in rates.values())
        self.bar.set_postfix_str(f"loss {entry['loss']:.4f}, lr {shown}")
        self.samples_seen = samples_seen

    def validated(self, samples_seen: int, phase: str, measured: Mapping[TextKind, TextResult]) -> None:
        """Write a validation to validation.jsonl and the trackers, and say its means."""
        means = {f"validation_{kind}": result["mean"] for kind, result in measured.items()}
        self.accelerator.log(means, step=samples_seen)
        if self.validation is not None:
            self.validation.write({"samples": samples_seen, "phase": phase, "texts": measured})
            told = ", ".join(f"{kind} {result['mean']:.4f}" for kind, result in measured.items())
            self.say(f"validation after {samples_seen} samples: {told}")

    def probed(self, samples_seen: int, found: dict[str, float]) -> None:
        """The same for the black and white probe."""
        self.accelerator.log(found, step=samples_seen)
        if self.validation is not None:
            self.validation.write({"samples": samples_seen, **found})
            told = ", ".join(f"{name.removeprefix('probe_')} {value:.1f}" for name, value in found.items())
            self.say(f"lightness (0 to 100) after {samples_seen} samples: {told}")

    def skipped(self, batch: Batch) -> None:
        """Report pictures that could no longer be read; too many of them stop the run.

        Raises TrainkitError when more than data.max_bad_share of this process's samples were blank.
        """
        self.samples_asked += len(batch.records)
        for picture, reason in batch.problems:
            if picture in self.broken:
                continue
            self.broken.add(picture)
            tqdm.write(f"skipped {picture}: {reason}")
            with (self.run.out / "skipped.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"name": picture, "reason": reason, "while": "training"}) + "\n")
        allowed = max(1.0, self.run.data.max_bad_share * max(self.samples_asked, 1000))
        if len(self.broken) > allowed:
            raise TrainkitError(
                f"{len(self.broken)} pictures could not be read any more while training, more than "
                f"data.max_bad_share ({self.run.data.max_bad_share:.1%}) allows; they are named in "
                f"{self.run.out / 'skipped.jsonl'}. Is the disk still there? "
                "Start the same command again to go on from the last checkpoint."
            )

    def close(self) -> None:
        """End the bar and the log."""
        self.bar.close()
        for log in (self.log, self.validation):
            if log is not None:
                log.close()
