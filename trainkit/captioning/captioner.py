"""What every back end of captions is: it takes requests, each a picture and a prompt, and answers each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from PIL import Image

Finish = Literal["stop", "length", "loop", "error"]
"""Why an answer ended: the model ended it (or a stop string), it met the limit of tokens, it repeated itself
and was cut off, or there is no answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """One question about one picture."""

    key: int
    """Given back with the answer; unique among the requests of one call."""
    prompt: str
    image: Image.Image
    """RGB, upright."""
    seed: int
    """Of this request alone, at least 0: a sampled answer is a function of the model, the request and the
    sampling settings."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request."""

    key: int
    text: str | None
    """As the model wrote it, without its special tokens; None when there is none."""
    problem: str | None
    """Why there is no text; None when there is."""
    tokens_in: int
    """Tokens of the prompt, those of the picture included; 0 when unknown."""
    tokens_out: int
    """Tokens written; 0 when unknown."""
    finish: Finish
    seconds: float
    """From asking to the answer. Requests that ran together each carry the time of all of them."""

    @staticmethod
    def failed(key: int, problem: str, *, seconds: float = 0.0) -> Answer:
        """The answer to a request that has none."""
        return Answer(key, None, problem, 0, 0, "error", seconds)


class Captioner(ABC):
    """A model that captions pictures, wherever it runs. Usable as a context manager."""

    @property
    @abstractmethod
    def model(self) -> str:
        """Name of the model, as it stands in the detail of each caption."""

    @abstractmethod
    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Exactly one answer for each request, in any order.

        Requests are drawn lazily, as there is room for them. What is wrong with one request is an Answer with
        a problem. Raises TrainkitError for what is wrong with all of them.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the model or the connections; may be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
