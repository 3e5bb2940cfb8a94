"""The text that front ends write into a PNG file: prompt, negative prompt and settings under ``parameters``.

The format is AUTOMATIC1111's "infotext", which the other front ends and the galleries read too:

    red circle, black background
    Negative prompt: blurry
    Steps: 25, Sampler: DDIM, CFG scale: 7.5, Seed: 0, Size: 512x768, Model: mine, Clip skip: 2

The last line is the settings; a value with a comma, a colon or a line break in it stands there as a JSON
string.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from PIL.PngImagePlugin import PngInfo

KEY = "parameters"
"""Name of the text chunk."""
_NEGATIVE = "Negative prompt: "


def parameters_text(prompt: str, negative: str, settings: Mapping[str, object]) -> str:
    """The text for one picture. A setting that is None or empty is left out; numbers are written as short as
    they are.

    Line breaks of every kind inside of a prompt become plain ones: the readers know no other.
    """
    lines = [_plain(prompt)]
    if negative:
        lines.append(_NEGATIVE + _plain(negative))
    lines.append(", ".join(f"{k}: {_quoted(v)}" for k, v in settings.items() if v not in (None, "")))
    return "\n".join(lines).strip()


def sheet_text(texts: Sequence[str]) -> str:
    """The text for a sheet of pictures: every prompt on a line of its own, then what the first picture
    has."""
    prompts = [_parts(text)[0].replace("\n", " ") for text in texts]
    _, negative, settings = _parts(texts[0])
    return "\n".join([*prompts, *([_NEGATIVE + negative] if negative else []), settings]).strip()


def _parts(text: str) -> tuple[str, str, str]:
    """(prompt, negative prompt, line of settings) of a text for one picture."""
    above, _, settings = text.rpartition("\n")
    prompt, _, negative = f"\n{above}".partition(f"\n{_NEGATIVE}")
    return prompt[1:], negative, settings


def text_chunk(text: str) -> PngInfo:
    """What PIL takes as ``pnginfo``: a tEXt chunk where Latin-1 can hold the text, else iTXt in UTF-8."""
    info = PngInfo()
    info.add_text(KEY, text)
    return info


def _plain(text: str) -> str:
    # Zero is the byte that ends fields inside of a text chunk; no tokenizer sees anything in it.
    return "\n".join(text.replace("\0", "").splitlines())


def _quoted(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    plain = text == text.strip() and not any(mark in text for mark in ',:\n"')
    return text if plain else json.dumps(text, ensure_ascii=False)
