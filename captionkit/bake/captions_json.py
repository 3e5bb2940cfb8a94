"""`captions.json` in each folder of pictures, as diffusion-pipe reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from captionkit.bake.form import Form, percent
from captionkit.bake.json_object import JsonObject
from captionkit.bake.variants import Baked, Counts
from captionkit.record import Record
from captionkit.writers.pictures import Picture, inside, picture_of
from captionkit.writers.staging import Bringing, Pictures, Staging, staging
from captionkit.writers.target import Losses, Sink

NAME = "captions.json"


@dataclass(frozen=True)
class CaptionsJson(Form):
    """In each folder one `captions.json`: {"a.png": ["...", "..."], ...}, captions to the letter.

    diffusion-pipe looks for a picture's own name in the file beside it, and reads a folder without those
    below it, so that each folder is a `[[directory]]`. One of its epochs uses every caption once.
    Pictures stay where they are, or are copied or linked from `root`, where the records' paths begin.
    """

    path: Path
    root: Path
    pictures: Pictures = "stay"
    overwrite: bool = False

    def picture(self, record: Record, losses: Losses) -> Picture | None:
        """Where the record's picture goes; None, and a note, where it cannot."""
        return (inside if self.pictures == "stay" else picture_of)(record, self.root, losses)

    def encode(self, baked: Iterable[Baked]) -> bytes:
        """The records as one chunk."""
        return "".join(json.dumps([one.picture, one.texts]) + "\n" for one in baked).encode()

    @contextmanager
    def open(self) -> Iterator[Sink]:
        """Open for writing; leaving the context finishes it."""
        with staging(self.path, overwrite=self.overwrite) as files:
            sink = _Captions(self, files)
            try:
                yield sink
                sink.finish()
            finally:
                sink.close()

    def advice(self, count: Counts) -> list[str]:
        """What to set in the trainer."""
        where = (
            self.path
            if self.pictures != "stay"
            else f"{self.root} (once each {NAME} lies beside its pictures)"
        )
        lines = [
            f"diffusion-pipe: a [[directory]] for each folder with pictures in {where}",
            "diffusion-pipe: num_repeats = 1, as fewer repeats never come to the later captions;"
            f" one epoch is {count.k} passes, so divide epochs by {count.k}",
            "diffusion-pipe: no shuffle_tags, cache_shuffle_num or caption_prefix",
        ]
        if count.empty:
            share = percent(count.empty / count.texts)
            lines.append(f"diffusion-pipe: uncond_fraction = 0: {share} of the captions are empty already")
        return lines


class _Captions(Sink):
    """A file for every folder."""

    def __init__(self, form: CaptionsJson, files: Staging) -> None:
        self._form, self._files = form, files
        self._bringing = Bringing(form.root, form.pictures, files)
        self._objects: dict[str, JsonObject] = {}

    def append(self, chunk: bytes) -> None:
        """Write one chunk."""
        by_folder: dict[str, list[tuple[str, object]]] = {}
        for line in chunk.splitlines():
            (source, place), texts = json.loads(line)
            folder, _, name = place.rpartition("/")
            by_folder.setdefault(folder, []).append((name, texts))
            self._bringing.bring(Picture(source, place))
        for folder, entries in by_folder.items():
            if folder not in self._objects:
                self._objects[folder] = JsonObject(self._files, f"{folder}/{NAME}" if folder else NAME)
            self._objects[folder].append(entries)

    def finish(self) -> None:
        """Give every file its name."""
        for each in self._objects.values():
            each.finish()

    def close(self) -> None:
        """Close what is open."""
        self._bringing.close()
