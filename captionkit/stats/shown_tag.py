"""Tags as text for a terminal: a table of many, one in full, and how shares are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from captionkit.screen import Mark, Piece, Screen
from captionkit.stats.result import Share, Stats, TagStats
from captionkit.tables import Column, shortened, table


def percent(share: Share) -> str:
    """A share without its interval; a dash for one of nothing.

    >>> [percent(Share(hits, 10_000)) for hits in (0, 2, 1234, 10_000)], percent(Share(0, 0))
    (['0 %', '0.02 %', '12.3 %', '100 %'], '-')
    """
    return _number(share.value) if share.of else "-"


def percents(share: Share) -> str:
    """A share with half of its interval; both ends instead where that would reach beyond 0 or 100 %, and none
    for none and for all when the interval is narrow.

    >>> percents(Share(1234, 10_000)), percents(Share(1, 8, exact=True)), percents(Share(0, 0))
    ('12.3 % ± 0.6', '12.5 %', '-')
    >>> percents(Share(12, 12)), percents(Share(4, 6716)), percents(Share(0, 6716))
    ('75.8 to 100 %', '0.023 to 0.2 %', '0 %')
    """
    if not share.of or share.exact:
        return percent(share)
    low, high = share.interval
    half = (high - low) / 2
    if share.hits in (0, share.of) and half < 0.0005:
        return percent(share)
    if half > min(share.value, 1.0 - share.value):
        return f"{_number(low).removesuffix(' %')} to {_number(high)}"
    return f"{percent(share)} ± {100 * half:.{1 if half >= 0.0005 else 2}f}"


def _number(value: float) -> str:
    if value in (0.0, 1.0):
        return f"{100 * value:.0f} %"
    if value < 0.001:
        return f"{100 * value:.2g} %"
    # What is not all and not nothing is not written as such.
    return f"{min(100 * value, 99.9):.1f} %"


def tag_table(tags: Sequence[TagStats], screen: Screen) -> list[str]:
    """A table of tags: in the data, in trained captions, kept where a record has them, company."""
    columns = [
        Column("records", [f"{tag.count:,}" for tag in tags]),
        Column("", [percent(tag.data) for tag in tags], spare=3),
        Column("trained", [percents(tag.trained) for tag in tags]),
        Column("kept", [percents(tag.kept) for tag in tags], spare=1),
    ]
    if any(tag.alone is not None for tag in tags):
        columns.append(Column("alone", [_alone(tag) for tag in tags], spare=2))
    columns.append(Column("often with", [_neighbour(tag) for tag in tags], right=False, spare=4))
    return table(Column("tag", [_marked(tag) for tag in tags]), columns, screen)


def _marked(tag: TagStats) -> str:
    return f"{tag.name} *" if tag.important else tag.name


def _alone(tag: TagStats) -> str:
    if tag.alone is None:
        return ""
    return f"{percent(tag.alone.before)} → {percent(tag.alone.after)}" if tag.alone.after.of else ""


def _neighbour(tag: TagStats) -> str:
    if (one := tag.neighbour) is None:
        return ""
    return f"{shortened(one.name, 18)} {percent(one.before)} → {percent(one.after)}"


def tag_lines(stats: Stats, tag: TagStats, screen: Screen) -> Iterator[str]:
    """One tag in full."""
    about = f"· {tag.category or 'no category'}{', important' if tag.important else ''}"
    yield screen.paragraph([Piece(tag.name, Mark.HEAD), Piece(about, Mark.QUIET)], rest="  ")

    def line(label: str, text: str) -> str:
        return screen.paragraph([Piece(text)], first=f"  {label:<16}")

    if tag.count:
        yield line("in the data", f"{tag.count:,} of {stats.num_records:,} records, {percent(tag.data)}")
    else:
        yield line("in the data", "no; the recipe adds it")
    yield line("trained", f"{percents(tag.trained)} of all captions")
    if tag.becomes is not None:
        yield line("called", f"{tag.becomes} by the recipe: its captions count there")
    if tag.kept.of and (tag.becomes is None or tag.kept.hits):
        yield line("kept", f"{percents(tag.kept)} of the captions of records that have it")
    if tag.alone is not None:
        yield line("implies", ", ".join(tag.alone.implies))
        yield line("alone of these", f"{percent(tag.alone.before)} of the records that have it")
        yield line("", f"{percents(tag.alone.after)} of the captions that say it")
    if tag.neighbour is not None:
        yield line("often with", tag.neighbour.name)
        yield line("", f"{percents(tag.neighbour.before)} of the records that have it")
        yield line("", f"{percents(tag.neighbour.after)} of the captions that say it")
    for typo in stats.typos:
        if typo.name == tag.name:
            yield line("looks like", f"{typo.meant}, which {typo.meant_count:,} records have")
    lost = dict(stats.budget.most_lost).get(tag.name)
    if lost:
        yield line("cut", f"{lost:,} times by the token budget")
