"""One function for every table: Hugging Face `datasets` as it is, pyarrow, arrays; and its fingerprint."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import datasets
import numpy as np
import pyarrow as pa
import pytest
from datasets.fingerprint import Hasher
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from captionkit import CaptionkitError, CaptionPipeline, DataError, FlipRule, load_pipeline, record_of
from captionkit.adapters.epoch import SharedEpoch
from captionkit.adapters.portable import Portable
from captionkit.adapters.table import RenderBatch
from captionkit.policies import OrderByCategory, TagFromFact
from captionkit.policy import Rule
from captionkit.record import Caption
from captionkit.testing import pipelines
from tests.captionkit.adapters.little_data import SIZE, recipe, records, tags_of, wanted

# What PyTorch says of two workers on one core.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

ROOT = Path(__file__).resolve().parents[3]
COLUMNS: dict[str, list[Any]] = {
    "id": [f"p{index:03}" for index in range(SIZE)],
    "tags": [tags_of(index) for index in range(SIZE)],
    "number": list(range(SIZE)),
}


def dataset() -> datasets.Dataset:
    features = {"id": datasets.Value("string"), "tags": datasets.Value("large_string"), "number": NARROW}
    return datasets.Dataset.from_dict(COLUMNS, datasets.Features(features))


NARROW = datasets.Value("int8")


def by_name(batch: Any) -> dict[str, tuple[str, bool]]:
    """Text and flip by id."""
    return dict(zip(batch["id"], zip(batch["text"], batch["flip"], strict=True), strict=True))


FORMS: dict[str, Any] = {
    "lists": lambda: dict(COLUMNS),
    "arrays": lambda: {name: np.array(values) for name, values in COLUMNS.items()},
    "table": lambda: pa.table(COLUMNS),
    "record batch": lambda: pa.RecordBatch.from_pydict(COLUMNS),
    "chunks": lambda: pa.concat_tables([pa.table(COLUMNS).slice(0, 5), pa.table(COLUMNS).slice(5)]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("k", [None, 3])
def test_every_form_of_a_batch_comes_back_in_its_form_with_the_pipelines_texts(
    form: str, k: int | None
) -> None:
    batch = FORMS[form]()
    out = RenderBatch(recipe(), k=k, epoch=2)(batch)
    assert type(out) is type(batch)
    columns = out if isinstance(out, dict) else out.to_pydict()
    assert list(columns) == [*COLUMNS, "text", "flip", "source"]
    drawn = [wanted(2, draw) for draw in range(k or 1)]
    for name, text, flip in zip(columns["id"], columns["text"], columns["flip"], strict=True):
        each = list(zip(text, flip, strict=True)) if k else [(text, flip)]
        assert each == [one[name] for one in drawn]
    assert set(np.concatenate([np.atleast_1d(one) for one in columns["source"]])) == {"tags"}


@given(st.permutations(range(SIZE)), st.integers(1, SIZE), st.integers(-3, 3))
def test_order_and_removed_rows_change_no_other_row(order: list[int], size: int, epoch: int) -> None:
    batch = {name: [values[row] for row in order[:size]] for name, values in COLUMNS.items()}
    said = by_name(RenderBatch(recipe(), epoch=epoch)(batch))
    assert said == {name: wanted(epoch)[name] for name in batch["id"]}


@pytest.mark.parametrize("num_proc", [None, 2])
def test_map(num_proc: int | None) -> None:
    mapped = dataset().map(RenderBatch(recipe(), epoch=4), batched=True, batch_size=5, num_proc=num_proc)
    assert by_name(mapped[:]) == wanted(4)
    assert mapped.features["flip"] == datasets.Value("bool")
    assert {name: mapped.features[name] for name in dataset().features} == dict(dataset().features)
    shuffled = dataset().shuffle(seed=3).select(range(7)).map(RenderBatch(recipe(), epoch=4), batched=True)
    assert by_name(shuffled[:]) == {name: wanted(4)[name] for name in shuffled["id"]}


def test_map_with_variants_is_a_list_column() -> None:
    mapped = dataset().map(RenderBatch(recipe(), k=4, source=None), batched=True, remove_columns=["number"])
    assert mapped.features["text"] == datasets.List(datasets.Value("string"))
    assert mapped.column_names == ["id", "tags", "text", "flip"]
    for name, texts, flips in zip(mapped["id"], mapped["text"], mapped["flip"], strict=True):
        assert list(zip(texts, flips, strict=True)) == [wanted(0, draw)[name] for draw in range(4)]


def test_map_with_arrow_tables() -> None:
    mapped = dataset().with_format("arrow").map(RenderBatch(recipe()), batched=True).with_format(None)
    assert by_name(mapped[:]) == wanted(0)


@pytest.mark.parametrize(("workers", "how"), [(0, None), (2, "fork"), (2, "spawn")])
def test_with_transform_follows_the_epoch(workers: int, how: str | None) -> None:
    epoch = SharedEpoch()
    lazily: Any = dataset().with_transform(RenderBatch(recipe(), epoch=epoch))
    options: Any = {"multiprocessing_context": how, "persistent_workers": True} if workers else {}
    loader: Any = DataLoader(lazily, batch_size=5, shuffle=True, num_workers=workers, **options)
    for number in (0, 3):
        epoch.set(number)
        said: dict[str, tuple[str, bool]] = {}
        for batch in loader:
            said |= by_name(batch | {"flip": batch["flip"].tolist()})
        assert said == wanted(number)


@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (2, False), (2, True)])
def test_an_iterable_dataset_follows_the_epoch(workers: int, persistent: bool) -> None:
    epoch = SharedEpoch()
    stream = dataset().to_iterable_dataset(num_shards=2).shuffle(seed=1, buffer_size=4)
    mapped: Any = stream.map(RenderBatch(recipe(), epoch=epoch), batched=True, batch_size=3)
    loader: Any = DataLoader(mapped, batch_size=None, num_workers=workers, persistent_workers=persistent)
    orders = []
    for number in (0, 1):
        mapped.set_epoch(number)
        epoch.set(number)
        rows = list(loader)
        assert {row["id"]: (row["text"], row["flip"]) for row in rows} == wanted(number)
        orders.append([row["id"] for row in rows])
    assert orders[0] != orders[1]


SCRIPT = """
import datasets, json, os, sys
from captionkit.adapters.epoch import SharedEpoch
from captionkit.adapters.table import RenderBatch
from tests.captionkit.adapters.little_data import recipe

datasets.disable_progress_bars()
data = datasets.load_dataset("json", data_files=sys.argv[1], cache_dir=sys.argv[2], split="train")
for seed in sys.argv[3:]:
    made = {}
    for name, settings in {"same": {}, "epoch": {"epoch": 1}, "k": {"k": 2}}.items():
        mapped = data.map(RenderBatch(recipe(int(seed)), **settings), batched=True)
        made[name] = [os.path.basename(file["filename"]) for file in mapped.cache_files], mapped[0]["text"]
    print(json.dumps(made))
"""


def test_a_new_process_finds_the_cache_of_the_same_recipe_and_of_no_other(tmp_path: Path) -> None:
    lines = [
        json.dumps({"id": name, "tags": tags})
        for name, tags in zip(COLUMNS["id"], COLUMNS["tags"], strict=True)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")

    def run(salt: str, *seeds: str) -> list[Any]:
        env = os.environ | {
            "PYTHONHASHSEED": salt,
            "PYTHONPATH": str(ROOT),
            "HF_HOME": str(tmp_path / "home"),
        }
        arguments = [str(tmp_path / "rows.jsonl"), str(tmp_path / "cache"), *seeds]
        said = subprocess.run(
            [sys.executable, "-c", SCRIPT, *arguments], env=env, capture_output=True, text=True, check=True
        )
        return [json.loads(line) for line in said.stdout.splitlines()]

    def files() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("cache-*.arrow")}

    [first] = run("1", "1")
    there = files()
    assert len(there) == 3
    again, other = run("2", "1", "2")
    assert again == first
    assert len(files()) == 6
    assert there.items() <= files().items()  # Nothing was written anew.
    assert all(other[name][0] != first[name][0] for name in first)


class Shout(Rule):
    """A policy of somebody's own."""

    kind: Literal["shout"] = "shout"

    def rewrite(self, caption: Caption) -> Caption:
        return Caption(caption.tags, caption.prose, caption.source, after="!")


def letters(text: str) -> int:
    """A token counter of somebody's own."""
    return len(text)


@given(pipelines())
def test_a_pipeline_comes_back_from_its_parts(pipeline: CaptionPipeline) -> None:
    portable = Portable.of(pipeline)
    assert portable.pipeline() == pipeline
    assert pickle.loads(pickle.dumps(portable)).pipeline() == pipeline
    again = load_pipeline(json.loads(portable.recipe))
    assert Hasher.hash(RenderBatch(again)) == Hasher.hash(RenderBatch(pipeline))


def test_the_order_of_a_table_in_a_recipe_is_kept() -> None:
    # Keys were sorted once: `solo` then became a member of `a` in spawned workers.
    members: dict[str, tuple[str, ...]] = {"z": ("solo",), "a": ("solo", "snow")}
    order = OrderByCategory(order=("a", "z", "..."), members=members, shuffle=False)
    render = RenderBatch(CaptionPipeline(steps=(order,), flip=FlipRule(p=0)))
    batch = {"id": ["1"], "tags": ["solo, snow, tree"]}
    assert render(batch)["text"] == pickle.loads(pickle.dumps(render))(batch)["text"] == ["snow, solo, tree"]


def test_policies_counters_and_implications_come_along(tmp_path: Path) -> None:
    table = tmp_path / "implications.csv"
    head = "id,antecedent_name,consequent_name,created_at,status\n"
    table.write_text(head + "1,red_fox,fox,,active\n", encoding="utf-8")
    steps = [
        {"kind": "drop_implied", "rate_range": [1.0, 1.0], "implications": str(table)},
        {"kind": "shout"},
    ]
    pipeline = load_pipeline({"steps": steps, "text": {"max_tokens": 12}}, kinds=[Shout])
    pipeline = pipeline.with_counter(letters)
    batch = {"id": ["1"], "tags": ["red fox, fox, a, b, c, d"]}
    render = RenderBatch(pipeline)
    hashed, text = Hasher.hash(render), render(batch)["text"]
    assert "fox, fox" not in text[0]
    assert text[0].endswith("!")
    data = pickle.dumps(render)
    # The graph is the one that was read, whatever becomes of the file; another file is another recipe.
    table.write_text(head + "1,red_fox,fox,,active\n2,a,b,,active\n", encoding="utf-8")
    os.utime(table, ns=(1, 1))
    assert pickle.loads(data)(batch)["text"] == text
    changed = load_pipeline({"steps": steps, "text": {"max_tokens": 12}}, kinds=[Shout]).with_counter(letters)
    assert Hasher.hash(RenderBatch(changed)) != hashed
    assert Hasher.hash(RenderBatch(changed.model_copy(update={"steps": pipeline.steps}))) == hashed


def test_every_setting_has_a_fingerprint_of_its_own() -> None:
    ways: list[dict[str, Any]] = [
        {},
        {"pipeline": recipe(2)},
        {"columns": ["id", "tags"]},
        {"columns": {"id": "tags", "tags": "id"}},
        {"id": "number"},
        {"by_position": True},
        {"epoch": 1},
        {"draw": "number"},
        {"k": 1},
        {"text": "caption"},
        {"flip": None},
        {"source": None},
        {"on_error": "drop"},
    ]
    hashes = [Hasher.hash(RenderBatch(**{"pipeline": recipe()} | way)) for way in ways]
    assert len(set(hashes)) == len(ways)
    assert Hasher.hash(RenderBatch(recipe(), epoch=SharedEpoch(1))) == hashes[6]


def test_columns_under_other_names() -> None:
    batch = {"md5": COLUMNS["id"], "prompt": ["x"] * SIZE, "tag_string": COLUMNS["tags"]}
    columns = {"id": "md5", "tags": "tag_string"}
    out = RenderBatch(recipe(), columns=columns, text="prompt", flip=None, source=None)(batch)
    assert list(out) == ["md5", "prompt", "tag_string"]
    assert out["prompt"] == [wanted(0)[name][0] for name in COLUMNS["id"]]
    with pytest.raises(DataError, match="there is no column 'tag_strin'; there are 'md5', 'prompt'"):
        RenderBatch(recipe(), columns=columns | {"tags": "tag_strin"})(batch)


def test_repeats_by_a_column() -> None:
    batch = {name: values * 2 for name, values in COLUMNS.items()} | {"time": [0] * SIZE + [1] * SIZE}
    out = RenderBatch(recipe(), draw="time")(batch)
    for row in range(2 * SIZE):
        assert (out["text"][row], out["flip"][row]) == wanted(0, row // SIZE)[out["id"][row]]
    with pytest.raises(DataError, match="row 1: time: a draw must be a whole number, got 'b'"):
        RenderBatch(recipe(), draw="time")({"id": ["1", "2"], "tags": ["a", "a"], "time": [0, "b"]})


def test_facts_of_all_forms_reach_the_recipe() -> None:
    rating = TagFromFact(fact="rating", tags={"s": ("safe",)})
    pipeline = CaptionPipeline(steps=(rating,), flip=FlipRule(p=0))
    batch: dict[str, Any] = {"id": ["1", "2"], "tags": ["a", "b"], "rating": ["s", None], "score": [7, None]}
    expected = [pipeline.render(record_of(row, "")).text for row in pa.table(batch).to_pylist()]
    assert "safe" in expected[0]
    assert RenderBatch(pipeline)(batch)["text"] == expected
    assert RenderBatch(pipeline)(pa.table(batch))["text"].to_pylist() == expected
    assert (
        list(datasets.Dataset.from_dict(batch).map(RenderBatch(pipeline), batched=True)["text"]) == expected
    )


def test_ids_and_positions() -> None:
    tags = {"tags": COLUMNS["tags"]}
    with pytest.raises(
        DataError, match=r"row 0: has no id and no picture's path among 'tags' \(name a column"
    ):
        RenderBatch(recipe())(tags)
    with pytest.raises(DataError, match="by_position needs the rows' indices"):
        RenderBatch(recipe(), by_position=True)(tags)
    anonymous = datasets.Dataset.from_dict(tags)
    mapped = anonymous.map(
        RenderBatch(recipe(), by_position=True), batched=True, batch_size=5, with_indices=True
    )
    assert len(set(mapped["text"])) == SIZE
    whole = anonymous.map(
        RenderBatch(recipe(), by_position=True), batched=True, with_indices=True, num_proc=2
    )
    assert list(whole["text"]) == list(mapped["text"])
    by_tags = RenderBatch(recipe(), id="tags")(tags)
    assert by_tags["text"][:3] == RenderBatch(recipe(), id="tags")({"tags": COLUMNS["tags"][:3]})["text"]
    paths = {"file_name": [f"{name}.png" for name in COLUMNS["id"]], "tags": COLUMNS["tags"]}
    assert RenderBatch(recipe())(paths)["text"] == [wanted(0)[name][0] for name in COLUMNS["id"]]


def test_pictures_in_the_table_are_neither_decoded_nor_written_anew() -> None:
    # Bytes that no decoder would take: to touch them is to fail.
    images = [{"bytes": b"no picture", "path": None}] * SIZE
    features = datasets.Features(
        {"id": datasets.Value("string"), "tags": datasets.Value("string"), "image": datasets.Image()}
    )
    data = datasets.Dataset.from_dict(
        {"id": COLUMNS["id"], "tags": COLUMNS["tags"], "image": images}, features
    )
    mapped = data.map(RenderBatch(recipe()), batched=True)
    assert by_name(mapped.remove_columns("image")[:]) == wanted(0)
    assert mapped.cast_column("image", datasets.Image(decode=False))[0]["image"] == images[0]
    table = RenderBatch(recipe())(pa.table({**COLUMNS, "image": [b"x"] * SIZE}))
    assert table["image"].to_pylist() == [b"x"] * SIZE


BAD = {"id": ["p000", "bad", "p002"], "tags": [tags_of(0), None, tags_of(2)]}


@pytest.mark.parametrize("form", ["lists", "table", "datasets", "arrays"])
@pytest.mark.parametrize("k", [None, 2])
def test_a_bad_row(form: str, k: int | None) -> None:
    def batch() -> Any:
        if form == "arrays":
            return {name: np.array(values, dtype=object) for name, values in BAD.items()}
        return pa.table(BAD) if form == "table" else dict(BAD)

    def rendered(policy: Any) -> tuple[dict[str, Any], list[CaptionkitError]]:
        told: list[CaptionkitError] = []
        render = RenderBatch(recipe(), k=k, on_error=policy, report=told.append)
        if form == "datasets":
            data = datasets.Dataset.from_dict(BAD)
            out: Any = data.map(render, batched=True, load_from_cache_file=False)[:]
        else:
            out = render(batch())
        return (out if isinstance(out, dict) else out.to_pydict()), told

    with pytest.raises(DataError, match="row 1: has neither tags nor captions"):
        rendered("raise")
    kept, told = rendered("keep")
    assert [str(error).partition(";")[0] for error in told] == ["row 1: has neither tags nor captions"]
    assert [kept["text"][1], kept["flip"][1], kept["source"][1]] == [None] * 3
    empty, _ = rendered("empty")
    blank = [("", False, "empty")] * (k or 1)
    if k:
        assert list(zip(empty["text"][1], empty["flip"][1], empty["source"][1], strict=True)) == blank
    else:
        assert [(empty["text"][1], empty["flip"][1], empty["source"][1])] == blank
    dropped, told = rendered("drop")
    assert len(told) == 1
    assert list(dropped["id"]) == ["p000", "p002"]
    for out in (kept, empty, dropped):
        for row, name in ((0, "p000"), (len(out["id"]) - 1, "p002")):
            text = out["text"][row]
            assert (text[0] if k else text) == wanted(0)[name][0]


def test_a_bad_row_is_a_warning_unless_told_otherwise() -> None:
    with pytest.warns(UserWarning, match="row 1: has neither tags nor captions"):
        RenderBatch(recipe(), on_error="keep")(BAD)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"on_error": "ignore"}, "on_error is 'ignore', must be one of raise, keep, empty, drop"),
        ({"k": 0}, "k must be a whole number from 1 on"),
        ({"k": 2, "draw": "time"}, "`k` makes the draws"),
        ({"id": "a", "by_position": True}, "both tell rows apart"),
        ({"flip": "text"}, "the new columns need different names, got 'text', 'text', 'source'"),
        ({"columns": "tags"}, r"columns must be a list of names or a table, got 'tags' \(\['tags'\]\)"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        RenderBatch(recipe(), **settings)


@pytest.mark.parametrize("batch", [[{"id": "1"}], "text", None, np.zeros(3)])
def test_what_is_no_batch(batch: Any) -> None:
    with pytest.raises(DataError, match="a batch must be a dict of columns or a pyarrow Table, got a"):
        RenderBatch(recipe())(batch)


def test_an_empty_batch_stays_one() -> None:
    assert RenderBatch(recipe())({"id": [], "tags": []})["text"] == []
    table = RenderBatch(recipe(), k=2)(
        pa.table({"id": pa.array([], pa.string()), "tags": pa.array([], pa.string())})
    )
    assert table.schema.field("text").type == pa.list_(pa.string())


def test_numbers_that_arrays_cannot_miss() -> None:
    batch = {"id": np.array(["1"]), "tags": np.array(["a"]), "score": np.array([np.nan])}
    assert RenderBatch(CaptionPipeline())(batch)["text"].tolist() == ["a"]


def test_tags_as_lists_and_by_category_in_every_form() -> None:
    rows = {
        "id": ["1", "2"],
        "tags": [{"species": ["fox"], "artist": None}, {"species": [], "artist": ["x"]}],
    }
    still = CaptionPipeline(flip=FlipRule(p=0))
    expected = ["fox", "x"]
    arrays = {"id": np.array(rows["id"]), "tags": np.array(rows["tags"], dtype=object)}
    assert RenderBatch(still)(rows)["text"] == expected
    assert RenderBatch(still)(pa.table(rows))["text"].to_pylist() == expected
    assert RenderBatch(still)(arrays)["text"].tolist() == expected
    assert list(datasets.Dataset.from_dict(rows).map(RenderBatch(still), batched=True)["text"]) == expected
    nested = {
        "id": np.array(["1"]),
        "tags": np.array([np.array(["fox", "snow"], dtype=object)] * 1, dtype=object),
    }
    assert sorted(RenderBatch(still)(nested)["text"][0].split(", ")) == ["fox", "snow"]


def test_the_records_are_those_of_the_reader() -> None:
    assert [record.id for record in records()] == COLUMNS["id"]
