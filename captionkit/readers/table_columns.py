"""Whether the columns of a table can make records."""

from __future__ import annotations

from captionkit.errors import DataError
from captionkit.readers.facts import ID_KEY
from captionkit.readers.fields import CAPTION_KEYS, IMAGE_KEYS, TAGS_KEY, misspelt


def check_columns(names: list[str], where: str, *, untagged: bool = False) -> None:
    """Raises `DataError` when no row of a table with these columns can be a record; with `untagged` a record
    needs no tags and captions, but a column that is nearly called so is still one that was misspelt."""
    columns = f"its columns are {', '.join(map(repr, names))}" if names else "it has no columns"
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"has more than one column {' and '.join(map(repr, twice))}; {columns}",
            where=where,
            hint="keep one of them",
        )
    if not any(name in names for name in (TAGS_KEY, *CAPTION_KEYS)):
        meant = misspelt(dict.fromkeys(names), cutoff=0.8 if untagged else 0.6)
        near = "; ".join(f"did {key!r} mean {meant!r}?" for key, meant in meant)
        if near or not untagged:
            raise DataError(
                f"has neither a column of tags nor one of captions; {columns}",
                where=where,
                hint=near or f"call one {TAGS_KEY!r} or {CAPTION_KEYS[0]!r}",
            )
    if not any(name in names for name in (ID_KEY, *IMAGE_KEYS)):
        raise DataError(
            f"has neither a column of ids nor one of pictures; {columns}",
            where=where,
            hint=f"call one {ID_KEY!r} or {IMAGE_KEYS[1]!r}",
        )
