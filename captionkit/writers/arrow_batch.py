"""Records as one Arrow record batch, with columns as these records need them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from captionkit.readers.arrow_columns import pyarrow
from captionkit.readers.arrow_rows import WHOLE
from captionkit.readers.facts import ID_KEY, INFO_KEY
from captionkit.readers.fields import TAGS_KEY
from captionkit.record import Fact
from captionkit.writers.fact_columns import FactUse, columns
from captionkit.writers.fields import HUMAN

IMAGE_KEY = "image"
CAPTION_KEY = "caption"
CAPTIONS_KEY = "captions"
FIRST = frozenset({ID_KEY, IMAGE_KEY, TAGS_KEY, CAPTION_KEY, CAPTIONS_KEY, INFO_KEY})
"""The columns that are no fact."""

Fields: TypeAlias = dict[str, Any]
"""What `fields_of` makes of a record."""


def batch_of(rows: list[Fields]) -> tuple[Any, dict[str, FactUse]]:
    """The rows as a record batch, and how they use their facts.

    Columns: id, image, tags, caption or captions, one per fact, and info, the JSON of facts that have none.
    Raises `UnicodeEncodeError` for half a surrogate pair.
    """
    pa = pyarrow()
    text = pa.string()
    made: dict[str, Any] = {
        ID_KEY: pa.array([row[ID_KEY] for row in rows], text),
        IMAGE_KEY: pa.array([row.get(IMAGE_KEY) for row in rows], text),
        TAGS_KEY: _tags([row.get(TAGS_KEY, []) for row in rows]),
    }
    name, captions = _captions(rows)
    made[name] = captions
    fields = [pa.field(name, array.type) for name, array in made.items()]
    facts, infos = _facts(rows)
    uses = {name: FactUse.of(values.values()) for name, values in facts.items()}
    for fact, kind in columns(uses).items():
        if kind == "mixed":
            for row, value in facts[fact].items():
                infos.setdefault(row, {})[fact] = value
        else:
            values, field = facts[fact], fact_field(fact, uses[fact])
            made[fact] = pa.array([values.get(row) for row in range(len(rows))], field.type)
            fields.append(field)
    if infos:
        made[INFO_KEY] = pa.array([info_json(infos.get(row)) for row in range(len(rows))], text)
        fields.append(pa.field(INFO_KEY, text))
    return pa.RecordBatch.from_arrays(list(made.values()), schema=pa.schema(fields)), uses


def fact_field(name: str, use: FactUse) -> Any:
    """The Arrow column of a fact that has one; marked where whole numbers stand among decimals."""
    pa = pyarrow()
    types = {"bool": pa.bool_(), "int": pa.int64(), "decimal": pa.float64(), "text": pa.string()}
    return pa.field(name, types[use.column], metadata=dict([WHOLE]) if use.numbers_mixed else None)


def info_json(facts: Mapping[str, Fact] | None) -> str | None:
    """Facts as a JSON object; None for none."""
    return json.dumps(facts, ensure_ascii=False) if facts else None


def tag_type() -> Any:
    """The Arrow type of tags of which more is known than the name."""
    pa = pyarrow()
    text = pa.string()
    return pa.struct([("name", text), ("category", text), ("source", text), ("score", pa.float64())])


def caption_type() -> Any:
    """The Arrow type of one of several captions."""
    pa = pyarrow()
    return pa.struct([("text", pa.string()), ("source", pa.string())])


def _tags(rows: list[Any]) -> Any:
    """Lists of names, or of structs when of any tag more is known."""
    pa = pyarrow()
    if all(isinstance(tags, list) and (not tags or isinstance(tags[0], str)) for tags in rows):
        return pa.array(rows, pa.list_(pa.string()))
    kinds = tag_type()
    names: list[str] = []
    categories: list[str | None] = []
    sources: list[str | None] = []
    scores: list[float | None] = []
    offsets = [0]
    for tags in rows:
        for category, entries in tags.items() if isinstance(tags, dict) else ((None, tags),):
            for entry in entries:
                known: Fields = {"name": entry} if isinstance(entry, str) else entry
                names.append(known["name"])
                categories.append(known.get("category", category))
                sources.append(known.get("source"))
                scores.append(known.get("score"))
        offsets.append(len(names))
    columns = zip((names, categories, sources, scores), kinds, strict=True)
    structs = pa.StructArray.from_arrays(
        [pa.array(values, field.type) for values, field in columns], fields=list(kinds)
    )
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs)


def _captions(rows: list[Fields]) -> tuple[str, Any]:
    """A column of texts where no record has several captions or one by somebody else, else one of lists."""
    pa = pyarrow()
    if not any(CAPTIONS_KEY in row for row in rows):
        return CAPTION_KEY, pa.array([row.get(CAPTION_KEY) for row in rows], pa.string())
    listed = [row.get(CAPTIONS_KEY, [row[CAPTION_KEY]] if CAPTION_KEY in row else []) for row in rows]
    structs = [
        [{"text": entry, "source": HUMAN} if isinstance(entry, str) else entry for entry in entries]
        for entries in listed
    ]
    return CAPTIONS_KEY, pa.array(structs, pa.list_(caption_type()))


def _facts(rows: list[Fields]) -> tuple[dict[str, dict[int, Fact]], dict[int, dict[str, Fact]]]:
    """Facts by name and row, and by row those that stand under "info" as their names mean something else."""
    facts: dict[str, dict[int, Fact]] = {}
    infos: dict[int, dict[str, Fact]] = {}
    for number, row in enumerate(rows):
        for key, value in row.items():
            if key not in FIRST:
                facts.setdefault(key, {})[number] = value
        if INFO_KEY in row:
            infos[number] = dict(row[INFO_KEY])
    return facts, infos
