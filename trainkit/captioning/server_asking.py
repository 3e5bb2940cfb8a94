"""One request until it has its answer: asked, asked again, given up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from trainkit.captioning.captioner import Answer, Request
from trainkit.captioning.server_connection import Connections
from trainkit.captioning.server_failures import Failed, Refused, ServerError
from trainkit.captioning.server_fleet import EndPoint, Fleet
from trainkit.captioning.server_rates import Rates
from trainkit.captioning.server_reply import Reply
from trainkit.captioning.server_retry import RetryConfig

_REFUSED_FIRST = 10
"""So many requests refused and none answered: it is not the pictures."""
_DOUBTFUL = 2
"""So many failures of one request and no answer to any other between: who fails, server or picture?"""
_CONTROL = "Describe the picture."
"""What is asked about a plain picture, to tell a server that fails from a picture that it fails at."""


class Asking:
    """Asks a fleet. Everything runs in one event loop, but for encoding pictures."""

    def __init__(
        self,
        fleet: Fleet,
        connections: Connections,
        *,
        body_of: Callable[[Request], bytes],
        retry: RetryConfig,
        rates: Rates,
        encoders: ThreadPoolExecutor,
    ) -> None:
        self._fleet = fleet
        self._connections = connections
        self._body_of = body_of
        self._retry = retry
        self._rates = rates
        self._encoders = encoders
        self._written = 0
        self._refused = 0
        self._one_control = asyncio.Lock()

    async def answer(self, request: Request) -> Answer:
        """The answer, whatever happens on the way. Raises ServerError for what is wrong with all requests."""
        start = time.monotonic()
        try:
            return await self._answer(request)
        except Refused as refusal:
            return Answer.failed(request.key, str(refusal), seconds=time.monotonic() - start)

    async def _answer(self, request: Request) -> Answer:
        body = await self._encoded(request)
        failures = 0
        before = 0
        while True:
            try:
                return await self._once(request.key, body)
            except Failed as failure:
                # Answers since its first failure show that it is the request, not the server.
                before = self._fleet.answered if not failures else before
                failures += failure.counts
                if failures >= self._retry.tries and self._fleet.answered > before:
                    raise Refused(f"given up after {failures} failures; the last: {failure.reason}") from None
                if failure.counts:
                    await asyncio.sleep(self._retry.wait(failures, str(request.key)))
                if failures >= _DOUBTFUL:
                    await self._answers_others(before)
            except ServerError as error:
                # A key that is no good is refused for every picture, a picture by a service's filter alone.
                if error.status != 403 or not await self._answers_others():
                    raise
                raise Refused(f"the server answered {error.said}") from None

    async def _answers_others(self, before: int | None = None) -> bool:
        """Whether a server answers at all, asked about a plain picture: what is left of a run may be all that
        it fails at. Not asked if the answers are more than ``before`` anyway."""
        async with self._one_control:
            answered = self._fleet.answered
            if before is not None and answered > before:
                return True
            request = Request(0, _CONTROL, Image.linear_gradient("L").convert("RGB"), 0)
            try:
                await self._once(request.key, await self._encoded(request))
            except (Failed, Refused):
                pass
            except ServerError as error:
                if error.status is None:
                    raise  # No server is left, or none of this run.
            return self._fleet.answered > answered

    async def _encoded(self, request: Request) -> bytes:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._encoders, self._body_of, request)
        except (OSError, ValueError, MemoryError) as error:
            raise Refused(f"the picture cannot be sent: {error}") from error

    async def _once(self, key: int, body: bytes) -> Answer:
        """Ask one end point once."""
        end = await self._fleet.enter()
        wait, taken = self._rates.take(time.monotonic())
        used = 0
        try:
            if wait > 0:
                await asyncio.sleep(wait)
            start = time.monotonic()
            reply = await self._asked(end, body)
            used = reply.tokens_in + reply.tokens_out
        finally:
            self._fleet.leave(end)
            self._rates.settle(taken, used, time.monotonic())
        return Answer(
            key,
            reply.text,
            None,
            reply.tokens_in,
            reply.tokens_out,
            reply.finish,
            time.monotonic() - start,
        )

    async def _asked(self, end: EndPoint, body: bytes) -> Reply:
        try:
            reply = await self._connections.ask(end.url, body)
        except Refused as refusal:
            self._fleet.worked(end)
            self._count_refused(end, refusal)
            raise
        except Failed as failure:
            self._fleet.failed(end, failure)
            raise
        self._fleet.worked(end)
        self._written += 1
        return reply

    def _count_refused(self, end: EndPoint, refusal: Refused) -> None:
        self._refused += 1
        if not self._written and self._refused >= _REFUSED_FIRST:
            raise ServerError(
                f"{end.url}: all of the first {self._refused} requests were refused; the last: {refusal}. "
                "Does the model take pictures, and does the server know every setting? leave_out = [...] "
                "leaves fields out."
            )
