"""From a source to files of captions, by one process or by several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from captionkit.bake.form import Form
from captionkit.bake.variants import Baked, Tally, Variants
from captionkit.errors import DataError
from captionkit.progress import progress
from captionkit.readers.parallel import map_blocks
from captionkit.readers.source import Block, Report, Source


def bake(source: Source, variants: Variants, form: Form, *, processes: int = 1, report: Report) -> Tally:
    """Write the captions of all records; the files are the same for any number of processes.

    Bad records are reported and skipped. Raises `DataError` when nothing could be written, and what source
    and form raise; then no file has changed.
    """
    tally = Tally()
    baking = Baking(variants, form)
    with form.open() as sink, progress("baking", source.unit, source.total()) as done:
        for amount, (chunk, of_block) in map_blocks(baking, source, processes=processes, report=report):
            sink.append(chunk)
            tally.merge(of_block)
            done(amount)
        if tally.count.pictures == 0:
            lost = next(iter(tally.losses.counts), "no record could be read")
            raise DataError(f"nothing to write: {lost}", where=str(source.root))
    return tally


@dataclass(frozen=True)
class Baking:
    """What each process does with a block."""

    variants: Variants
    form: Form

    def __call__(self, block: Block, report: Report) -> tuple[bytes, Tally]:
        tally = Tally()

        def baked() -> Iterator[Baked]:
            for record in block.records(report):
                picture = self.form.picture(record, tally.losses)
                if picture is None:
                    continue
                one = self.variants.of(record, picture)
                tally.add(one)
                yield one

        return self.form.encode(baked()), tally
