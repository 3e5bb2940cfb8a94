"""Pages on which a person answers questions about pictures, by keyboard, and takes the corrections home.

A page stands alone: pictures, style and script are in it, it asks no server, and what was answered stays in
the browser's storage until it is downloaded as ``corrections.jsonl``.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captionkit import Record
from trainkit.errors import TrainkitError
from trainkit.manifest_pictures import ManifestPictures
from trainkit.pages import page, thumbnail
from trainkit.tagging.questions import Question
from trainkit.whole_file import replace_whole

_TEMPLATE = Path(__file__).parent / "review.html"
_SIDE_PX = 448
_MOST_BYTES = 6_000_000
"""Pictures on one page, as text; a browser on a phone holds that with ease."""
_MOST_TAGS = 60


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What became of questions."""

    paths: tuple[Path, ...]
    """The pages, in order; none where there was nothing to ask."""
    asked: int
    problems: tuple[str, ...]
    """Pictures that could not be shown, about which nothing is asked."""


def write_review(
    folder: Path, title: str, why: str, questions: Sequence[Question], pictures: ManifestPictures
) -> Reviewed:
    """Write ``review.html``, and ``review-2.html`` and so on where one page would grow too large.

    ``why`` says in a sentence which questions these are. Raises TrainkitError when a page cannot be written.
    """
    shown: dict[int, dict[str, Any]] = {}
    problems = []
    for seen in pictures.images(dict.fromkeys(question.row for question in questions)):
        if seen.image is None or seen.record is None:
            problems.append(str(seen.problem))
        else:
            shown[seen.row] = _picture(seen.record, thumbnail(seen.image, _SIDE_PX))
    asked = [question for question in questions if question.row in shown]
    parts = _split(asked, {row: len(picture["src"]) for row, picture in shown.items()})
    names = ["review.html", *(f"review-{number}.html" for number in range(2, len(parts) + 1))][: len(parts)]
    for number, part in enumerate(parts):
        html = page(
            _TEMPLATE,
            title=title,
            why=why,
            data=_data(part, shown, number),
            names=names,
            number=number,
        )
        write_page(folder / names[number], html)
    for old in _later_pages(folder, len(parts)):
        old.unlink(missing_ok=True)
    return Reviewed(tuple(folder / name for name in names), len(asked), tuple(problems))


def _picture(record: Record, source: str) -> dict[str, Any]:
    return {
        "id": record.id,
        "src": source,
        "tags": [tag.name for tag in record.tags[:_MOST_TAGS]],
        "more": max(0, len(record.tags) - _MOST_TAGS),
    }


def _split(questions: Iterable[Question], sizes: dict[int, int]) -> list[list[Question]]:
    """Pages of questions; a picture that is asked about twice on a page is in it once."""
    parts: list[list[Question]] = []
    rows: set[int] = set()
    total = 0
    for question in questions:
        more = 0 if question.row in rows else sizes[question.row]
        if not parts or total + more > _MOST_BYTES:
            parts.append([])
            rows, total, more = set(), 0, sizes[question.row]
        parts[-1].append(question)
        rows.add(question.row)
        total += more
    return parts


def _data(questions: Sequence[Question], shown: dict[int, dict[str, Any]], number: int) -> dict[str, Any]:
    """What the script works with. ``mark`` names these very questions: answers to others are not mixed in."""
    pictures = {row: shown[row] for row in dict.fromkeys(question.row for question in questions)}
    places = {row: place for place, row in enumerate(pictures)}
    asked = [
        {
            "picture": places[question.row],
            "subject": question.subject,
            "answers": question.answers,
            "said": question.said,
            "labelled": question.labelled,
            "score": None if question.score is None else round(question.score, 4),
        }
        for question in questions
    ]
    named = [[shown[question.row]["id"], question.subject, *question.answers] for question in questions]
    mark = hashlib.blake2b(json.dumps(named).encode("utf-8"), digest_size=8).hexdigest()
    file = "corrections.jsonl" if number == 0 else f"corrections-{number + 1}.jsonl"
    return {"mark": mark, "file": file, "pictures": list(pictures.values()), "questions": asked}


def make_writable(folder: Path) -> None:
    """Make a folder where there is none. Raises TrainkitError when nothing can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise TrainkitError(
            f"{folder} cannot be written: {error.strerror or error}; -o FOLDER says where else"
        ) from error


def write_page(path: Path, html: str) -> None:
    """Write a page, whole or not at all. Raises TrainkitError."""
    try:
        replace_whole(path, html.encode("utf-8", "replace"))
    except OSError as error:
        raise TrainkitError(
            f"{path} cannot be written: {error.strerror or error}; -o FOLDER says where else"
        ) from error


def _later_pages(folder: Path, kept: int) -> list[Path]:
    """Pages of an earlier, longer review; they would be taken for part of this one."""
    numbers = (path.stem.removeprefix("review-") for path in folder.glob("review-*.html"))
    later = [folder / f"review-{n}.html" for n in numbers if n.isdecimal() and int(n) > kept]
    return later if kept else [folder / "review.html", *later]
