"""Looking after a cache: what it says it holds, what is damaged, what nobody asks for any more."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainkit.processes import write_run
from tests.trainkit.tiny import run_data
from trainkit.cache import complete
from trainkit.cache import fill as filling
from trainkit.cache.complete import is_complete, note_complete, question_of
from trainkit.cache.fill import fill_latents
from trainkit.cache.latents import LatentCache
from trainkit.cache.missing import asked_of
from trainkit.cache.shard import as_keys
from trainkit.cache.store import Store
from trainkit.cache.tidy import prune
from trainkit.cache.wanted import Wanted, add_wanted, latent_cache
from trainkit.cli import main
from trainkit.config import RunConfig, caption_pipeline
from trainkit.data_config import DataConfig
from trainkit.latents import vae_fingerprint
from trainkit.models import load_model
from trainkit.phases import make_phases
from trainkit.pictures import read_data
from trainkit.prepare.prepare import prepare
from trainkit.run_file import load_run, make_run
from trainkit.text import TextConfig


def key_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


@given(
    st.lists(st.sets(st.integers(0, 30), min_size=1, max_size=8), min_size=1, max_size=5),
    st.sets(st.integers(0, 30)),
)
def test_pruning_keeps_every_row_that_is_wanted_and_frees_what_it_says(
    shards: list[set[int]], asked: set[int]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "vae-x-sample"
        store = Store(folder)
        for i, numbers in enumerate(shards):
            rows = np.array(sorted(numbers), np.float16).reshape(-1, 1).repeat(64, axis=1)
            keys = as_keys([key_of(n) for n in sorted(numbers)])
            store.put(f"8x8-{i:032x}.safetensors", keys, rows, as_keys([]))
        store.refresh()
        everything = set().union(*shards)
        wanted = Wanted()
        wanted.add(folder, as_keys([key_of(n) for n in asked]))
        before = sum(p.stat().st_size for p in folder.glob("8x8-*"))
        told = prune(folder, wanted, remove=False)
        assert sum(p.stat().st_size for p in folder.glob("8x8-*")) == before
        assert prune(folder, wanted, remove=True) == told
        assert (told.entries, told.unwanted) == (len(everything), len(everything - asked))
        freed = before - sum(p.stat().st_size for p in folder.glob("8x8-*"))
        # A header of its own for every shard that is written anew.
        assert told.freed - 400 * told.shards <= freed <= told.freed
        again = Store(folder)
        for number in everything & asked:
            row = again.read(key_of(number))
            assert row is not None
            assert (row == number).all()
        # No shard is left of which most is not asked for.
        assert prune(folder, wanted, remove=False).shards == 0


def filled_run(folder: Path, model: Path, data: Path) -> Path:
    """A run file whose latents are cached."""
    path = write_run(folder, model, data)
    run = load_run(path, [])
    fill_run(run)
    return path


def fill_run(run: RunConfig) -> LatentCache:
    model = load_model(run.model, run.text)
    pipelines = [caption_pipeline(run)]
    data = read_data(run.data, pipelines)
    (phase,) = make_phases(run, data.sizes, 1)
    cache = latent_cache(run, model)
    assert cache is not None
    device = next(model.vae.parameters()).device
    fill_latents(cache, data.pictures, phase.placement, run.data.reader, model.vae, device)
    return cache


def test_the_command_tells_checks_and_prunes(
    tmp_path: Path, tiny_model: Path, own_pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = filled_run(tmp_path / "run", tiny_model, own_pictures)
    run = load_run(path, [])
    folder = run.out / "cache"
    (store,) = folder.iterdir()
    capsys.readouterr()
    assert main(["cache", "info", str(folder), "--json"]) == 0
    (info,) = json.loads(capsys.readouterr().out)["stores"]
    assert info["name"] == store.name
    assert info["entries"] >= 21
    assert info["damaged"] == []
    assert main(["cache", "check", str(folder)]) == 0
    assert capsys.readouterr().out == "every byte is as it was written\n"

    # A bit flips on the disk, which tells no other date.
    shard = sorted(store.glob("*x*-*"))[0]
    stat, content = shard.stat(), bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    os.utime(shard, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert main(["cache", "check", str(folder)]) == 2
    told = capsys.readouterr().out
    assert f"{shard}: its bytes are not those that were written" in told
    assert "1 damaged shards; add --remove" in told
    assert shard.exists()
    assert main(["cache", "check", str(folder), "--remove"]) == 0
    assert not shard.exists()
    fill_run(run)

    # Some pictures go, and others come that were not there; what is left of the old ones is counted.
    for i in range(15):
        (own_pictures / f"{i:03d}.png").unlink()
        (own_pictures / f"{i:03d}.json").unlink()
    (folder / "ab").mkdir()
    (folder / "ab" / f"ab{'0' * 30}.safetensors").write_bytes(b"old")
    capsys.readouterr()
    assert main(["cache", "info", str(folder)]) == 0
    assert "1 files of an earlier version, 3 bytes" in capsys.readouterr().out
    assert main(["cache", "prune", str(path)]) == 0
    told = capsys.readouterr().out
    assert "entries are not asked for" in told
    assert f"can be freed with: trainkit cache prune {path} --remove" in told
    assert main(["cache", "prune", str(path), "--remove", "--json"]) == 0
    (pruned,) = json.loads(capsys.readouterr().out)["stores"]
    assert pruned["unwanted"] > pruned["entries"] / 2
    wanted = Wanted()
    add_wanted(wanted, run)
    assert Store(store).has(wanted.of(store)).all()
    assert len(wanted.of(store)) >= 6


def test_pruning_refuses_what_it_cannot_know(
    tmp_path: Path, tiny_model: Path, own_pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = table_without_digests(own_pictures, tmp_path)
    path = filled_run(tmp_path / "run", tiny_model, folder)
    (own_pictures / "003.png").unlink()
    assert main(["cache", "prune", str(path), "--remove"]) == 2
    assert "1 pictures of" in (told := capsys.readouterr().err)
    assert "would be thrown away" in told
    assert main(["cache", "info", str(own_pictures)]) == 2
    assert "is no cache" in capsys.readouterr().err


def table_without_digests(pictures: Path, folder: Path) -> Path:
    """A table of the pictures whose files are known by their dates alone."""
    found = read_data(DataConfig(path=pictures), [])
    rows = {
        "image": [p.place.path for p in found.pictures],
        "id": [p.record.id for p in found.pictures],
        "width": found.sizes[:, 0].tolist(),
        "height": found.sizes[:, 1].tolist(),
        "tags": [[{"name": t.name, "category": t.category} for t in p.record.tags] for p in found.pictures],
    }
    pq.write_table(pa.table(rows), folder / "m.parquet")
    return folder / "m.parquet"


def test_a_prepared_folder_that_is_there_is_not_looked_for_again(
    tmp_path: Path, tiny_model: Path, own_pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(own_pictures, tmp_path / "manifest", processes=1)
    run = make_run(run_data(tiny_model, tmp_path / "manifest", tmp_path / "out"), tmp_path, "test")
    pipelines = [caption_pipeline(run)]
    data = read_data(run.data, pipelines)
    model = load_model(run.model, TextConfig())
    cache = LatentCache(tmp_path / "cache", vae_fingerprint(model.vae), "white")
    (phase,) = make_phases(run, data.sizes, 1)
    asked: list[int] = []

    def counted(*arguments: Any, **options: Any) -> Any:
        asked.append(1)
        return asked_of(*arguments, **options)

    monkeypatch.setattr(filling, "asked_of", counted)

    def fill(question: str | None) -> int:
        asked.clear()
        device = next(model.vae.parameters()).device
        errors = fill_latents(
            *(cache, data.pictures, phase.placement, run.data.reader, model.vae, device), question=question
        )
        assert errors == []
        return len(asked)

    question = question_of(data, pipelines, b"placement")
    assert question is not None
    assert [fill(question), fill(question), fill(None)] == [1, 0, 1]
    # Other rows, recipes and buckets are other questions; a folder's pictures can change at any time.
    others = {
        question_of(data.subset(range(20)), pipelines, b"placement"),
        question_of(data.subset(range(1, 21)), pipelines, b"placement"),
        question_of(data, [pipelines[0].with_seed(7)], b"placement"),
        question_of(data, pipelines, b"other buckets"),
    }
    assert len(others) == 4
    assert question not in others
    assert question_of(read_data(DataConfig(path=own_pictures), []), pipelines, b"placement") is None
    # A shard goes: all is looked for again, and found to be missing.
    next(cache.store.folder.glob("*x*-*")).unlink()
    assert [fill(question), fill(question)] == [1, 0]
    # What was written down is damaged.
    (noted,) = (cache.store.folder / "complete").glob("*.json")
    for content in ("", "{", "3", '["../../x"]', "[" * 100_000):
        noted.write_text(content)
        assert fill(question) == 1
    shutil.rmtree(cache.store.folder / "complete")
    assert fill(question) == 1
    assert complete.is_complete(cache.store, question)
    assert not is_complete(cache.store, None)
    note_complete(cache.store, None)
