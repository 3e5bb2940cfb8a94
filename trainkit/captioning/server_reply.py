"""What a server answered to /chat/completions: text, why it ended, tokens."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from trainkit.captioning.captioner import Finish
from trainkit.captioning.server_failures import Failed, Refused, shown

_THOUGHT_ENDS = re.compile(r"</think(?:ing)?>|\u25c1/think\u25b7")
"""Where an answer begins; where the template itself opened the thought, nothing stands before it."""
_THOUGHT_BEGINS = re.compile(r"\s*(?:<think(?:ing)?>|\u25c1think\u25b7)")
_AROUND = re.compile(r"<\|(?:begin|end)_of_box\|>|^\s*<answer>|</answer>\s*$")
"""What GLM-4.1V and GLM-4.5V write around an answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A text that a model wrote."""

    text: str
    finish: Finish
    tokens_in: int
    tokens_out: int


def read_reply(body: bytes) -> Reply:
    """The first choice of an answer.

    Raises Refused where the model declines or says nothing, Failed where the answer makes no sense.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        if body.lstrip().startswith((b"data:", b"event:")):
            raise Failed("answered a stream of events, which nobody asked for; is there a gateway?") from None
        raise Failed(f"answered what is no JSON: {shown(_start(body))!r}") from None
    choice = _first(data)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise Failed("answered a choice without a message")
    finish = _finish(choice.get("finish_reason"))
    if isinstance(said := message.get("refusal"), str) and said.strip():
        raise Refused(f"the model declines: {shown(said)}")
    text = _without_thought(_text(message.get("content")), message, finish)
    usage = data.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Reply(text, finish, _count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens")))


def _first(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise Failed(f"answered JSON that is no object: {shown(str(data))!r}")
    choices = data.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0]
    # Some gateways answer 200 and put the error into the body.
    error = data.get("error")
    said = error.get("message") if isinstance(error, dict) else error
    raise Failed(f"answered no choices: {shown(str(said))}" if said else "answered no choices")


def _finish(reason: Any) -> Finish:
    match reason:
        case "length" | "max_tokens":
            return "length"
        case "content_filter":
            raise Refused("the server's content filter held the answer back")
        case "abort" | "error":
            raise Failed(f"broke the answer off ({reason})")
        case _:
            return "stop"


def _text(content: Any) -> str:
    """Text, or the text among a list of parts; half surrogate pairs, which no file takes, are replaced."""
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        content = "".join(part for part in parts if isinstance(part, str))
    if content is not None and not isinstance(content, str):
        raise Failed(f"answered a content that is no text but {type(content).__name__}")
    return re.sub("[\ud800-\udfff]", "\ufffd", content or "")


def _without_thought(text: str, message: dict[str, Any], finish: Finish) -> str:
    """The answer alone, of models that think aloud before it."""
    *_, last = (0, *(found.end() for found in _THOUGHT_ENDS.finditer(text)))
    stripped = _AROUND.sub("", text[last:].lstrip() if last else text)
    thought = message.get("reasoning_content") or message.get("reasoning")
    if _THOUGHT_BEGINS.match(stripped) or (not stripped.strip() and (thought or last)):
        why = "to the limit of tokens" if finish == "length" else "only"
        raise Refused(
            f"the model thought {why} and wrote no answer; raise sampling.max_new_tokens, or have it not "
            "think: extra_body = { chat_template_kwargs = { enable_thinking = false } }"
        )
    if not stripped.strip():
        raise Refused("the model wrote nothing")
    return stripped


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else 0


def _start(body: bytes) -> str:
    return body[:80].decode("utf-8", "replace")
