"""Who said what stands in a manifest already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainkit.errors import TrainkitError
from trainkit.manifest import Manifest
from trainkit.prepared import read_prepared


def check_free(manifest: Path, name: str) -> None:
    """Raise TrainkitError when the data themselves have tags or captions of this source: an addition owns all
    that bear its name, so that these would be lost."""
    if name in read_prepared(manifest).additions or name not in sources_in(Manifest(manifest)):
        return
    raise TrainkitError(
        f"name is {name!r}: the data themselves have tags or captions of this source, and those of an "
        "addition take their place; choose another name"
    )


def sources_in(manifest: Manifest) -> set[str]:
    """All sources of tags and captions, as the table names them. Seconds for millions of rows."""
    found: set[str] = set()
    for _, batch in manifest.batches():
        for name in ("tags", "captions"):
            if name in batch.schema.names:
                found.update(_sources(batch.column(name)))
    return found


def _sources(column: Any) -> Iterator[str]:
    import pyarrow as pa

    values = column.values
    if not pa.types.is_struct(values.type) or values.type.get_field_index("source") < 0:
        return
    sources = values.field("source")
    if pa.types.is_dictionary(sources.type):
        sources = sources.dictionary  # Nobody else's stand there.
    yield from (source for source in sources.unique().to_pylist() if source is not None)
