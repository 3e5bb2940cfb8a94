"""One big JSON object written entry by entry, of which only the keys are in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable

from captionkit.errors import DataError
from captionkit.writers.staging import Staging


class JsonObject:
    """A file `{"a": ..., "b": ...}`, one entry to a line. It is open only while it is written to."""

    def __init__(self, files: Staging, name: str) -> None:
        self._files, self._name = files, name
        folder, _, base = name.rpartition("/")
        self._note = files.hidden / folder / f".{base}"
        self._note.parent.mkdir(parents=True, exist_ok=True)
        self._keys: set[str] = set()

    def append(self, entries: Iterable[tuple[str, object]]) -> None:
        """Write some entries. Raises `DataError` for a key that is there."""
        pieces: list[str] = []
        for key, value in entries:
            if key in self._keys:
                raise DataError("two records have this picture", where=key, hint="take one of the two out")
            pieces.append(",\n" if self._keys else "{\n")
            pieces.append(json.dumps({key: value}, ensure_ascii=False)[1:-1])
            self._keys.add(key)
        self._write("".join(pieces))

    def finish(self) -> None:
        """Write the end, and give the file its name."""
        self._write("\n}\n")
        self._files.take(self._note, self._name)

    def _write(self, text: str) -> None:
        with self._note.open("ab") as file:
            file.write(text.encode("utf-8", "replace"))
