"""What a run shows of itself while it trains: previews, validation, black and white probe, EMA snapshots."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from trainkit.grid import picture_grid
from trainkit.models import Model
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
        with self.setup.whole_model(everywhere=True) as model:
            self._validate(model, phase, reporter, 0)
            self._probe(model, reporter, 0)

    def after(self, phase: Phase, reporter: Reporter, samples_seen: int, group: int, *, done: bool) -> None:
        """After a step of ``group`` samples: what is due, and everything at the end."""
        run = self.setup.run
        validates = done or is_due(run.validation.every, samples_seen, group)
        probes = done or is_due(run.probe.every, samples_seen, group)
        previews = done or is_due(run.preview.every, samples_seen, group)
        if validates or probes or previews:
            with self._shown(everywhere=validates) as model:
                if validates:
                    self._validate(model, phase, reporter, samples_seen)
                if probes:
                    self._probe(model, reporter, samples_seen)
                if previews:
                    self._preview(model, phase, samples_seen)
        every = run.ema.snapshot_every
        if every > 0 and (done or is_due(every, samples_seen, group)):
            self.setup.ema.snapshot(run.out / "ema" / "snapshots", samples_seen)

    @contextlib.contextmanager
    def _shown(self, *, everywhere: bool) -> Iterator[Model]:
        """The model with the weights that are looked at: the trained ones, or an average of them."""
        setup, track = self.setup, self.setup.run.ema.shown
        lent = contextlib.nullcontext() if track is None else setup.ema.applied(setup.model.denoiser, track)
        with lent, setup.whole_model(everywhere=everywhere) as model:
            yield model

    def _validate(self, model: Model, phase: Phase, reporter: Reporter, samples_seen: int) -> None:
        """Every process measures its share."""
        validator = self.setup.validator(phase)
        if validator is None:
            return
        accelerator = self.setup.accelerator

        def added_up(sums: Tensor) -> Tensor:
            self.setup.watchdog.doing("adding up the validation", waits=True)
            whole: Tensor = accelerator.reduce(sums, reduction="sum")
            return whole

        with accelerator.autocast():
            measured = validator.measure(model.denoiser, added_up)
        reporter.validated(samples_seen, phase.name, measured)

    def _probe(self, model: Model, reporter: Reporter, samples_seen: int) -> None:
        setup = self.setup
        if setup.accelerator.is_main_process and setup.run.probe.pictures:
            run = setup.run
            setup.watchdog.doing("sampling the black and white probe", patient=True)
            found = probe(
                model,
                setup.tokens,
                run.probe,
                run.preview,
                run.schedule,
                run.objective,
                run.preview_size,
            )
            reporter.probed(samples_seen, found)

    def _preview(self, model: Model, phase: Phase, samples_seen: int) -> None:
        """Sample every prompt and write the sheet, on the main process."""
        setup, run = self.setup, self.setup.run
        if not setup.accelerator.is_main_process or not run.preview.prompts:
            return
        setup.watchdog.doing("sampling previews", patient=True)
        requests = [Request(prompt, number) for number, prompt in enumerate(run.preview.prompts)]
        pictures = sample_pictures(
            model,
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
