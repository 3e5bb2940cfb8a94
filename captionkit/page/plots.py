"""The plots of a page, as Vega-Lite specifications; their colours are names of the page's theme."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from captionkit.needs import needed
from captionkit.stats.result import Share, Stats, TagStats
from captionkit.stats.shown_tag import percent

TOP = 24
"""So many tags stand in a plot by tag."""
DOTS = 1500
"""So many dots stand in a plot of dots, those of the most frequent tags."""
CHUNK = 75
"""Tokens that a text encoder of CLIP's kind takes at once."""
MARKS = 6
"""So many ends of chunks are marked; more labels would overprint each other on a telephone."""

BEFORE, AFTER = "in the data", "in trained captions"


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot: its Vega-Lite specification and the words around it."""

    key: str
    title: str
    says: str
    """What is seen there, in words; it is also the text for who cannot see the plot."""
    spec: dict[str, Any]


def plots(stats: Stats) -> tuple[Plot, ...]:
    """All plots for which there is something to show, in the order of the page."""
    made = (
        _shares(stats),
        _kept(stats),
        _lengths(stats),
        _sources(stats),
        _forbidden(stats),
        _alone(stats),
        _neighbours(stats),
    )
    return tuple(plot for plot in made if plot is not None)


def _alt() -> Any:
    return needed("altair", "report", "drawing plots")


def _shares(stats: Stats) -> Plot | None:
    pairs = [(tag.name, tag.data, tag.trained) for tag in stats.tags[:TOP]]
    if not pairs:
        return None
    return Plot(
        "shares",
        "How often a tag is seen",
        f"Share of the records that have a tag, and of the trained captions that say it; the {len(pairs)} "
        "most frequent tags. The band is where the true share lies in 95 cases of 100.",
        _pairs(pairs, "share"),
    )


def _kept(stats: Stats) -> Plot | None:
    """Tags at one place are one dot, whose size says how many they are."""
    places: dict[tuple[int, float, bool], list[TagStats]] = {}
    for tag in stats.tags:
        if tag.kept.of:
            places.setdefault((tag.count, round(tag.kept.value, 2), tag.important), []).append(tag)
    if len(places) < 3:
        return None
    alt = _alt()
    rows = [_kept_row(tags) for tags in list(places.values())[:DOTS]]
    sorts, colours = ["other tags", "important tags"], ["var(--after)", "var(--imp)"]
    x = alt.X("count:Q", scale=alt.Scale(type="log", nice=False, padding=12), title="records with the tag")
    y = alt.Y("kept:Q", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1], padding=8), title="kept")
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_circle(opacity=0.6)
        .encode(
            x=x,
            y=y,
            size=alt.Size("tags:Q", scale=alt.Scale(type="sqrt", range=[26, 620]), legend=None),
            color=alt.Color("sort:N", title=None, scale=alt.Scale(domain=sorts, range=colours)),
            tooltip=[
                alt.Tooltip("which:N", title="tags"),
                alt.Tooltip("count:Q", title="records"),
                alt.Tooltip("kept:Q", format=".1%"),
                alt.Tooltip("interval:N"),
            ],
        )
        .properties(width="container", height=300)
    )
    return Plot(
        "kept",
        "How often a tag is kept",
        "Of the captions whose record has a tag, the share that says it, by how frequent the tag is. The "
        "larger a dot, the more tags are there. Rare tags scatter, since few captions were drawn of them.",
        chart.to_dict(),
    )


def _kept_row(tags: Sequence[TagStats]) -> dict[str, Any]:
    first, more = tags[0], f" and {len(tags) - 3:,} more" if len(tags) > 3 else ""
    return {
        "which": ", ".join(tag.name for tag in tags[:3]) + more,
        "tags": len(tags),
        "count": first.count,
        "kept": round(first.kept.value, 4),
        "sort": "important tags" if first.important else "other tags",
        "interval": said_interval(first.kept),
    }


def _lengths(stats: Stats) -> Plot | None:
    bins = stats.lengths.histogram
    if not bins:
        return None
    alt = _alt()
    width = bins[1][0] - bins[0][0] if len(bins) > 1 else 1
    rows = [{"from": first, "to": first + width, "captions": captions} for first, captions in bins]
    end = bins[-1][0] + width
    budget = stats.budget.max_tokens
    near = budget is not None and budget <= end * 1.6
    span = max([end, *([budget] if near and budget else [])])
    x = alt.X(
        "from:Q",
        bin="binned",
        title="tokens",
        scale=alt.Scale(domain=[0, span], nice=False),
        axis=alt.Axis(grid=False),
    )
    bars = (
        alt.Chart(alt.Data(values=rows))
        .mark_bar(binSpacing=1)
        .encode(
            x=x,
            x2="to:Q",
            y=alt.Y("captions:Q", title="captions"),
            tooltip=[alt.Tooltip("from:Q"), alt.Tooltip("to:Q", title="below"), alt.Tooltip("captions:Q")],
        )
    )
    each = max(1, -(-span // (MARKS * CHUNK)))
    marks = range(each * CHUNK, span + 1, each * CHUNK)
    inside = [{"at": at, "what": f"{at // CHUNK} x {CHUNK}"} for at in marks]
    layers = [bars]
    if inside:
        lines = alt.Chart(alt.Data(values=inside)).encode(x="at:Q")
        layers += [
            lines.mark_rule(strokeDash=[4, 4], stroke="var(--soft)"),
            lines.mark_text(align="left", baseline="top", dx=3, fill="var(--soft)").encode(
                y=alt.value(0), text="what:N"
            ),
        ]
    if near:
        limit = alt.Chart(alt.Data(values=[{"at": budget, "what": "budget"}])).encode(x="at:Q")
        layers += [limit.mark_rule(stroke="var(--limit)", strokeWidth=2)]
    told = "no budget" if budget is None else f"budget {budget} tokens, which cut {percent(stats.budget.cut)}"
    mean = (
        f"mean {stats.lengths.mean:.0f}, longest {stats.lengths.percentiles[-1][1]}"
        if stats.lengths.percentiles
        else ""
    )
    return Plot(
        "lengths",
        "How long captions are",
        f"Tokens of the trained captions: {mean}; {told}. Counted by: {stats.lengths.counter}. Dashed lines "
        f"are ends of chunks of {CHUNK} tokens.",
        alt.layer(*layers).properties(width="container", height=260).to_dict(),
    )


def _sources(stats: Stats) -> Plot | None:
    if not stats.sources:
        return None
    return Plot(
        "sources",
        "Where the text comes from",
        f"Share of the trained captions by source; {percent(stats.empty)} are empty.",
        _bars(stats.sources, "of the trained captions"),
    )


def _forbidden(stats: Stats) -> Plot | None:
    pairs = stats.flips.forbidden_by[:TOP]
    if not pairs:
        return None
    return Plot(
        "forbidden",
        "What forbids mirroring",
        f"{percent(stats.flips.may)} of the records may be mirrored, {percent(stats.flips.mirrored)} of the "
        "trained captions are. Each record that may not counts at the first pattern that forbids it.",
        _bars(pairs, "of all records"),
    )


def _alone(stats: Stats) -> Plot | None:
    rows = [(tag.name, tag.alone.before, tag.alone.after) for tag in stats.tags if tag.alone is not None][
        :TOP
    ]
    if not rows:
        return None
    return Plot(
        "alone",
        "Alone, without what it implies",
        "How often a tag stands without any of the tags that it implies: what lets a model tell the two "
        f"apart. The {len(rows)} most frequent tags that imply one.",
        _pairs(rows, "of those with the tag"),
    )


def _neighbours(stats: Stats) -> Plot | None:
    rows = [
        (f"{tag.name} + {tag.neighbour.name}", tag.neighbour.before, tag.neighbour.after)
        for tag in stats.tags
        if tag.neighbour is not None and tag.neighbour.before.of
    ][:TOP]
    if not rows:
        return None
    return Plot(
        "neighbours",
        "With its commonest neighbour",
        "How often a tag comes together with the tag that it comes with most; the "
        f"{len(rows)} most frequent tags.",
        _pairs(rows, "of those with the tag"),
    )


def _pairs(rows: Sequence[tuple[str, Share, Share]], title: str) -> dict[str, Any]:
    """Two dots and the way between them for each row: before and after."""
    alt = _alt()
    values = []
    for name, before, after in rows:
        low, high = after.interval
        shared = {"tag": name, "before": before.value, "after": after.value, "low": low, "high": high}
        for where, share in ((BEFORE, before), (AFTER, after)):
            values.append(
                shared
                | {"where": where, "share": round(share.value, 5)}
                | {"said": f"{percent(share)} ({share.hits:,} of {share.of:,})"}
            )
    order = [name for name, _, _ in rows]
    y = alt.Y("tag:N", sort=order, title=None, axis=alt.Axis(labelLimit=150, labelOverlap=False))
    data = alt.Chart(alt.Data(values=values))
    link = data.mark_rule(stroke="var(--link)", strokeWidth=2).encode(x="before:Q", x2="after:Q", y=y)
    span = data.transform_filter(f"datum.where === '{AFTER}'").mark_rule(
        stroke="var(--span)", strokeWidth=9, strokeCap="round"
    )
    dots = data.mark_circle(size=80, opacity=1).encode(
        x=alt.X("share:Q", axis=alt.Axis(format="%"), title=title),
        y=y,
        color=alt.Color("where:N", title=None, scale=alt.Scale(domain=[BEFORE, AFTER])),
        tooltip=[
            alt.Tooltip("tag:N"),
            alt.Tooltip("where:N", title="where"),
            alt.Tooltip("said:N", title="share"),
        ],
    )
    layers = alt.layer(link, span.encode(x="low:Q", x2="high:Q", y=y), dots)
    spec: dict[str, Any] = layers.properties(width="container", height=19 * len(rows)).to_dict()
    return spec


def _bars(rows: Sequence[tuple[str, Share]], title: str) -> dict[str, Any]:
    """A bar for each row, with its share behind it."""
    alt = _alt()
    top = max(share.value for _, share in rows)
    values = [
        {"what": what, "share": round(share.value, 5), "said": percent(share)}
        | {"count": f"{share.hits:,} of {share.of:,}", "interval": said_interval(share)}
        for what, share in rows
    ]
    y = alt.Y("what:N", sort=[what for what, _ in rows], title=None, axis=alt.Axis(labelLimit=150))
    x = alt.X(
        "share:Q",
        axis=alt.Axis(
            format="%", labelExpr="datum.value > 1 ? '' : datum.label"
        ),  # Room for words, no share.
        title=title,
        scale=alt.Scale(domain=[0, top * 1.18 or 1.0]),
    )
    tooltip = [
        alt.Tooltip("what:N"),
        alt.Tooltip("said:N", title="share"),
        alt.Tooltip("count:N"),
        alt.Tooltip("interval:N"),
    ]
    data = alt.Chart(alt.Data(values=values)).encode(y=y, x=x, tooltip=tooltip)
    layers = alt.layer(
        data.mark_bar(cornerRadiusEnd=3, height={"band": 0.72}),
        data.mark_text(align="left", dx=5, fill="var(--soft)").encode(text="said:N"),
    )
    spec: dict[str, Any] = layers.properties(width="container", height=26 * len(rows)).to_dict()
    return spec


def said_interval(share: Share) -> str:
    """The interval of a share in words."""
    if share.exact:
        return "counted"
    low, high = share.interval
    return f"{low:.1%} to {high:.1%}"
