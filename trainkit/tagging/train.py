"""Training a tagger.

One clock: samples seen. The order of pictures, their augmentation, dropout and the rates are functions of
(seed, samples seen), so a killed run that is started again goes on as if nothing had happened.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from trainkit.devices import end, synchronised
from trainkit.draws import derived_seed
from trainkit.errors import TrainkitError
from trainkit.lock import only_here
from trainkit.log import JsonLog
from trainkit.progress import bar_style
from trainkit.signals import Stop, Stopped
from trainkit.tagging.ahead import worked_ahead
from trainkit.tagging.config import TaggerConfig
from trainkit.tagging.folder import ABOUT, is_tagger_folder
from trainkit.tagging.judge import Verdict, fitted, held_out_logits, judged
from trainkit.tagging.loss import Truth
from trainkit.tagging.optim import set_rate
from trainkit.tagging.outputs import Temperatures
from trainkit.tagging.set_up import TaggerSetup, set_up_tagger
from trainkit.tagging.source import TaggerBatch
from trainkit.tagging.state import Training, load_training, newest_whole, save_training
from trainkit.tagging.write import write_result
from trainkit.whole_file import write_whole


@dataclass(frozen=True)
class TaggerResult:
    """What a finished training left behind."""

    folder: Path
    samples_seen: int
    resumed_from: int
    verdict: Verdict | None
    """Of the weights that were kept; None where nothing is held out."""
    best_at: int
    """Samples seen when these weights were best."""

    def describe(self) -> str:
        """What the user reads."""
        lines = [f"the tagger is in {self.folder} ({self.samples_seen:,} samples seen)"]
        if self.verdict is not None:
            lines.append(
                f"best on {self.verdict.pictures:,} held-out pictures after {self.best_at:,} samples: "
                + words_of(self.verdict)
            )
        return "\n".join(lines)


def words_of(verdict: Verdict) -> str:
    """A verdict in a line."""
    mean = verdict.mean_average_precision
    words = [f"mean average precision {'unknown: none has a tag' if math.isnan(mean) else f'{mean:.3f}'}"]
    for name, share in verdict.by_group.items():
        words.append(f"{name} right {share:.1%} (the commonest alone: {verdict.majority[name]:.1%})")
    return ", ".join(words)


def train_tagger(run: TaggerConfig, stop: Stop | None = None, *, restart: bool = False) -> TaggerResult:
    """Train a tagger to its end, going on from its newest checkpoint if there is one.

    ``restart`` begins anew in the same folder. Raises TrainkitError for everything the user can mend, and
    Stopped when ``stop`` was asked to.
    """
    main = os.environ.get("RANK", "0") == "0"
    with only_here(run.out) if main else contextlib.nullcontext():
        if restart and main:
            _forget(run.out)
        return _train(set_up_tagger(run, show=main), stop or Stop())


def _forget(out: Path) -> None:
    """Remove what training would go on from, and the tagger that it would replace at its end."""
    for name in ("checkpoints", ABOUT):
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _train(setup: TaggerSetup, stop: Stop) -> TaggerResult:
    """The loop."""
    run, accelerator = setup.run, setup.accelerator
    main = accelerator.is_main_process
    say = tqdm.write if main else _silent

    # Resume: the newest whole checkpoint of this folder.
    training = setup.training
    folder = run.out / "checkpoints"
    newest = _newest(setup, folder, say)
    settings = setup.deciding
    if newest is not None:
        load_training(newest, training, settings)
        say(f"going on from {training.samples_seen:,} samples")
    resumed_from = training.samples_seen
    if main:
        write_whole(run.out / "run.json", run.model_dump(mode="json"))
    say(setup.describe())

    model: nn.Module = accelerator.prepare_model(training.trained)
    model.train()
    total, group, epoch = setup.total_samples, setup.group, setup.epoch_samples
    evaluate_every, save_every = run.evaluate_every or epoch, run.checkpoint_every or epoch
    started = time.monotonic()
    log = JsonLog(run.out / "log.jsonl", training.samples_seen) if main else None
    bar = tqdm(
        total=total,
        initial=training.samples_seen,
        unit="sample",
        desc="train",
        disable=not main,
        **bar_style(),
    )
    feed = _feed(setup, training.samples_seen)
    with contextlib.closing(feed), contextlib.closing(bar):
        for _ in stop.noting(_until(training, total)):
            # One optimizer step = `accumulate` micro-batches; gradients are means over all samples.
            lr = set_rate(training.optimizer, run.optim, training.samples_seen + group, total, epoch)
            sums = torch.zeros(1 + 3, device=accelerator.device)  # The loss, and who is asked to stop.
            records: list[int] = []
            for micro in range(run.accumulate):
                batch = next(feed)
                records += batch.records
                with (
                    synchronised(model, micro == run.accumulate - 1),
                    _addressed(setup, training.samples_seen, micro),
                ):
                    loss = setup.loss(_logits(setup, model, batch), _sent(batch.truth, setup)).sum()
                    accelerator.backward(loss * accelerator.num_processes / group)
                sums[0] += loss.detach()
            total_loss, asked = _reduced(setup, sums, stop)
            norm = float(nn.utils.clip_grad_norm_(training.trained.parameters(), run.optim.max_grad_norm))
            _require_finite(total_loss / group, norm, training.samples_seen, records, setup)
            training.optimizer.step()
            training.optimizer.zero_grad(set_to_none=True)
            training.samples_seen += group
            training.steps += 1
            if training.average is not None:
                training.average.update(training.trained, training.steps)
            if log is not None:
                entry = {"samples": training.samples_seen, "loss": total_loss / group, "lr": lr}
                entry |= {"grad_norm": norm, "seconds": round(time.monotonic() - started, 2)}
                log.write(entry)
            bar.update(group)

            # Once in a while, and always at the end: look, save. Asked to stop: save and go.
            done = training.samples_seen >= total
            if _is_due(evaluate_every, training.samples_seen, group) or done:
                verdict = _look(setup, training, epoch, say)
                if log is not None and verdict is not None:
                    log.write(_entry(training, verdict))
            if training.ended or done or asked or _is_due(save_every, training.samples_seen, group):
                if main:
                    save_training(folder, training, settings, run.keep_checkpoints)
                accelerator.wait_for_everyone()
            if asked:
                raise Stopped(asked, f"after {training.samples_seen:,} samples")
    if log is not None:
        log.close()

    # The end: the best weights, their temperature, and the tagger's folder.
    verdict = _keep_best(setup, training, idle=training.samples_seen == resumed_from)
    end(accelerator)
    return TaggerResult(run.out, training.samples_seen, resumed_from, verdict, training.best_at)


def _newest(setup: TaggerSetup, folder: Path, say: Any) -> Path | None:
    """The checkpoint to go on from; all processes name the same."""
    if setup.accelerator.is_main_process:
        newest, wrong = newest_whole(folder)
        for line in wrong:
            say(f"warning: {line}; going on from the one before it")
    setup.accelerator.wait_for_everyone()
    return newest_whole(folder)[0] if not setup.accelerator.is_main_process else newest


def _until(training: Training, total: int) -> Iterator[int]:
    while training.samples_seen < total and not training.ended:
        yield training.samples_seen


def _feed(setup: TaggerSetup, samples_seen: int) -> Generator[TaggerBatch, None, None]:
    """The micro-batches of this process, from a number of samples on, made in a thread."""
    run, accelerator = setup.run, setup.accelerator
    world, rank = accelerator.num_processes, accelerator.process_index

    def positions() -> Iterator[range]:
        first = samples_seen + rank * run.batch
        while first < setup.total_samples:
            yield range(first, first + run.batch)
            first += world * run.batch

    def make(batch: range) -> TaggerBatch:
        return setup.source.batch([setup.order.at(position) for position in batch])

    return worked_ahead(make, positions(), 2)


def _logits(setup: TaggerSetup, model: nn.Module, batch: TaggerBatch) -> Tensor:
    with setup.accelerator.autocast():
        logits: Tensor = model(batch.inputs.to(setup.accelerator.device))
    return logits


def _sent(truth: Truth, setup: TaggerSetup) -> Truth:
    device = setup.accelerator.device
    return Truth(truth.present_BL.to(device), truth.certain_BL.to(device), truth.unknown_BL.to(device))


@contextlib.contextmanager
def _addressed(setup: TaggerSetup, samples_seen: int, micro: int) -> Iterator[None]:
    """Dropout and stochastic depth draw from torch's generators: they are seeded by the place in the run."""
    devices = [setup.accelerator.device] if setup.accelerator.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        rank = setup.accelerator.process_index
        torch.manual_seed(derived_seed(setup.run.seed, "tagger dropout", samples_seen, micro, rank))
        yield


def _reduced(setup: TaggerSetup, sums: Tensor, stop: Stop) -> tuple[float, Any]:
    """The sum of the losses over all devices, and the signal that any process was sent."""
    if stop.asked is not None:
        sums[1:] = torch.tensor(stop.votes())
    whole: Tensor = setup.accelerator.reduce(sums, reduction="sum")
    loss, *votes = whole.tolist()
    return loss, stop.agreed(votes)


def _require_finite(loss: float, norm: float, samples_seen: int, rows: list[int], setup: TaggerSetup) -> None:
    """Stop before the weights move. Raises TrainkitError naming the pictures of the step."""
    if math.isfinite(loss) and math.isfinite(norm):
        return
    shown = ", ".join(setup.data.pictures.where(row) for row in rows[:8])
    raise TrainkitError(
        f"after {samples_seen} samples the loss is {loss} and the gradient norm {norm}; the weights were not "
        f"changed. Pictures of this step: {shown} ... Lower optim.lr, or look at these pictures."
    )


def _is_due(every: int, samples_seen: int, group: int) -> bool:
    """Whether the last step of ``group`` samples has passed a multiple of ``every``."""
    return samples_seen // every > (samples_seen - group) // every


def _look(setup: TaggerSetup, training: Training, epoch: int, say: Any) -> Verdict | None:
    """Judge by the held-out pictures; keep the weights when they are the best so far."""
    if not len(setup.data.test):
        training.best_weights, training.best_at = training.weights(), training.samples_seen
        return None
    weights = (
        contextlib.nullcontext() if training.average is None else training.average.applied(training.trained)
    )
    with weights:
        verdict = _judged(setup, training)[0]
    metric = verdict.metric(setup.run.metric, setup.data.outputs)
    better = metric > training.best or training.best_weights is None
    if better:
        training.best, training.best_at, training.worse = metric, training.samples_seen, 0
        training.best_weights = training.weights()
    else:
        training.worse += 1
        training.ended = 0 < setup.run.patience <= training.worse
    told = f"epoch {training.samples_seen / epoch:.1f}: {words_of(verdict)}"
    say(told + (", the best so far" if better else f", {training.worse} without a better one"))
    if training.ended:
        say(f"ended early: patience = {setup.run.patience}")
    return verdict


def _judged(setup: TaggerSetup, training: Training) -> tuple[Verdict, Temperatures]:
    """The verdict of the weights as they are now, and the temperatures that suit them."""
    training.trained.eval()
    try:
        places, logits = held_out_logits(
            training.trained, setup.source, setup.data, setup.accelerator, setup.run.batch
        )
    finally:
        training.trained.train()
    if not len(places):
        raise TrainkitError("none of the held-out pictures could be read; prepare the manifest again")
    return judged(logits, places, setup.data), fitted(logits, places, setup.data)


def _keep_best(setup: TaggerSetup, training: Training, *, idle: bool) -> Verdict | None:
    """Write the tagger with its best weights; ``idle`` when no step was made."""
    assert training.best_weights is not None, "the last step looks"
    training.trained.load_state_dict(training.best_weights)
    verdict, temperatures = None, Temperatures()
    if len(setup.data.test):
        verdict, temperatures = _judged(setup, training)
    # Started again when all was done: the folder may have been evaluated and calibrated since.
    if setup.accelerator.is_main_process and not (idle and is_tagger_folder(setup.run.out)):
        write_result(setup, training, verdict, temperatures)
    setup.accelerator.wait_for_everyone()
    return verdict


def _entry(training: Training, verdict: Verdict) -> dict[str, Any]:
    average = verdict.mean_average_precision
    return {
        "samples": training.samples_seen,
        "mean_average_precision": average if math.isfinite(average) else None,
        "accuracy": verdict.by_group,
        "best_at": training.best_at,
    }


def _silent(text: str) -> None:
    del text
