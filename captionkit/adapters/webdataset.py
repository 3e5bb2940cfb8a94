"""Captions in a WebDataset pipeline: one function for `.map`, on samples with a key and sidecars."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, SupportsIndex, TypeAlias

from captionkit.adapters.epoch import SharedEpoch
from captionkit.adapters.samples import Captioned
from captionkit.errors import DataError
from captionkit.pipeline import CaptionPipeline
from captionkit.readers.facts import ID_KEY
from captionkit.readers.fields import neither
from captionkit.readers.sidecars import SIDECAR_SUFFIXES, Written, known_from, object_in
from captionkit.readers.text import decode
from captionkit.record import Record

Sample: TypeAlias = Mapping[str, Any]
"""One sample: `__key__`, `__url__`, and what its files hold, by their suffixes."""

PICTURES = frozenset({"jpg", "jpeg", "png", "webp", "avif", "ppm", "pgm", "pbm", "pnm", "image"})
"""The suffixes under which a picture stands."""


class CaptionSample:
    """For `WebDataset(...).decode("pil").map(CaptionSample(pipeline))`: each sample gets `text` and `flip`.

    Its pictures are mirrored where the draw says so; for that it stands behind `.decode`. With
    `Captioned(pictures=())` it may stand before `.decode("pil", partial=True)`, and `flip` says what is left
    to do. `.map_dict` would not do: it hides the key, on which the draws hang.

    The epoch is shared with workers (`epoch.set`, before each loop over the loader). `draw` says which repeat
    within the epoch a sample is; without it all are draw 0.
    """

    def __init__(
        self,
        pipeline: CaptionPipeline,
        *,
        epoch: SupportsIndex = 0,
        record: Callable[[Sample], Record] | None = None,
        draw: Callable[[Sample], int] | None = None,
        captioned: Captioned = Captioned(),  # noqa: B008  # A frozen value.
    ) -> None:
        self.pipeline = pipeline
        self.epoch = SharedEpoch.of(epoch)
        self.record = record_of_sample if record is None else record
        self.draw = draw
        self.captioned = captioned

    def __call__(self, sample: Sample) -> dict[str, Any]:
        """The sample with its text. Raises `DataError` for a bad one, as `handler=` of `.map` wants it."""
        record = self.record(sample)
        draw = 0 if self.draw is None else self.draw(sample)
        rendered = self.pipeline.render(record, epoch=self.epoch.get(), draw=draw)
        captioned = self.captioned
        if captioned.pictures is None:
            captioned = replace(captioned, pictures=_decoded(sample))
        captions: dict[str, Any] = captioned.add(sample, rendered, _place(sample))
        return captions


def record_of_sample(sample: Sample, *, with_shard: bool = False) -> Record:
    """The record of a sample, decoded or not, as `read_records` makes it of the tar, without picture.

    Its id is "id" in the `json`, if it is there, else the key; with `with_shard`, for sets whose shards
    number their samples alike, the shard's name and the key. Raises `DataError` for a sample without a key,
    and for sidecars that `read_folder` would refuse.
    """
    where = _place(sample)
    key = sample.get("__key__")
    if not isinstance(key, str) or not key:
        raise DataError(f"has no key: {', '.join(map(repr, sample))}", where=where, hint="map whole samples")
    texts = {
        suffix: Written(Path(f"{key}{suffix}"), _text(sample, suffix[1:], where))
        for suffix in SIDECAR_SUFFIXES
        if suffix[1:] in sample
    }
    value = sample.get("json")
    if value is None or isinstance(value, bytes | str):
        fields = object_in(texts)
    elif isinstance(value, Mapping):
        fields = value
    else:
        raise DataError(f"json must be an object, got a {type(value).__name__}", where=where)
    tags, prose, facts = known_from(texts, fields, sentences=True)
    if not tags and not prose:
        raise neither(dict.fromkeys(sample), where)
    shard = Path(str(sample.get("__url__", ""))).stem
    own = fields.get(ID_KEY)
    name = str(own) if isinstance(own, str | int) and not isinstance(own, bool) and own != "" else key
    return Record(f"{shard}/{name}" if with_shard else name, tags, prose, None, tuple(facts.items()))


def _text(sample: Sample, suffix: str, where: str) -> str:
    value = sample[suffix]
    if isinstance(value, bytes):
        return decode(value, Path(f"{sample['__key__']}.{suffix}"))
    if not isinstance(value, str) and suffix != "json":
        raise DataError(f"{suffix} must be text, got a {type(value).__name__}", where=where)
    return value if isinstance(value, str) else ""


def _decoded(sample: Sample) -> tuple[str, ...]:
    """The keys of the pictures. `DataError` when one is still a file's bytes."""
    names = tuple(name for name in sample if name.rpartition(".")[2].lower() in PICTURES)
    for name in names:
        if isinstance(sample[name], bytes):
            raise DataError(
                f"the picture {name!r} is not decoded, so it cannot be mirrored",
                where=_place(sample),
                hint="decode first, .decode('pil').map(...), or Captioned(pictures=()) to mirror it yourself",
            )
    return names


def _place(sample: Sample) -> str:
    return f"{sample.get('__url__', 'sample')}: {sample.get('__key__', '?')}"
