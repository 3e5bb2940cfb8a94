"""A page from a template: whatever a template says, it looks like all other pages of trainkit.

A template extends ``base.html``, which brings the head, the style and the frame:

    {% extends "base.html" %}
    {% block main %}<p class="quiet">{{ pictures | count }} pictures</p>{% endblock %}

Everything that a value holds is escaped; a value that is HTML (`inline_svg`) says so itself.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

_HERE = Path(__file__).parent


def page(template: Path, **values: Any) -> str:
    """The HTML of a page. ``title`` is needed among the values; ``css`` is trainkit's style, for a template
    that does not extend ``base.html``. Raises jinja2's errors for a value that is missing."""
    return _environment(template.parent).get_template(template.name).render(css=_style(), **values)


@lru_cache(maxsize=8)
def _environment(folder: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, _HERE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": _count, "percent": _percent, "script": _script}
    return environment


@lru_cache(maxsize=1)
def _style() -> Markup:
    return Markup((_HERE / "style.css").read_text(encoding="utf-8"))


def _count(number: int) -> str:
    """12,345."""
    return f"{number:,}"


def _percent(share: float, digits: int = 1) -> str:
    """A share from 0 to 1 as "12.3 %"."""
    return f"{100 * share:.{digits}f} %"


def _script(value: Any) -> Markup:
    """A value as JSON that may stand in a script: no tag can end or begin in it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)
