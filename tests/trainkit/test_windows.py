"""Captions of one length are trained together: the plan of a real run, with real captions."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.trainkit.tiny import byte_tokenizer, run_data
from trainkit.config import RunConfig, caption_pipeline
from trainkit.draw import Draw
from trainkit.errors import PictureError
from trainkit.phases import Phase, history, make_phases
from trainkit.picture import Picture
from trainkit.pictures import read_data
from trainkit.run_file import make_run
from trainkit.stretches import Past
from trainkit.text import Tokens
from trainkit.windows import Chunks


def planned(tmp_path: Path, pictures: Path, past: Past | None = None, /, **changes: int) -> tuple[Phase, ...]:
    """A run of twelve passes in windows of four micro-batches."""
    data = {"path": str(pictures), "chunk_window": changes.pop("window", 4)}
    data |= {"buckets": {"resolution": 64, "max_side": 64, "min_side": 64}}
    run: RunConfig = make_run(
        run_data(tmp_path, pictures, tmp_path / "out", samples=None, epochs=12, data=data, **changes),
        tmp_path,
        "test",
    )
    tokens = Tokens(byte_tokenizer(), run.text.max_tokens)
    pipeline = caption_pipeline(run).with_counter(tokens.count)
    found = read_data(run.data, [pipeline])
    chunks = (Chunks(found.pictures, pipeline, tokens),)
    return make_phases(run, found.sizes, 1, past=past or Past(), chunks=chunks)


def drawn(phases: Sequence[Phase]) -> list[tuple[Draw, ...]]:
    return [phase.plan[number].draws for phase in phases for number in range(phase.steps * phase.accumulate)]


def test_a_window_saves_padding_and_loses_no_picture(tmp_path: Path, pictures: Path) -> None:
    plain, sorted_ = (planned(tmp_path, pictures, window=window) for window in (0, 4))
    counts = _counter(tmp_path, pictures)
    filled = [sum(max(map(counts, draws)) for draws in drawn(phases)) for phases in (plain, sorted_)]
    assert filled[1] < 0.95 * filled[0]
    visits = [Counter((d.picture, d.epoch) for draws in drawn(p) for d in draws) for p in (plain, sorted_)]
    assert max(visits[1].values()) == 1
    assert sum(visits[0].values()) == sum(visits[1].values())
    # Resumed with another batch in the middle of a pass, windows half used.
    half = sorted_[0].group * 11
    past = Past(history(sorted_, half), half)
    again = planned(tmp_path, pictures, past, batch=3, accumulate=1)
    assert drawn(again)[:22] == drawn(sorted_)[:22]
    after = Counter((d.picture, d.epoch) for draws in drawn(again) for d in draws)
    owed = again[-1].part.owed()
    after.update(zip(owed.visits.pictures.tolist(), owed.visits.epochs.tolist(), strict=True))
    assert after == Counter((p, e) for p in range(21) for e in range(owed.first_epoch))
    copied = pickle.loads(pickle.dumps(again[-1].plan))
    assert [copied[n] for n in range(8)] == [again[-1].plan[n] for n in range(8)]


def _counter(tmp_path: Path, pictures: Path) -> Chunks:
    (phase,) = planned(tmp_path, pictures)
    counter = phase.plan.window
    assert counter is not None
    assert isinstance(counter.chunks, Chunks)
    return counter.chunks


class _Gone(Sequence[Picture]):
    """Pictures whose records cannot be made."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int | slice) -> Picture:  # type: ignore[override]
        raise PictureError("row 1", "holds no record")


def test_a_picture_without_a_record_has_one_chunk(tmp_path: Path, pictures: Path) -> None:
    counter = _counter(tmp_path, pictures)
    assert {counter(Draw(p, e, 0, 0)) for p in range(21) for e in range(3)} >= {1, 2}
    assert replace(counter, pictures=_Gone())(Draw(0, 0, 0, 0)) == 1
