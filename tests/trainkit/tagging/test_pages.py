"""The look of pages: no value becomes part of the page but as text, and no server is asked for anything."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from trainkit.pages import inline_svg, page, thumbnail


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / "own.html"
    path.write_text(
        '{% extends "base.html" %}{% block main %}<p>{{ text }}</p>{{ 1234567 | count }} {{ 0.5 | percent }}'
        "{% endblock %}{% block script %}<script>{{ text | script }}</script>{% endblock %}"
    )
    return path


@given(text=st.text() | st.just("</script><em>&\u2028"))
def test_a_value_is_text_and_nothing_else(template: Path, text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    html = page(template, title=text, text=text)
    begin, end = html.rindex("<script>") + len("<script>"), html.rindex("</script>")
    script = html[begin:end]
    assert not set("<>&\u2028") & set(script)
    assert json.loads(script) == text
    assert "<em>" not in html


def test_a_page_stands_alone(template: Path) -> None:
    html = page(template, title="Title", text="")
    assert "<title>Title</title>" in html
    assert "prefers-color-scheme: dark" in html
    assert "default-src 'none'" in html
    assert "1,234,567 50.0 %" in html
    with pytest.raises(jinja2.UndefinedError, match="text"):
        page(template, title="Title")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK"])
def test_a_thumbnail_is_small_and_leaves_its_picture_alone(mode: str) -> None:
    image = Image.new("RGBA", (900, 300), (10, 20, 30, 0)).convert(mode)
    before = image.tobytes()
    source = thumbnail(image, 120)
    assert image.tobytes() == before
    head, _, data = source.partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as seen:
        assert seen.size == (120, 40)
        assert mode != "RGBA" or seen.getpixel((60, 20)) == (255, 255, 255)


def test_a_plot_takes_the_colours_of_its_page() -> None:
    figure = Figure(figsize=(2, 2))
    figure.subplots().plot([0, 1], color="#123456")
    svg = inline_svg(figure, 'of "<b>"')
    assert svg.startswith("<svg")
    assert "<b>" not in svg
    assert "#000000" not in svg
    assert "#123456" in svg
    assert "currentColor" in svg
