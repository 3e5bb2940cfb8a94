"""Captions by servers: every request is answered exactly once, whatever the servers do."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.trainkit.captioning.caption_server import caption_server, order, running, seen
from trainkit.captioning.captioner import Answer, Request
from trainkit.captioning.sampling import Sampling
from trainkit.captioning.server import ServerConfig
from trainkit.captioning.server_failures import ServerError

RETRY = {"first_wait": 0.02, "longest_wait": 0.1, "give_up_s": 600}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """One server for the tests that leave it alive; each says what it shall do."""
    with caption_server() as url:
        yield url


def requests(count: int, first: int = 0) -> Iterator[Request]:
    """Small pictures, no two of which get the same answer."""
    for key in range(first, first + count):
        image = Image.new("RGB", (16 + key % 13, 16 + key % 11), (key % 256, 40, 250))
        yield Request(key, f"Question {key}, please.", image, key)


def config(*urls: str, retry: dict[str, Any] | None = None, **changes: Any) -> ServerConfig:
    """PNG, so that the mean colour comes back as it was sent."""
    changes = {"concurrency": 4, "picture": {"format": "png"}, **changes}
    return ServerConfig.model_validate({"urls": urls, "retry": {**RETRY, **(retry or {})}, **changes})


def ask(settings: ServerConfig, count: int, sampling: Sampling | None = None) -> list[Answer]:
    with settings.open(sampling or Sampling()) as captioner:
        return list(captioner.answers(requests(count)))


def check_all(answers: list[Answer], count: int) -> None:
    """Each request has one answer, and it is that of its own picture and prompt."""
    assert sorted(answer.key for answer in answers) == list(range(count))
    for answer in answers:
        right = (
            f"A picture of {16 + answer.key % 13} by {16 + answer.key % 11} pixels whose mean colour is "
            f"{answer.key % 256}, 40, 250. Asked: Question {answer.key}, please."
        )
        assert (answer.text, answer.problem, answer.finish) == (right, None, "stop")
        assert answer.tokens_in == 103
        assert answer.tokens_out == len(right.split())


PASSING = st.sampled_from(
    [
        {"status": 500},
        {"status": 502, "body": "<html>Bad gateway</html>", "headers": {"Content-Type": "text/html"}},
        {"status": 503, "headers": {"Retry-After": "0"}},
        {"status": 429, "headers": {"Retry-After": "0.1"}},
        {"status": 408},
        {"end": "reset"},
        {"end": "half"},
        {"body": '{"choices": [{"mess'},
        {"body": "x" * 9_000_000},
        {"body": {"choices": []}},
        {"body": {"error": {"message": "overloaded"}}},
        {"body": "[" * 100_000},
        {"choice": {"finish_reason": "abort"}},
        {"choice": {"message": None}},
        {"message": {"content": 3}},
        {"wait": 2.5},
    ]
)


@settings(max_examples=12)
@given(faults=st.lists(st.tuples(PASSING, st.integers(2, 9), st.integers(1, 8)), min_size=1, max_size=3))
def test_every_request_is_answered_exactly_once_whatever_fails(
    server: str, faults: list[tuple[dict[str, Any], int, int]]
) -> None:
    order(server, *({**fault, "every": every, "count": count} for fault, every, count in faults))
    check_all(ask(config(server, retry={"timeout": 2, "tries": 100}), 24), 24)


@pytest.mark.parametrize("concurrency", [1, 3, 8])
def test_no_more_are_in_flight_than_is_said(concurrency: int) -> None:
    with caption_server(latency=0.03) as url:
        order(url, {"status": 429, "every": 7}, {"end": "reset", "every": 11}, together=concurrency)
        check_all(ask(config(url, concurrency=concurrency), 40), 40)
        assert seen(url)["most_at_once"] == concurrency


def test_few_requests_are_shared_out() -> None:
    with caption_server() as one, caption_server() as other:
        order(one, together=4)
        order(other, together=4)
        check_all(ask(config(one, other, concurrency=8), 8), 8)
        assert seen(one)["most_at_once"] == seen(other)["most_at_once"] == 4


def test_a_fast_server_gets_more_of_the_work() -> None:
    with caption_server() as fast, caption_server() as slow:
        order(fast, together=4)
        order(slow, answers=0)
        with config(fast, slow).open(Sampling()) as captioner:
            answers = []
            for answer in captioner.answers(requests(60)):
                answers.append(answer)
                if len(answers) == 48:  # So long the slow one is busy with four.
                    assert (seen(slow)["requests"], seen(slow)["answered"]) == (4, 0)
                    order(slow, answers=60)
        check_all(answers, 60)
        assert seen(slow)["answered"] >= 4


def test_one_of_two_servers_dies() -> None:
    with running(latency=0.02) as stays, running(latency=0.02) as dies:
        with config(stays.url, dies.url).open(Sampling()) as captioner:
            answers = []
            for answer in captioner.answers(requests(120)):
                answers.append(answer)
                if len(answers) == 20:
                    dies.kill()
            (note,) = captioner.take_notes()  # type: ignore[attr-defined]
        check_all(answers, 120)
        assert note.startswith(f"{dies.url} cannot be reached")


def test_the_only_server_is_started_again() -> None:
    with running(latency=0.02) as server:
        with config(server.url).open(Sampling()) as captioner:
            answers = []
            for answer in captioner.answers(requests(50)):
                answers.append(answer)
                if len(answers) == 20:
                    server.kill()
                    server.start()
        check_all(answers, 50)


def test_all_servers_gone_for_too_long_end_the_run_and_lose_no_answer() -> None:
    with running() as server, config(server.url, retry={"give_up_s": 0.5}).open(Sampling()) as captioner:
        answers = captioner.answers(requests(1000))
        first = list(itertools.islice(answers, 10))
        start = time.monotonic()
        server.kill()
        reason = "cannot be reached|broke the connection"
        with pytest.raises(ServerError, match=rf"no server has answered for 0\.5 s .*({reason})"):
            first.extend(answers)
        assert 0.5 < time.monotonic() - start < 100
        assert len({answer.key for answer in first}) == len(first) >= 10


def test_a_server_that_fails_at_everything_but_its_list_of_models_ends_the_run(server: str) -> None:
    order(server, {"status": 500, "body": {"error": {"message": "CUDA error"}}})
    with pytest.raises(ServerError, match="answered 500: CUDA error"):
        ask(config(server, retry={"give_up_s": 0.5, "tries": 2}), 30)


def test_a_picture_that_the_server_fails_at_is_given_up_and_the_others_are_not(server: str) -> None:
    order(server, {"status": 500, "match": "Question 7,"})
    answers = ask(config(server, retry={"tries": 3}), 24)
    bad = [answer for answer in answers if answer.key == 7]
    assert [answer.problem for answer in bad] == [
        "given up after 3 failures; the last: answered 500: so told"
    ]
    assert bad[0].finish == "error"
    assert all(answer.problem is None for answer in answers if answer.key != 7)
    assert sorted(answer.key for answer in answers) == list(range(24))


def test_the_last_picture_that_kills_its_server_is_given_up_too(server: str) -> None:
    """Nothing is answered after it, so that by the rule for the others it would be asked again for ever."""
    order(server, {"end": "reset", "match": "Question 9,"})
    settings = config(server, concurrency=1, retry={"tries": 3})
    (bad,) = (answer for answer in ask(settings, 10) if answer.problem)
    assert bad.key == 9
    assert "broke the connection" in str(bad.problem)


def test_a_server_that_fails_at_everything_for_a_while_costs_no_picture(server: str) -> None:
    order(server, {"status": 500, "count": 20})
    check_all(ask(config(server, retry={"tries": 2}), 12), 12)


def test_a_busy_server_costs_no_request_its_tries(server: str) -> None:
    order(server, {"status": 429, "headers": {"Retry-After": "0"}, "match": "Question 7,", "count": 6})
    check_all(ask(config(server, retry={"tries": 2}), 40), 40)


def test_an_answer_that_does_not_come_is_not_waited_for(server: str) -> None:
    order(server, {"wait": 600, "count": 1})
    start = time.monotonic()
    check_all(ask(config(server, retry={"timeout": 2}), 8), 8)
    assert 2 < time.monotonic() - start < 300


def test_retry_after_is_waited_for() -> None:
    # A server of its own: what another test did not wait for must not be what meets the fault.
    with caption_server() as url:
        order(url, {"status": 429, "headers": {"Retry-After": "0.7"}, "count": 1})
        start = time.monotonic()
        check_all(ask(config(url, concurrency=1), 3), 3)
        assert time.monotonic() - start > 0.7


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_one_refused_picture_is_its_own_problem(server: str, status: int) -> None:
    order(server, {"status": status, "match": "Question 3,", "body": {"detail": "\x1b[2Jpicture\ntoo large"}})
    before = seen(server)["requests"]
    answers = {answer.key: answer for answer in ask(config(server), 12)}
    assert answers[3].problem == f"the server answered {status}: [2Jpicture too large"
    assert sum(answer.problem is None for answer in answers.values()) == 11
    assert seen(server)["requests"] == before + 12  # Not asked again.


def test_a_server_that_refuses_everything_ends_the_run(server: str) -> None:
    order(server, {"status": 400, "body": {"message": "unknown field seed"}})
    before = seen(server)["requests"]
    with pytest.raises(ServerError, match=r"all of the first 10 requests .*unknown field seed.*leave_out"):
        ask(config(server), 1000)
    assert seen(server)["requests"] < before + 20


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"status": 401}, "answers 401: so told.*api_key_env"),
        ({"status": 403}, "answers 403"),
        ({"status": 402}, "answers 402.*account"),
        (
            {"status": 404, "body": {"error": {"message": "no model x"}}},
            "404: no model x.*serves no such model",
        ),
        ({"status": 429, "body": {"error": {"message": "q", "code": "insufficient_quota"}}}, "account"),
        ({"status": 307, "headers": {"Location": "http://elsewhere.test/"}}, "elsewhere.test/, which is not"),
        ({"status": 501}, "answers 501"),
    ],
)
def test_what_is_wrong_with_all_requests_ends_the_run_at_once(
    server: str, fault: dict[str, Any], said: str
) -> None:
    order(server, fault)
    with pytest.raises(ServerError, match=said):
        ask(config(server), 1000)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"message": {"content": None, "refusal": "I cannot."}}, "the model declines: I cannot."),
        ({"message": {"content": " "}}, "the model wrote nothing"),
        ({"message": {"content": None, "reasoning_content": "Hm"}}, "thought only and wrote no answer"),
        ({"choice": {"finish_reason": "content_filter"}}, "content filter"),
        (
            {"message": {"content": "<think>Hm"}, "choice": {"finish_reason": "length"}},
            "thought to the limit of tokens",
        ),
    ],
)
def test_a_model_that_says_nothing_is_the_pictures_problem(
    server: str, fault: dict[str, Any], said: str
) -> None:
    order(server, {**fault, "match": "Question 1,"})
    answers = {answer.key: answer for answer in ask(config(server), 4)}
    assert said in str(answers[1].problem)
    assert answers[1].text is None
    assert answers[2].problem is None


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": [{"type": "text", "text": "A "}, {"type": "x"}, {"text": "dog."}]}, "A dog."),
        ({"content": "<think>A cat?</think>\n\nA dog."}, "A dog."),
        ({"content": "<|begin_of_box|>A dog.<|end_of_box|>"}, "A dog."),
        (
            {"content": "<think>?</think><answer>A dog with a tag </answer>.</answer>"},
            "A dog with a tag </answer>.",
        ),
        ({"content": "A dog.", "reasoning_content": "A cat?"}, "A dog."),
        ({"content": "A \ud83d dog."}, "A \ufffd dog."),
    ],
)
def test_the_text_is_found_in_every_form(server: str, message: dict[str, Any], text: str) -> None:
    order(server, {"message": message})
    assert ask(config(server), 1)[0].text == text


def test_an_answer_cut_off_is_not_finished(server: str) -> None:
    order(server)
    (answer,) = ask(config(server), 1, Sampling(max_new_tokens=5))
    assert (answer.text, answer.finish, answer.tokens_out) == ("A picture of 16 by", "length", 5)


def test_requests_are_drawn_as_there_is_room(server: str) -> None:
    order(server)
    drawn = 0

    def counted() -> Iterator[Request]:
        nonlocal drawn
        for request in requests(10**9):
            drawn += 1
            yield request

    with config(server).open(Sampling()) as captioner:
        answers = captioner.answers(counted())
        taken = list(itertools.islice(answers, 20))
        assert len(taken) == 20
        assert drawn <= 20 + 2 * (4 + 2)
        answers.close()  # type: ignore[attr-defined]
        # What was under way is not answered, and what comes next not disturbed.
        assert len(list(captioner.answers(requests(5)))) == 5
        assert list(captioner.answers([])) == []


def test_an_error_among_the_requests_is_the_callers(server: str) -> None:
    def broken() -> Iterator[Request]:
        yield from requests(3)
        raise KeyError("mine")

    order(server)
    with config(server).open(Sampling()) as captioner, pytest.raises(KeyError):
        list(captioner.answers(broken()))


def test_a_picture_that_cannot_be_encoded_is_its_own_problem(server: str) -> None:
    order(server)
    bad = {
        1: (Image.new("HSV", (20, 20)), "cannot write mode HSV"),
        2: (Image.new("RGB", (70_000, 8)), "70000 x 8 px: a side needs"),
        3: (Image.new("RGB", (7, 7)), "7 x 7 px: a side needs 8 px"),
    }
    asked = [*requests(1), *(Request(key, "?", image, 0) for key, (image, _) in bad.items())]
    with config(server).open(Sampling()) as captioner:
        answers = {answer.key: answer for answer in captioner.answers(asked)}
    assert answers[0].problem is None
    for key, (_, said) in bad.items():
        assert said in str(answers[key].problem)


def test_rates_are_kept(server: str) -> None:
    order(server)
    start = time.monotonic()
    check_all(ask(config(server, concurrency=8, per_minute={"requests": 600}), 16), 16)
    # Ten at once, the other six at ten a second.
    assert time.monotonic() - start > 0.55


def test_close_may_come_twice_and_stops_what_is_under_way() -> None:
    with caption_server() as url:
        order(url, answers=0)
        captioner = config(url).open(Sampling())
        with ThreadPoolExecutor(1) as thread:
            answering = thread.submit(list, captioner.answers(requests(4)))
            while seen(url)["requests"] < 4:
                assert not answering.done()
                time.sleep(0.01)
            captioner.close()
            captioner.close()
            with pytest.raises(ServerError, match="closed while it answered"):
                answering.result()


def test_the_cost_is_that_of_both_directions() -> None:
    priced = config("http://a.test", price_in=2.0, price_out=8.0)
    assert math.isclose(priced.cost(500_000, 250_000) or 0, 3.0)
    assert config("http://a.test").cost(1, 1) is None
