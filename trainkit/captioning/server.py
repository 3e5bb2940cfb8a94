"""Captions by OpenAI-compatible servers: vLLM, LMDeploy, SGLang, llama.cpp, a hosted service; one or a fleet.

The event loop runs in a thread of its own. Requests are drawn, and answers given, in the caller's.
"""

from __future__ import annotations

import functools
import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from trainkit.captioning.captioner import Answer, Captioner, Request
from trainkit.captioning.sampling import Sampling
from trainkit.captioning.server_address import key_from, usable_url
from trainkit.captioning.server_asking import Asking
from trainkit.captioning.server_body import body_of
from trainkit.captioning.server_connection import Connections
from trainkit.captioning.server_failures import Failed, ServerError
from trainkit.captioning.server_fleet import EndPoint, Fleet
from trainkit.captioning.server_loop import Loop
from trainkit.captioning.server_models import agree, served, survey
from trainkit.captioning.server_picture import PictureForm
from trainkit.captioning.server_rates import RateConfig, Rates
from trainkit.captioning.server_retry import RetryConfig

_SECRET = re.compile(r"secret|passw|authorization|cookie|credential|api_?key|^auth$|_token$", re.I)
_OURS = frozenset({"model", "messages", "stream", "n"})
_PICTURE_TOKENS = 1000
"""What a picture costs, before any answer said so."""


class ServerConfig(BaseModel):
    """Captions by servers that speak OpenAI's protocol."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    kind: Literal["server"] = "server"
    urls: tuple[str, ...] = Field(min_length=1, max_length=1000)
    """Of each end point the URL before /chat/completions, such as "http://127.0.0.1:8000/v1"; /v1 is added
    where there is no path."""
    model: str = ""
    """Name of the model; empty takes the one that the servers serve."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key. The key itself is never written anywhere."""
    concurrency: int = Field(default=16, ge=1, le=4096)
    """Requests in flight at each end point. A server batches what it has: fewer than it could hold (vLLM's
    --max-num-seqs) leave it idle."""
    system: str = ""
    """System message; empty is none. CogVLM knows none."""
    picture: PictureForm = PictureForm()
    """How pictures are sent."""
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """The field that carries sampling.max_new_tokens; OpenAI's newer models take only the second."""
    extra_body: dict[str, Any] = {}
    """Further fields of each request, such as { chat_template_kwargs = { enable_thinking = false } }."""
    leave_out: tuple[str, ...] = ()
    """Fields that the server refuses, such as ["temperature", "seed"]."""
    retry: RetryConfig = RetryConfig()
    """How long is waited, and how often asked again."""
    per_minute: RateConfig = RateConfig()
    """What the servers' owner allows."""
    price_in: float | None = Field(default=None, ge=0)
    """Price of a million tokens read, in any currency; for the estimate."""
    price_out: float | None = Field(default=None, ge=0)
    """Price of a million tokens written."""

    @field_validator("urls", mode="before")
    @classmethod
    def _may_be_one(cls, urls: Any) -> Any:
        return (urls,) if isinstance(urls, str) else urls

    @field_validator("urls")
    @classmethod
    def _usable(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        usable = tuple(usable_url(url) for url in urls)
        if len(set(usable)) != len(usable):
            raise ValueError("names one end point twice; concurrency sends it more at a time")
        return usable

    @field_validator("api_key_env")
    @classmethod
    def _is_name(cls, name: str | None) -> str | None:
        # The value is not shown: it may be the key.
        if name is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", name):
            raise ValueError(
                "must be the name of an environment variable in capitals, such as OPENAI_API_KEY, not the key"
            )
        return name

    @field_validator("extra_body")
    @classmethod
    def _sendable(cls, body: dict[str, Any]) -> dict[str, Any]:
        for name in body:
            if name in _OURS:
                raise ValueError(f"{name} is set by trainkit")
            if _SECRET.search(name):
                raise ValueError(f"{name} looks like a secret, and this is written beside the results")
        try:
            json.dumps(body, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"cannot be sent as JSON: {error}") from None
        return body

    def open(self, sampling: Sampling) -> Captioner:
        """Connect, and ask each end point which models it serves. Raises ServerError when none answers, or
        they do not agree."""
        return ServerCaptioner(self, sampling)

    def cost(self, tokens_in: int, tokens_out: int) -> float | None:
        """What so many tokens cost; None when no price is given."""
        if self.price_in is None and self.price_out is None:
            return None
        return (tokens_in * (self.price_in or 0.0) + tokens_out * (self.price_out or 0.0)) / 1e6


class ServerCaptioner(Captioner):
    """Servers that caption pictures."""

    def __init__(self, config: ServerConfig, sampling: Sampling) -> None:
        self._config = config
        self._key = key_from(config.api_key_env)
        total = config.concurrency * len(config.urls)
        self._room = total + max(2, min(total // 4, 64))
        """Requests that are in flight or encoded and waiting."""
        self._encoders = ThreadPoolExecutor(min(4, os.cpu_count() or 1), "caption-encoder")
        self._loop = Loop("caption-servers")
        self._connections: Connections | None = None
        try:
            self._model = self._loop.run(self._start(sampling))
        except BaseException:
            self.close()
            raise

    @property
    def model(self) -> str:
        """The name that the servers know it by."""
        return self._model

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Answers as they come. What was answered before an error is given before it is raised."""
        done: SimpleQueue[Future[Answer]] = SimpleQueue()
        asked: set[Future[Answer]] = set()
        error: BaseException | None = None
        waiting = iter(requests)
        more = True
        try:
            while (more or asked) and error is None:
                if more and len(asked) < self._room:
                    request = next(waiting, None)
                    more = request is not None
                    if request is not None:
                        future = self._loop.submit(self._asking.answer(request))
                        asked.add(future)
                        future.add_done_callback(done.put)
                for future in _finished(done, wait=bool(asked) and (not more or len(asked) >= self._room)):
                    asked.discard(future)
                    if future.cancelled():
                        raise ServerError("the captioner was closed while it answered")
                    if (wrong := future.exception()) is None:
                        yield future.result()
                    error = error or wrong
            if error is not None:
                self._cancel(asked)
                for future in asked:
                    if not future.cancelled() and future.exception() is None:
                        yield future.result()
                raise error
        finally:
            self._cancel(asked)

    def take_notes(self) -> tuple[str, ...]:
        """What happened to end points since this was last called: which rest, which answer again."""
        return () if self._loop.stopped else self._loop.run(self._noted())

    def close(self) -> None:
        """Leave the servers; what is on its way is not waited for."""
        if self._loop.stopped:
            return
        self._loop.stop(self._connections.close() if self._connections is not None else None)
        self._encoders.shutdown(cancel_futures=True)

    async def _start(self, sampling: Sampling) -> str:
        """Connections, and the model's name."""
        config = self._config
        connections = self._connections = Connections(
            config.urls, key=self._key, concurrency=config.concurrency, retry=config.retry
        )
        names, failed = await survey(connections, config.urls)
        model = agree(config.model, names)
        self._fleet = Fleet(
            config.urls,
            concurrency=config.concurrency,
            retry=config.retry,
            probe=functools.partial(_answers_probe, connections, model),
        )
        for end in self._fleet.ends:
            if end.url in failed:
                self._fleet.rest(end, failed[end.url])
        self._asking = Asking(
            self._fleet,
            connections,
            body_of=functools.partial(
                body_of,
                model=model,
                sampling=sampling,
                picture=config.picture,
                system=config.system,
                limit=config.limit,
                extra=config.extra_body,
                leave_out=config.leave_out,
            ),
            retry=config.retry,
            rates=Rates(config.per_minute, time.monotonic(), guess=sampling.max_new_tokens + _PICTURE_TOKENS),
            encoders=self._encoders,
        )
        return model

    async def _noted(self) -> tuple[str, ...]:
        return self._fleet.take_notes()

    def _cancel(self, asked: Iterable[Future[Answer]]) -> None:
        """Ask the servers for none of these any more."""
        for future in asked:
            future.cancel()


def _finished(done: SimpleQueue[Future[Answer]], *, wait: bool) -> Iterator[Future[Answer]]:
    """What has finished; with ``wait`` at least one."""
    if wait:
        yield done.get()
    while True:
        try:
            yield done.get_nowait()
        except Empty:
            return


async def _answers_probe(connections: Connections, model: str, end: EndPoint) -> bool:
    """Whether an end point is there; raises ServerError when it is not one of this run's any more."""
    try:
        names = await served(connections, end.url)
    except Failed as failure:
        end.reason, end.gone = failure.reason, failure.gone
        return False
    agree(model, {end.url: names})
    return True
