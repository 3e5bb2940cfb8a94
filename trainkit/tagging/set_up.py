"""Everything that a tagger's training needs before its first step."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from tqdm import tqdm

from trainkit.devices import make_accelerator
from trainkit.errors import ConfigError, TrainkitError
from trainkit.tagging.augment import Augmentation
from trainkit.tagging.average import Average
from trainkit.tagging.backbone import make_backbone
from trainkit.tagging.config import TaggerConfig
from trainkit.tagging.features import FeatureCache
from trainkit.tagging.loss import TaggerLoss
from trainkit.tagging.network import Head, TaggerNetwork
from trainkit.tagging.optim import make_optimizer
from trainkit.tagging.preprocess import Preprocessing
from trainkit.tagging.sampling import Order
from trainkit.tagging.source import FeatureSource, PictureSource, TaggerSource
from trainkit.tagging.squares import Squares
from trainkit.tagging.state import Training
from trainkit.tagging.training_data import TrainingData, read_training_data


@dataclass(frozen=True)
class TaggerSetup:
    """What no step changes, and `training`, which all do."""

    run: TaggerConfig
    accelerator: Accelerator
    data: TrainingData
    preprocessing: Preprocessing
    network: TaggerNetwork
    source: TaggerSource
    order: Order
    loss: TaggerLoss
    training: Training

    @property
    def group(self) -> int:
        """Samples of one optimizer step over all devices."""
        return self.run.batch * self.run.accumulate * int(self.accelerator.num_processes)

    @property
    def epoch_samples(self) -> int:
        """Samples of one pass over the pictures."""
        return self.order.epoch_samples

    @property
    def total_samples(self) -> int:
        """The length of the run, whole optimizer steps."""
        wanted = self.run.samples or math.ceil((self.run.epochs or 0) * self.epoch_samples)
        return math.ceil(wanted / self.group) * self.group

    @property
    def deciding(self) -> dict[str, Any]:
        """What must not change between two parts of a run: settings, labels and pictures."""
        settings = self.run.model_dump(mode="json", exclude=_FREE)
        labels = [label.name for label in self.data.outputs.labels]
        told = settings | {"labels": labels, "pictures and their labels": self.data.fingerprint()}
        return dict(json.loads(json.dumps(told)))

    def describe(self) -> str:
        """What is about to be learned, for the user."""
        data = self.data
        trained = sum(p.numel() for p in self.training.trained.parameters() if p.requires_grad)
        groups = ", ".join(f"{name} ({len(places)})" for name, places in data.outputs.groups.items())
        lines = [
            f"{len(data.train):,} pictures to learn from, {len(data.test):,} held out; "
            f"tags by themselves: {len(data.outputs.singles):,}"
            + (f", groups: {groups}" if groups else "")
            + f"; {trained:,} weights to train at {self.preprocessing.size} px"
        ]
        if data.targets.certain:
            lines.append(f"corrections hold for {len(data.targets.certain):,} pictures")
        lines += data.unmet
        if data.machines:
            lines.append(
                f"tags of {', '.join(map(repr, data.machines))} count as truth, and a picture that has some "
                f"as one without all others; to be deaf to them: data.leave_out_sources = {[*data.machines]}"
            )
        for name, places in data.outputs.groups.items():
            if several := data.targets.several(places):
                lines.append(
                    f"group {name}: {several:,} pictures have several of its tags, which share the truth; "
                    "no such picture judges it"
                )
        if data.nothing_known:
            lines.append(f"nothing is known of {data.nothing_known:,} pictures: they are left out")
        if data.skipped:
            lines.append(f"{len(data.skipped):,} rows cannot be used, such as {data.skipped[0]}")
        return "\n".join(lines)


_FREE: Any = {
    **dict.fromkeys(("out", "name", "patience", "checkpoint_every", "keep_checkpoints"), True),
    "data": {"path", "corrections", "threads", "memory_mb"},
    "features": True,
}
"""Settings that may change: they decide nothing of what is learned from which picture. Where the data lies
does not matter either; what it holds is compared by itself."""


def set_up_tagger(run: TaggerConfig, *, show: bool) -> TaggerSetup:
    """Raises TrainkitError for everything the user can mend."""
    accelerator = make_accelerator(run.mixed_precision, run.out, tf32=True)
    data = read_training_data(
        run.data,
        run.learn,
        run.split,
        run.augment,
        run.source,
        unlabelled=tuple(run.loss.priors),
        show=show,
    )
    made = make_backbone(run.backbone, run.seed)
    head = Head(made.backbone.num_features, data.outputs.count, run.optim.dropout)
    counts, judged = data.targets.counts(data.train), data.targets.judged(data.train)
    _begin(head, data, counts, judged)
    network = TaggerNetwork(made.backbone, head).to(accelerator.device)
    try:
        loss = TaggerLoss(run.loss, data.outputs, counts, len(data.train), judged)
    except ValueError as error:
        raise ConfigError("tagger", [str(error)]) from error
    trained: nn.Module = network
    if run.mode == "probe":
        network.backbone.requires_grad_(False)
        network.backbone.eval()
        trained = head
    else:
        _freeze_idle(network, made.preprocessing.size, accelerator.device)
    source = _source(run, data, made.preprocessing, network, accelerator, show)
    average = Average(trained, run.optim.average) if run.optim.average else None
    training = Training(trained, make_optimizer(run.optim, run.backbone, trained), average)
    order = Order(run.sampling, data.train, data.targets, run.seed)
    return TaggerSetup(run, accelerator, data, made.preprocessing, network, source, order, loss, training)


def _begin(head: Head, data: TrainingData, counts: np.ndarray, judged: np.ndarray) -> None:
    """The head's biases, by how frequent each output is where that is known."""
    shares = (counts / np.maximum(judged, 1)).tolist()
    for name in data.outputs.none_of:
        places = data.outputs.groups[name]
        shares.append(max(0.0, 1 - float(counts[places].sum()) / max(int(judged[places].max()), 1)))
    head.begin(shares)


def _freeze_idle(network: TaggerNetwork, size: int, device: torch.device) -> None:
    """Freeze weights that no picture moves (a pooler that is not looked at, a mask token):
    DistributedDataParallel would wait for their gradients."""
    network.train()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        nn.init.ones_(network.head.linear.weight)
        # Two pictures: batch norms of a 1 x 1 map cannot be trained by one.
        buffers = {name: value.clone() for name, value in network.named_buffers()}
        network(torch.zeros(2, 3, size, size, device=device)).sum().backward()
    for parameter in network.parameters():
        parameter.requires_grad_(parameter.grad is not None)
        parameter.grad = None
    nn.init.zeros_(network.head.linear.weight)
    with torch.no_grad():
        for name, value in network.named_buffers():
            value.copy_(buffers[name])


def _source(
    run: TaggerConfig,
    data: TrainingData,
    preprocessing: Preprocessing,
    network: TaggerNetwork,
    accelerator: Accelerator,
    show: bool,
) -> TaggerSource:
    augmentation = Augmentation(run.augment, run.seed, preprocessing.size)
    report = _reporter(data)
    if run.mode == "probe":
        return _features(run, data, preprocessing, network, accelerator, augmentation, report, show)
    side = round(preprocessing.size * run.data.resolution)
    share = run.data.memory_mb * (1 - run.split.share)
    settings: dict[str, Any] = {"threads": run.data.threads, "report": report}
    return PictureSource(
        data,
        Squares(data.pictures, preprocessing, side, memory_mb=int(share), **settings),
        Squares(
            data.pictures,
            preprocessing,
            preprocessing.size,
            memory_mb=int(run.data.memory_mb - share),
            **settings,
        ),
        augmentation,
        preprocessing,
        threads=run.data.threads,
        mirrored_too=run.mirrored_too,
    )


def _features(
    run: TaggerConfig,
    data: TrainingData,
    preprocessing: Preprocessing,
    network: TaggerNetwork,
    accelerator: Accelerator,
    augmentation: Augmentation,
    report: Callable[[int, str], None],
    show: bool,
) -> TaggerSource:
    """Features of all pictures, made or read; the head begins standardised by those it learns from."""
    cache = FeatureCache(
        run.features.cache or run.out / "features",
        network.backbone,
        preprocessing,
        mirrored=run.augment.flip > 0 or run.mirrored_too,
        ground=run.data.transparent_as,
    )
    cache.fill(
        data.pictures,
        data.rows.tolist(),
        data.digests,
        batch=run.features.batch,
        threads=run.data.threads,
        device=accelerator.device,
        report=report,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        show=show,
    )
    accelerator.wait_for_everyone()
    found, features = cache.get(data.digests)
    learned = features[torch.from_numpy(found & ~data.held)]
    if not len(learned):
        raise TrainkitError("none of the pictures to learn from could be read; prepare the manifest again")
    network.head.standardise(learned[:, 0])
    return FeatureSource(data, found, features, augmentation, mirrored_too=run.mirrored_too)


def _reporter(data: TrainingData) -> Callable[[int, str], None]:
    """Says what is wrong with a picture, once for each."""
    told: set[int] = set()

    def report(row: int, problem: str) -> None:
        if row not in told:
            told.add(row)
            tqdm.write(f"warning: left out: {problem} ({data.pictures.where(row)})")

    return report
