"""Everything that a run needs before its first step: devices, captions, model, pictures, phases."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from accelerate import Accelerator

from captionkit import CaptionPipeline, Curve
from trainkit.adapters import add_adapters
from trainkit.apart import split
from trainkit.buckets import Fit, bucket_of, fit, place
from trainkit.cache.complete import question_of
from trainkit.cache.fill import fill_latents
from trainkit.cache.latents import LatentCache
from trainkit.cache.texts import TextCache, fill_texts
from trainkit.cache.wanted import latent_cache, text_cache
from trainkit.config import RunConfig, caption_pipeline, phase_runs
from trainkit.counted import write_statistics
from trainkit.devices import make_accelerator
from trainkit.ema import Ema
from trainkit.ema_tracks import EmaConfig
from trainkit.errors import PictureError
from trainkit.feed import Feed
from trainkit.images import to_bucket
from trainkit.latents import Moments, encode
from trainkit.loss import loss_weights
from trainkit.models import Denoiser, Model, load_model, prepare_networks
from trainkit.optim import Parts, chosen, trainable_parts
from trainkit.phases import (
    Phase,
    history,
    make_phases,
    merged_buckets,
    require_past,
    require_trained,
)
from trainkit.picture import Picture, PictureReader
from trainkit.pictures import DataSet, read_data
from trainkit.repeats import repeats_of
from trainkit.sample import check_prompts
from trainkit.schedule import NoiseSchedule, make_schedule
from trainkit.sharding import Sharding, copy_hollow, put_all_together, take_sharding
from trainkit.skipped import report_skipped
from trainkit.split_weights import split_weights
from trainkit.step import Stepper
from trainkit.stretches import Past
from trainkit.text import Tokens
from trainkit.validation import Validator
from trainkit.watchdog import Watchdog
from trainkit.windows import Chunks


@dataclass(frozen=True)
class Setup:
    """What every step of a run needs and none replaces."""

    run: RunConfig
    accelerator: Accelerator
    model: Model
    tokens: Tokens
    data: DataSet
    """The pictures that are trained."""
    kept_apart: DataSet
    """Those that are held out for validation; perhaps none."""
    pipelines: tuple[CaptionPipeline, ...]
    """One per phase."""
    phases: tuple[Phase, ...]
    parts: Parts
    ema: Ema
    schedule: NoiseSchedule
    cache: LatentCache | None
    """None when latents are encoded live."""
    texts: TextCache | None
    """None when captions are encoded in each step."""
    reader: PictureReader
    watchdog: Watchdog
    """Whoever does something that takes long tells it."""
    hollow: Denoiser | None = None
    """Where weights are sharded: the denoiser without the memory of its weights."""

    def planned(self, past: Past) -> Setup:
        """The same for a run that was dealt in this way up to its checkpoint.

        Raises CheckpointError when that is no past of this run.
        """
        phases = self.phases
        if history(phases, past.samples_seen) != past.history:
            phases = make_phases(
                self.run,
                self.data.sizes,
                self.accelerator.num_processes,
                weights=self.phases[0].plan.weights,
                chunks=tuple(
                    Chunks(self.data.pictures, pipeline, self.tokens, self.texts)
                    for pipeline in self.pipelines
                ),
                past=past,
            )
        require_past(phases, past)
        return replace(self, phases=phases)

    @property
    def total_samples(self) -> int:
        """Length of the run in samples."""
        return self.phases[-1].end

    @contextlib.contextmanager
    def whole_model(self, *, everywhere: bool) -> Iterator[Model]:
        """The model as one process can run it alone: itself; where weights are sharded a whole copy for a
        while, on the main process or ``everywhere``.

        Every process must ask. Without a copy, one gets the sharded model and must leave it alone.
        """
        if self.hollow is None:
            yield self.model
            return
        keeps = everywhere or self.accelerator.is_main_process
        state = put_all_together(self.model.denoiser.state_dict(), keep=keeps)
        if not keeps:
            yield self.model
            return
        denoiser = copy_hollow(self.hollow)
        denoiser.load_state_dict(state, assign=True)
        del state
        yield replace(self.model, denoiser=denoiser.to(self.accelerator.device))

    @property
    def latent_shape(self) -> tuple[int, int]:
        """(channels, pixels per latent pixel) of the VAE."""
        config = self.model.vae.config
        return int(config.latent_channels), 2 ** (len(config.block_out_channels) - 1)

    def feed(self, phase: Phase) -> Feed:
        """What prepares this device's micro-batches of a phase."""
        return Feed(
            plan=phase.plan,
            pictures=self.data.pictures,
            pipeline=self.pipelines[phase.number - 1],
            tokens=self.tokens,
            cache=self.cache,
            latent_shape=self.latent_shape,
            reader=self.reader,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
            mask_floor=self.run.data.mask_floor,
            texts=self.texts,
        )

    def stepper(self, phase: Phase) -> Stepper:
        """What makes a loss of a micro-batch of a phase."""
        return Stepper(
            schedule=self.schedule,
            objective=phase.run.objective,
            weights=loss_weights(phase.run.objective, self.schedule),
            vae=self.model.vae,
            scaling_factor=self.model.scaling_factor,
            seed=self.run.seed,
            group=phase.group,
            device=self.accelerator.device,
            vae_draw=self.run.data.vae,
            first_step=phase.first_step,
            first_sample=phase.first_sample,
        )

    def fill_cache(self, phase: Phase) -> None:
        """Encode what a phase needs and is not cached yet, every process its share.

        A picture that vanishes meanwhile is named when its turn comes.
        """
        self._fill_texts(phase)
        if self.cache is None:
            return
        self.watchdog.doing("filling the cache of latents", patient=True)
        apart = place(self.kept_apart.sizes, phase.run.data.buckets)
        for data, placement in ((self.data, phase.placement), (self.kept_apart, apart)):
            fill_latents(
                self.cache,
                data.pictures,
                placement,
                self.reader,
                self.model.vae,
                self.accelerator.device,
                rank=self.accelerator.process_index,
                world=self.accelerator.num_processes,
                question=question_of(
                    data,
                    self.pipelines,
                    repr((self.cache.transparent_as, placement.buckets)).encode(),
                    placement.index.tobytes(),
                ),
                progress=self.accelerator.is_main_process,
            )
        if trouble := self.reader.store.take_trouble():
            print(f"while latents were made: {trouble}", flush=True)
        self.watchdog.doing("waiting for the cache of latents", waits=True)
        self.accelerator.wait_for_everyone()

    def _fill_texts(self, phase: Phase) -> None:
        """Encode the captions that a phase needs and that are not cached yet."""
        if self.texts is None:
            return
        self.watchdog.doing("filling the cache of texts", patient=True)
        with self.whole_model(everywhere=True) as model:
            fill_texts(
                self.texts,
                self.data.pictures,
                self.pipelines[phase.number - 1],
                self.tokens,
                model.denoiser.text_encoder,
                self.accelerator.device,
                rank=self.accelerator.process_index,
                world=self.accelerator.num_processes,
                question=question_of(
                    self.data, [self.pipelines[phase.number - 1]], self.run.text.model_dump_json().encode()
                ),
                progress=self.accelerator.is_main_process,
            )
        self.watchdog.doing("waiting for the cache of texts", waits=True)
        self.accelerator.wait_for_everyone()

    def validator(self, phase: Phase) -> Validator | None:
        """What measures the loss on the held-out pictures, in a phase's buckets; None without any."""
        pictures: list[Picture] = []
        for number in range(len(self.kept_apart.pictures)):
            with contextlib.suppress(PictureError):  # Its row in the manifest holds no record.
                pictures.append(self.kept_apart.pictures[number])
        if not pictures:
            return None
        placed = [fit(p.size, bucket_of(p.size, phase.run.data.buckets)) for p in pictures]
        return Validator(
            config=self.run.validation,
            schedule=self.schedule,
            objective=phase.run.objective,
            pipeline=self.pipelines[phase.number - 1],
            tokens=self.tokens,
            records=tuple(p.record for p in pictures),
            buckets=tuple(fit.bucket for fit in placed),
            moments=lambda i: self._moments(pictures[i], placed[i]),
            scaling_factor=self.model.scaling_factor,
            device=self.accelerator.device,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
        )

    def _moments(self, picture: Picture, placed: Fit) -> Moments:
        """Mean and standard deviation of one picture's latents, [4, h, w] each, not mirrored."""
        self.watchdog.doing(f"validation of {picture.record.id}")
        if self.cache is not None:
            kept = self.cache.load(picture, placed, False)
            return kept[0], kept[1] if len(kept) > 1 else torch.zeros_like(kept[0])
        pixels = to_bucket(self.reader.image(picture), placed)
        mean, std = encode(self.model.vae, pixels[None].to(self.accelerator.device))
        return mean[0], std[0] if self.run.data.vae == "sample" else torch.zeros_like(std[0])


def set_up(run: RunConfig) -> Setup:
    """Load and read everything. Raises TrainkitError for everything the user can mend.

    Whoever calls it must close the watchdog of what it returns.
    """
    sharding = take_sharding(os.environ)
    accelerator = make_accelerator(run.mixed_precision, run.out, tf32=run.tf32)
    world = accelerator.num_processes
    watchdog = Watchdog(run.out, accelerator.process_index, world, run.hang_timeout)
    try:
        return _set_up(run, accelerator, watchdog, sharding)
    except BaseException:
        watchdog.close()
        raise


def _set_up(run: RunConfig, accelerator: Accelerator, watchdog: Watchdog, sharding: Sharding | None) -> Setup:
    runs = phase_runs(run)
    watchdog.doing("loading the model", patient=True)
    model = load_model(run.model, run.text)
    tokens = Tokens(model.tokenizer, run.text.max_tokens, run.text.backtrack)
    check_prompts(run.preview, tokens)
    pipelines = tuple(caption_pipeline(own).with_counter(tokens.count) for own in runs)
    if run.adapter is not None:
        add_adapters(model.denoiser, run.adapter, run.seed)
    prepare_networks(model, run.model)
    texts = text_cache(run, model)
    if accelerator.is_main_process and texts is not None:
        _say_frozen_rates(pipelines)
    hollow = split_weights(run, runs, model, accelerator, sharding)
    model.vae.to(accelerator.device)

    watchdog.doing("reading the data set", patient=True)
    everything = read_data(run.data, pipelines, progress=accelerator.is_main_process)
    data, kept_apart = split(everything, run.validation)
    repeats = repeats_of(run.data, data)
    chunks = tuple(Chunks(data.pictures, pipeline, tokens, texts) for pipeline in pipelines)
    phases = make_phases(run, data.sizes, accelerator.num_processes, weights=repeats.weights, chunks=chunks)
    parts = trainable_parts(model.denoiser)
    require_trained(phases, parts)
    trained = {f"{name}.{key}" for own in runs for name, w in chosen(own.optim, parts).items() for key in w}
    if accelerator.is_main_process:
        report_skipped(data, run.out)
        for note in (*repeats.notes, *merged_buckets(phases)):
            print(f"note: {note}", flush=True)
        write_statistics(data, run.out / "data.json", name=run.data.path.stem)
    return Setup(
        run=run,
        accelerator=accelerator,
        model=model,
        tokens=tokens,
        data=data,
        kept_apart=kept_apart,
        pipelines=pipelines,
        phases=phases,
        parts=parts,
        ema=Ema(
            run.ema if hollow is not None else _kept_here(run, accelerator),
            model.denoiser,
            accelerator.device,
            trained,
            writes=accelerator.is_main_process,
        ),
        schedule=make_schedule(run.schedule),
        cache=latent_cache(run, model),
        texts=texts,
        reader=run.data.reader,
        watchdog=watchdog,
        hollow=hollow,
    )


def _kept_here(run: RunConfig, accelerator: Accelerator) -> EmaConfig:
    """The averages that this process keeps: they are the same on all, and only those that are shown are
    needed on more than the main one."""
    return run.ema if accelerator.is_main_process or run.ema.shown is not None else EmaConfig()


def _say_frozen_rates(pipelines: tuple[CaptionPipeline, ...]) -> None:
    """Say which rates of the recipe would change over the run, and do not where captions are cached."""
    changing = {name for own in pipelines for name, rate in own.rates().items() if isinstance(rate, Curve)}
    if changing:
        print(
            f"note: text.cached_variants keeps captions as they are at the beginning of the run; these rates "
            f"of the recipe do not change: {', '.join(sorted(changing))}",
            flush=True,
        )
