"""naifu: `process_batch_fn: captionkit.adapters.naifu.fn`, called for every picture of a batch."""

from __future__ import annotations

import sys
from typing import Any

from captionkit.adapters.captioner import Captioner, unmirrored
from captionkit.adapters.lookup import PathLike, Records
from captionkit.pipeline import CaptionPipeline


class EntryCaptions:
    """The caption of one `Entry`, and the picture mirrored where the caption is that of a mirrored one.

    naifu tells neither the picture's name nor the epoch. So the text is the key (see `Records.record`),
    unless `extras["path"]` holds the path, where a store's `get_batch_extras` can put it; and visits are
    counted (see `Visits`). Latents are not mirrored: the latents of a mirrored picture are others.
    """

    def __init__(self, captioner: Captioner, *, first_draw: int = 0) -> None:
        self._captioner, self._first_draw = captioner, first_draw
        self._unmirrored = unmirrored(captioner.pipeline)

    def __call__(self, entry: Any) -> Any:
        """The same entry with another `prompt`, and perhaps another `pixel`: a tensor, [C, H, W]."""
        path = entry.extras.get("path") if isinstance(entry.extras, dict) else None
        record = self._captioner.records.record(entry.prompt, path)
        visit = self._captioner.visits.next(record)
        pipeline = self._unmirrored if entry.is_latent else self._captioner.pipeline
        rendered = pipeline.render(record, epoch=visit.epoch, draw=visit.draw + self._first_draw)
        entry.prompt = rendered.text
        if rendered.flip:
            entry.pixel = entry.pixel.flip(-1)
        return entry


def prepare(
    recipe: CaptionPipeline | PathLike,
    data: Records | PathLike | None = None,
    *,
    first_epoch: int = 0,
    repeats: int = 1,
) -> None:
    """Make `fn` write captions by this recipe; arguments as for `Captioner`.

    Call it before naifu starts its workers: they then share the records and the counts.
    """
    _ready.clear()
    _ready.append(EntryCaptions(Captioner(recipe, data, first_epoch=first_epoch, repeats=repeats)))


def fn(entry: Any) -> Any:
    """What naifu calls. Without `prepare` the environment says what to do (`Captioner.from_environment`).

    naifu imports this in its workers, which it starts anew for every epoch: without `prepare` each reads the
    records again, and counts from a number that torch draws for each worker and epoch, so that captions
    depend on the number of workers.
    """
    if not _ready:
        captioner = Captioner.from_environment()
        _ready.append(EntryCaptions(captioner, first_draw=_worker_seed()))
    return _ready[0](entry)


# At most one. Workers that are forked have what `prepare` made.
_ready: list[EntryCaptions] = []


def _worker_seed() -> int:
    torch = sys.modules.get("torch")  # Who runs no torch has no workers of torch's.
    worker = torch.utils.data.get_worker_info() if torch is not None else None
    return 0 if worker is None else int(worker.seed)
