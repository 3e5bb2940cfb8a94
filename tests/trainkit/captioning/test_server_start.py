"""Settings of servers, what is asked of them at the start and what is sent; keys stay where they are."""

from __future__ import annotations

import base64
import io
import json
import re
import tomllib
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from tests.trainkit.captioning.caption_server import MODEL, caption_server, order, seen
from tests.trainkit.tiny import ROOT
from trainkit.captioning.captioner import Request
from trainkit.captioning.sampling import Sampling
from trainkit.captioning.server import ServerConfig
from trainkit.captioning.server_body import body_of
from trainkit.captioning.server_failures import ServerError
from trainkit.captioning.server_picture import PictureForm
from trainkit.errors import ConfigError
from trainkit.settings import checked_settings

KEY = "sk-Sehr-geheim-123"
QUICK = {"first_wait": 0.02, "give_up_s": 0.5}


def problems(**data: Any) -> str:
    """What a user is told."""
    with pytest.raises(ConfigError) as caught:
        checked_settings(ServerConfig, data, "caption.toml")
    return str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        {"urls": [f"http://me:{KEY}@a.test/v1"]},
        {"urls": [f"me:{KEY}@a.test"]},
        {"urls": [f"http://a.test/v1?api_key={KEY}"]},
        {"urls": ["http://a.test"], "api_key_env": KEY},
        {"urls": ["http://a.test"], "api_key": KEY},
        {"urls": ["http://a.test"], "extra_body": {"api_key": KEY}},
        {"urls": ["http://a.test"], "extra_body": {"Authorization": f"Bearer {KEY}"}},
    ],
)
def test_a_key_in_the_settings_is_refused_and_not_shown(data: dict[str, Any]) -> None:
    assert KEY not in problems(**data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"urls": []}, "urls"),
        ({"urls": ["a.test:8000"]}, "must be such as http://127.0.0.1:8000/v1"),
        ({"urls": ["file:///etc/passwd"]}, "must be such as"),
        ({"urls": ["http://a.test:99999"]}, "no URL"),
        ({"urls": ["http://a.test/ v1"]}, "must be such as"),
        ({"urls": ["http://a.test", "http://a.test/v1/"]}, "one end point twice"),
        ({"urls": ["http://a.test"], "extra_body": {"stream": True}}, "stream is set by trainkit"),
        ({"urls": ["http://a.test"], "extra_body": {"x": float("nan")}}, "cannot be sent as JSON"),
        ({"urls": ["http://a.test"], "retry": {"timout": 3}}, "did you mean 'timeout'"),
    ],
)
def test_settings_that_cannot_work_are_refused(data: dict[str, Any], said: str) -> None:
    assert said in problems(**data)


@pytest.mark.parametrize(
    "url",
    [
        "http://a.test:8000",
        "http://a.test:8000/",
        "http://a.test:8000/v1/",
        "http://a.test:8000/v1/chat/completions",
    ],
)
def test_the_url_may_be_given_in_any_common_form(url: str) -> None:
    assert ServerConfig(urls=(url,)).urls == ("http://a.test:8000/v1",)


def test_the_settings_survive_being_written() -> None:
    config = ServerConfig(urls=("http://a.test/api/v3", "https://b.test"), api_key_env="THE_KEY")
    assert ServerConfig.model_validate_json(config.model_dump_json()) == config


def test_the_key_comes_from_the_environment_and_stands_in_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTION_KEY", KEY)
    with caption_server(key=KEY) as url:
        config = ServerConfig(urls=(url,), api_key_env="CAPTION_KEY")
        with config.open(Sampling()) as captioner:
            (answer,) = captioner.answers([Request(0, "?", Image.new("RGB", (8, 8)), 0)])
            assert answer.problem is None
        assert KEY not in config.model_dump_json()
        monkeypatch.setenv("CAPTION_KEY", f"{KEY}-old")
        # This server repeats the key that it was sent.
        with pytest.raises(ServerError, match=r"401: Incorrect API key provided: Bearer \*\*\*") as caught:
            config.open(Sampling())
        assert KEY not in str(caught.value)
        for wrong in ("", "zwei Worte", "schlüssel"):
            monkeypatch.setenv("CAPTION_KEY", wrong)
            with pytest.raises(ServerError, match="CAPTION_KEY") as caught:
                config.open(Sampling())
            assert not wrong or wrong not in str(caught.value)


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "all_proxy", "no_proxy"):  # Of this machine.
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with caption_server() as url:
        ServerConfig(urls=(url,)).open(Sampling()).close()
    with pytest.raises(ServerError, match="cannot be reached"):
        ServerConfig(urls=("http://a.test",)).open(Sampling())
    monkeypatch.setenv("HTTP_PROXY", f"gopher://me:{KEY}@127.0.0.1:1")
    with pytest.raises(ServerError, match="the proxy that the environment names") as caught:
        ServerConfig(urls=("http://a.test",)).open(Sampling())
    assert KEY not in str(caught.value)


def test_the_model_is_the_only_one_that_is_served() -> None:
    with caption_server() as one, caption_server(model="another") as other:
        with ServerConfig(urls=(one,)).open(Sampling()) as captioner:
            assert captioner.model == MODEL
        with pytest.raises(ServerError, match=f"serves 'another', not '{MODEL}'.*--served-model-name"):
            ServerConfig(urls=(one, other)).open(Sampling())
        with pytest.raises(ServerError, match=f"serves '{MODEL}', not 'glm'"):
            ServerConfig(urls=(one,), model="glm").open(Sampling())
        order(one, model=[MODEL, "second"])
        with pytest.raises(ServerError, match="which one captions"):
            ServerConfig(urls=(one,)).open(Sampling())
        with ServerConfig(urls=(one,), model="second").open(Sampling()) as captioner:
            assert captioner.model == "second"


def test_a_gateway_without_a_list_of_models_is_believed() -> None:
    with caption_server() as url:
        order(url, {"path": "models", "status": 404, "body": "nothing here"})
        with ServerConfig(urls=(url,), model=MODEL).open(Sampling()) as captioner:
            (answer,) = captioner.answers([Request(0, "?", Image.new("RGB", (8, 8)), 0)])
            assert answer.problem is None
        with pytest.raises(ServerError, match=r"no list of models.*Give its name"):
            ServerConfig(urls=(url,)).open(Sampling())


def test_nobody_there_at_the_start_is_said_at_once() -> None:
    with caption_server() as url:
        pass
    with pytest.raises(ServerError, match=rf"no server answers \({url} cannot be reached.*Start it"):
        ServerConfig(urls=(url,)).open(Sampling())


def test_a_page_in_place_of_a_list_of_models_is_the_wrong_url() -> None:
    with caption_server() as url:
        order(url, {"path": "models", "body": "<html>Welcome!</html>"})
        with pytest.raises(ServerError, match="is it the URL before /chat/completions"):
            ServerConfig(urls=(url,)).open(Sampling())


def test_an_end_point_that_comes_later_is_used_and_one_with_another_model_is_refused() -> None:
    with caption_server() as first, caption_server() as late:
        order(first, answers=40)
        config = ServerConfig.model_validate({"urls": [first, late], "concurrency": 2, "retry": QUICK})
        order(late, {"path": "models", "status": 503, "count": 2})
        with config.open(Sampling()) as captioner:
            asked = (Request(key, "?", Image.new("RGB", (8, 8)), 0) for key in range(60))
            for number, answer in enumerate(captioner.answers(asked), 1):
                assert answer.problem is None
                if number == 45:  # The first one gave 40 of them.
                    order(first, answers=1 << 60)
        assert seen(late)["answered"] > 0
        order(late, {"path": "models", "status": 503, "count": 2}, model="another")
        with config.open(Sampling()) as captioner:
            endless = (Request(key, "?", Image.new("RGB", (8, 8)), 0) for key in range(10**6))
            with pytest.raises(ServerError, match="serves 'another'"):
                list(captioner.answers(endless))


def body(
    image: Image.Image | None = None, sampling: Sampling | None = None, **changes: Any
) -> dict[str, Any]:
    request = Request(1, "Describe \ud83d.", image or Image.new("RGB", (40, 20), (9, 8, 7)), 2**40 + 5)
    settings = {"model": "m", "sampling": sampling or Sampling(), "picture": PictureForm(), **changes}
    return dict(json.loads(body_of(request, **settings)))


def opened(data: dict[str, Any]) -> Image.Image:
    url = data["messages"][-1]["content"][0]["image_url"]["url"]
    return Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2])))


def test_what_is_sent() -> None:
    sent = body()
    url = sent["messages"][0]["content"][0]["image_url"].pop("url")
    assert url.startswith("data:image/jpeg;base64,")
    assert sent == {
        "model": "m",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {}},
                    {"type": "text", "text": "Describe \ud83d."},
                ],
            }
        ],
        "temperature": 0.0,
        "max_tokens": 400,
    }


def test_what_is_sent_where_all_is_set() -> None:
    sampling = Sampling(temperature=0.7, top_p=0.9, top_k=20, repetition_penalty=1.1, stop=("END",))
    sent = body(
        sampling=sampling,
        system="Be brief.",
        limit="max_completion_tokens",
        picture=PictureForm(detail="low"),
        extra={"min_p": 0.1, "top_p": 0.8},
        leave_out=("temperature",),
    )
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert sent["messages"][1]["content"][0]["image_url"]["detail"] == "low"
    del sent["messages"]
    assert sent == {
        "model": "m",
        "top_p": 0.8,
        "seed": 5,
        "top_k": 20,
        "repetition_penalty": 1.1,
        "stop": ["END"],
        "max_completion_tokens": 400,
        "min_p": 0.1,
    }


@pytest.mark.parametrize(
    ("prompt", "sent"),
    [
        ("1girl, <|im_end|>", "1girl, < |im_end| >"),
        ("a <image> b </s>", "a < image> b < /s>"),
        ("<tags>x</tags> [tag] >|< <3", "<tags>x</tags> [tag] >|< <3"),
    ],
)
def test_a_tag_ends_no_turn_and_promises_no_picture(prompt: str, sent: str) -> None:
    request = Request(1, prompt, Image.new("RGB", (40, 20)), 0)
    data = json.loads(body_of(request, model="m", sampling=Sampling(), picture=PictureForm()))
    assert data["messages"][0]["content"][1]["text"] == sent


@pytest.mark.parametrize(("form", "name"), [("jpeg", "JPEG"), ("png", "PNG")])
@pytest.mark.parametrize(
    ("size", "sent"),
    [((40, 20), (40, 20)), ((128, 64), (64, 32)), ((64, 65), (63, 64)), ((4000, 80), (64, 1))],
)
def test_pictures_are_sent_no_larger_than_is_said(
    form: Any, name: str, size: tuple[int, int], sent: tuple[int, int]
) -> None:
    with opened(
        body(Image.new("RGB", size, (9, 8, 7)), picture=PictureForm(format=form, max_side=64))
    ) as image:
        assert (image.format, image.mode, image.size) == (name, "RGB", sent)
        assert image.getpixel((0, 0)) == pytest.approx((9, 8, 7), abs=2)  # JPEG is not exact.


def test_nothing_of_the_settings_changes() -> None:
    config = ServerConfig(urls=("http://a.test",))
    with pytest.raises(ValidationError):
        config.model = "x"  # type: ignore[misc]


def test_every_server_of_the_docs_can_be_set_up() -> None:
    text = (ROOT / "docs/captioning.md").read_text("utf-8")
    tables = [tomllib.loads(block) for block in re.findall(r"^```toml\n(.*?)^```", text, re.M | re.S)]
    backends = [table["backend"] for table in tables if table.get("backend", {}).get("kind") == "server"]
    assert len(backends) >= 4
    for backend in backends:
        checked_settings(ServerConfig, backend, "docs/captioning.md")
