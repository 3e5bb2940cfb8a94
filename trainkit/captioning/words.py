"""What a picture's record puts into a prompt: tags, captions and facts as words that cannot break it.

Boards let anybody write tags. A tag stays one piece of text on one line: line breaks, characters that are
not seen and the marks by which chat models tell speakers apart (``<|im_end|>``, ``</s>``, ``[INST]``) are
taken out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable

from pydantic import BaseModel, ConfigDict, Field

from captionkit import Record, Tag
from captionkit.emoticons import is_emoticon
from captionkit.record import Fact, fold
from trainkit.captioning.template import Placeholder

_LONGEST_TAG = 120
_LONGEST_CAPTION = 4_000
_CHAT_MARK = re.compile(
    r"<[|\uff5c][^<>]*\w[^<>]*>"  # <|im_end|> of ChatML, Llama 3, Qwen, GLM, DeepSeek; not the face <|>_<|>.
    r"|</?(?:s|[A-Za-z_]\w[\w.:/-]{0,60})/?>"  # </s>, <image>, <start_of_turn>; not the face <o>_<o>.
    r"|<</?SYS>>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|IMG|IMG_BREAK|IMG_END|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
)
_SPEAKER = re.compile(r"\b(USER|ASSISTANT|HUMAN|SYSTEM)\s*:")
_JOINERS = "\u200c\u200d"
"""Letters of Persian and Hindi, and families of emoji, hang on these."""


class WordsConfig(BaseModel):
    """How a record is put into words."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    min_score: float = 0.5
    """Tags with a lower score, of which a machine was less sure, are left out; those without one stay."""
    max_tags: int = Field(default=60, ge=1, le=10_000)
    """Tags in one placeholder that sets no limit of its own; the first ones stay."""
    leave_out: tuple[str, ...] = ("meta", "invalid")
    """Categories that say nothing about what is seen; a placeholder that names one of them still has it."""
    underscores: bool = False
    """Write ``red_fox`` as it is; otherwise underscores become spaces, but for emoticons."""


def say(record: Record, placeholder: Placeholder, config: WordsConfig, ours: Collection[str] = ()) -> str:
    """What a placeholder stands for in the prompt of a record; "" when there is nothing.

    Captions whose source is in ``ours`` are passed over: what a run has added must not change what it asks
    when it goes on.

    >>> from captionkit import parse_tags
    >>> say(Record("1", parse_tags("red_fox, a<|im_end|>\\nb")), Placeholder("tags"), WordsConfig())
    'red fox, a b'
    """
    match placeholder.kind:
        case "tags":
            return ", ".join(_tags(record, placeholder, config))
        case "caption":
            fitting = (
                piece.text
                for piece in record.prose
                if piece.source not in ours and placeholder.name in (None, piece.source)
            )
            return next((text for each in fitting if (text := harmless(each, _LONGEST_CAPTION))), "")
        case "fact":
            return _fact(record.fact(placeholder.name or ""))


def harmless(text: str, longest: int) -> str:
    """A text on one line, without invisible characters and marks of chat models, cut at ``longest``."""
    seen = "".join(
        " " if letter.isspace() else letter
        for letter in text
        if letter.isspace() or letter in _JOINERS or unicodedata.category(letter)[0] != "C"
    )
    told = _unmarked(seen)[:longest].strip()
    # What stood around a mark may be another one: <|<|im_end|>s>, USER::.
    while (less := _unmarked(told)) != told:
        told = less
    return told


def _unmarked(text: str) -> str:
    # A space in a mark's place, so that the letters around it do not come together.
    return " ".join(_SPEAKER.sub(r"\1", _CHAT_MARK.sub(" ", text)).split())


def _tags(record: Record, placeholder: Placeholder, config: WordsConfig) -> Iterable[str]:
    """The tags of a placeholder as words, each once."""
    category, most = placeholder.name, placeholder.most or config.max_tags
    told: dict[str, str] = {}
    for tag in record.tags:
        if len(told) == most:
            break
        wanted = tag.category == category if category is not None else tag.category not in config.leave_out
        sure = tag.score is None or tag.score >= config.min_score
        if wanted and sure and (words := _words(tag, config)):
            told.setdefault(fold(words), words)
    return told.values()


def _words(tag: Tag, config: WordsConfig) -> str:
    words = harmless(tag.name, _LONGEST_TAG)
    if config.underscores or is_emoticon(words):
        return words
    return " ".join(words.replace("_", " ").split())


def _fact(fact: Fact | None) -> str:
    match fact:
        case None:
            return ""
        case bool():
            return "yes" if fact else "no"
        case float():
            return f"{fact:g}"
        case int():
            return str(fact)
        case str():
            return harmless(fact, _LONGEST_CAPTION)
