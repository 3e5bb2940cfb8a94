"""The figures as text for a terminal, in the order in which a person asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from captionkit.screen import Mark, Piece, Screen
from captionkit.stats.added import added
from captionkit.stats.result import Share, Stats, TagStats
from captionkit.stats.shown_tag import percent, percents, tag_lines, tag_table
from captionkit.tables import Column, painted, shortened, table

BAR = 24
"""Columns of the longest bar."""
LOST = 5
"""So many tags that the budget took are named."""


def stats_text(stats: Stats, screen: Screen, *, top: int) -> str:
    """All sections; of tags, typos and what is unmatched as many as `top`."""
    sections = [
        _head(stats, screen),
        _sources(stats, screen),
        _lengths(stats, screen),
        _flips(stats, screen, top),
        _tags(stats, screen, top),
        _made(stats, screen, top),
        _unmatched(stats, screen, top),
        _typos(stats, screen, top),
    ]
    return "\n\n".join("\n".join(lines) for section in sections if (lines := list(section)))


def tag_text(stats: Stats, tag: TagStats, screen: Screen) -> str:
    """One tag in full."""
    return "\n".join(tag_lines(stats, tag, screen))


def _title(text: str, screen: Screen) -> str:
    return screen.paragraph([Piece(text, Mark.HEAD)])


def _said(text: str, screen: Screen) -> str:
    return screen.paragraph([Piece(text)], first="  ")


def _head(stats: Stats, screen: Screen) -> Iterator[str]:
    yield screen.paragraph([Piece(f"{stats.recipe} over {stats.data}", Mark.HEAD)], rest="  ")
    each = stats.num_tags_on_records / stats.num_records
    parts = [f"{stats.num_records:,} records, {each:.1f} tags on each, {stats.num_tags:,} different"]
    if stats.num_without_tags:
        parts.append(f"{stats.num_without_tags:,} without a tag")
    if stats.num_without_prose == stats.num_records:
        parts.append("no captions in sentences")
    else:
        having = Share(stats.num_records - stats.num_without_prose, stats.num_records, exact=True)
        parts.append(f"{percent(having)} with a caption in sentences")
    if stats.num_skipped:
        parts.append(f"{stats.num_skipped:,} more could not be read")
    yield _said("; ".join(parts), screen)
    if stats.num_repeated:
        repeated = f"kohya.num_repeats of {stats.num_repeated:,} records is not counted in"
        yield _said(f"each record counts once; {repeated}", screen)
    some = "all" if stats.num_sampled == stats.num_records else f"{stats.num_sampled:,}"
    place = f"epoch {stats.epoch}"
    if stats.changes:
        place += f", {stats.samples:,} samples seen"
    drawn = f"trained captions: {stats.draws} draws of {some} records, {place}, seed {stats.seed}"
    yield screen.paragraph([Piece(f"{drawn}; intervals are of 95 %", Mark.QUIET)], first="  ")
    if stats.changes:
        yield _said("the recipe changes over the run: --epoch and --samples show other moments", screen)


def _sources(stats: Stats, screen: Screen) -> Iterator[str]:
    yield _title("Where the text comes from", screen)
    name, shares = Column("", [source for source, _ in stats.sources]), [share for _, share in stats.sources]
    yield from table(name, [_shares("captions", shares), _bars(shares)], screen)
    yield _said(f"without any text: {percents(stats.empty)}", screen)


def _lengths(stats: Stats, screen: Screen) -> Iterator[str]:
    lengths, budget = stats.lengths, stats.budget
    yield _title("How long it is", screen)
    of = ", ".join(f"{tokens} ({part} %)" for part, tokens in lengths.percentiles if part not in (0, 100))
    counted = "by the built-in estimate" if lengths.counter == "estimate" else f"by {lengths.counter}"
    most = lengths.percentiles[-1][1]
    yield _said(f"tokens {counted}: {of}, {most} at the most, {lengths.mean:.1f} on average", screen)
    names = [f"{number} chunk{'' if number == 1 else 's'} of 75" for number, _ in lengths.chunks]
    shares = [share for _, share in lengths.chunks]
    yield from table(Column("", names), [_shares("captions", shares), _bars(shares)], screen)
    if budget.max_tokens is None:
        yield _said("no budget: max_tokens is not set", screen)
    elif not budget.cut.hits:
        yield _said(f"the budget of {budget.max_tokens} tokens cuts nothing", screen)
    else:
        lost = ", ".join(f"{name} ({count:,})" for name, count in budget.most_lost[:LOST])
        cut = f"the budget of {budget.max_tokens} tokens cuts {percents(budget.cut)}"
        took = f"{budget.tags_lost:,} tags and {budget.sentences_lost:,} sentences in all"
        yield _said(f"{cut}: {took}{', most often ' + lost if lost else ''}", screen)


def _flips(stats: Stats, screen: Screen, top: int) -> Iterator[str]:
    flips = stats.flips
    yield _title("Mirroring", screen)
    may, are = percent(flips.may), percents(flips.mirrored)
    yield _said(f"{may} of the records may be mirrored; {are} of the draws are", screen)
    if flips.forbidden_by:
        shown = flips.forbidden_by[:top]
        name = Column("forbidden by", [what for what, _ in shown])
        counts = Column("records", [f"{share.hits:,}" for _, share in shown])
        yield from table(name, [counts, _shares("", [share for _, share in shown])], screen)
        yield from _more(len(flips.forbidden_by) - len(shown), screen)


def _tags(stats: Stats, screen: Screen, top: int) -> Iterator[str]:
    tags = [tag for tag in stats.tags if tag.count]
    if tags:
        yield _title("Tags", screen)
        yield from tag_table(tags[:top], screen)
        yield from _more(stats.num_tags - min(top, len(tags)), screen)


def _made(stats: Stats, screen: Screen, top: int) -> Iterator[str]:
    made = added(stats.tags)
    if made:
        yield _title("Tags that the recipe adds or says more often", screen)
        shown = made[:top]
        name = Column("tag", [tag.name for tag in shown])
        data = Column("in the data", [percent(tag.data) for tag in shown], spare=1)
        yield from table(name, [data, _shares("trained", [tag.trained for tag in shown])], screen)
        yield from _more(len(made) - len(shown), screen)


def _unmatched(stats: Stats, screen: Screen, top: int) -> Iterator[str]:
    if not stats.unmatched:
        return
    yield _title("Named in the recipe, not in the data", screen)
    fields: dict[str, list[str]] = {}
    for one in stats.unmatched:
        near = f" (near: {', '.join(one.near)})" if one.near else ""
        fields.setdefault(one.where, []).append(one.what + near)
    for where, names in fields.items():
        last = min(top, len(names)) - 1
        pieces = [Piece(where, Mark.QUIET, ":")]
        pieces += [Piece(name, after="," if at < last else "") for at, name in enumerate(names[:top])]
        if len(names) > top:
            pieces.append(Piece(f"and {len(names) - top:,} more", Mark.QUIET))
        yield screen.paragraph(pieces, first="  ", rest="    ")


def _typos(stats: Stats, screen: Screen, top: int) -> Iterator[str]:
    if not stats.typos:
        return
    yield _title("Rare tags that look like frequent ones", screen)
    shown = stats.typos[:top]
    name = Column("tag", [typo.name for typo in shown])
    counts = Column("records", [f"{typo.count:,}" for typo in shown])
    meant = Column("like", [shortened(typo.meant, 24) for typo in shown], right=False)
    often = Column("records", [f"{typo.meant_count:,}" for typo in shown])
    yield from table(name, [counts, meant, often], screen)
    yield from _more(len(stats.typos) - len(shown), screen)


def _more(number: int, screen: Screen) -> Iterator[str]:
    if number > 0:
        yield painted(f"  and {number:,} more: -n {_enough(number)}, or --json", Mark.QUIET, screen)


def _enough(number: int) -> int:
    return int(10 ** len(str(number)))


def _shares(title: str, shares: Sequence[Share]) -> Column:
    return Column(title, [percents(share) for share in shares])


def _bars(shares: Sequence[Share]) -> Column:
    most = max((share.value for share in shares), default=0.0) or 1.0
    return Column("", ["█" * round(BAR * share.value / most) for share in shares], right=False, spare=1)
