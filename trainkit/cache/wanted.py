"""What a run asks of a cache: the keys of all its latents and texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainkit.apart import split
from trainkit.buckets import place
from trainkit.cache.latents import LatentCache
from trainkit.cache.missing import asked_of
from trainkit.cache.shard import KEY, as_keys
from trainkit.cache.texts import TextCache, text_fingerprint, wanted_chunks
from trainkit.config import RunConfig, caption_pipeline, phase_runs
from trainkit.errors import CacheError
from trainkit.latents import vae_fingerprint
from trainkit.models import Model, load_model
from trainkit.phases import make_phases
from trainkit.pictures import read_data
from trainkit.text import Tokens, clip_body


@dataclass
class Wanted:
    """The keys that runs ask for, by the folder of their store."""

    keys: dict[Path, list[NDArray[np.uint8]]] = field(default_factory=dict)

    def add(self, folder: Path, keys: NDArray[np.uint8]) -> None:
        """Ask for more."""
        self.keys.setdefault(folder.absolute(), []).append(keys.reshape(-1, KEY))

    def of(self, folder: Path) -> NDArray[np.uint8]:
        """All keys of one store, [m, 16]."""
        return np.concatenate([np.zeros((0, KEY), np.uint8), *self.keys.get(folder.absolute(), [])])


def cache_folder(run: RunConfig) -> Path:
    """Where latents and texts are kept."""
    return run.data.cache or run.out / "cache"


def latent_cache(run: RunConfig, model: Model) -> LatentCache | None:
    """The cache of a run's latents; None when they are encoded in each step."""
    if run.data.latents == "live":
        return None
    fingerprint = vae_fingerprint(model.vae)
    return LatentCache(cache_folder(run), fingerprint, run.data.transparent_as, run.data.vae)


def text_cache(run: RunConfig, model: Model) -> TextCache | None:
    """The cache of a run's texts; None when captions are encoded in each step."""
    variants, encoder = run.text.cached_variants, model.denoiser.text_encoder
    if variants is None:
        return None
    fingerprint = text_fingerprint(encoder, run.text.clip_skip)
    width = int(clip_body(encoder).final_layer_norm.normalized_shape[0])
    return TextCache(cache_folder(run), fingerprint, variants, run.text.chunk_mode, width)


def add_wanted(wanted: Wanted, run: RunConfig, *, progress: bool = False) -> None:
    """Add all that a run asks for in all of its phases.

    Raises CacheError when pictures cannot be read now: without them it is not known what they ask for.
    """
    model = load_model(run.model, run.text)
    tokens = Tokens(model.tokenizer, run.text.max_tokens, run.text.backtrack)
    pipelines = tuple(caption_pipeline(own).with_counter(tokens.count) for own in phase_runs(run))
    data, apart = split(read_data(run.data, pipelines, progress=progress), run.validation)
    phases = make_phases(run, data.sizes, 1)
    if (latents := latent_cache(run, model)) is not None:
        for phase in {p.run.data.buckets.model_dump_json(): p for p in phases}.values():
            beside = place(apart.sizes, phase.run.data.buckets)
            for some, placement in ((data, phase.placement), (apart, beside)):
                asked = asked_of(latents, some.pictures, placement, progress=progress)
                if asked.errors:
                    raise CacheError(
                        f"{len(asked.errors)} pictures of {run.data.path} cannot be read now, such as "
                        f"{asked.errors[0]}: what they ask for is not known, and would be thrown away. Is "
                        "the disk there? Take them out of the data set, or prepare it again."
                    )
                wanted.add(latents.store.folder, asked.keys[asked.wanted])
    if (texts := text_cache(run, model)) is not None:
        for pipeline in pipelines:
            chunks = wanted_chunks(texts, data.pictures, pipeline, tokens, progress=progress)
            wanted.add(texts.store.folder, as_keys(list(chunks)))
