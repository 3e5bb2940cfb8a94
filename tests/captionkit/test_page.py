"""The page of `captionkit report`: one file that loads nothing, in which nothing of the data can do harm."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from captionkit import CaptionPipeline, DataError, Prose, Record, Tag, load_pipeline, read_records
from captionkit.commands.report import add_report
from captionkit.fate import Fate
from captionkit.lint import Finding, Severity
from captionkit.marked import marked
from captionkit.page.build import frame, page
from captionkit.page.cards import FATES, Cards
from captionkit.page.gallery import card_bytes, evenly, gallery
from captionkit.page.names import Names
from captionkit.page.plots import plots
from captionkit.page.words import figures, gallery_note
from captionkit.pictures import PictureFolders, thumbnail
from captionkit.policies import RenameTags
from captionkit.render import estimate_tokens
from captionkit.stats.gather import gather
from captionkit.stats.result import Stats
from captionkit.testing import pipelines, records
from tests.captionkit.browser import Browser, browser

HOSTILE = "</script><script>alert(1)</script>"
HOSTILE_TAGS = (HOSTILE, '"><img src=x onerror=alert(2)>', "{{ 7 * 7 }}", "<!--", "javascript:alert(3)")
RECIPE = """\
preset = "hyperfusion"
important = ["solo"]
no_flip = ["text on*"]
implications = { red_fox = ["fox"], fox = ["canine"] }
"""


def picture(path: Path, size: tuple[int, int] = (300, 200), colour: str = "teal") -> None:
    """A real picture on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def bomb(path: Path, side: int) -> None:
    """A small PNG that says it has so many pixels a side."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 4096)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures with sidecars: good, hostile, broken, too large; a recipe beside it."""
    tmp_path = tmp_path_factory.mktemp("data")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    folder = tmp_path / "pictures"
    tags = "solo, red_fox, fox, canine, snow, looking_at_viewer, outdoors, winter"
    for number in range(30):
        picture(folder / f"fox_{number:02}.png", colour=("teal", "tomato", "gold")[number % 3])
        (folder / f"fox_{number:02}.txt").write_text(tags + (", text on sign" if number % 3 == 0 else ""))
        (folder / f"fox_{number:02}.caption").write_text(f"A red fox, number {number}, in the snow.")
    evil = folder / "<img src=x onerror=alert(4)>.png"
    picture(evil)
    evil.with_suffix(".json").write_text(
        json.dumps({"tags": list(HOSTILE_TAGS), "captions": {"<b>me</b>": HOSTILE}})
    )
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    (folder / "broken.txt").write_text("fox")
    bomb(folder / "bomb.png", 60_000)
    (folder / "bomb.txt").write_text("fox")
    return folder


@pytest.fixture
def pipeline(data: Path) -> CaptionPipeline:
    """The recipe beside the data."""
    return load_pipeline(data.parent / "recipe.toml")


def stats_of(pipeline: CaptionPipeline, some: list[Record]) -> Stats:
    """The real figures of some records."""
    return gather(pipeline, some, data="pictures/", recipe="recipe.toml")


def report(*words: object, where: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    code = (
        "import argparse\nfrom captionkit.commands.report import add_report\n"
        "parser = argparse.ArgumentParser()\nadd_report(parser.add_subparsers())\n"
        "if __name__ == '__main__':\n"
        "    arguments = parser.parse_args()\n    arguments.run(arguments)\n"
    )
    script = where / "run_report.py"
    script.write_text(code)
    return subprocess.run(
        [sys.executable, script, "report", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=where,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        timeout=900,
    )


class Parts(HTMLParser):
    """The elements of a page, and the text of its scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of one element."""
        self.elements.append((tag, dict(attrs)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of one element that is closed at once."""
        self.elements.append((tag, dict(attrs)))


def values_of(html: str) -> dict[str, Any]:
    """What the page's script reads."""
    found = re.search(r'id="values">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    values: dict[str, Any] = json.loads(found[1])
    return values


# ------------------------------------------------------------------------------------------------------- laws


@given(pipelines(), records(), st.integers(1, 3))
def test_a_card_says_what_marked_says(pipeline: CaptionPipeline, record: Record, draws: int) -> None:
    cards = Cards(pipeline, estimate_tokens, draws=draws, epoch=2, samples=5)
    card = json.loads(json.dumps(cards.card(record)))
    names, causes = cards.names.list(), cards.causes.list()
    assert len(card["d"]) == draws
    for number, drawn in enumerate(card["d"]):
        one = marked(pipeline, record, epoch=2, draw=number, samples=5)
        assert causes[drawn["o"]] == one.rendered.source
        assert bool(drawn.get("m")) == one.rendered.flip
        if "g" not in drawn:  # Nothing but numbers where no tag is left.
            assert all(tag.fate is Fate.DROPPED for tag in one.tags)
            assert sum(count for count, _ in drawn.get("q", [])) == len(one.tags)
            continue
        for told, tag in zip(drawn["g"], one.tags, strict=True):
            name, fate, important, cause, was = [*told, *[None] * 4][:5]
            assert names[name] == pipeline.text.spell(tag.name)
            assert FATES[fate or 0] is tag.fate
            assert bool(important) == tag.important
            assert (None if cause is None else causes[cause]) == (tag.cause and str(tag.cause))
            assert (was is None) == (tag.was is None)


def test_the_first_name_of_a_page_is_told_when_it_was_renamed() -> None:
    """Its number is 0, which was trimmed like a flag that is not set."""
    pipeline = CaptionPipeline(steps=(RenameTags(aliases={"solo": "vulpes"}),))
    cards = Cards(pipeline, estimate_tokens, draws=1, epoch=0, samples=0)
    ((told,),) = (draw["g"] for draw in cards.card(Record("1", (Tag("solo"),)))["d"])
    assert cards.names.list()[told[4]] == "solo"


@given(st.lists(st.integers()), st.integers(0, 40))
def test_an_even_sample_keeps_order_and_number(items: list[int], count: int) -> None:
    places = evenly(range(len(items)), count)
    assert len(places) == min(count, len(items))
    assert places == sorted(set(places))
    if 0 < count < len(items):
        gaps = [b - a for a, b in pairwise(places)]
        assert not gaps or max(gaps) - min(gaps) <= 1


@given(st.lists(st.text()))
def test_a_text_has_one_number(texts: list[str]) -> None:
    names = Names()
    numbers = [names.number(text) for text in texts]
    assert [names.list()[number] for number in numbers] == texts


def page_of(text: str) -> str:
    """A page on which this text stands wherever a text of the data can stand."""
    pipeline = CaptionPipeline()
    record = Record(text, (Tag(text, category=text),), (Prose(text, source=text),), text)
    stats = gather(pipeline, [record], data=text, recipe=text)
    cards = Cards(pipeline, estimate_tokens, draws=1, epoch=0, samples=None)
    shown = gallery(cards, [record], 1, PictureFolders(Path("nowhere")), 100_000, lambda amount: None)
    outline = frame(
        stats, [Finding(Severity.ERROR, text, text, 1, 2, text, (text,), text)], made_by=text, max_mb=5
    )
    return page(outline, cards, shown)


PLAIN = Parts(page_of("x y")).elements


@given(st.text(max_size=60).map(lambda text: f"x{text}y") | st.sampled_from(HOSTILE_TAGS))
def test_no_text_of_the_data_becomes_markup(text: str) -> None:
    html = page_of(text)
    elements = Parts(html).elements
    assert [(kind, set(names)) for kind, names in elements] == [(kind, set(names)) for kind, names in PLAIN]
    (card,) = values_of(html)["cards"]
    assert card["i"] == text


# ------------------------------------------------------------------------------------------------- pictures


def test_a_small_picture_is_made_of_a_large_one_and_never_a_larger_one(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (300, 200))
    picture(tmp_path / "b.png", (30, 20))
    small = thumbnail(tmp_path / "a.png", 96)
    assert (small.width, small.height) == (96, 64)
    assert Image.open(io.BytesIO(small.data)).format == "WEBP"
    same = thumbnail(tmp_path / "b.png", 96)
    assert (same.width, same.height) == (30, 20)


def test_a_picture_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (300, 200)).save(tmp_path / "a.jpg", exif=exif)
    small = thumbnail(tmp_path / "a.jpg", 96)
    assert (small.width, small.height) == (64, 96)


@pytest.mark.parametrize("side", [9_600, 60_000])
def test_a_picture_that_claims_too_many_pixels_is_not_decoded(tmp_path: Path, side: int) -> None:
    bomb(tmp_path / "bomb.png", side)
    with pytest.raises(DataError, match="pixels"):
        thumbnail(tmp_path / "bomb.png", 96)


@given(st.binary(max_size=400))
def test_bytes_that_are_no_picture_are_a_clear_error(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
        with pytest.raises(DataError, match="is no picture that can be read"):
            thumbnail(path, 96)


def test_no_picture_outside_of_the_folders_is_opened(tmp_path: Path) -> None:
    picture(tmp_path / "secret" / "a.png")
    picture(tmp_path / "data" / "b.png")
    (tmp_path / "data" / "link.png").symlink_to(tmp_path / "secret" / "a.png")
    folders = PictureFolders(tmp_path / "data")
    assert folders.find("b.png").is_file()
    outside = ["../secret/a.png", str(tmp_path / "secret" / "a.png"), "link.png", "/etc/passwd"]
    for image in outside:
        with pytest.raises(DataError, match="lies outside"):
            folders.find(image)
    broken: list[str | None] = ["missing.png", "a\0b", "", "b.png/c", None]
    for one in broken:
        with pytest.raises(DataError):
            folders.find(one)
    allowed = PictureFolders(tmp_path / "data", (tmp_path / "secret",))
    assert allowed.find("../secret/a.png").is_file()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="is no file"):
        PictureFolders(tmp_path).find("pipe.png")


# -------------------------------------------------------------------------------------------------- figures


def test_every_plot_has_its_data_and_its_words(data: Path, pipeline: CaptionPipeline) -> None:
    some = list(read_records(data, on_error=lambda error: None))
    drawn = {plot.key: plot for plot in plots(stats_of(pipeline, some))}
    assert list(drawn) == ["shares", "kept", "lengths", "sources", "forbidden", "alone", "neighbours"]
    for plot in drawn.values():
        assert plot.spec["width"] == "container"
        assert len(plot.says) > 40
    rows = drawn["forbidden"].spec["data"]["values"]
    assert [(row["what"], row["count"]) for row in rows] == [("text on*", f"10 of {len(some)}")]
    fox = next(row for row in drawn["shares"].spec["data"]["values"] if row["tag"] == "fox")
    assert fox["before"] == pytest.approx(32 / len(some))
    assert 0 < fox["low"] < fox["after"] < fox["high"] < 1


def test_data_without_tags_makes_a_page_without_their_plots() -> None:
    pipeline = CaptionPipeline()
    stats = stats_of(pipeline, [Record("1", (), (Prose("A fox."),))])
    assert [plot.key for plot in plots(stats)] == ["lengths", "sources"]
    assert [figure.name for figure in figures(stats)][:2] == ["Records", "Different tags"]
    assert "How long captions are" in page(frame(stats, (), made_by="", max_mb=5), None, None)


# -------------------------------------------------------------------------------------------------- command


def test_report_writes_one_page_and_names_what_it_could_not_show(
    data: Path, made: subprocess.CompletedProcess[str]
) -> None:
    done = made
    assert done.returncode == 0, done.stderr
    assert "all 33 records with their draws" in done.stdout
    assert done.stdout.endswith("next: open out.html in a browser\n")
    assert "picture not shown: broken.png: is no picture that can be read" in done.stderr
    assert "picture not shown: bomb.png: " in done.stderr
    assert "Traceback" not in done.stderr
    html = (data.parent / "out.html").read_text()
    assert len(values_of(html)["cards"]) == 33
    assert not re.search(r'(?:src|href|url)\s*[=(]\s*["\']?(?:https?:)?//', html.partition("<script type")[0])
    assert "<code>broken.png: is no picture" in html
    assert not list(data.parent.glob(".*.part"))


def test_where_not_all_pictures_fit_an_even_sample_is_shown_and_said(tmp_path: Path) -> None:
    Image.effect_noise((200, 200), 90).convert("RGB").save(tmp_path / "a.png")
    some = [Record(str(number), (Tag("fox"),), (), "a.png") for number in range(90)]
    cards = Cards(CaptionPipeline(), estimate_tokens, draws=2, epoch=0, samples=None)
    folders = PictureFolders(tmp_path)
    sizes = []
    for room in (40_000, 80_000, 10_000_000):
        shown = gallery(cards, some, 90, folders, room, lambda amount: None)
        size = sum(map(card_bytes, shown.cards))
        assert size <= room
        places = [int(card["i"]) for card in shown.cards]
        gaps = [b - a for a, b in pairwise(places)]
        assert max(gaps) - min(gaps) <= 1
        sizes.append(len(shown.cards))
        if len(shown.cards) < 90:
            assert size > room * 0.8
            said = gallery_note(len(shown.cards), shown.num_records, 2, 5)
            assert said.startswith(f"{len(shown.cards)} of 90 records, spread evenly over the data")
    assert sizes[0] < sizes[1] < sizes[2] == 90


def test_json_says_the_same(data: Path) -> None:
    done = report("recipe.toml", data, "-o", "o.html", "--json", "--processes", 1, where=data.parent)
    told = json.loads(done.stdout)
    assert told["bytes"] == (data.parent / "o.html").stat().st_size
    assert (told["records"], told["shown"]) == (33, 33)
    assert len(told["pictures_not_shown"]) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-o", "."], "is a folder"),
        (["-o", "no/where/o.html"], "its folder is not there"),
        (["-o", "x.html", "--pictures", "nowhere"], "--pictures names a folder"),
    ],
)
def test_an_error_comes_before_the_work(words: list[str], told: str) -> None:
    parser = argparse.ArgumentParser()
    add_report(parser.add_subparsers())
    arguments = parser.parse_args(["report", "hyperfusion", "no data", *words])
    with pytest.raises(DataError, match=told):
        arguments.run(arguments)


# -------------------------------------------------------------------------------------------------- browser


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests of this file."""
    with browser(tmp_path_factory.mktemp("browser")) as one:
        yield one


@pytest.fixture(scope="module")
def made(data: Path) -> subprocess.CompletedProcess[str]:
    """The command, and `out.html` beside the data."""
    return report("recipe.toml", data, "-o", "out.html", "--processes", 1, where=data.parent)


@pytest.fixture
def html(data: Path, made: subprocess.CompletedProcess[str]) -> str:
    """The address of a page about the data."""
    assert made.returncode == 0, made.stderr
    return (data.parent / "out.html").as_uri()


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_the_page_works_in_a_browser(window: Browser, html: str, width: int, dark: bool) -> None:
    window.open(html, width=width, dark=dark)
    window.wait("document.documentElement.dataset.plots === 'drawn'")
    assert window.run("return document.querySelectorAll('[data-plot] svg').length") == 7
    assert window.run("return document.documentElement.scrollWidth") <= width
    assert (
        window.run(
            "return performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length"
        )
        == 0
    )

    # Nothing of the data was taken for markup or run.
    assert window.run("return document.querySelectorAll('img[onerror], img[src=x]').length") == 0
    assert window.run("return document.scripts.length") == 3

    # Draws are those of training, with mirrored pictures mirrored.
    mirrored = window.run(
        "return [...document.querySelectorAll('.draws img.mirror')].map(i => getComputedStyle(i).transform)"
    )
    assert mirrored
    assert set(mirrored) == {"matrix(-1, 0, 0, 1, 0, 0)"}

    # One search looks through tags and pictures.
    window.run(
        "const s = document.getElementById('search'); s.value = 'text_on';s.dispatchEvent(new Event('input'))"
    )
    window.wait("document.querySelectorAll('#table tbody tr').length === 1")
    window.wait("document.getElementById('gallery-told').textContent.endsWith('of 10 shown')")
    assert "not mirrored: text on*" in window.run("return document.querySelector('.badge.no').textContent")

    # A mark says on a tap which step did it.
    told = window.run(
        "const s = document.querySelector('s.drop');"
        "s.dispatchEvent(new MouseEvent('click', {bubbles: true}));"
        "const w = document.getElementById('why'); return [w.hidden, w.textContent]"
    )
    assert told[0] is False
    assert re.match(r"short prompt/|drop_implied|choose_source|empty_caption", told[1])

    # The button turns the theme, and the plots follow.
    ink = "return document.querySelector('svg text').getAttribute('fill')"
    before = window.run(ink)
    window.run("document.documentElement.dataset.plots = ''; document.getElementById('theme').click()")
    window.wait("document.documentElement.dataset.plots === 'drawn'")
    assert window.run(ink) != before
    assert window.console() == []


def test_the_table_sorts_by_every_column_and_turns_its_pages(window: Browser, html: str) -> None:
    window.open(html)
    window.wait("document.querySelectorAll('#table tbody tr').length > 0")
    column = "return [...document.querySelectorAll('#table tbody tr')].map(r => +r.cells[1].textContent)"
    assert window.run(column) == sorted(window.run(column), reverse=True)
    window.run("document.querySelector('#table thead button[data-by=\"2\"]').click()")
    assert window.run(column) == sorted(window.run(column))
    assert (
        window.run("return document.querySelector('th[aria-sort]').getAttribute('aria-sort')") == "ascending"
    )
    window.run("document.querySelector('#table thead button[data-by=\"0\"]').click()")
    names = window.run(
        "return [...document.querySelectorAll('#table tbody th button')].map(b => b.textContent)"
    )
    assert len(names) == len(set(names)) == 14


def test_every_text_is_dark_enough_on_its_ground(window: Browser, html: str) -> None:
    for dark in (False, True):
        window.open(html, dark=dark)
        window.wait("document.documentElement.dataset.plots === 'drawn'")
        assert window.run(_CONTRASTS) == []


# Every element with text of its own: its contrast with the nearest ground that is painted, by WCAG 2.1.
_CONTRASTS = """
const rgb = (text) => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
const linear = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
const ground = (node) => {
  for (; node; node = node.parentElement) {
    const c = rgb(getComputedStyle(node).backgroundColor);
    if (c.length === 3 || c[3] > 0.99) return c;
  }
  return [255, 255, 255];
};
const found = new Set();
for (const node of document.querySelectorAll('main *, footer *')) {
  const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
  if (!own || node.closest('svg, noscript, :disabled, .gone')) continue;
  const [a, b] = [light(rgb(getComputedStyle(node).color)), light(ground(node))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) found.add(node.className + ' ' + node.tagName + ' ' + ratio.toFixed(2));
}
return [...found];
"""


@pytest.mark.slow
def test_the_emoji_fit_into_five_megabytes(shared: Path, tmp_path: Path) -> None:
    emoji = shared / "data" / "emoji" / "metadata.jsonl"
    done = report("hyperfusion", emoji, "-o", "emoji.html", "--processes", 1, "--json", where=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["shown"] == told["records"] == 1679
    assert told["bytes"] < 5_000_000
    assert told["pictures_not_shown"] == []
