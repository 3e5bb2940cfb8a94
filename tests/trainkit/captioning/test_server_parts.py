"""Waits, rates and replies of caption servers, each by itself."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainkit.captioning.server_failures import AllGoneError, Failed, Refused, judge_status, message_of, shown
from trainkit.captioning.server_fleet import EndPoint, Fleet
from trainkit.captioning.server_rates import Bucket, RateConfig, Rates
from trainkit.captioning.server_reply import read_reply
from trainkit.captioning.server_retry import RetryConfig, retry_after

SECONDS = st.floats(0, 100, allow_nan=False)


@given(
    first=st.floats(0.001, 600),
    longest=st.floats(0.001, 3600),
    failures=st.integers(1, 10_000),
    what=st.text(),
)
def test_waits_double_up_to_the_longest_and_lose_half_at_most(
    first: float, longest: float, failures: int, what: str
) -> None:
    retry = RetryConfig(first_wait=first, longest_wait=longest)
    full = min(first * 2 ** min(failures - 1, 60), longest)
    assert full / 2 <= retry.wait(failures, what) <= full
    assert retry.wait(failures, what) == retry.wait(failures, what)


def test_what_failed_together_does_not_come_back_together() -> None:
    waits = {RetryConfig().wait(1, str(key)) for key in range(1000)}
    assert len(waits) > 990
    assert min(waits) < 0.51
    assert max(waits) > 0.99


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("", None),
        (None, None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1e999", None),
        ("soon", None),
        ("Fri, 31 Feb 2026 99:99:99 GMT", None),
        ("9" * 5000, None),
        (format_datetime(datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC), usegmt=True), 30.0),
        (format_datetime(datetime(2025, 1, 1, tzinfo=UTC), usegmt=True), 0.0),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)) == seconds


@given(
    per_minute=st.floats(1, 6000),
    asked=st.lists(st.tuples(st.floats(0, 5), st.floats(0.01, 50)), min_size=1, max_size=40),
)
def test_no_stretch_of_time_gets_more_than_its_rate(
    per_minute: float, asked: list[tuple[float, float]]
) -> None:
    """In any stretch: what was kept, what came in, and the request that was waited for."""
    bucket, now = Bucket(per_minute, 0.0), 0.0
    granted: list[tuple[float, float]] = []
    for gap, amount in asked:
        now += gap
        granted.append((now + bucket.take(amount, now), amount))
    assert granted == sorted(granted, key=lambda grant: grant[0])
    kept = max(per_minute / 60, 1.0)
    for first in range(len(granted)):
        for last in range(first, len(granted)):
            span = granted[last][0] - granted[first][0]
            taken = sum(amount for _, amount in granted[first + 1 : last + 1])
            assert taken <= kept + span * per_minute / 60 + 1e-6


def test_a_request_that_waits_for_nothing_does_not_wait() -> None:
    rates = Rates(RateConfig(), 0.0, guess=1000)
    assert [rates.take(0.0)[0] for _ in range(100)] == [0.0] * 100


def test_tokens_are_settled_by_what_was_used() -> None:
    """1,400 tokens are guessed, 140 used: after some answers the rate is that of 140 each."""
    rates = Rates(RateConfig(tokens=6000), 0.0, guess=1400)
    now = 0.0
    for _ in range(200):
        wait, taken = rates.take(now)
        now += wait
        rates.settle(taken, 140, now)
    assert 0.95 < (200 * 140 / now) / (6000 / 60) < 1.06


def test_a_server_that_comes_back_has_its_time_anew_but_not_for_ever() -> None:
    """Its first answers take longer than what was left of give_up_s; one that every request kills ends."""

    async def there(end: EndPoint) -> bool:
        return True

    async def run() -> int:
        retry = RetryConfig(first_wait=0.01, longest_wait=0.01, give_up_s=0.1)
        fleet = Fleet(("http://a.test/v1",), concurrency=1, retry=retry, probe=there)
        (end,) = fleet.ends
        for times in range(10):
            fleet.failed(end, Failed("cannot be reached", gone=True))
            while end.resting:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.15)
            try:
                fleet.leave(await fleet.enter())
            except AllGoneError:
                return times
        return -1

    assert asyncio.run(run()) == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["choices", "message", "content", "finish_reason", "usage", "text", "type", "refusal",
                         "error", "prompt_tokens", "completion_tokens", "reasoning_content"]) | st.text(),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip
CHOICE = st.fixed_dictionaries({}, optional={"message": JSON, "finish_reason": JSON})


def check_reply(body: bytes) -> None:
    """A reply that a file takes, or one of the two ways to fail."""
    problem = ""
    try:
        reply = read_reply(body)
    except (Failed, Refused) as error:
        problem = str(error)
    if problem:
        assert problem.isprintable()
        return
    assert reply.text.encode("utf-8").strip()
    assert reply.finish in ("stop", "length")
    assert reply.tokens_in >= 0
    assert reply.tokens_out >= 0


@given(
    data=JSON
    | st.fixed_dictionaries({"choices": st.lists(CHOICE | JSON, max_size=2)}, optional={"usage": JSON})
)
def test_no_json_breaks_the_reader(data: Any) -> None:
    check_reply(json.dumps(data).encode())


@given(body=st.binary())
def test_no_bytes_break_the_reader(body: bytes) -> None:
    check_reply(body)
    assert len(message_of(body)) <= 300


@given(text=st.text())
def test_foreign_text_is_shown_in_one_line(text: str) -> None:
    assert shown(text).isprintable()
    assert shown(shown(text)) == shown(text)


@given(status=st.integers(100, 599), body=st.binary(max_size=50))
def test_every_status_but_success_is_judged(status: int, body: bytes) -> None:
    judged = judge_status(status, body, url="http://a.test/v1")
    assert (judged is None) == (200 <= status < 300)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": {"message": "no", "code": "bad_key"}}', "no (bad_key)"),
        (b'{"error": "no"}', "no"),
        (b'{"detail": [{"msg": "field required"}]}', "[{'msg': 'field required'}]"),
        (b'{"object": "error", "message": "no"}', "no"),
        (b"<html><title>502</title></html>", ""),
        (b"plain", "plain"),
        (b"", ""),
    ],
)
def test_the_message_of_an_error_is_found(body: bytes, said: str) -> None:
    assert message_of(body) == said
