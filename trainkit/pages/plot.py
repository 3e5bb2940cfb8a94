"""A plot that stands in the page itself and takes the page's colours, light or dark."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK = "#000000"
_NOTHING = {"Date": None, "Creator": None, "Format": None, "Type": None}


def inline_svg(figure: Figure, says: str) -> Markup:
    """A figure as SVG for a page: no ground of its own, black becomes the page's ink. ``says`` is what a
    screen reader reads, and makes the names within the page differ between plots."""
    import matplotlib

    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
    written = io.StringIO()
    # With a salt, the same plot has the same names in it every time.
    with matplotlib.rc_context({"svg.hashsalt": says, "svg.fonttype": "path"}):
        figure.savefig(written, format="svg", metadata=_NOTHING)
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(
        r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    )
    # Text and glyphs are black where nothing else is said, and then have no colour in the file at all.
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{Markup.escape(says)}" fill="currentColor"', 1)
    return Markup(svg.replace(_INK, "currentColor"))
