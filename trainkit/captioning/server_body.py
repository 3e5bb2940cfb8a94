"""What is asked of a server: the body of a request to /chat/completions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from trainkit.captioning.captioner import Request
from trainkit.captioning.sampling import Sampling
from trainkit.captioning.server_picture import PictureForm

_SPECIAL = re.compile(
    r"<\||\|>|\[/?INST\]"
    r"|</?(?:s|bos|eos|pad|unk|image|video|audio|img|IMAGE_TOKEN|IMG_CONTEXT|start_of_turn|end_of_turn)>"
)
"""Special tokens of the families that are served. A server takes them at their word: a tag with one in it
would end the user's turn, or promise a second picture."""


def body_of(
    request: Request,
    *,
    model: str,
    sampling: Sampling,
    picture: PictureForm,
    system: str = "",
    limit: str = "max_tokens",
    extra: Mapping[str, Any] | None = None,
    leave_out: tuple[str, ...] = (),
) -> bytes:
    """The body as UTF-8 JSON. ``limit`` is the field that carries the most tokens; ``extra`` replaces fields.

    The picture stands before the text, as the models were trained and as CogVLM needs it.
    """
    image: dict[str, Any] = {"url": picture.data_url(request.image)}
    if picture.detail is not None:
        image["detail"] = picture.detail
    parts = [{"type": "image_url", "image_url": image}, {"type": "text", "text": _harmless(request.prompt)}]
    before = [{"role": "system", "content": system}] if system else []
    body = {
        "model": model,
        "messages": [*before, {"role": "user", "content": parts}],
        **_drawing(sampling, request.seed),
        limit: sampling.max_new_tokens,
        **(extra or {}),
    }
    for name in leave_out:
        body.pop(name, None)
    # ASCII: a prompt may hold half a surrogate pair, which no UTF-8 has.
    return json.dumps(body).encode("ascii")


def _harmless(prompt: str) -> str:
    """The prompt with its special tokens taken apart: <|end|> becomes < |end| >."""
    return _SPECIAL.sub(lambda found: f"{found[0][0]} {found[0][1:]}", prompt)


def _drawing(sampling: Sampling, seed: int) -> dict[str, Any]:
    """The fields of sampling: OpenAI's always, those that vLLM, LMDeploy and SGLang add only where they are
    set, as others refuse what they do not know."""
    fields: dict[str, Any] = {"temperature": sampling.temperature}
    if sampling.temperature > 0:
        # 31 bits: some servers keep it in an int32.
        fields |= {"top_p": sampling.top_p, "seed": seed % 2**31}
        if sampling.top_k is not None:
            fields["top_k"] = sampling.top_k
    if sampling.repetition_penalty != 1:
        fields["repetition_penalty"] = sampling.repetition_penalty
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    return fields
