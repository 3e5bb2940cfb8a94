"""The running commentary of a training run: progress bar, log file, trackers, pictures that had to be
skipped."""

from __future__ import annotations

import json
import time
from typing import Any

from accelerate import Accelerator
from tqdm import tqdm

from trainkit.config import RunConfig
from trainkit.errors import TrainkitError
from trainkit.feed import Batch
from trainkit.log import JsonLog


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
        self.log = JsonLog(run.out / "log.jsonl", samples_seen) if accelerator.is_main_process else None
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

    def step(
        self, samples_seen: int, epoch: int, loss: float, grad_norm: float, rates: dict[str, float]
    ) -> None:
        """Report one optimizer step."""
        now = time.monotonic()
        speed = (samples_seen - self.samples_seen) / max(1e-9, now - self._last)
        self._last = now
        lr = {f"lr_{name}": rate for name, rate in rates.items()}
        entry: dict[str, Any] = {"loss": loss, "grad_norm": grad_norm, **lr, "samples_per_s": round(speed, 3)}
        if self.log is not None:
            self.log.write({"samples": samples_seen, "epoch": epoch, **entry})
        self.accelerator.log(entry, step=samples_seen)
        self.bar.update(samples_seen - self.samples_seen)
        self.bar.set_postfix_str(f"loss {loss:.4f}, lr " + "/".join(f"{rate:.2g}" for rate in rates.values()))
        self.samples_seen = samples_seen

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
        if self.log is not None:
            self.log.close()
