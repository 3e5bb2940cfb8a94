"""From figures, findings and cards to one HTML file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from captionkit.lint.findings import Finding
from captionkit.needs import needed
from captionkit.page.cards import Cards
from captionkit.page.gallery import Gallery
from captionkit.page.names import Names
from captionkit.page.plots import Plot, plots
from captionkit.page.words import counted, facts, figures, gallery_note, notes, tags_note
from captionkit.stats.result import Share, Stats, TagStats

FILES = Path(__file__).parent / "files"
MAX_BROKEN = 50
"""So many broken pictures are named on the page."""
MAX_TAGS_SHARE = 0.3
"""The table of tags takes at most this share of the page's bytes."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Everything of a page but its gallery, whose size decides how many pictures fit."""

    stats: Stats
    findings: tuple[Finding, ...]
    plots: tuple[Plot, ...]
    tags: str
    """The rows of the table, as JSON."""
    num_tags: int
    categories: tuple[str, ...]
    made_by: str
    max_mb: float


def frame(stats: Stats, findings: Sequence[Finding], *, made_by: str, max_mb: float) -> Frame:
    """The page without its gallery."""
    categories = Names()
    rows = [_row(tag, categories) for tag in stats.tags]
    room = max_mb * 1e6 * MAX_TAGS_SHARE
    shown = len(rows)
    while shown > 100 and len(told := _json(rows[:shown]).encode()) > room:
        shown = min(shown - 1, int(shown * room / len(told)))
    return Frame(
        stats,
        tuple(findings),
        plots(stats),
        _json(rows[:shown]),
        shown,
        tuple(categories.list()),
        made_by,
        max_mb,
    )


def page(frame: Frame, cards: Cards | None, gallery: Gallery | None) -> str:
    """The whole page as HTML. Texts of the data are escaped by the template or set as text by the script."""
    stats = frame.stats
    script, bundle = _script("page.js"), _bundle()
    shown = gallery.cards if gallery is not None else ()
    broken = gallery.broken if gallery is not None else ()
    note = ""
    if gallery is not None and cards is not None:
        note = gallery_note(len(shown), gallery.num_records, cards.draws, frame.max_mb)
    html: str = template("page.html.j2").render(
        title=Path(stats.recipe).name,
        recipe=stats.recipe,
        data=stats.data,
        facts=list(facts(stats)),
        notes=list(notes(stats)),
        figures=list(figures(stats)),
        findings=frame.findings,
        counted=counted,
        plots=frame.plots,
        tags_note=tags_note(stats, frame.num_tags),
        num_cards=len(shown),
        gallery_note=note,
        broken=broken[:MAX_BROKEN],
        num_broken=len(broken),
        made_by=frame.made_by,
        policy=_policy(script, bundle),
        css=_safe((FILES / "page.css").read_text(encoding="utf-8")),
        values=_safe(_values(frame, cards, shown)),
        bundle=_safe(bundle),
        script=_safe(script),
    )
    return html


def _values(frame: Frame, cards: Cards | None, shown: Sequence[dict[str, Any]]) -> str:
    """What the page's script reads. Inside a script element only `<` could do harm."""
    values = {
        "plots": {plot.key: plot.spec for plot in frame.plots},
        "categories": list(frame.categories),
        "names": cards.names.list() if cards is not None else [],
        "causes": cards.causes.list() if cards is not None else [],
        "cards": list(shown),
    }
    told = _json(values)[:-1] + ',"tags":' + frame.tags + "}"
    return told.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _row(tag: TagStats, categories: Names) -> list[Any]:
    """One row of the table: name, category, records, data, trained, kept, its interval, important, alone,
    neighbour."""
    low, high = tag.kept.interval
    alone = tag.alone and [_short(tag.alone.before), _short(tag.alone.after)]
    near = tag.neighbour
    neighbour = near and [near.name, _short(near.before), _short(near.after)]
    interval = 0 if tag.kept.exact else [round(low, 4), round(high, 4)]
    shares = [_short(tag.data), _short(tag.trained), _short(tag.kept)]
    category = -1 if tag.category is None else categories.number(tag.category)
    return [tag.name, category, tag.count, *shares, interval, int(tag.important), alone or 0, neighbour or 0]


def _short(share: Share) -> float:
    return float(f"{share.value:.4g}")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _script(name: str) -> str:
    return (FILES / name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _bundle() -> str:
    """Vega, Vega-Lite and vega-embed in one script."""
    bundle: str = needed("vl_convert", "report", "drawing plots").javascript_bundle()
    # Inside strings and regular expressions, which is where they can stand, these mean the same.
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _policy(*scripts: str) -> str:
    """What a browser may do for this page: run these scripts, show pictures that stand in it; no network."""
    hashes = " ".join(
        "'sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() + "'"
        for script in scripts
    )
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {hashes}; "
        "base-uri 'none'; form-action 'none'"
    )


def template(name: str) -> Any:
    """A template of `files/`, which escapes what it is given."""
    jinja2 = needed("jinja2", "report", "writing the page")
    loader = jinja2.FileSystemLoader(FILES)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(name)


def _safe(text: str) -> Any:
    """A text of our own that the template must not escape."""
    from markupsafe import Markup  # Comes with jinja2.

    return Markup(text)
