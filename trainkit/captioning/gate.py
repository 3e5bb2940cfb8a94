"""Whether a caption is one: what a model said instead of describing the picture is refused, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, final, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from captionkit.stats.oddities import placeholder, unreadable
from trainkit.captioning.captioner import Finish
from trainkit.captioning.faults import echoes, has_markup, has_tokens, repeats, words
from trainkit.captioning.language import KNOWN, Languages, without_names
from trainkit.captioning.sayings import BLIND, REFUSAL, sayings

Fault = Literal[
    "empty",
    "too short",
    "too long",
    "placeholder",
    "refusal",
    "blind",
    "talk",
    "echo",
    "loop",
    "tokens",
    "markup",
    "unreadable",
    "language",
]
"""What can be wrong with a caption; docs/captioning.md says it with examples."""

FAULTS: tuple[str, ...] = get_args(Fault)


class GateConfig(BaseModel):
    """What is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    let_through: tuple[Fault, ...] = ()
    """Faults that are none here, such as `["markup"]`."""
    min_words: Annotated[int, Field(ge=0)] = 3
    """A caption of fewer words is too short."""
    max_words: Annotated[int, Field(ge=1)] = 500
    """A caption of more words is too long."""
    min_different: Annotated[float, Field(ge=0, le=1)] = 0.5
    """A caption is a loop when of its runs of four words a smaller share than this are different ones."""
    languages: tuple[str, ...] = ("en",)
    """ISO 639-1 codes of the languages that captions may be in; empty means any."""
    language_words: Annotated[int, Field(ge=1)] = 10
    """Captions of fewer words, names not counted, are not asked for their language: half a line is often
    taken for another."""
    language_sure: Annotated[float, Field(ge=0.5, le=1)] = 0.8
    """How probable it must be that a caption is in none of the languages, 0.5 to 1."""

    @field_validator("languages")
    @classmethod
    def _are_known(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [code for code in languages if code not in KNOWN]:
            raise ValueError(f"{unknown[0]!r} is none of {', '.join(sorted(KNOWN))}")
        return languages

    @model_validator(mode="after")
    def _in_order(self) -> GateConfig:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words is {self.min_words}, must be at most max_words, {self.max_words}")
        return self


@final
class Gate:
    """Names the faults of captions. The model of languages is read at the first text."""

    def __init__(self, config: GateConfig, *, prompts: Sequence[str] = ()) -> None:
        """``prompts`` are what all pictures are asked, for `judge` to know them again."""
        self.config = config
        self._prompts = tuple(prompts)
        self._languages = Languages(config.languages, sure=config.language_sure) if config.languages else None

    def judge(
        self, text: str, *, finish: Finish = "stop", raw: str | None = None, prompt: str | None = None
    ) -> tuple[str, ...]:
        """The names of the faults of a cleaned caption; none means that it passes.

        ``raw`` is what the model said before cleaning, which may have taken away what gives a refusal away:
        where the model refused, what is left is no caption either. ``prompt`` is what it was asked. That a
        model was stopped (``finish`` "length" or "loop") is no fault of what cleaning left.
        """
        del finish
        found = self._found(text, raw, prompt)
        return tuple(fault for fault in FAULTS if fault in found)

    def _found(self, text: str, raw: str | None, prompt: str | None) -> set[str]:
        number = len(words(text))
        if not number:
            # What cleaning left nothing of may have been a refusal, which says more than that it is empty.
            found = {"empty"} | (sayings(raw) & {REFUSAL, BLIND} if raw is not None else set())
            return found.difference(self.config.let_through)
        prompts = self._prompts if prompt is None else (*self._prompts, prompt)
        shapes = {
            "too short": number < self.config.min_words,
            "too long": number > self.config.max_words,
            "placeholder": placeholder(text),
            "echo": echoes(text, prompts),
            "loop": repeats(text, self.config.min_different),
            "tokens": has_tokens(text),
            "markup": has_markup(text),
            "unreadable": unreadable(text),
        }
        found = {name for name, is_so in shapes.items() if is_so}
        found |= sayings(text)
        if raw is not None and raw != text:
            found |= sayings(raw) & {REFUSAL, BLIND}
        if not found and self._is_foreign(text):
            found.add("language")
        return found.difference(self.config.let_through)

    def _is_foreign(self, text: str) -> bool:
        if self._languages is None:
            return False
        plain = without_names(text)
        return len(words(plain)) >= self.config.language_words and bool(self._languages.foreign(plain))
