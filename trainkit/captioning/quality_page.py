"""The page of a second look at captions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainkit.additions.addition import Addition
from trainkit.captioning.config import CaptionConfig
from trainkit.captioning.quality import Denying, Quality, answer_of
from trainkit.captioning.struck import struck
from trainkit.errors import StoreError
from trainkit.manifest_pictures import ManifestPictures
from trainkit.pages.page import page
from trainkit.pages.thumbnail import thumbnail
from trainkit.whole_file import replace_whole

_HERE = Path(__file__).parent
_SHORT = 160


def write_quality(
    config: CaptionConfig, pictures: ManifestPictures, quality: Quality, path: Path, *, written: bool
) -> None:
    """Write the page. ``written`` says that the manifest has these captions now. Raises OSError."""
    text = page(
        _HERE / "quality.html",
        title=f"captions {config.name}, looked at again",
        name=config.name,
        data=config.data.name,
        quality=quality,
        figures=_figures(quality),
        differing=[_difference(before, now) for before, now in quality.differing],
        denials=_denials(pictures, quality.denials),
        refusals={
            fault: list(dict.fromkeys(_short(answer_of(one)) for one in some))
            for fault, some in quality.refusals.items()
        },
        cleaned=[{"id": one.id, "pieces": struck(_answer(one), _text(one))} for one in quality.cleaned],
        openings=[(words, count) for words, count in quality.openings.most_common(12) if count > 1],
        written=written,
    )
    replace_whole(path, text.encode("utf-8", "replace"))


def _figures(quality: Quality) -> list[tuple[str, str]]:
    return [
        (f"{quality.captioned:,}", "captions pass"),
        (f"{quality.refused:,}", "are refused"),
        *([(f"{quality.failed:,}", "have no answer")] if quality.failed else []),
        (f"{quality.mended:,}", "changed by cleaning"),
        (f"{quality.denying:,}", "deny a tag"),
        (f"{quality.changed:,}", "differ from the manifest"),
    ]


def _difference(before: Addition, now: Addition) -> dict[str, Any]:
    """One caption as it was and as it would be."""
    return {
        "id": now.id,
        "was": [str(fault) for fault in before.detail.get("faults") or ()],
        "faults": [str(fault) for fault in now.detail.get("faults") or ()],
        "pieces": struck(str(before.detail.get("cleaned", "")), str(now.detail.get("cleaned", ""))),
    }


def _denials(pictures: ManifestPictures, denials: list[Denying]) -> list[dict[str, Any]]:
    """The captions that deny a tag, with their pictures; without, where the store does not answer."""
    try:
        seen = list(pictures.images([one.row for one in denials]))
    except StoreError:
        seen = []
    told = []
    for at, one in enumerate(denials):
        image = seen[at].image if seen else None
        record = seen[at].record if seen else None
        told.append(
            {
                "id": one.addition.id,
                "picture": None if image is None else thumbnail(image),
                "text": _text(one.addition),
                "denials": one.denials,
                "tags": [] if record is None else [tag.name for tag in record.tags],
            }
        )
    return told


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 1]}…"


def _text(addition: Addition) -> str:
    return " ".join(piece.text for piece in addition.prose)


def _answer(addition: Addition) -> str:
    return " ".join(answer_of(addition).split())
