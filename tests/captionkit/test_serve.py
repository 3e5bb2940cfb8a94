"""`captionkit serve`: a page for this machine alone, that reads its data and writes one file when told to."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from captionkit import (
    CaptionkitError,
    CaptionPipeline,
    Prose,
    RecipeError,
    Record,
    Tag,
    load_pipeline,
    preset,
)
from captionkit.compare import Change
from captionkit.marked import marked
from captionkit.pictures import PictureFolders
from captionkit.policies import DropTags
from captionkit.serve.html import changes_html, draws_html, error_html, picture_html, record_html, steps_html
from captionkit.serve.knobs import knobs, moved
from captionkit.serve.run import _free, is_loopback, launched, serve
from captionkit.serve.studio import Place, Studio
from captionkit.testing import pipelines, records
from tests.captionkit.browser import browser

ROOT = Path(__file__).parents[2]
PATIENCE_S = 300

FOX = Record("fox", (Tag("solo"), Tag("red_fox"), Tag("snow")), (Prose("A red fox."),), "fox.png")


def studio(folder: Path, pipeline: CaptionPipeline | None = None, save: Path | None = None) -> Studio:
    """A studio over one fox."""
    recipe = preset("hyperfusion", important=["solo"]) if pipeline is None else pipeline
    return Studio(recipe, [FOX], PictureFolders(folder), samples=None, save=save)


class Elements(HTMLParser):
    """The names of the elements of some HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of one element."""
        self.names.append(tag)
        self.attributes += [name for name, _ in attrs]


# ------------------------------------------------------------------------------------------------------- laws


@given(pipelines())
def test_knobs_that_nobody_moved_leave_the_recipe_as_it_is(pipeline: CaptionPipeline) -> None:
    found = knobs(pipeline)
    assert moved(pipeline, found, [knob.value for knob in found]) == pipeline
    numbers = {address for address, value in pipeline.rates().items() if isinstance(value, float)}
    assert numbers == {knob.address for knob in found if knob.end is None}
    assert all(0.0 <= knob.value <= knob.most for knob in found if knob.end is None)


@given(pipelines(), st.data())
def test_one_knob_moves_one_setting(pipeline: CaptionPipeline, data: st.DataObject) -> None:
    found = [knob for knob in knobs(pipeline) if knob.end is None]
    knob = data.draw(st.sampled_from(found))
    all_knobs = knobs(pipeline)
    values = [0.25 if one == knob else one.value for one in all_knobs]
    try:
        after = moved(pipeline, all_knobs, values)
    except RecipeError:
        return  # Such as the last weight of a choice that must not be 0.
    assert after.rates()[knob.address] == 0.25
    assert {a: v for a, v in after.rates().items() if a != knob.address} == {
        a: v for a, v in pipeline.rates().items() if a != knob.address
    }


ANY = st.text(max_size=40) | st.sampled_from(['"><script>x</script>', "' onload='x", "<img src=x onerror=y>"])


@given(pipelines(), records(), ANY, ANY)
def test_no_text_of_the_data_becomes_markup(
    pipeline: CaptionPipeline, record: Record, text: str, other: str
) -> None:
    tags = (*record.tags, Tag(f"x{text}"))
    one = Record(f"x{text}", tags, (*record.prose, Prose(f"{other} {text}", f"by {other}")), text or None)
    draws = [marked(pipeline, one, draw=draw, samples=3) for draw in range(2)]
    html = "".join(
        [
            draws_html(draws, pipeline.text),
            steps_html(draws[0]),
            record_html(one, False, text),
            picture_html(one, PictureFolders(Path("nowhere"))),
            changes_html((Change(text, other, text),)),
            error_html(text),
        ]
    )
    found = Elements(html)
    allowed = {"div", "span", "p", "s", "b", "i", "ins", "table", "tr", "td", "th"}
    assert set(found.names) <= allowed
    assert set(found.attributes) <= {"class", "title"}


# -------------------------------------------------------------------------------------------------- examples


def test_both_ends_of_a_range_can_be_moved_and_must_go_together() -> None:
    pipeline = preset("hyperfusion")
    found = knobs(pipeline)
    ends = [(knob.end, knob.value) for knob in found if knob.address == "drop_implied#0.rate_range"]
    assert ends == [(0, 0.3), (1, 0.5)]

    def with_low(low: float) -> list[float]:
        return [low if knob.end == 0 else knob.value for knob in found]

    after = moved(pipeline, found, with_low(0.4))
    assert after == pipeline.with_settings({"drop_implied.rate_range": (0.4, 0.5)})
    with pytest.raises(RecipeError, match="rate_range"):
        moved(pipeline, found, with_low(0.9))


def test_an_answer_is_the_draws_of_the_moved_recipe(tmp_path: Path) -> None:
    one = studio(tmp_path, CaptionPipeline(steps=(DropTags(rate=0.1),)))
    values = [1.0 if knob.address == "drop_tags#0.rate" else knob.value for knob in one.knobs]
    answer = one.answer(Place("fox", 5, 0, 2, 0), values)
    assert answer.captions.count('<s class="t drop" title="drop_tags"') == 6
    assert "drop_tags.rate" in answer.changes
    assert load_pipeline(_written(tmp_path, answer.toml)) == one.moved(5, values)
    wrong = one.answer(Place("fox", 5, 0, 2, 0), [7.0] * len(one.knobs))
    assert 'class="error"' in wrong.captions
    assert "no record has the id" in one.answer(Place("cat", 5, 0, 2, 0), values).captions


def _written(folder: Path, toml: str) -> Path:
    path = folder / "written.toml"
    path.write_text(toml)
    return path


def test_a_recipe_is_saved_once_and_replaced_only_when_told(tmp_path: Path) -> None:
    path = tmp_path / "new.toml"
    one = studio(tmp_path, save=path)
    values = [knob.value for knob in one.knobs]
    assert one.save(3, values, replace=False) == f"written: {path}"
    assert load_pipeline(path) == one.pipeline.with_seed(3)
    with pytest.raises(RecipeError, match="is there already and was left as it is"):
        one.save(4, values, replace=False)
    assert load_pipeline(path).seed == 3
    one.save(4, values, replace=True)
    assert load_pipeline(path).seed == 4
    with pytest.raises(RecipeError, match="--save"):
        studio(tmp_path).save(1, values, replace=True)
    with pytest.raises(RecipeError, match="cannot be written"):
        studio(tmp_path, save=tmp_path / "no" / "new.toml").save(1, values, replace=True)


def test_loopback_is_this_machine_alone() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.9.1", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "192.168.1.5", "::", "example.com", "")))


# --------------------------------------------------------------------------------------------- a real process

# Every address that the process connects to or looks up is written down; loopback is its own affair.
_WATCH = """
import os, sys
def watch(event, given):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        place = given[1] if event != "socket.getaddrinfo" else given
        host = place[0] if isinstance(place, tuple) else place
        if str(host) not in ("127.0.0.1", "::1", "localhost", "None"):
            with open(os.environ["WATCHED"], "a") as file:
                file.write(f"{event} {place}\\n")
sys.addaudithook(watch)
with open(os.environ["WATCHED"], "a") as file:
    file.write("watching\\n")
"""

# A shell starts what runs in its background with SIGINT ignored, and processes inherit that.
_RUN = """
import argparse
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from captionkit.commands.serve import add_serve
if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    add_serve(parser.add_subparsers())
    arguments = parser.parse_args()
    arguments.run(arguments)
"""


class Served:
    """A running server."""

    def __init__(self, process: subprocess.Popen[str], port: int, folder: Path) -> None:
        self.process, self.port, self.folder = process, port, folder

    def get(self, path: str, *, host: str | None = None) -> tuple[int, bytes, dict[str, str]]:
        """The status, body and headers of one request; the path is sent as it is."""
        return self._request("GET", path, None, host)

    def ask(self, name: str, *data: Any) -> Any:
        """What one of the page's functions answers."""
        status, body, _ = self._request("POST", f"/gradio_api/call/{name}", json.dumps({"data": data}), None)
        assert status == 200, body
        status, stream, _ = self.get(f"/gradio_api/call/{name}/{json.loads(body)['event_id']}")
        found = re.search(r"event: (\w+)\ndata: (.*)", stream.decode())
        assert found is not None
        return json.loads(found[2]) if found[1] == "complete" else found[1]

    def _request(
        self, method: str, path: str, body: str | None, host: str | None
    ) -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.putrequest(method, path, skip_host=host is not None)
            if host is not None:
                connection.putheader("Host", host)
            if body is not None:
                connection.putheader("Content-Type", "application/json")
                connection.putheader("Content-Length", str(len(body.encode())))
            connection.endheaders(None if body is None else body.encode())
            answer = connection.getresponse()
            return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
        finally:
            connection.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The command in a process of its own, over three pictures."""
    folder = tmp_path_factory.mktemp("served")
    data = folder / "pictures"
    data.mkdir()
    for number, tags in enumerate(("solo, red_fox, snow", "cat, tree, text on sign", "<b>dog</b>, sea")):
        Image.new("RGB", (600, 300), "teal").save(data / f"{number}.png")
        (data / f"{number}.txt").write_text(tags)
    (folder / "secret.txt").write_text("a secret")
    (folder / "recipe.toml").write_text('preset = "hyperfusion"\nno_flip = ["text on*"]\n')
    (folder / "run_serve.py").write_text(_RUN)
    (folder / "sitecustomize.py").write_text(_WATCH)
    words = ["serve", "recipe.toml", "pictures", "--port", "0", "--save", "saved.toml"]
    errors = (folder / "errors.txt").open("w")
    process = subprocess.Popen(
        [sys.executable, "run_serve.py", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{folder}:{ROOT}", "WATCHED": str(folder / "watched.txt")},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.match(r"http://127\.0\.0\.1:(\d+)/", line)
        assert found is not None, line + (folder / "errors.txt").read_text()
        yield Served(process, int(found[1]), folder)
    finally:
        process.kill()
        process.wait(20)
        errors.close()
        if process.stdout is not None:
            process.stdout.close()


def test_only_this_machine_is_listened_to(served: Served) -> None:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [row[1] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == served.port]
    assert listening == [f"0100007F:{served.port:04X}"]
    assert served.get("/")[0] == 200
    assert served.get("/", host="evil.example")[0] == 400  # A name that somebody else points here.


def test_no_file_is_given_away(served: Served) -> None:
    folder = served.folder
    wanted = ["/etc/passwd", "../secret.txt", f"{folder}/secret.txt", f"{folder}/pictures/../secret.txt"]
    wanted += [
        f"{folder}/recipe.toml",
        f"{folder}/pictures/0.txt",
        "pictures/0.png",
        "..%2f..%2fetc%2fpasswd",
    ]
    for path in wanted:
        for way in ("/gradio_api/file=", "/file=", "/static/", "/assets/", "/", "/gradio_api/stream/"):
            status, body, _ = served.get(way + path)
            assert status >= 400, way + path
            assert b"root:" not in body
            assert b"a secret" not in body
    for climbing in (
        "/../../../../etc/passwd",
        "/static/../../../../../etc/passwd",
        "/gradio_api/file=/proc/self/environ",
    ):
        assert served.get(climbing)[0] >= 400
    assert served.get("/gradio_api/proxy=http://127.0.0.1:1/")[0] >= 400


def test_a_picture_outside_is_not_shown_through_the_page(served: Served) -> None:
    picture, about = served.ask("picture", "0")
    assert picture.startswith('<div class="ck"><img src="data:image/webp;base64,')
    assert "red_fox" in about
    assert served.ask("picture", "../secret") == "error"
    assert "never mirrored: tag &#x27;text on sign&#x27; forbids it" in served.ask("picture", "1")[1]


def test_moving_a_knob_changes_the_captions_at_once(served: Served) -> None:
    pipeline = load_pipeline(served.folder / "recipe.toml")
    found = knobs(pipeline)
    rest = [knob.value for knob in found]
    captions, steps, changes, toml = served.ask("captions", "2", 0, 0, 3, 1, *rest)
    one = Record("2", (Tag("<b>dog</b>"), Tag("sea")), (), "2.png")
    draws = [marked(pipeline, one, draw=draw, samples=0) for draw in range(3)]
    assert captions == draws_html(draws, pipeline.text)
    assert steps == steps_html(draws[1])
    assert "Nothing has been moved" in changes
    assert "<b>dog" not in captions
    empty = [1.0 if knob.address == "empty_caption#0.p" else knob.value for knob in found]
    captions, _, changes, toml = served.ask("captions", "2", 0, 0, 3, 0, *empty)
    assert captions.count("empty caption") == 3
    assert "empty_caption.p" in changes
    assert load_pipeline(_written(served.folder, toml)) == moved(pipeline, found, empty)
    for nonsense in (["x"] * len(rest), [None] * len(rest), [1e99] * len(rest), []):
        assert served.ask("captions", "2", None, "x", 1e9, -5, *nonsense) == "error"
    assert served.get("/")[0] == 200


def test_the_page_saves_to_its_one_path(served: Served) -> None:
    pipeline = load_pipeline(served.folder / "recipe.toml")
    rest = [knob.value for knob in knobs(pipeline)]
    assert served.ask("save", 9, False, *rest) == ["written: saved.toml"]
    assert load_pipeline(served.folder / "saved.toml").seed == 9
    assert "is there already" in _text(served.ask("save", 10, False, *rest)[0])
    assert load_pipeline(served.folder / "saved.toml").seed == 9


def _text(markdown: str) -> str:
    return re.sub(r"&#(\d+);", lambda found: chr(int(found[1])), markdown)


def test_the_page_loads_nothing_from_elsewhere(served: Served, tmp_path: Path) -> None:
    assert "default-src 'self'" in served.get("/")[2]["content-security-policy"]
    with browser(tmp_path) as window:
        window.open(f"http://127.0.0.1:{served.port}/", width=1400)
        window.wait("document.querySelectorAll('.ck .draw').length === 4")
        loaded = window.run("return performance.getEntriesByType('resource').map(e => e.name)")
        assert loaded
        assert [
            name for name in loaded if not name.startswith((f"http://127.0.0.1:{served.port}/", "data:"))
        ] == []
        before = window.run("return document.querySelector('.ck .draw').parentElement.textContent")
        window.run(
            "const s = document.querySelector('input[type=range][aria-label*=\"empty_caption.p\"]');"
            "s.value = 1; s.dispatchEvent(new Event('input', {bubbles: true}))"
        )
        window.wait(
            "document.querySelector('.ck .draw').parentElement.textContent.split('empty caption')[4] != null"
        )
        assert before.count("empty caption") < 4
        assert [line for line in window.console() if line.startswith("SEVERE")] == []


def test_ctrl_c_ends_it_and_nothing_was_asked_of_the_network(served: Served) -> None:
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(PATIENCE_S) == 0
    assert served.process.stdout is not None
    assert served.process.stdout.read() == "ended\n"
    errors = (served.folder / "errors.txt").read_text()
    # What gradio says of the nonsense it was sent is its own affair; none of it came as far as our code.
    assert not re.search(r"captionkit/(serve|commands)", errors)
    watched = served.folder / "watched.txt"
    assert watched.read_text() == "watching\n"


def test_a_port_that_was_free_a_moment_ago_is_not_the_last() -> None:
    tried: list[int] = []

    def launch(port: int) -> None:
        tried.append(port)
        if len(tried) < 3:
            raise OSError("Cannot find empty port in range")

    assert launched(launch, "127.0.0.1", 0) == tried[2]
    tried.clear()
    with pytest.raises(CaptionkitError, match=r"port \d+: the server did not begin .*--port"):
        launched(launch, "127.0.0.1", _free("127.0.0.1", 0))
    assert len(tried) == 1  # It was asked for by its number.


def test_a_port_that_is_taken_is_a_clear_error() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(
            CaptionkitError, match=r"cannot listen on 127\.0\.0\.1, port \d+: address already"
        ):
            serve(None, host="127.0.0.1", port=taken.getsockname()[1], ready=print)
    started = time.monotonic()
    with pytest.raises(CaptionkitError, match="choose another with --port"):
        serve(None, host="127.0.0.1", port=70000, ready=print)
    assert time.monotonic() - started < PATIENCE_S
