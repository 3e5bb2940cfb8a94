"""Whether a caption is one: what a model said instead of describing the picture is refused, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Finish = Literal["stop", "length", "loop", "error"]
"""Why the model stopped: see `trainkit.captioning.captioner.Answer`."""


class GateConfig(BaseModel):
    """What is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    off: tuple[str, ...] = ()
    """Names of faults that are let through, such as `["markup"]`."""
    min_words: Annotated[int, Field(ge=0)] = 3
    """A caption of fewer words is too short."""
    max_words: Annotated[int, Field(ge=1)] = 400
    """A caption of more words is too long."""
    languages: tuple[str, ...] = ("en",)
    """ISO 639-1 codes of the languages that captions may be in; empty lets all through."""


class Gate:
    """The faults of captions, by name."""

    def __init__(self, config: GateConfig, *, prompts: Sequence[str] = ()) -> None:
        self.config = config
        self._prompts = tuple(prompts)

    def judge(
        self, text: str, *, finish: Finish = "stop", raw: str | None = None, prompt: str | None = None
    ) -> tuple[str, ...]:
        """The names of the faults of a cleaned text; none means that it passes.

        ``raw`` is what the model said before cleaning, which may have taken away what gives a refusal away.
        ``prompt`` is what it was asked, besides the prompts of all pictures.
        """
        raise NotImplementedError
