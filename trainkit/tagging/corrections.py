"""What a person said of pictures and tags: ``corrections.jsonl``, as the review pages write it.

    {"id": "fox/001", "tag": "day", "right": true}

``right`` says whether the picture has the tag. A later line outweighs an earlier one; other keys are passed
over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from captionkit.record import fold
from trainkit.additions.addition import can_be_kept
from trainkit.errors import TrainkitError
from trainkit.whole_file import replace_whole

_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Correction:
    """A person says that the picture ``id`` has the tag, or has not."""

    id: str
    tag: str
    right: bool


class Corrections:
    """All that was said, by picture and tag; tags are compared by `captionkit.record.fold`'s spelling."""

    def __init__(self, said: Iterable[Correction] = ()) -> None:
        self._said: dict[str, dict[str, Correction]] = {}
        conflicts: set[tuple[str, str]] = set()
        for correction in said:
            of = self._said.setdefault(correction.id, {})
            key = fold(correction.tag)
            if key in of and of[key].right != correction.right:
                conflicts.add((correction.id, key))
            of[key] = correction
        self.conflicts = len(conflicts)
        """Pairs of picture and tag of which both was said; the last word holds."""

    def get(self, id: str, tag: str) -> bool | None:
        """Whether the picture has the tag; None when nobody said."""
        said = self._said.get(id, {}).get(fold(tag))
        return None if said is None else said.right

    def of(self, id: str) -> tuple[Correction, ...]:
        """All that was said of one picture."""
        return tuple(self._said.get(id, {}).values())

    def __len__(self) -> int:
        return sum(map(len, self._said.values()))

    def __iter__(self) -> Iterator[Correction]:
        return (correction for of in self._said.values() for correction in of.values())


def read_corrections(path: Path, *more: Path) -> Corrections:
    """The corrections of one file, or of several, a later file outweighing an earlier one.

    Raises TrainkitError, with file and line, for what is no correction.
    """
    return Corrections(said for file in (path, *more) for _, said, _ in lines_in(file))


def write_corrections(path: Path, corrections: Iterable[Correction]) -> None:
    """Write a file of corrections, whole or not at all. Raises OSError."""
    lines = [
        json.dumps({"id": said.id, "tag": said.tag, "right": said.right}, ensure_ascii=False) + "\n"
        for said in corrections
    ]
    replace_whole(path, "".join(lines).encode("utf-8"))


def lines_in(path: Path) -> Iterator[tuple[bytes, Correction, str]]:
    """The lines of a file, each with what it says and its place. Raises TrainkitError for no correction."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(_MOST_BYTES + 1), b""), 1):
                if len(line) > _MOST_BYTES:
                    raise TrainkitError(f"{path}:{number}: is longer than {_MOST_BYTES >> 20} MiB")
                if line.strip():
                    where = f"{path}:{number}"
                    yield line, _correction(line, where), where
    except OSError as error:
        raise TrainkitError(f"{path} cannot be read: {error.strerror or error}") from error


def _correction(line: bytes, where: str) -> Correction:
    try:
        told = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TrainkitError(
            f"{where}: is no JSON: {str(error)[:200]}; take the line out, or download the file again"
        ) from error
    wanted = '{"id": text, "tag": text, "right": true or false}'
    if not isinstance(told, dict):
        raise TrainkitError(f"{where}: is {_short(told)}, must be {wanted}")
    for name in ("id", "tag"):
        if not isinstance(told.get(name), str) or not told[name].strip():
            raise TrainkitError(
                f"{where}: {name} is {_short(told.get(name))}, must be text; a line is {wanted}"
            )
        if any("\ud800" <= sign <= "\udfff" for sign in told[name]):
            raise TrainkitError(f"{where}: {name} is {_short(told[name])}, which holds half a character")
    if not isinstance(told.get("right"), bool):
        raise TrainkitError(f"{where}: right is {_short(told.get('right'))}, must be true or false")
    if not can_be_kept(told["tag"]):
        raise TrainkitError(f"{where}: tag is {_short(told['tag'])}; ||| parts the tags of a record")
    return Correction(told["id"], told["tag"].strip(), told["right"])


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
