"""How an answer is drawn from a model, whichever back end runs it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Sampling(BaseModel):
    """Settings of drawing an answer."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_new_tokens: int = Field(default=400, ge=1, le=100_000)
    """Tokens after which an answer is cut off; it then counts as unfinished ("length")."""
    temperature: float = Field(default=0.0, ge=0, le=5)
    """0 takes the likeliest token each time; more is more varied."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Draw from the likeliest tokens of this probability together; 1 is all. With a temperature only."""
    top_k: int | None = Field(default=None, ge=1)
    """Draw from this many likeliest tokens; none is all. With a temperature only."""
    repetition_penalty: float = Field(default=1.0, gt=0, le=5)
    """Divides the score of tokens written already (a server may count the prompt's too); 1 is none, 1.1 is
    much. Names are repeated for good reason: prefer the loop stop."""
    seed: int = Field(default=0, ge=0)
    """Of the draws; a request's own seed is made from this, its picture and its prompt."""
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Strings that end an answer; they are not part of it."""
