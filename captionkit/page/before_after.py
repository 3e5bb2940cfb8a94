"""A page of captions before and after cleaning. It runs no script and loads nothing."""

from __future__ import annotations

from captionkit.cleaned import Cleaning
from captionkit.fate import Fate
from captionkit.page.build import FILES, template

_CLASSES = {Fate.KEPT: "", Fate.DROPPED: "drop", Fate.ADDED: "add", Fate.RENAMED: ""}


def before_after(cleaning: Cleaning, *, data: str) -> str:
    """The page as HTML: how many captions change, which rules change them, and the changed ones as one text
    each, what left struck out and what came marked."""
    cards = [
        {
            "where": one.where,
            "words": [(word.text, _CLASSES[word.fate]) for word in one.words()],
            "after": one.after,
            "changes": [(change.rule, change.before, change.after) for change in one.changes],
        }
        for one in cleaning.shown
    ]
    html: str = template("clean.html.j2").render(
        data=data,
        num_texts=cleaning.num_texts,
        num_changed=cleaning.num_changed,
        num_emptied=cleaning.num_emptied,
        rules=cleaning.by_rule.most_common(),
        cards=cards,
        css=(FILES / "page.css").read_text(encoding="utf-8"),
    )
    return html
