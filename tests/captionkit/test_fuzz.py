"""Whatever is thrown at a reader or at the recipe loader: a result, or one of the errors that are documented.

Structured input is spoilt piece by piece (left out, retyped, nested, made huge, put twice), files byte by
byte. More of it: HYPOTHESIS_PROFILE=ci.
"""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from captionkit import (
    CaptionkitError,
    CaptionPipeline,
    Record,
    dump_pipeline,
    dump_toml,
    load_pipeline,
    preset,
    read_folder,
    read_implications,
    read_jsonl,
    read_records,
)
from captionkit.implications import read_aliases
from captionkit.testing import pipelines, sample_records

ODD: list[Any] = [
    *(None, True, False, 0, -1, 2, 10**400, -(10**25), 0.5, 1e308, 5e-324, float("nan"), float("inf")),
    *("", " ", "\0", "\ud800", "a\u202eb", "e\u0301" * 40, "sequence", "0.5", "../..", "x" * 5000),
    *([], [[]], {}, {"": {}}, {"file": "nowhere"}, {"kind": "sequence"}, {"kind": ["drop_tags"]}),
    *({"points": [[0, 1], [0, 2]]}, {"points": [[0, 1e400]]}, [0.9, 0.1], ["("], [{"file": "\0"}]),
]
"""What no recipe and no record expects, and some things that stand elsewhere in them."""

BYTES: list[bytes] = [
    *(b"", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b'"', b"'", b",", b"\n", b"\r\n", b"{", b"}", b"[["),
    *(b"\\u", b"\\ud800", b"\xed\xa0\x80", b"=", b"#", b"1e999", b"-", b"9" * 5000, b"null", b"[" * 5000),
]


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every table and list inside, with each of its keys or places."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places_in(value[key])


@st.composite
def spoilt(draw: st.DrawFn, sound: st.SearchStrategy[Any]) -> Any:
    """Sound data with one to three of its places spoilt."""
    data = copy.deepcopy(draw(sound))
    for _ in range(draw(st.integers(1, 3))):
        places = list(places_in(data))
        if not places:
            break
        table, key = places[draw(st.integers(0, len(places) - 1))]
        _spoil(table, key, draw)
    return data


def _spoil(table: Any, key: Any, draw: st.DrawFn) -> None:
    how = draw(st.sampled_from(["replace", "replace", "remove", "rename", "nest", "double", "swap", "text"]))
    if how == "remove":
        del table[key]
    elif how == "nest":
        table[key] = draw(st.sampled_from([[table[key]], {"kind": table[key]}, {"a": table[key]}]))
    elif how == "double" and isinstance(table, list):
        table.insert(key, copy.deepcopy(table[key]))
    elif how == "rename" and isinstance(table, dict):
        table[draw(st.sampled_from(["", "kind", f"{key}s", str(key)[1:], "\ud800", "犬"]))] = table.pop(key)
    elif how == "swap":
        other = draw(st.sampled_from(list(table) if isinstance(table, dict) else range(len(table))))
        table[key], table[other] = table[other], table[key]
    elif how == "text":
        table[key] = str(table[key])
    else:
        table[key] = copy.deepcopy(draw(st.sampled_from(ODD)))


@st.composite
def spoilt_bytes(draw: st.DrawFn, sound: st.SearchStrategy[bytes]) -> bytes:
    """A sound file with pieces cut out, put in twice or written over; or any bytes at all."""
    data = draw(sound)
    for _ in range(draw(st.integers(1, 4))):
        one, other = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        put = draw(st.sampled_from(BYTES) | st.binary(max_size=6) | st.just(data[one:other]))
        data = data[:one] + put + data[draw(st.sampled_from([one, other])) :]
    return data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def survives(work: Callable[[], Any]) -> Any:
    """The result; None when it ended in a documented error, whose message must be fit to print."""
    try:
        return work()
    except CaptionkitError as error:
        told = str(error)
    note(f"told: {told}")
    assert told.strip()
    return None


# ---------------------------------------------------------------------------------------------------- recipes

RECIPES = pipelines().map(dump_pipeline) | st.just(dump_pipeline(preset("hyperfusion", important=["solo"])))
SETTINGS = st.fixed_dictionaries(
    {"preset": st.just("hyperfusion")},
    optional={
        "seed": st.integers(),
        "implications": st.just({"red_fox": ["fox"]}),
        "important": st.just(["solo", {"file": "x"}]),
        "no_flip": st.just(["text on*"]),
        "flip": st.just(0.5),
        "max_tokens": st.just(75),
    },
)


def _works(pipeline: CaptionPipeline) -> None:
    """What was accepted renders, and comes back as it is."""
    for record in sample_records(3):
        pipeline.render(record, epoch=1, samples=1)
    assert load_pipeline(dump_pipeline(pipeline)) == pipeline


@given(spoilt(RECIPES | SETTINGS))
def test_spoilt_recipes(recipe: dict[str, Any]) -> None:
    pipeline = survives(lambda: load_pipeline(recipe))
    if pipeline is not None:
        survives(lambda: _works(pipeline))


@given(spoilt(RECIPES | SETTINGS))
def test_spoilt_recipes_in_json(folder: Path, recipe: dict[str, Any]) -> None:
    path = folder / "recipe.json"
    path.write_bytes(json.dumps(recipe).encode())
    survives(lambda: load_pipeline(path))


@given(st.sampled_from([".toml", ".json"]), st.data())
def test_recipe_files_of_spoilt_bytes(folder: Path, suffix: str, data: st.DataObject) -> None:
    sound = (
        pipelines().map(dump_toml)
        if suffix == ".toml"
        else pipelines().map(dump_pipeline).map(lambda recipe: json.dumps(recipe, ensure_ascii=False))
    )
    path = folder / f"spoilt{suffix}"
    path.write_bytes(data.draw(spoilt_bytes(sound.map(lambda text: text.encode("utf-8", "surrogatepass")))))
    survives(lambda: load_pipeline(path))


@given(st.recursive(st.sampled_from(ODD), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_what_is_no_recipe_at_all(recipe: Any) -> None:
    survives(lambda: load_pipeline(recipe))
    survives(lambda: load_pipeline({"steps": [recipe], "flip": recipe}))


# ---------------------------------------------------------------------------------------------------- readers

OBJECTS = st.sampled_from(
    [
        {"file": "a.png", "tags": ["solo", {"name": "fox", "category": "species", "score": 0.9}]},
        {"id": 7, "tags": "solo, red_fox", "caption": "A fox."},
        {
            "id": "x",
            "tags": {"species": ["fox"], "general": "solo, day"},
            "captions": {"cogvlm": ["A.", "B."]},
            "info": {"rating": "s", "score": 12},
            "rating": "s",
        },
        {"image": "b/c.jpg", "prose": [{"text": "A fox.", "source": "human"}], "tags": None},
    ]
)
TEXTS = st.sampled_from(["solo, red_fox\nday", "A fox.\nIt sleeps.\n", "犬, é, ^_^", "\n\n,,"])


PIPELINE = preset("hyperfusion", important=["solo"], implications={"red_fox": ["fox"]}, no_flip=["*犬*"])


def _read(records: Callable[[], Iterator[Record]]) -> None:
    """Every record that is given can be rendered, to text that can be written."""
    for record in survives(lambda: list(records())) or []:
        PIPELINE.render(record).text.encode("utf-8")


@given(st.lists(spoilt(OBJECTS), min_size=1, max_size=3))
def test_lines_of_spoilt_objects(folder: Path, objects: list[Any]) -> None:
    path = folder / "records.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in objects), encoding="utf-8")
    _read(lambda: read_jsonl(path, on_error=_documented))
    _read(lambda: read_records(path))


@given(spoilt_bytes(st.lists(OBJECTS, min_size=1).map(lambda all: "\n".join(map(json.dumps, all)).encode())))
def test_lines_of_spoilt_bytes(folder: Path, content: bytes) -> None:
    path = folder / "spoilt.jsonl"
    path.write_bytes(content)
    _read(lambda: read_jsonl(path, on_error=_documented))
    _read(lambda: read_jsonl(path))


def _documented(error: CaptionkitError) -> None:
    assert isinstance(error, CaptionkitError)
    assert error.where


@given(
    st.dictionaries(
        st.sampled_from([".txt", ".caption", ".json", ".TXT", ".png.txt", ".jsonl"]),
        spoilt_bytes(TEXTS.map(str.encode)) | spoilt_bytes(OBJECTS.map(json.dumps).map(str.encode)),
        min_size=1,
    ),
    st.sampled_from(["a", "写真", "a b.c", "-", "\udcff", "x" * 200]),
)
def test_sidecars_of_spoilt_bytes(folder: Path, sidecars: dict[str, bytes], stem: str) -> None:
    place = folder / "pictures" / "below"
    place.mkdir(parents=True, exist_ok=True)
    for old in place.iterdir():
        old.unlink()
    for suffix, content in {".png": b"", **sidecars}.items():
        (place / f"{stem}{suffix}").write_bytes(content)
    _read(lambda: read_folder(folder / "pictures", on_error=_documented))
    _read(lambda: read_records(folder / "pictures"))


@given(spoilt(OBJECTS))
def test_sidecars_of_spoilt_objects(folder: Path, content: Any) -> None:
    place = folder / "objects"
    place.mkdir(exist_ok=True)
    (place / "a.png").touch()
    (place / "a.json").write_text(json.dumps(content), encoding="utf-8")
    _read(lambda: read_folder(place, on_error=_documented))


# ---------------------------------------------------------------------------- tables: implications and more

PAIRS = (
    b"id,antecedent_name,consequent_name,created_at,status\n"
    b'1,red_fox,fox,2020,active\n2,fox,canine,2020,deleted\n3,"a, b",c,,active\n4,canine,mammal,,Active\n'
)
LINES = b"".join(
    json.dumps({"id": n, "antecedent_name": a, "consequent_name": b, "status": "active"}).encode() + b"\n"
    for n, (a, b) in enumerate([("red_fox", "fox"), ("fox", "canine")])
)
KNOWN_TAGS = b"id,name,category,post_count\n1,red_fox,5,3000\n2,fox,5,90000\n3,canine,5,100\n4,c,0,7\n"
RULES = (
    b'[words]\nfrog = \'(?:frog|toad)\'\n\n[[rule]]\nname = "mine"\ngroup = "meta"\nabout = "Frogs."\n'
    b'action = "remove bold"\nexamples = [{ before = "A **frog**.", after = "A frog." }]\n'
)
COUNTED = b"# threshold = 0.5\n# support = 2\n# num_records = 9\ntrigger,tag,num_both,num_trigger\na,b,2,3\n"


@given(spoilt_bytes(st.sampled_from([PAIRS, LINES, b"[" + LINES.strip().replace(b"\n", b",") + b"]"])))
def test_implications_of_spoilt_bytes(folder: Path, content: bytes) -> None:
    for name, data in (("i.csv", content), ("i.csv.gz", gzip.compress(content, 1)), ("j.json.gz", content)):
        (folder / name).write_bytes(data)
        survives(lambda path=folder / name: read_implications(path))  # type: ignore[misc]
        survives(lambda path=folder / name: read_aliases(path))  # type: ignore[misc]


@given(spoilt_bytes(st.just(PAIRS)), spoilt_bytes(st.just(PAIRS)), spoilt_bytes(st.just(KNOWN_TAGS)))
def test_a_source_of_spoilt_files(folder: Path, pairs: bytes, aliases: bytes, tags: bytes) -> None:
    for name, content in {"p.csv": pairs, "a.csv": aliases, "t.csv": tags}.items():
        (folder / name).write_bytes(content)
    source = {
        "file": str(folder / "p.csv"),
        "aliases": str(folder / "a.csv"),
        "tags": str(folder / "t.csv"),
        "min_posts": 10,
        "categories": ["species"],
    }
    survives(lambda: load_pipeline({"steps": [{"kind": "drop_implied", "implications": source}]}))


FILES: dict[str, tuple[Callable[[str], dict[str, Any]], bytes]] = {
    "aliases": (lambda path: {"kind": "rename_tags", "aliases": path}, PAIRS),
    "rules": (lambda path: {"kind": "clean_captions", "rules": path}, RULES),
    "patterns": (
        lambda path: {"kind": "drop_tags", "protected": [{"file": path}]},
        b"# Mine.\nsolo\ntext on*\n",
    ),
    "correlations": (lambda path: {"kind": "drop_correlated", "correlations": path}, COUNTED),
}
"""The steps of a recipe that name a file, and a sound one."""


@given(st.sampled_from(sorted(FILES)), st.data())
def test_files_that_a_recipe_names(folder: Path, name: str, data: st.DataObject) -> None:
    step, sound = FILES[name]
    path = folder / f"{name}.toml"
    recipe = {"steps": [step(str(path))]}
    path.write_bytes(data.draw(spoilt_bytes(st.just(sound))))
    survives(lambda: load_pipeline(recipe))


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_sound_files_are_sound(folder: Path, name: str) -> None:
    step, sound = FILES[name]
    (folder / f"sound {name}").write_bytes(sound)
    _works(load_pipeline({"steps": [step(str(folder / f"sound {name}"))]}))
