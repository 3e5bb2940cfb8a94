"""A data set for kohya's sd-scripts: a configuration with two subsets, one of which is mirrored."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from captionkit.bake.form import Form, quoted
from captionkit.bake.json_object import JsonObject
from captionkit.bake.lines import MIRRORED, Lines, lines_of, part_of
from captionkit.bake.variants import Baked, Counts
from captionkit.record import Record
from captionkit.writers.pictures import Picture
from captionkit.writers.staging import Pictures, Staging, staging
from captionkit.writers.target import Losses, Sink

CONFIG = "dataset.toml"

_HEAD = """\
# Captions by captionkit bake, for sd-scripts: --dataset_config {config}
# Everything about captions is decided: shuffle_caption, keep_tokens, the dropout rates, caption_prefix,
# caption_suffix, secondary_separator and token_warmup_* stay out of this file and off the command line.
[general]
enable_wildcard = true

[[datasets]]
# Yours, here or on the command line:
# resolution = 512
# batch_size = 4
# enable_bucket = true
"""


@dataclass(frozen=True)
class KohyaDataset(Form):
    """A folder with `dataset.toml` for sd-scripts: one subset of the pictures that may be mirrored, which has
    `flip_aug = true`, and one of the others; the facts `kohya.num_repeats`, `kohya.is_reg` part them more.

    With pictures "stay", the texts are `mirrored.json` and `unmirrored.json`, metadata as kohya's own tools
    write it: of train_network.py, fine_tune.py and the sdxl_ ones. With "copy" or "link" there are two
    folders with pictures and `.txt` files: of train_db.py, train_network.py and the sdxl_ ones; each folder
    inside them is a subset, as sd-scripts looks into no folder below one.

    Texts are written for `enable_wildcard = true` (`Lines` says how).
    """

    path: Path
    root: Path
    pictures: Pictures = "stay"
    overwrite: bool = False

    def picture(self, record: Record, losses: Losses) -> Picture | None:
        """Where the record's picture goes; None, and a note, where it cannot."""
        picture = self._lines.picture(record, losses)
        if picture is not None and self.pictures == "stay" and picture.source != picture.place:
            losses.leave_out("records whose picture lies in a tar, which sd-scripts cannot read", record.id)
            return None
        return picture

    @property
    def _lines(self) -> Lines:
        return Lines(self.path, self.root, "kohya", self.pictures, True, self.overwrite, subsets=True)

    def encode(self, baked: Iterable[Baked]) -> bytes:
        """The records as one chunk."""
        if self.pictures != "stay":
            return self._lines.encode(baked)
        rows = (
            [
                part_of(one),
                one.picture.source,
                lines_of(one.texts, "kohya").rstrip("\n"),
            ]
            for one in baked
        )
        return "".join(json.dumps(row) + "\n" for row in rows).encode()

    @contextmanager
    def open(self) -> Iterator[Sink]:
        """Open for writing; leaving the context finishes it."""
        if self.pictures == "stay":
            with staging(self.path, overwrite=self.overwrite) as files:
                sink = _Metadata(self, files)
                yield sink
                sink.finish()
            return
        with staging(self.path, overwrite=self.overwrite) as files, self._lines.open() as lines:
            folders = _Folders(lines)
            yield folders
            files.write(CONFIG, _config(folders.subsets(self.path)).encode())

    def advice(self, count: Counts) -> list[str]:
        """What to set in the trainer."""
        lines = [
            f"kohya: --dataset_config {self.path / CONFIG}, and set resolution and batch_size in it",
            "kohya: nothing else about captions, neither there nor on the command line",
            f"kohya: flip_aug mirrors half of the draws of {count.may_flip:,} of {count.pictures:,} pictures;"
            " the others are never mirrored",
        ]
        if self.pictures == "stay":
            lines.append(
                "kohya: fine_tune.py needs --cache_latents with metadata; train_db.py: --pictures link"
            )
        return lines


class _Folders(Sink):
    """Texts beside pictures; takes note of the folders that there are."""

    def __init__(self, lines: Sink) -> None:
        self._lines = lines
        self._folders: set[str] = set()

    def append(self, chunk: bytes) -> None:
        """Write one chunk."""
        for line in chunk.splitlines():
            self._folders.add(json.loads(line)[0][1].rpartition("/")[0])
        self._lines.append(chunk)

    def subsets(self, path: Path) -> list[tuple[str, list[str]]]:
        """The part that each belongs to, and its lines of TOML."""
        return [
            (
                folder.split("/")[0],
                [f"image_dir = {quoted(_absolute(path / folder))}", 'caption_extension = ".txt"'],
            )
            for folder in sorted(self._folders)
        ]


class _Metadata(Sink):
    """A file of metadata for each part, one entry to a line."""

    def __init__(self, form: KohyaDataset, files: Staging) -> None:
        self._form, self._files = form, files
        self._objects: dict[str, JsonObject] = {}

    def append(self, chunk: bytes) -> None:
        """Write one chunk."""
        by_name: dict[str, list[tuple[str, object]]] = {}
        for line in chunk.splitlines():
            part, place, caption = json.loads(line)
            # sd-scripts of all ages find a picture by its absolute path.
            entry = (_absolute(self._form.root / place).as_posix(), {"caption": caption})
            by_name.setdefault(part, []).append(entry)
        for name, entries in by_name.items():
            if name not in self._objects:
                self._objects[name] = JsonObject(self._files, f"{name}.json")
            self._objects[name].append(entries)

    def finish(self) -> None:
        """Give them their names, and write the configuration."""
        subsets: list[tuple[str, list[str]]] = []
        for name, each in sorted(self._objects.items()):
            each.finish()
            file = _absolute(self._form.path / f"{name}.json")
            image_dir = f"image_dir = {quoted(_absolute(self._form.root))}"
            subsets.append((name, [image_dir, f"metadata_file = {quoted(file)}"]))
        self._files.write(CONFIG, _config(subsets).encode())


def _config(subsets: Iterable[tuple[str, list[str]]]) -> str:
    pieces = [_HEAD.format(config=CONFIG)]
    for part, lines in subsets:
        name, *marks = part.split("-")
        body = [*lines, f"flip_aug = {'true' if name == MIRRORED else 'false'}"]
        body += ["is_reg = true" if mark == "reg" else f"num_repeats = {mark[:-1]}" for mark in marks]
        pieces.append("\n".join(["", "  [[datasets.subsets]]", *(f"  {line}" for line in body), ""]))
    return "".join(pieces)


def _absolute(path: Path) -> Path:
    """sd-scripts is started from elsewhere."""
    return Path(os.path.abspath(path))
