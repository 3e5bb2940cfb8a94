"""captionkit inside kohya sd-scripts, without a fork of it.

Called by the user before the trainer's own script runs, as examples/trainers/kohya.py does; nothing of
sd-scripts is imported before.
"""

from __future__ import annotations

import importlib
import warnings
from functools import partial
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from captionkit.adapters.captioner import unmirrored
from captionkit.adapters.kohya_batch import Batch, Making, Moment
from captionkit.adapters.lookup import Records
from captionkit.errors import CaptionkitError
from captionkit.load import load_pipeline
from captionkit.pipeline import CaptionPipeline
from captionkit.readers.kohya_options import OPTIONS, About
from captionkit.readers.open import open_source

TRAIN_UTIL = "library.train_util"
_MARK = "captionkit_plug"  # On each function of ours in the place of one of sd-scripts'.

_HOOKS = (
    ("BaseDataset", "__getitem__"),
    ("BaseDataset", "process_caption"),
    ("BaseDataset", "make_buckets"),
    ("BaseDataset", "set_current_epoch"),
    ("collator_class", "__init__"),
)


def install(
    recipe: CaptionPipeline | str | Path,
    data: Records | str | Path | None = None,
    *,
    train_util: str = TRAIN_UTIL,
    samples_per_step: int | None = None,
) -> KohyaPlug:
    """Let a recipe make the captions of sd-scripts, and decide which pictures are mirrored.

    `recipe`: a pipeline or a recipe's file. `data`: records, or anything that holds them, such as the same
    dataset TOML; a picture is found by its path. Without `data`, and for pictures that are not in it, the
    record is made of the caption that sd-scripts has read. `train_util`: the module that holds `BaseDataset`.
    `samples_per_step`: for curves over samples, how many samples a step sees; by default the batch size.

    Patches `BaseDataset` and `collator_class` of that module until `remove()`, or until the end of the
    `with` block. Call it before data sets and collators are made. What it does is said by `KohyaPlug`.
    Raises `CaptionkitError` when the module is not there, or lacks what is patched, `RecipeError` and
    `DataError` for the recipe and the data.
    """
    pipeline = recipe if isinstance(recipe, CaptionPipeline) else load_pipeline(Path(recipe))
    records = data if isinstance(data, Records) else Records(()) if data is None else _read(data)
    plug = KohyaPlug(pipeline, records, train_util, samples_per_step)
    plug.attach()
    return plug


class KohyaPlug:
    """What stands between sd-scripts and a recipe.

    - A caption is drawn by (recipe's seed, epoch, repeat, record), so that it is the same under any number of
      workers. sd-scripts seeds the generators of all its workers alike.
    - So is whether a picture is mirrored, where the subset's `flip_aug` is true: text and picture agree, and
      `no_flip` holds. With `flip_aug = false` no picture is mirrored, and texts are made for that.
    - All else that sd-scripts draws for a picture (crop, colour) is drawn from the same address.
    - The epoch is the one that the training loop writes, read from the shared value that it hands to
      `collator_class`. `set_current_epoch` is called before a batch is made; sd-scripts calls it behind the
      first of each worker, which is then made in the order of the epoch before.
    - sd-scripts' own caption options are not used; a warning names those that are set.

    It raises `CaptionkitError` from `__getitem__` rather than train with texts or mirrored pictures that are
    not the recipe's, as with cached outputs of the text encoder.

    It travels with the collator into spawned workers and patches sd-scripts there too.
    """

    def __init__(
        self, pipeline: CaptionPipeline, records: Records, train_util: str, samples_per_step: int | None
    ) -> None:
        self.pipeline = pipeline
        self.unmirrored = unmirrored(pipeline)
        self.records = records
        self.train_util = train_util
        self.samples_per_step = samples_per_step
        self.epoch: Any = None
        """The shared value of the epoch, once a collator was made."""
        self.step: Any = None
        """The shared value of the step."""
        self._originals: list[tuple[type, str, Any]] = []
        self._warned: set[str] = set()
        self._ordinals: dict[tuple[int, int], tuple[int, list[int]]] = {}

    def attach(self) -> None:
        """Put our functions in the place of sd-scripts'. `CaptionkitError` when that is not possible."""
        module = _module(self.train_util)
        for owner, name in _HOOKS:
            if not callable(getattr(getattr(module, owner, None), name, None)):
                raise CaptionkitError(
                    f"{self.train_util} has no {owner}.{name}",
                    hint="this adapter was made for sd-scripts 0.10; captionkit bake works with others",
                )
        if getattr(module.BaseDataset.__getitem__, _MARK, None) is not None:
            raise CaptionkitError(f"{self.train_util} is patched already", hint="remove() the first one")
        for (owner, name), ours in zip(_HOOKS, self._ours(module), strict=True):
            if ours is None:
                continue
            kind = getattr(module, owner)
            self._originals.append((kind, name, getattr(kind, name)))
            setattr(ours, _MARK, self)
            setattr(kind, name, ours)

    def remove(self) -> None:
        """Put sd-scripts' own functions back."""
        while self._originals:
            kind, name, original = self._originals.pop()
            setattr(kind, name, original)

    def __enter__(self) -> KohyaPlug:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def _ours(self, module: ModuleType) -> tuple[Any, ...]:
        """What stands in the place of each of `_HOOKS`; None leaves it as it is."""
        plug = self
        get_item, process = module.BaseDataset.__getitem__, module.BaseDataset.process_caption
        make_buckets, init = module.BaseDataset.make_buckets, module.collator_class.__init__

        def __getitem__(dataset: Any, index: int) -> Any:
            return plug.batch(dataset, index, get_item)

        def process_caption(dataset: Any, subset: Any, caption: str) -> Any:
            return Batch.text_of(dataset, subset, caption, process)

        def make_buckets_and_check(dataset: Any, *args: Any, **named: Any) -> Any:
            plug.check(dataset)
            return make_buckets(dataset, *args, **named)

        def __init__(collator: Any, epoch: Any, step: Any, *args: Any, **named: Any) -> None:
            init(collator, epoch, step, *args, **named)
            plug.epoch, plug.step = epoch, step
            collator.captionkit_plug = plug  # So that it is pickled with the collator.

        return __getitem__, process_caption, make_buckets_and_check, None, __init__

    def batch(self, dataset: Any, index: int, original: Any) -> Any:
        """One batch, made by sd-scripts with our texts and decisions."""
        if (
            getattr(dataset, "caching_mode", None) is not None
        ):  # Latents are being cached: no caption is read.
            return original(dataset, index)
        moment = self.moment(dataset)
        making = Making(self.pipeline, self.unmirrored, self.records, self.warn)
        repeats = partial(self.ordinals, dataset)
        with Batch(making, dataset, index, moment, repeats) as batch:
            example = original(dataset, index)
        batch.check(example)
        return example

    def moment(self, dataset: Any) -> Moment:
        """The epoch and samples at which a batch is made; the dataset is told the epoch if it lags behind."""
        if self.epoch is None:
            if _in_worker():
                raise CaptionkitError(
                    "the epoch is not known in this worker: no collator_class was made after install()",
                    hint="call install() before the trainer makes its data loader",
                )
            epoch, step = dataset.current_epoch, dataset.current_step
        else:
            epoch, step = self.epoch.value, self.step.value
            if dataset.current_epoch != epoch:
                dataset.set_current_epoch(epoch)
        per_step = self.samples_per_step or getattr(dataset, "batch_size", 1)
        # Losses of one validation are compared with those of another: they get the same captions.
        drawn_at = epoch if getattr(dataset, "is_training_dataset", True) else 0
        return Moment(drawn_at, step * per_step)

    def ordinals(self, dataset: Any, bucket_index: int) -> list[int]:
        """For each place of a bucket, how many places before it hold the same picture: which repeat it is."""
        key, epoch = (id(dataset), bucket_index), dataset.current_epoch
        known = self._ordinals.get(key)
        if known is None or known[0] != epoch:
            counts: dict[str, int] = {}
            ordinals = []
            for image_key in dataset.bucket_manager.buckets[bucket_index]:
                count = counts[image_key] = counts.get(image_key, -1) + 1
                ordinals.append(count)
            known = self._ordinals[key] = epoch, ordinals
        return known[1]

    def check(self, dataset: Any) -> None:
        """Warn about settings of sd-scripts that have no effect, or that the recipe cannot do without."""
        for subset in dataset.subsets:
            name = getattr(subset, "metadata_file", None) or subset.image_dir
            unused = [option for option in _CAPTION_OPTIONS if _is_set(subset, option)]
            if unused:
                self.warn(
                    f"{name}: without effect, since the recipe makes the captions: {', '.join(unused)};"
                    " take them out, or make them part of the recipe with: captionkit import kohya"
                )
        if self.pipeline != self.unmirrored and not any(subset.flip_aug for subset in dataset.subsets):
            self.warn(
                "flip_aug is false, so no picture is mirrored, although the recipe has a [flip] p above 0"
            )

    def warn(self, text: str, about: str | None = None) -> None:
        """Warn, once for each text, or once for all that it is `about`."""
        if (about or text) not in self._warned:
            self._warned.add(about or text)
            warnings.warn(f"captionkit: {text}", stacklevel=3)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_originals": [], "_warned": set(), "_ordinals": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        module = _module(self.train_util)
        if getattr(module.BaseDataset.__getitem__, _MARK, None) is None:  # A worker that was spawned.
            self.attach()


_CAPTION_OPTIONS = tuple(
    name
    for name, option in OPTIONS.items()
    if option.about is About.CAPTIONS
    and name not in ("flip_aug", "caption_separator", "enable_wildcard", "token_warmup_min")
)


def _is_set(subset: Any, option: str) -> bool:
    value = getattr(subset, option, None)
    return value is not None and value != OPTIONS[option].default


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise CaptionkitError(
            f"there is no module {name}",
            hint="run it from the folder of sd-scripts, or put that on PYTHONPATH",
        ) from None


def _in_worker() -> bool:
    from torch.utils.data import get_worker_info

    return get_worker_info() is not None


def _read(path: str | Path) -> Records:
    """The records of a path; those that are bad are told in one warning, and made of sd-scripts' text."""
    source, bad = open_source(path), list[CaptionkitError]()
    records = Records(source.records(bad.append), root=source.root)
    if bad:
        warnings.warn(
            f"{path}: {len(bad)} records cannot be read, and their captions are taken as sd-scripts reads"
            f" them; the first: {bad[0]}",
            stacklevel=3,
        )
    return records
