"""One text file for each picture, with one caption to a line."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from captionkit.bake.form import Form, percent
from captionkit.bake.variants import Baked, Counts
from captionkit.record import Record
from captionkit.writers.folder import FolderTarget, sidecar_line
from captionkit.writers.pictures import Picture, inside, picture_of
from captionkit.writers.staging import Pictures
from captionkit.writers.target import Losses, Sink

Reader: TypeAlias = Literal["onetrainer", "simpletuner", "kohya"]
"""Which trainer reads the lines."""

EMPTY_WILDCARD = "{|}"
"""What kohya's wildcards read as an empty caption: a choice between nothing and nothing."""

MIRRORED, UNMIRRORED = "mirrored", "unmirrored"


@dataclass(frozen=True)
class Lines(Form):
    """`a.txt` for `a.png`, one caption to a line, in the order of the draws.

    Trainers read lines by rules of their own:
        onetrainer, simpletuner   a line is the caption to the letter; empty lines are passed over, so empty
                                  captions are left out (the advice says how often they came). A picture with
                                  none but these gets a file without a byte, which both read as "";
        kohya                     `enable_wildcard = true`: a line is drawn, then `{a|b}` in it is drawn, and
                                  `{{` stands for `{`. So braces are doubled, and an empty caption is `{|}`.
    A line break inside a caption is written as a space.

    With `split` there are two folders, `mirrored` for pictures that may be, and `unmirrored`; with `subsets`
    there are more of them, as `part_of` names them. Pictures stay where they are, or are
    copied or linked from `root`, the folder at which the records' paths begin.
    """

    path: Path
    root: Path
    reader: Reader = "onetrainer"
    pictures: Pictures = "stay"
    split: bool = False
    overwrite: bool = False
    subsets: bool = False

    def picture(self, record: Record, losses: Losses) -> Picture | None:
        """Where the record's picture goes; None, and a note, where it cannot."""
        return (inside if self.pictures == "stay" else picture_of)(record, self.root, losses)

    def encode(self, baked: Iterable[Baked]) -> bytes:
        """The records as one chunk."""
        return b"".join(
            sidecar_line(self._placed(one), {".txt": lines_of(one.texts, self.reader)}) for one in baked
        )

    def _placed(self, one: Baked) -> Picture:
        source, place = one.picture
        if not self.split:
            return one.picture
        part = part_of(one) if self.subsets else MIRRORED if one.may_flip else UNMIRRORED
        return Picture(source, f"{part}/{place}")

    def open(self) -> AbstractContextManager[Sink]:
        """Open for writing; leaving the context finishes it."""
        return FolderTarget(self.path, self.root, self.pictures, overwrite=self.overwrite).open()

    def advice(self, count: Counts) -> list[str]:
        """What to set in the trainer."""
        lines = _settings(self.reader, self._where, count)
        if self.reader != "kohya" and count.empty:
            lines.append(_dropout(self.reader, count))
        if self.reader != "simpletuner":  # It mirrors nothing.
            lines += self._flips(count)
        return lines

    @property
    def _where(self) -> str:
        laid = "" if self.pictures != "stay" else " once the pictures lie beside the texts"
        return f"{self.path}{laid}"

    def _flips(self, count: Counts) -> list[str]:
        if self.split:
            return [f"mirror the folder {MIRRORED!r} only: {count.may_flip:,} of {count.pictures:,} pictures"]
        if count.may_flip == count.pictures:
            return []
        return [
            f"{count.pictures - count.may_flip:,} of {count.pictures:,} pictures must not be mirrored:"
            f" no random flip, or bake with --split and mirror the folder {MIRRORED!r} only"
        ]


def part_of(one: Baked) -> str:
    """The name of the subset that a picture belongs to: `mirrored-10x` for one that an epoch takes ten times,
    `unmirrored-reg` for one that is there for regularization."""
    repeats = f"-{one.repeats}x" if one.repeats > 1 else ""
    return f"{MIRRORED if one.may_flip else UNMIRRORED}{repeats}{'-reg' if one.is_reg else ''}"


def lines_of(texts: Iterable[str], reader: Reader) -> str:
    r"""The text of one file.

    >>> lines_of(["a {b}", ""], "kohya"), lines_of(["a {b}", ""], "onetrainer")
    ('a {{b}}\n{|}\n', 'a {b}\n')
    """
    lines = [text.replace("\r", " ").replace("\n", " ").strip() for text in texts]
    if reader == "kohya":
        lines = [line.replace("{", "{{").replace("}", "}}") or EMPTY_WILDCARD for line in lines]
    return "".join(f"{line}\n" for line in lines if line)


def _settings(reader: Reader, where: str, count: Counts) -> list[str]:
    match reader:
        case "kohya":
            return [
                f'kohya: image_dir = {where}, caption_extension = ".txt", enable_wildcard = true',
                "kohya: no shuffle_caption, caption_prefix, caption_dropout_rate or caption_tag_dropout_rate",
            ]
        case "onetrainer":
            return [
                f"OneTrainer: a concept of {where}, with Include Subdirectories,"
                " Prompt Source = From text file per sample",
                "OneTrainer: no tag shuffling, tag dropout or capitalization;"
                f" where texts are cached, Text Variations = {count.k}",
            ]
        case "simpletuner":
            return [
                f'SimpleTuner: "instance_data_dir": {where}, "caption_strategy": "textfile"',
                "SimpleTuner: no caption_shuffle and no caption_filter_list",
            ]


def _dropout(reader: Reader, count: Counts) -> str:
    setting = (
        "caption_dropout_probability" if reader == "simpletuner" else "the text encoder's Dropout Probability"
    )
    return (
        f"{count.empty:,} of {count.texts:,} captions are empty and no line can say so: {setting}"
        f" = {count.empty_share:.3g} has the same effect ({percent(count.empty_share)})"
    )
