"""Filling the cache of latents: pictures are read and decoded in threads while the VAE encodes.

The last bits of an encoding can depend on the company that a picture is encoded in. So the pictures that are
missing are cut, bucket by bucket and in their order, into blocks of 256 and companies of 16, and a block is
written whole or not at all: what is missing after a process was killed are whole blocks of the same cut, and
a cache that is filled in two goes holds the same as one that is filled in one. A picture that cannot be read
is a blank in its company, and its key is noted as failed; it is tried again at the next start, apart from the
others.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from captionkit.readers.parallel import usable_cores
from trainkit.amounts import gigabytes
from trainkit.buckets import Placement, Size, fit
from trainkit.cache.complete import is_complete, note_complete
from trainkit.cache.latents import LatentCache
from trainkit.cache.missing import LatentBlock, asked_of, plan_blocks
from trainkit.cache.shard import KEY, as_keys
from trainkit.cache.share import Rows, Shared, file_of, joined, shared
from trainkit.errors import CacheError, PictureError
from trainkit.images import to_bucket
from trainkit.latents import encode
from trainkit.picture import Picture, PictureReader
from trainkit.progress import bar_style
from trainkit.room import free_bytes

COMPANY = 16
"""Pictures that are encoded together."""

_AHEAD = 4
"""Companies that are decoded while one is encoded; at 1024 x 1024 one takes 200 MB."""


def fill_latents(
    cache: LatentCache,
    pictures: Sequence[Picture],
    placement: Placement,
    reader: PictureReader,
    vae: Any,
    device: torch.device,
    *,
    rank: int = 0,
    world: int = 1,
    question: str | None = None,
    progress: bool = False,
) -> list[PictureError]:
    """Encode what is not there yet; returns the pictures that this process could not.

    ``placement`` says which bucket each goes into; fill once per placement, when phases have several. All
    ``world`` processes call this with the same pictures and share the work; each returns when all is there.
    ``question`` is `question_of` what is asked for here, where that is known: what was once found to be there
    is then not looked for again. Raises CacheError when the disk has no room for it, before anything is
    encoded, and when it is full later.
    """
    for line in cache.store.refresh(progress=progress):
        tqdm.write(f"note: {line}: removed, and made anew")
    if is_complete(cache.store, question):
        return []
    asked = asked_of(cache, pictures, placement, progress=progress)
    blocks, again = plan_blocks(cache, asked, placement)
    if not blocks and not again:
        note_complete(cache.store, None if asked.errors else question)
        return asked.errors
    if rank == 0:
        _require_room(cache, blocks, vae)
    filler = _Filler(cache, pictures, reader, vae, device)
    total = sum(len(block.members) for block in (*blocks, *again))
    with (
        tqdm(
            total=total, desc="encoding latents", unit="pic", disable=not progress, leave=False, **bar_style()
        ) as bar,
        ThreadPoolExecutor(_threads(pictures, reader)) as decoders,
    ):
        with shared(cache.store, blocks, rank, world) as work:
            filler.run(work, decoders, bar)
        # What failed before is tried again, each process its share: usually nothing comes of it.
        with shared(cache.store, again[rank::world], 0, 1) as work:
            filler.run(work, decoders, bar)
    cache.store.refresh(trusted={file_of(block.name) for block in (*blocks, *again)})
    errors = asked.errors + filler.errors
    if not errors and not len(cache.store.index.failed):
        note_complete(cache.store, question)
    return errors


def latent_size(bucket: Size, vae: Any) -> tuple[int, int, int]:
    """(channels, height, width) of the latents of a bucket."""
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    return int(vae.config.latent_channels), bucket[1] // factor, bucket[0] // factor


def row_bytes(bucket: Size, vae: Any, parts: int) -> int:
    """Bytes of one row of a bucket."""
    channels, height, width = latent_size(bucket, vae)
    return 2 * parts * channels * height * width


def _require_room(cache: LatentCache, blocks: list[LatentBlock], vae: Any) -> None:
    """Say how much the disk must hold. Raises CacheError when it cannot."""
    parts = 2 if cache.draw == "sample" else 1
    needed = sum(int(b.needed.sum()) * (row_bytes(b.bucket, vae, parts) + KEY) for b in blocks)
    count = sum(len(b.members) for b in blocks)
    folder, free = cache.store.folder, free_bytes(cache.store.folder)
    if not count:
        return
    told = f"latents of {count:,} pictures take {gigabytes(needed)} in {folder}"
    if free is not None and needed > free:
        half = "" if cache.draw == "mode" else ', keep the mean alone (data.vae = "mode", half the size)'
        raise CacheError(
            f"{told}, {gigabytes(free)} are free there. Free some space, set data.cache to a folder on a "
            f'larger disk{half}, or encode in each step (data.latents = "live").'
        )
    tqdm.write(told if free is None else f"{told}, {gigabytes(free)} are free")


def _threads(pictures: Sequence[Picture], reader: PictureReader) -> int:
    """One for each core; pictures that come from a store are waited for by more."""
    cores = usable_cores()
    with contextlib.suppress(PictureError):
        if pictures[0].place.remote:
            return max(min(16, cores), reader.store.config.threads)
    return min(16, cores)


@dataclass(frozen=True, slots=True)
class _Company:
    """Pictures that are encoded together, being decoded."""

    block: LatentBlock
    places: range
    """Their places in the block."""
    pixels: list[Future[Tensor | PictureError]]
    last: bool


@dataclass
class _Filler:
    """Encodes blocks."""

    cache: LatentCache
    pictures: Sequence[Picture]
    reader: PictureReader
    vae: Any
    device: torch.device
    errors: list[PictureError] = field(default_factory=list)

    def run(self, work: Shared[LatentBlock], decoders: ThreadPoolExecutor, bar: tqdm[Any]) -> None:
        """Do what is left of the work."""
        parts: list[Rows] = []
        for company in self._companies(work, decoders, bar):
            parts.append(self._encode(company))
            bar.update(len(company.places))
            if company.last:
                made = joined(parts)
                if company.block.again and not len(made.keys):
                    work.give_up(company.block)
                else:
                    work.hand_in(company.block, made)
                parts = []

    def _companies(
        self, work: Shared[LatentBlock], decoders: ThreadPoolExecutor, bar: tqdm[Any]
    ) -> Iterator[_Company]:
        """Companies of the blocks that this process gets to do, decoded ahead; ends when all blocks are
        there."""
        ahead: deque[_Company] = deque()
        current: Iterator[_Company] = iter(())
        while True:
            while len(ahead) < _AHEAD:
                company = next(current, None)
                if company is None:
                    block = work.claim()
                    bar.update(sum(len(done.members) for done in work.seen_done()))
                    if block is None:
                        break
                    current = self._decoding(block, decoders)
                else:
                    ahead.append(company)
            if ahead:
                yield ahead.popleft()
                continue
            if work.all_done():
                return

    def _decoding(self, block: LatentBlock, decoders: ThreadPoolExecutor) -> Iterator[_Company]:
        """The companies of a block; each begins to be decoded when it is asked for."""
        count = len(block.members)
        for first in range(0, count, COMPANY):
            places = range(first, min(first + COMPANY, count))
            pixels = [decoders.submit(self._pixels, block, place) for place in places]
            yield _Company(block, places, pixels, places.stop == count)

    def _pixels(self, block: LatentBlock, place: int) -> Tensor | PictureError:
        """One picture in its bucket, [3, H, W]."""
        try:
            picture = self.pictures[int(block.members[place])]
            placed = fit(picture.size, block.bucket)
            pixels = to_bucket(self.reader.image(picture), placed)
            # Looked at afterwards: what was changed while it was read is not what the key stands for.
            if as_keys(self.cache.keys(picture, placed)).tobytes() != block.keys[place].tobytes():
                raise PictureError(
                    picture.place.name,
                    "was changed while its latents were made; start again, and they are made",
                )
        except PictureError as error:
            return error
        return pixels

    def _encode(self, company: _Company) -> Rows:
        """Keys, rows and failed keys of a company: first the pictures as they are, then mirrored."""
        width, height = company.block.bucket
        results = [future.result() for future in company.pixels]
        good = np.array([isinstance(result, Tensor) for result in results])
        blank = torch.zeros(3, height, width)
        x = torch.stack([r if isinstance(r, Tensor) else blank for r in results]).to(self.device)
        places = np.array(company.places)
        keys, needed = company.block.keys[places], company.block.needed[places]
        parts = 2 if self.cache.draw == "sample" else 1
        sides: list[NDArray[np.float16]] = []
        finite = good.copy()
        for side in (0, 1):
            moments = encode(self.vae, x.flip(-1) if side else x) if (needed[:, side] & good).any() else ()
            sides.append(
                torch.stack(moments[:parts], dim=1).half().cpu().numpy()
                if moments
                else np.zeros((0, 0), np.float16)
            )
            if moments:
                finite &= np.isfinite(sides[side]).reshape(len(places), -1).all(axis=1) | ~needed[:, side]
        self._note(company, results, good & ~finite)
        done = needed & finite[:, None]
        rows = [sides[side][done[:, side]] for side in (0, 1) if done[:, side].any()]
        shape = (0, parts, *latent_size(company.block.bucket, self.vae))
        return Rows(
            np.concatenate([keys[done[:, side], side] for side in (0, 1)]),
            np.concatenate(rows) if rows else np.zeros(shape, np.float16),
            keys[needed & ~finite[:, None]],
        )

    def _note(
        self, company: _Company, results: list[Tensor | PictureError], infinite: NDArray[np.bool_]
    ) -> None:
        """Remember the pictures that could not be used, by name."""
        self.errors += [result for result in results if isinstance(result, PictureError)]
        for i in np.flatnonzero(infinite).tolist():
            picture = self.pictures[int(company.block.members[company.places[i]])]
            self.errors.append(
                PictureError(picture.place.name, "its latents are not finite in half precision")
            )
