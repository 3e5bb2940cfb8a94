"""How often pictures are drawn: quotas, repeats by path and fact, balance by tags."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from captionkit import CaptionPipeline, Record, Tag
from tests.trainkit.tiny import run_data
from trainkit.balance import BalanceConfig, tag_factors
from trainkit.data_config import DataConfig
from trainkit.errors import TrainkitError
from trainkit.phases import make_phases
from trainkit.pictures import DataSet, read_data
from trainkit.quota import Quota
from trainkit.repeats import repeats_of
from trainkit.run_file import make_run
from trainkit.tag_columns import TagBatch, tags_of_manifest, tags_of_records

ALL = np.arange(200, dtype=np.int32)


@given(
    st.lists(st.floats(0, 50, width=32), min_size=1, max_size=40), st.integers(0, 2**62), st.integers(0, 500)
)
def test_a_quota_gives_what_the_weight_says_to_within_one(
    weights: list[float], seed: int, epoch: int
) -> None:
    quota = Quota(seed, np.array(weights, dtype=np.float32))
    pictures = ALL[: len(weights)]
    before = quota.before(epoch, pictures)
    assert (quota.before(0, pictures) == 0).all()
    assert (np.abs(before - epoch * np.array(weights)) < 1 + 1e-9).all()
    later = quota.before(epoch + 1, pictures)
    repeated, draws = quota.of_pass(epoch, pictures)
    assert draws is not None
    assert Counter(repeated.tolist()) == Counter({p: n for p, n in enumerate((later - before).tolist()) if n})
    for picture in set(repeated.tolist()):
        assert draws[repeated == picture].tolist() == list(range((later - before)[picture]))
    assert quota.total_before(epoch, pictures) == before.sum()


def test_whole_weights_are_the_same_in_every_pass() -> None:
    quota = Quota(5, np.full(200, 3, dtype=np.float32))
    for epoch in (0, 1, 10**6):
        assert (quota.before(epoch + 1, ALL) - quota.before(epoch, ALL) == 3).all()
    once = Quota(5, np.ones(200, dtype=np.float32))
    assert (once.before(7, ALL) == Quota(5).before(7, ALL)).all()


@pytest.mark.statistics
def test_broken_weights_are_spread_over_the_passes() -> None:
    # Of 100,000 pictures of weight 0.25 a quarter comes in each pass: sd 137, 6 of them are 1 in 5e8.
    many = np.arange(100_000, dtype=np.int32)
    quota = Quota(1, np.full(len(many), 0.25, dtype=np.float32))
    drawn = [set(quota.of_pass(epoch, many)[0].tolist()) for epoch in range(4)]
    assert all(abs(len(found) - 25_000) < 6 * 137 for found in drawn)
    assert sum(map(len, drawn)) == len(set().union(*drawn)) == len(many)


def a_table(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "all.parquet"
    kinds = pa.list_(pa.struct([("name", pa.string()), ("category", pa.string())]))
    columns: dict[str, Any] = {
        "image": [row["image"] for row in rows],
        "width": [64] * len(rows),
        "height": [64] * len(rows),
        "caption": ["a picture"] * len(rows),
        "tags": pa.array([row.get("tags", []) for row in rows], kinds),
    }
    if any("n" in row for row in rows):
        columns["n"] = [row.get("n") for row in rows]
    pq.write_table(pa.table(columns), path)
    return path


def a_folder(folder: Path, rows: list[dict[str, Any]]) -> DataSet:
    """The same rows as records in memory; their pictures are not looked at."""
    path = a_table(folder, rows)
    found = read_data(DataConfig(path=path), [CaptionPipeline()])
    pictures = tuple(found.pictures[i] for i in range(len(found.pictures)))
    return DataSet(pictures, found.sizes)


def tag(name: str, category: str | None = None) -> dict[str, Any]:
    return {"name": name, "category": category}


ROWS: list[dict[str, Any]] = [
    {"image": "a/1.png", "n": 2, "tags": [tag("fox", "species"), tag("day")]},
    {"image": "a/2.png", "tags": [tag("fox", "species")]},
    {"image": "b/1.png", "n": 0, "tags": [tag("Red_Fox", "species"), tag("fox", "species")]},
    {"image": "b/2.png", "n": 3, "tags": []},
    {"image": "b/c/3.png", "tags": [tag("fox", "species"), tag("day")]},
]


@pytest.mark.parametrize("kind", ["table", "memory"])
def test_repeats_of_paths_and_facts_multiply(tmp_path: Path, kind: str) -> None:
    data = a_folder(tmp_path, ROWS)
    if kind == "table":
        data = read_data(DataConfig(path=tmp_path / "all.parquet"), [CaptionPipeline()])

    def of(**settings: Any) -> tuple[list[float] | None, tuple[str, ...]]:
        config = DataConfig.model_validate({"path": tmp_path / "all.parquet", **settings})
        found = repeats_of(config, data)
        return None if found.weights is None else found.weights.tolist(), found.notes

    assert of() == (None, ())
    assert of(repeats={"*": 1}) == (None, ())
    assert of(repeats={"a/*": 4, "*/1.png": 0.5, "x": 2}) == (
        [2, 4, 0.5, 1, 1],
        ("data.repeats: 'x' matches no picture",),
    )
    left_out = "1 of 5 pictures are left out: their repeats are 0"
    assert of(repeats_by="n", repeats={"b/2*": 2}) == ([2, 1, 0, 6, 1], (left_out,))
    assert of(repeats_by="m")[1] == ("data.repeats_by: no picture has the fact 'm'",)
    with pytest.raises(TrainkitError, match="leave out every picture"):
        of(repeats={"*": 0})
    with pytest.raises(TrainkitError, match=r"a/1.png would be drawn 20000 times in a pass"):
        of(repeats={"a/1.png": 20_000})
    # A subset, in another order.
    some = data.subset([3, 0])
    assert repeats_of(DataConfig(path=tmp_path, repeats_by="n"), some).weights.tolist() == [3, 2]  # type: ignore[union-attr]


def test_a_fact_that_is_no_number_is_told_with_its_picture(tmp_path: Path) -> None:
    rows = [{**row, "n": value} for row, value in zip(ROWS, ["2", "2", None, "x", "-1"], strict=True)]
    path = a_table(tmp_path, rows)
    with pytest.raises(TrainkitError, match=r"n of 'a/1' is '2', must be a number .* of 3 more"):
        repeats_of(
            DataConfig(path=path, repeats_by="n"), read_data(DataConfig(path=path), [CaptionPipeline()])
        )
    data = a_folder(tmp_path, rows)
    with pytest.raises(TrainkitError, match=r"n of 'a/1' is '2', must be a number .* of 3 more"):
        repeats_of(DataConfig(path=path, repeats_by="n"), data)


def by_hand(records: list[Record], config: BalanceConfig, species: set[str]) -> list[float]:
    """The factors as the page says they are, record by record."""
    counts = Counter(tag.name for record in records for tag in record.tags if tag.category in species)
    most = max(counts.values(), default=1)
    return [
        max(
            (
                min(config.cap, (most / counts[tag.name]) ** config.power)
                for tag in record.tags
                if tag.category in species
            ),
            default=1.0,
        )
        for record in records
    ]


some_tags = st.lists(
    st.builds(Tag, st.sampled_from([*"abcdefgh"]), st.sampled_from([None, "species", "artist"])),
    max_size=4,
    unique_by=lambda tag: tag.name,
)


@given(st.lists(some_tags, min_size=1, max_size=30), st.floats(0.1, 1), st.floats(1, 20), st.integers(1, 9))
def test_factors_are_those_of_each_picture_s_rarest_tag(
    tags: list[list[Tag]], power: float, cap: float, at_once: int
) -> None:
    records = [Record(str(n), tuple(own)) for n, own in enumerate(tags)]
    config = BalanceConfig(categories=("species",), power=power, cap=cap)

    def batches() -> Any:
        for first in range(0, len(records), at_once):
            yield tags_of_records(first, records[first : first + at_once])

    found = tag_factors(batches, np.ones(len(records), dtype=np.bool_), config)
    assert found.tolist() == pytest.approx(by_hand(records, config, {"species"}), rel=1e-6)
    assert 1 <= found.min() <= found.max() <= cap * (1 + 1e-6)


@pytest.mark.parametrize("kind", ["struct", "names", "commas", "by category"])
def test_tags_of_a_table_are_those_of_its_records(tmp_path: Path, kind: str) -> None:
    shown: dict[str, Any] = {
        "struct": pa.array(
            [row["tags"] for row in ROWS],
            pa.list_(pa.struct([("name", pa.string()), ("category", pa.dictionary(pa.int8(), pa.string()))])),
        ),
        "names": pa.array([[t["name"] for t in row["tags"]] for row in ROWS[:-1]] + [None]),
        "commas": pa.array([", ".join(t["name"] for t in row["tags"]) for row in ROWS]),
        "by category": pa.array([{"species": [t["name"] for t in row["tags"]]} for row in ROWS]),
    }
    columns = {"image": [r["image"] for r in ROWS], "caption": ["a picture"] * 5}
    table = pa.table(columns | {"width": [8] * 5, "height": [8] * 5, "tags": shown[kind]})
    with pa.ipc.new_file(tmp_path / "all.arrow", table.schema) as file:
        file.write_table(table, max_chunksize=2)
    data = read_data(DataConfig(path=tmp_path / "all.arrow"), [CaptionPipeline()])
    manifest = data.pictures.manifest  # type: ignore[attr-defined]

    def words(batches: Any) -> list[tuple[int, str, str | None]]:
        return [
            (batch.first + row, batch.vocabulary[batch.names[i]], _category(batch, i))
            for batch in batches
            for row in range(len(batch))
            for i in range(batch.offsets[row], batch.offsets[row + 1])
        ]

    found = words(tags_of_manifest(manifest))
    records = [manifest.record(row) for row in range(5)]
    assert found == [(row, tag.name, tag.category) for row, r in enumerate(records) for tag in r.tags]
    assert len(found) >= 5


def _category(batch: TagBatch, at: int) -> str | None:
    place = int(batch.categories[at])
    return None if place < 0 else batch.known_categories[place]


@pytest.mark.parametrize("kind", ["table", "memory"])
def test_balance_keeps_the_length_of_a_pass_and_counts_what_is_trained(tmp_path: Path, kind: str) -> None:
    rows = [{"image": f"{n}.png", "tags": [tag("wolf" if n < 2 else "fox", "species")]} for n in range(18)]
    data = a_folder(tmp_path, rows)
    path = tmp_path / "all.parquet"
    if kind == "table":
        data = read_data(DataConfig(path=path), [CaptionPipeline()])

    def of(data: DataSet, **balance: Any) -> list[float]:
        found = repeats_of(DataConfig(path=path, balance=BalanceConfig(**balance)), data).weights
        assert found is not None
        assert found.sum() == pytest.approx(len(found))
        relative: list[float] = (found / found[-1]).tolist()
        return relative

    # 16 foxes for 2 wolves: 8 times as rare, and the root of that.
    assert of(data, tags=("wolf", "fox"), power=1.0) == pytest.approx([8, 8] + [1] * 16)
    assert of(data, categories=("Species",), power=1.0, cap=4) == pytest.approx([4, 4] + [1] * 16)
    assert of(data, tags=("*",)) == pytest.approx([8**0.5] * 2 + [1] * 16)
    # Held-out pictures are not counted.
    assert of(data.subset(range(1, 10)), tags=("*",), power=1.0) == pytest.approx([8] + [1] * 8)


def test_balance_evens_out_a_whole_run(tmp_path: Path) -> None:
    rows = [{"image": f"{n}.png", "tags": [tag("wolf" if n < 4 else "fox")]} for n in range(36)]
    data = a_folder(tmp_path, rows)
    config = DataConfig(
        path=tmp_path / "all.parquet", balance=BalanceConfig(tags=("*",), power=1.0), repeats={"35.png": 0}
    )
    found = repeats_of(config, data)
    assert found.notes[0] == "1 of 36 pictures are left out: their repeats are 0"
    assert found.notes[1].startswith("data.balance: a picture is drawn 0.")
    run = make_run(run_data(tmp_path, tmp_path, tmp_path / "out", samples=None, epochs=8), tmp_path, "test")
    (phase,) = make_phases(run, data.sizes, 1, weights=found.weights)
    drawn = Counter(
        draw.picture for number in range(phase.steps * phase.accumulate) for draw in phase.plan[number].draws
    )
    assert drawn[35] == 0
    assert phase.pass_length == 35
    # Eight passes of 35: 140 each, to within one for each picture and what is owed at the end.
    assert sum(drawn[n] for n in range(4)) == pytest.approx(140, abs=4 + 8)
    assert sum(drawn[n] for n in range(4, 36)) == pytest.approx(140, abs=31 + 8)


def test_settings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    wrong: dict[str, Any]
    for wrong in (
        {"repeats": {"a": -1}},
        {"balance": {}},
        {"balance": {"tags": ["x"], "power": 0}},
        {"balance": {"tags": ["x"], "cap": 0.5}},
        {"balance": {"tags": ["x"], "tag": ["x"]}},
        {"chunk_window": -1},
    ):
        with pytest.raises(ValidationError):
            DataConfig.model_validate({"path": tmp_path, **json.loads(json.dumps(wrong))})
