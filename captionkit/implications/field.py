"""Reading a graph, by itself and as a field of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from hashlib import file_digest
from pathlib import Path
from stat import S_ISREG
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    GetJsonSchemaHandler,
    InstanceOf,
    PlainSerializer,
    ValidationInfo,
)
from pydantic_core import CoreSchema

from captionkit.errors import ImplicationsError
from captionkit.implications.exports import read_pairs
from captionkit.implications.graph import ImplicationGraph
from captionkit.implications.source import ImplicationSource
from captionkit.kinds import resolve_path


def read_implications(source: str | Path | ImplicationSource) -> ImplicationGraph:
    """The graph of an export: a CSV with e621's columns, Danbooru's JSON lines or a JSON array, also `.gz`.

    Rows whose status is not `active` are left aside: with the deleted ones, e621's export has eleven cycles.
    An `ImplicationSource` says what else is made of it: aliases, filters, changes of your own. A graph is
    made once per process of files that have not changed. Raises `ImplicationsError` naming the file for one
    that is missing or cannot be read, for an empty name, a cycle, or no active row.
    """
    if not isinstance(source, ImplicationSource):
        source = ImplicationSource(file=Path(source))
    files = [file for file in (source.file, source.aliases, source.tags) if file is not None]
    return _read(source.model_dump_json(), tuple(_stamp(file) for file in files))


def _stamp(file: Path) -> bytes | int:
    """What changes when the file does: its content, for many systems keep times in hundredths of a second."""
    try:
        status = file.stat()
        if not S_ISREG(status.st_mode):  # A pipe gives what it holds only once.
            return status.st_mtime_ns
        with file.open("rb") as opened:
            return file_digest(opened, "blake2b").digest()
    except OSError as error:
        raise ImplicationsError(f"cannot read the implications: {error.strerror}", where=str(file)) from error


@lru_cache(maxsize=4)
def _read(source_json: str, stamps: tuple[bytes | int, ...]) -> ImplicationGraph:
    source = ImplicationSource.model_validate_json(source_json)
    if not source.is_plain():
        from captionkit.implications.build import build_implications  # 4 ms that most imports can do without.

        return build_implications(source).graph
    direct: dict[str, list[str]] = {}
    for antecedent, consequent in read_pairs(source.file).active:
        direct.setdefault(antecedent, []).append(consequent)
    return ImplicationGraph(direct, origin=source.file)


def _from_recipe(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str | Path):
        return read_implications(resolve_path(value, info))
    if isinstance(value, Mapping):
        # In a table of tags every value is a list: a tag that is called "file" has one as well.
        if isinstance(value.get("file"), str | Path):
            return read_implications(ImplicationSource.model_validate(dict(value), context=info.context))
        return ImplicationGraph(value)
    return value


def _to_recipe(graph: ImplicationGraph) -> Any:
    if isinstance(graph.origin, ImplicationSource):
        return graph.origin.model_dump(mode="json", exclude_defaults=True)
    return graph.edges() if graph.origin is None else str(graph.origin)


class _RecipeSchema:
    """What an editor is told of the three forms."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        table = {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}}
        return {
            "anyOf": [
                {"type": "string", "description": "path of a CSV with e621's columns or of JSON lines"},
                ImplicationSource.model_json_schema(),
                table | {"description": "which tag implies which"},
            ]
        }


Implications = Annotated[
    InstanceOf[ImplicationGraph],
    BeforeValidator(_from_recipe, json_schema_input_type=ImplicationSource | dict[str, list[str]] | str),
    PlainSerializer(_to_recipe),
    _RecipeSchema,
]
"""The type of a field that holds a graph: the path of an export, a table of an `ImplicationSource` (with the
key `file`), or a table of tags and what they imply."""
