"""The prompts of a run: which of them a picture gets, and what a picture's prompt says."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from captionkit import Draws, Record
from trainkit.captioning.sampling import Sampling
from trainkit.captioning.template import Template, parse_template
from trainkit.captioning.words import WordsConfig, say

_NAME = r"^[a-z0-9][a-z0-9._-]*$"


class PromptConfig(BaseModel):
    """One way to ask for a caption."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    name: str = Field(default="describe", pattern=_NAME, max_length=40)
    """What reports call it; part of the source of its captions where a picture gets several."""
    text: str = Field(min_length=1, max_length=20_000)
    """The prompt, with the picture's tags in it so that names survive: "Describe the picture. It is tagged:
    {tags}. Name {tags:character}."; docs/captioning.md has all placeholders."""
    weight: float = Field(default=1.0, ge=0, le=1e9)
    """How often it is drawn, against the others' weights."""
    otherwise: str = Field(default="", max_length=20_000)
    """What is asked where ``text`` has nothing left to say; needed only if every sentence of it hangs on
    placeholders."""
    opening: str = Field(default="", max_length=400)
    """Words that the answer must begin with, such as "The image showcases"; they are taken off again. A model
    that begins in the middle of a sentence wastes none on greetings."""

    @field_validator("text", "otherwise")
    @classmethod
    def _can_be_read(cls, text: str) -> str:
        parse_template(text)
        return text

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if not self._bare(self.text) and not self._bare(self.otherwise):
            raise ValueError(
                "every sentence hangs on placeholders, so that nothing would be asked about a picture "
                f"without them: {self.text!r}; add a sentence without any, or set otherwise = "
                '"Describe the picture."'
            )
        return self

    @staticmethod
    def _bare(text: str) -> str:
        """What is asked where nothing is known."""
        return parse_template(text).fill(lambda _: "")

    def ask(self, record: Record, words: WordsConfig, ours: Collection[str] = ()) -> str:
        """The prompt for a record; ``ours`` are the sources of what the run itself adds."""
        for template in (_read(self.text), _read(self.otherwise)):
            if asked := template.fill(lambda placeholder: say(record, placeholder, words, ours)):
                return asked + (
                    f' Begin your answer with the words "{self.opening}".' if self.opening else ""
                )
        raise AssertionError("one of the two says something without any placeholder")

    def without_opening(self, text: str) -> str:
        """An answer without its forced opening, and with a capital; as it is when it does not begin so."""
        pattern = r"\s*" + r"\s+".join(map(re.escape, self.opening.split())) + r"\b[\s,:]*"
        if not self.opening or (found := re.match(pattern, text, re.I)) is None:
            return text
        rest = text[found.end() :]
        return rest[:1].upper() + rest[1:]


@lru_cache(maxsize=256)
def _read(text: str) -> Template:
    return parse_template(text)


def draw_prompts(prompts: Sequence[PromptConfig], count: int, id: str, seed: int) -> list[PromptConfig]:
    """``count`` different prompts for a picture, or all when there are fewer, in the order of the run file: a
    function of (seed, id). Each is drawn by weight among those that are left."""
    left = list(prompts)
    draws = Draws(seed, 0, 0, id)
    drawn: list[PromptConfig] = []
    for turn in range(min(count, len(left))):
        weights = [prompt.weight for prompt in left]
        choice = draws.child(f"prompt#{turn}").choice(left, weights if any(weights) else None)
        left.remove(choice)
        drawn.append(choice)
    return [prompt for prompt in prompts if prompt in drawn]


def prompt_hash(prompt: PromptConfig, words: WordsConfig, sampling: Sampling, model: str) -> str:
    """BLAKE2b of 8 bytes, in hexadecimal, over all that decides an answer but the picture: template, words,
    sampling and model."""
    said: dict[str, Any] = {
        "prompt": prompt.model_dump(mode="json", exclude={"name", "weight"}),
        "words": words.model_dump(mode="json"),
        "sampling": sampling.model_dump(mode="json"),
        "model": model,
    }
    text = json.dumps(said, sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(text.encode("ascii"), digest_size=8).hexdigest()


def request_seed(seed: int, id: str, prompt: str) -> int:
    """The seed of one request, 31 bits: a function of the run's seed, the picture and the prompt's name."""
    told = hashlib.blake2b(f"{seed}/{prompt}/{id}".encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(told, "little") >> 1
