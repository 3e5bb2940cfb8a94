"""What real servers and gateways did, or might: each of these once hung, lost a run, or told a key."""

from __future__ import annotations

import itertools
import json
import time

import pytest

from tests.trainkit.captioning.caption_server import caption_server, order
from tests.trainkit.captioning.test_server import ask, config, requests
from trainkit.captioning import meter as meters
from trainkit.captioning.captioner import Answer
from trainkit.captioning.meter import Meter
from trainkit.captioning.sampling import Sampling
from trainkit.captioning.server import ServerConfig
from trainkit.captioning.server_address import usable_url
from trainkit.captioning.server_failures import Failed, Refused, ServerError
from trainkit.captioning.server_reply import read_reply

KEY = "sk-secret/0123456789"


def test_pictures_that_a_server_fails_at_are_given_up_also_where_no_others_are_left() -> None:
    """A run whose last pictures got a 500 each ended after retry.give_up_s, at every start again."""
    with caption_server() as url:
        order(url, {"status": 500, "match": "Question"})
        answers = ask(config(url, retry={"tries": 3}), 7)
        assert {answer.problem for answer in answers} == {
            "given up after 3 failures; the last: answered 500: so told"
        }
        assert sorted(answer.key for answer in answers) == list(range(7))


@pytest.mark.parametrize("bad", [0, 5, 11])
def test_a_picture_that_a_service_forbids_does_not_end_the_run(bad: int) -> None:
    """OpenRouter's filter answers 403, as a wrong key does: no start came beyond that picture."""
    with caption_server() as url:
        order(url, {"status": 403, "match": f"Question {bad},", "body": {"error": {"message": "flagged"}}})
        answers = ask(config(url), 12)
        assert [a.problem for a in answers if a.key == bad] == ["the server answered 403: flagged"]
        assert sum(answer.problem is None for answer in answers) == 11


def test_a_key_that_is_withdrawn_ends_the_run() -> None:
    with caption_server() as url, config(url).open(Sampling()) as captioner:
        coming = captioner.answers(requests(1000))
        answers = list(itertools.islice(coming, 20))
        order(url, {"status": 403})
        with pytest.raises(ServerError, match="answers 403"):
            answers.extend(coming)
        assert [answer.problem for answer in answers if answer.problem] == []


def test_a_rest_of_years_is_not_waited_for() -> None:
    """What was under way before it was answered, and so the server counted as one that answers."""
    with caption_server() as url:
        order(
            url,
            {"status": 429, "headers": {"Retry-After": "9" * 30}, "match": "Question 0,"},
            {"wait": 0.4, "match": "Question"},
            together=4,
        )
        with config(url, retry={"give_up_s": 0.6}).open(Sampling()) as captioner:
            answers: list[Answer] = []
            with pytest.raises(ServerError, match="no server has answered for"):
                answers.extend(captioner.answers(requests(4)))
            # Those that a slow machine has not answered in these 0.6 s are given up as well.
            assert {answer.key for answer in answers} <= {1, 2, 3}
            (note,) = captioner.take_notes()  # type: ignore[attr-defined]
            assert "s of rest" in note


@pytest.mark.parametrize(
    "fault",
    [
        {"body": {"error": {"message": f"bad key {KEY}"}}},
        {"body": {"error": {"message": f"bad key {KEY}"}}, "status": 400},
        {"body": '{"error": "bad key ' + KEY.replace("/", "\\/") + '"}', "status": 400},
        {"body": f"<html>{'.' * 60}{KEY}</html>"},
        {"message": {"content": None, "refusal": f"I know {KEY}."}},
        {"status": 307, "headers": {"Location": f"http://elsewhere.test/?key={KEY}"}},
        {"status": 401, "body": {"detail": KEY}},
    ],
)
def test_no_message_tells_the_key(fault: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    with caption_server(key=KEY) as url:
        order(url, fault)
        settings = config(url, api_key_env="A_KEY", retry={"give_up_s": 0.3})
        try:
            told = [str(answer.problem) for answer in ask(settings, 2)]
        except ServerError as error:
            told = [str(error)]
    assert told
    for text in told:
        assert "secret" not in text
        assert "sk-" not in text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("It shows a dog, I think.\n</think>\n\nA dog.", "A dog."),
        ("<thinking>A dog?</thinking>A dog.", "A dog."),
        ("\u25c1think\u25b7Hm.\u25c1/think\u25b7A dog.", "A dog."),
        (["A ", {"type": "text", "text": "dog."}], "A dog."),
    ],
)
def test_the_answer_begins_behind_the_thought(content: object, text: str) -> None:
    """Where a chat template opens the thought itself, only its end stands in the answer."""
    body = json.dumps({"choices": [{"message": {"content": content}}]}).encode()
    assert read_reply(body).text == text


def test_a_thought_alone_is_no_answer() -> None:
    with pytest.raises(Refused, match="wrote no answer"):
        read_reply(b'{"choices": [{"message": {"content": "Hm, a dog. </think> "}}]}')


def test_a_stream_is_named() -> None:
    with pytest.raises(Failed, match="a stream of events"):
        read_reply(b'data: {"choices": []}\n\ndata: [DONE]\n\n')


def test_addresses() -> None:
    assert config("http://a.test").urls == ServerConfig.model_validate({"urls": "http://a.test"}).urls
    assert usable_url("http://127.0.0.1:8000/v1/models") == "http://127.0.0.1:8000/v1"
    with pytest.raises(ValueError, match="must be such as"):
        usable_url("http://\u202eelpmaxe.test/v1")
    with pytest.raises(ServerError, match="cannot be asked"):
        config("http://xn--/v1").open(Sampling())


def test_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    with caption_server() as url, pytest.raises(ServerError, match="does it speak http, without the s"):
        config(url.replace("http", "https")).open(Sampling())
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file.pem")
    with pytest.raises(ServerError, match="SSL_CERT_FILE"):
        config("https://127.0.0.1:9/v1").open(Sampling())


def test_what_happens_to_servers_is_told_while_no_answer_comes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was told with the next answer, so that a bar stood still for minutes without a word."""
    monkeypatch.setattr(meters, "_TELL_SECONDS", 0.05)
    with caption_server() as url:
        order(url, {"status": 429, "headers": {"Retry-After": "20"}, "count": 1})
        with config(url, concurrency=1).open(Sampling()) as captioner:
            meter = Meter(3, 0, show=True)
            answers = captioner.answers(requests(3))
            with meter, meter.telling(captioner):
                captioner._loop.submit(captioner._asking.answer(next(requests(1))))  # type: ignore[attr-defined]
                told, end = "", time.monotonic() + 600
                while "asks for 20 s of rest" not in told and time.monotonic() < end:
                    told += capsys.readouterr().err
                    time.sleep(0.02)
            assert "asks for 20 s of rest" in told
            answers.close()  # type: ignore[attr-defined]
