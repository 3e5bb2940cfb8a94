"""What a run shows of itself while it trains: previews, validation, black and white probe, EMA snapshots."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from torch import Tensor

from trainkit.grid import picture_grid
from trainkit.phases import Phase
from trainkit.probe import probe
from trainkit.reporter import Reporter
from trainkit.sample import Request, sample_pictures, save_picture
from trainkit.setup import Setup


def is_due(every: int, samples_seen: int, group: int) -> bool:
    """Whether something that happens every so many samples happens after a step of ``group``; 0 is never."""
    return every > 0 and samples_seen // every > (samples_seen - group) // every


@dataclass(frozen=True)
class Watch:
    """Looks at the model; changes no weight and no draw of the training."""

    setup: Setup

    def before(self, phase: Phase, reporter: Reporter) -> None:
        """Where the run starts from: the losses and the probe of the base model."""
        self._validate(phase, reporter, 0)
        self._probe(reporter, 0)

    def after(self, phase: Phase, reporter: Reporter, samples_seen: int, group: int, *, done: bool) -> None:
        """After a step of ``group`` samples: what is due, and everything at the end."""
        run, main = self.setup.run, self.setup.accelerator.is_main_process
        validates = done or is_due(run.validation.every, samples_seen, group)
        probes = done or is_due(run.probe.every, samples_seen, group)
        previews = done or is_due(run.preview.every, samples_seen, group)
        if validates or probes or previews:
            with self._shown():
                if validates:
                    self._validate(phase, reporter, samples_seen)
                if probes:
                    self._probe(reporter, samples_seen)
                if previews and main and run.preview.prompts:
                    self._preview(phase, samples_seen)
        every = run.ema.snapshot_every
        if main and every > 0 and (done or is_due(every, samples_seen, group)):
            self.setup.ema.snapshot(run.out / "ema" / "snapshots", samples_seen)

    def _shown(self) -> contextlib.AbstractContextManager[None]:
        """The model with the weights that are looked at: the trained ones, or an average of them."""
        track = self.setup.run.ema.shown
        if track is None:
            return contextlib.nullcontext()
        return self.setup.ema.applied(self.setup.model.denoiser, track)

    def _validate(self, phase: Phase, reporter: Reporter, samples_seen: int) -> None:
        """Every process measures its share."""
        validator = self.setup.validator(phase)
        if validator is None:
            return
        accelerator = self.setup.accelerator

        def added_up(sums: Tensor) -> Tensor:
            whole: Tensor = accelerator.reduce(sums, reduction="sum")
            return whole

        with accelerator.autocast():
            measured = validator.measure(self.setup.model.denoiser, added_up)
        reporter.validated(samples_seen, phase.name, measured)

    def _probe(self, reporter: Reporter, samples_seen: int) -> None:
        setup = self.setup
        if setup.accelerator.is_main_process and setup.run.probe.pictures:
            run = setup.run
            found = probe(
                setup.model,
                setup.tokens,
                run.probe,
                run.preview,
                run.schedule,
                run.objective,
                run.preview_size,
            )
            reporter.probed(samples_seen, found)

    def _preview(self, phase: Phase, samples_seen: int) -> None:
        """Sample every prompt and write the sheet."""
        setup, run = self.setup, self.setup.run
        requests = [Request(prompt, number) for number, prompt in enumerate(run.preview.prompts)]
        pictures = sample_pictures(
            setup.model,
            setup.tokens,
            run.preview,
            run.schedule,
            run.objective,
            requests,
            phase.run.preview_size,
        )
        title = f"{samples_seen} samples seen, guidance {run.preview.guidance:g}, {run.preview.steps} steps"
        sheet = picture_grid(pictures, list(run.preview.prompts), title=title)
        save_picture(sheet, run.out / "previews" / f"{samples_seen:012d}.png")
