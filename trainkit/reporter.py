"""The running commentary of a training run: progress bar, log files, trackers, what had to be skipped or
mended."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from tqdm import tqdm

from trainkit.alerts import Event, alert
from trainkit.config import RunConfig
from trainkit.errors import TrainkitError
from trainkit.feed import Batch
from trainkit.log import JsonLog, read_tail
from trainkit.moment import time_stamp
from trainkit.phases import Phase
from trainkit.progress import bar_style
from trainkit.stall import Stall
from trainkit.store.trouble import Trouble
from trainkit.tracking import Trackers
from trainkit.validation import TextKind, TextResult
from trainkit.waiting import Waiting
from trainkit.whole_file import write_whole

_FIRST = 4
"""When so many pictures at the start, and all, cannot be read, nothing is trained."""
_RECENT = 100
"""Optimizer steps over which the share of clipped ones is told."""
_TOLD_EVERY = 5.0
"""Seconds between two writings of progress.json."""
_TROUBLE_EVERY = 60.0
"""Seconds between two lines about stores that have to be asked again."""


class Reporter:
    """Tells about every optimizer step, on the main process only; counts skipped pictures on every
    process."""

    def __init__(
        self, run: RunConfig, accelerator: Accelerator, samples_seen: int, total_samples: int, look: int = 0
    ) -> None:
        """``look`` is the size of the last step where the model is to be looked at once more after it; what a
        look that was cut short has told is forgotten."""
        self.run = run
        self.accelerator = accelerator
        self.samples_seen = self._from = samples_seen
        self.total_samples = total_samples
        self.samples_asked = 0
        self.broken: set[str] = set()
        self.log: JsonLog | None = None
        self.validation: JsonLog | None = None
        self.bar = tqdm(
            total=total_samples,
            initial=samples_seen,
            unit="sample",
            desc="training",
            disable=not accelerator.is_main_process,
            **bar_style(),
        )
        self.trackers: Trackers | None = None
        self._stall: Stall | None = None
        if accelerator.is_main_process:
            self.log = self._open("log.jsonl", samples_seen)
            if run.validation.share or run.probe.pictures:
                self.validation = self._open("validation.jsonl", samples_seen - look)
            settings = run.model_dump(mode="json")
            self.trackers = Trackers(run.trackers, run.tracking, run.out, samples_seen, settings, self.warn)
            self._stall = Stall(run.out, run.alerts.stall_after, self._stalled)
        self.waiting = Waiting()
        self._trouble, self._trouble_told, self._trouble_at = Trouble(), Trouble(), 0.0
        self._skipped_at: float | None = None
        self._skipped_told = 0
        self._phase: Phase | None = None
        self._began = self._last = self._told_at = time.monotonic()
        before = read_tail(run.out / "log.jsonl", _RECENT).entries if self.log is not None else ()
        self._clipped: deque[bool] = deque((bool(line.get("clipped")) for line in before), maxlen=_RECENT)

    def say(self, text: str) -> None:
        """One line above the progress bar, on the main process."""
        if self.accelerator.is_main_process:
            tqdm.write(text)

    def warn(self, text: str) -> None:
        """Something went wrong and the run goes on: say it, on any process, and keep it in events.jsonl."""
        rank = self.accelerator.process_index
        tqdm.write(f"rank {rank}: {text}" if rank else text)
        told = {"when": time_stamp(), "rank": rank, "samples": self.samples_seen, "text": text}
        # A full disk is told by what matters more than this note.
        with (
            contextlib.suppress(OSError),
            (self.run.out / "events.jsonl").open("a", encoding="utf-8") as file,
        ):
            file.write(json.dumps(told) + "\n")

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
        assert self._phase is not None, "a step belongs to a phase"
        now = time.monotonic()
        seconds = max(1e-9, now - self._last)
        self._last = now
        self.waiting.step(seconds, waited)
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
        if self.trackers is not None:
            self.trackers.log(told, samples_seen)
        shown = "/".join(f"{rate:.2g}" for rate in rates.values())
        self.bar.set_postfix_str(f"loss {entry['loss']:.4f}, lr {shown}", refresh=False)
        self.bar.update(samples_seen - self.samples_seen)
        self.samples_seen = samples_seen
        if self._stall is not None:
            self._stall.step()
        if now - self._told_at > _TOLD_EVERY or samples_seen == self.total_samples:
            self._tell_progress(epoch, told)

    def validated(self, samples_seen: int, phase: str, measured: Mapping[TextKind, TextResult]) -> None:
        """Write a validation to validation.jsonl and the trackers, and say its means."""
        means = {f"validation_{kind}": result["mean"] for kind, result in measured.items()}
        if self.trackers is not None:
            self.trackers.log(means, samples_seen)
        if self.validation is not None:
            self.validation.write({"samples": samples_seen, "phase": phase, "texts": measured})
            told = ", ".join(f"{kind} {result['mean']:.4f}" for kind, result in measured.items())
            self.say(f"validation after {samples_seen} samples: {told}")

    def probed(self, samples_seen: int, found: dict[str, float]) -> None:
        """The same for the black and white probe."""
        if self.trackers is not None:
            self.trackers.log(found, samples_seen)
        if self.validation is not None:
            self.validation.write({"samples": samples_seen, **found})
            told = ", ".join(f"{name.removeprefix('probe_')} {value:.1f}" for name, value in found.items())
            self.say(f"lightness (0 to 100) after {samples_seen} samples: {told}")

    def skipped(self, batch: Batch) -> None:
        """Report pictures that could no longer be read, and stores that had to be asked again; too many
        pictures stop the run.

        Raises TrainkitError when more than data.max_bad_share of this process's samples were blank, or all.
        """
        self.samples_asked += len(batch.records)
        for picture, reason in batch.problems:
            if picture in self.broken:
                continue
            self.broken.add(picture)
            tqdm.write(f"skipped {picture}: {reason}")
            with (self.run.out / "skipped.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"name": picture, "reason": reason, "while": "training"}) + "\n")
        self._trouble += batch.store_trouble
        self._tell_of_trouble()
        self._alert_of_skipped()
        allowed = max(1.0, self.run.data.max_bad_share * max(self.samples_asked, 1000))
        if len(self.broken) >= max(self.samples_asked, _FIRST):
            raise TrainkitError(
                f"none of the first {self.samples_asked} pictures can be read; they are named in "
                f"{self.run.out / 'skipped.jsonl'}. Is data.path right, and is the disk there?"
            )
        if len(self.broken) > allowed:
            raise TrainkitError(
                f"{len(self.broken)} pictures could not be read any more while training, more than "
                f"data.max_bad_share ({self.run.data.max_bad_share:.1%}) allows; they are named in "
                f"{self.run.out / 'skipped.jsonl'}. Is the disk still there? "
                "Start the same command again to go on from the last checkpoint."
            )

    def close(self) -> None:
        """End the bar, the logs and the trackers; say how long the device waited."""
        if self._stall is not None:
            self._stall.close()
        self.bar.close()
        if told := self.waiting.in_words(self.run.data.workers, self.run.data.latents):
            self.say(told)
        for log in (self.log, self.validation):
            if log is not None:
                log.close()
        if self.trackers is not None:
            self.trackers.close()

    def _open(self, name: str, samples: int) -> JsonLog:
        """A log that goes on where the run does, after so many samples."""
        log = JsonLog(self.run.out / name, samples)
        if log.damaged:
            self.warn(f"{name}: {log.damaged} damaged lines behind sample {samples} were removed")
        return log

    def _tell_progress(self, epoch: int, told: Mapping[str, Any]) -> None:
        """Write progress.json, which `trainkit status` reads. A full disk is told elsewhere."""
        if self.log is None:
            return
        assert self._phase is not None, "a step belongs to a phase"
        self._told_at = time.monotonic()
        gpu = self.accelerator.device.type == "cuda"
        progress = {
            "when": time.time(),
            "samples": self.samples_seen,
            "total_samples": self.total_samples,
            "epoch": epoch,
            "phase": self._phase.number,
            "phase_name": self._phase.name if self.run.phases else None,
            "phases": max(1, len(self.run.phases)),
            "from": self._from,
            "seconds": round(self._told_at - self._began, 1),
            "processes": self.accelerator.num_processes,
            "waited_share": round(self.waiting.share, 4),
            "waited_share_lately": round(self.waiting.lately, 4),
            "gpu_memory_gb": told.get("gpu_memory_gb"),
            "gpu_memory_of_gb": round(torch.cuda.mem_get_info()[1] / 2**30, 1) if gpu else None,
            "store_failures": dict(self._trouble.failures),
            "store_waited_s": round(self._trouble.waited, 1),
        }
        with contextlib.suppress(OSError):
            write_whole(self.run.out / "progress.json", progress)

    def _tell_of_trouble(self) -> None:
        """Say what stores had to be asked again, once in a while."""
        if self._trouble == self._trouble_told or time.monotonic() - self._trouble_at < _TROUBLE_EVERY:
            return
        self._trouble_told, self._trouble_at = self._trouble, time.monotonic()
        self.warn(f"stores, so far: {self._trouble}")

    def _alert_of_skipped(self) -> None:
        """Start alerts.on_skipped for new skipped pictures, not more often than it wants."""
        every, new = self.run.alerts.skipped_every, len(self.broken) - self._skipped_told
        if new and (self._skipped_at is None or time.monotonic() - self._skipped_at >= every):
            self._skipped_at, self._skipped_told = time.monotonic(), len(self.broken)
            self._alert("skipped", f"{new} more pictures could not be read, {len(self.broken)} in all")

    def _stalled(self, reason: str) -> None:
        self.warn(reason)
        self._alert("stall", reason)

    def _alert(self, event: Event, reason: str) -> None:
        """Start the command of an event; the training does not wait for it."""
        facts = {
            "run": str(self.run.out.resolve()),
            "reason": reason,
            "samples": self.samples_seen,
            "total_samples": self.total_samples,
            "host": socket.gethostname(),
        }

        def start() -> None:
            if problem := alert(self.run.alerts, event, facts):
                self.warn(problem)

        threading.Thread(target=start, name=f"alert {event}", daemon=True).start()
