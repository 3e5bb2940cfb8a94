"""Rules about what the recipe names and the data does not have."""

from __future__ import annotations

from collections.abc import Iterator

from captionkit.lint.findings import WRONG_DATA, Finding, Severity
from captionkit.load import PRESET_FOLDER, preset
from captionkit.pipeline import CaptionPipeline
from captionkit.stats.mentions import mentions
from captionkit.stats.result import Stats, Unmatched
from captionkit.stats.unmatched import SUBSET, said

NUM_EXAMPLES = 5


def unmatched(stats: Stats, pipeline: CaptionPipeline) -> Iterator[Finding]:
    """Patterns, aliases, categories and facts that nothing in the data answers to, by field.

    A name that is nearly that of a tag is a warning; patterns that ask for more than one tag, what a preset
    names and what nothing is near to are for data of any kind.
    """
    written: dict[str, int] = {}
    for mention in mentions(pipeline):
        written[mention.where] = written.get(mention.where, 0) + 1
    fields: dict[str, list[Unmatched]] = {}
    for one in stats.unmatched:
        if one.kind != "fact" or one.what != SUBSET:
            fields.setdefault(one.where, []).append(one)
    of_presets = _of_presets() if fields else frozenset()
    for where, found in fields.items():
        own = [one for one in found if (one.where, one.what) not in of_presets]
        near = [one for one in own if one.near]
        likely = any("*" not in one.what for one in near)
        yield Finding(
            severity=Severity.WARNING if likely else Severity.NOTE,
            code="unmatched",
            message=_message(where, len(found), written.get(where, len(found))),
            count=len(found),
            of=written.get(where, len(found)),
            unit="names of the recipe",
            examples=tuple(map(_example, [*near, *(one for one in found if one not in near)][:NUM_EXAMPLES])),
            do=_do(where, near, preset=not own),
        )


def wrong_data(stats: Stats, pipeline: CaptionPipeline) -> Iterator[Finding]:
    """A recipe of a kohya dataset TOML over data that was not read by it."""
    where = [one.where for one in stats.unmatched if one.kind == "fact" and one.what == SUBSET]
    if where:
        yield Finding(
            severity=Severity.ERROR,
            code=WRONG_DATA,
            message="this recipe is for the pictures of a kohya dataset TOML: its steps ask for the subset "
            f"that a picture is of (fact {SUBSET}), which no record has",
            count=stats.num_records,
            of=stats.num_records,
            unit="records",
            examples=tuple(where[:NUM_EXAMPLES]),
            do="give that TOML as DATA: captionkit lint RECIPE dataset.toml",
        )


def _of_presets() -> frozenset[tuple[str, str]]:
    """What the presets name: (field, name)."""
    presets = [preset(path.stem) for path in PRESET_FOLDER.glob("*.toml")]
    return frozenset((one.where, said(one)) for each in presets for one in mentions(each))


def _do(where: str, near: list[Unmatched], *, preset: bool) -> str:
    """What mends the first that is nearly there."""
    if preset:
        return (
            "they are of the preset, for data of any kind. For a list of your own write a recipe with the "
            "preset and its settings (preset, no_flip, important), or take the preset as a file and change "
            "that: captionkit.dump_toml(captionkit.preset(...)) is its text"
        )
    if not near:
        return f"take them out of `{where}`, or leave them for data to come"
    what, meant = near[0].what, near[0].near[0]
    if near[0].kind == "fact":
        what = what.partition("=")[2]
    why = "if parts of words are meant: `*` keeps words whole" if "**" in meant else "if that was meant"
    return f"write {meant!r} for {what!r} in `{where}` {why}"


def _message(where: str, missing: int, of: int) -> str:
    if of == 1:
        return f"what `{where}` names is not in the data"
    if missing == of:
        return f"nothing of what `{where}` names is in the data"
    return f"{missing} of the {of} that `{where}` names {'is' if missing == 1 else 'are'} not in the data"


def _example(one: Unmatched) -> str:
    return f"{one.what} (near: {', '.join(one.near)})" if one.near else one.what
