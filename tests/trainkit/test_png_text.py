"""PNG text, read back by a reader of our own after the front end's documented expressions."""

from __future__ import annotations

import io
import json
import re

from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from trainkit.png_text import KEY, parameters_text, sheet_text, text_chunk

SETTING = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
"""A1111's ``re_param`` of infotext_utils.py: a name, a colon, a JSON string or anything without a comma."""


def front_end_reads(text: str) -> tuple[str, str, dict[str, str]]:
    """(prompt, negative prompt, settings): the last line is settings if it holds at least three of them."""
    *lines, last = text.strip().split("\n")
    if len(SETTING.findall(last)) < 3:
        lines, last = [*lines, last], ""
    prompt: list[str] = []
    negative: list[str] = []
    into = prompt
    for line in lines:
        line = line.strip()
        if line.startswith("Negative prompt:"):
            into, line = negative, line[16:].strip()
        into.append(line)
    settings = {
        name: json.loads(value) if value[:1] == '"' and value[-1:] == '"' else value
        for name, value in SETTING.findall(last)
    }
    return "\n".join(prompt), "\n".join(negative), settings


def written_and_read(text: str) -> str:
    """Through a PNG file."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, format="PNG", pnginfo=text_chunk(text))
    with Image.open(io.BytesIO(file.getvalue())) as image:
        found: str = image.info[KEY]
    return found


SETTINGS = {
    "Steps": 25,
    "Sampler": "DPM++ 2M",
    "Schedule type": "SGM Uniform",
    "CFG scale": 7.5,
    "Seed": -1,
    "Size": "512x768",
    "Model": None,
    "CFG Rescale": 0.7,
    "Version": "trainkit 0.1.0",
}
UTF8 = st.characters(exclude_categories=["Cs"])
line = st.text(UTF8, max_size=60).map(lambda t: " ".join(t.split())).filter(lambda t: "\0" not in t)
prompts = st.lists(
    line.filter(lambda t: not t.startswith("Negative prompt:") and t == t.strip()), max_size=3
).map(lambda lines: "\n".join(lines).strip())


@given(prompt=prompts, negative=prompts)
@example(prompt="狐, naïve 🦊 café", negative='"quoted", \\back\\slash: yes')
@example(prompt="Steps: 20, Sampler: Euler, CFG scale: 7", negative="")
@example(prompt="(red:1.3), [blue], <lora:x:1>\nsecond line", negative="a: b, c: d, e: f")
def test_a_front_end_reads_what_was_written(prompt: str, negative: str) -> None:
    text = written_and_read(parameters_text(prompt, negative, SETTINGS))
    settings = {"CFG scale": "7.5", "CFG Rescale": "0.7"} | {
        name: str(value) for name, value in SETTINGS.items() if value is not None
    }
    assert front_end_reads(text) == (prompt, negative, settings)


values = st.text(UTF8.filter(lambda c: c != "\0"), min_size=1, max_size=30)


@given(value=values)
@example(value='my "model", v2: the last\nline')
@example(value=" padded ")
@example(value="C:\\models\\fox")
def test_any_value_is_read_back(value: str) -> None:
    settings = {"Steps": 1, "Sampler": "DDIM", "Model": value, "Seed": 3}
    _, _, found = front_end_reads(parameters_text("x", "", settings))
    assert found == {"Steps": "1", "Sampler": "DDIM", "Model": value, "Seed": "3"}


def test_line_breaks_of_other_kinds_and_zeros_do_no_harm() -> None:
    text = written_and_read(parameters_text("one\r\ntwo\u2028three\x85four\0", "no\rno", SETTINGS))
    assert front_end_reads(text)[:2] == ("one\ntwo\nthree\nfour", "no\nno")


def test_text_in_latin_1_is_what_the_oldest_readers_know() -> None:
    file = io.BytesIO()
    text = parameters_text("a café", "", SETTINGS)
    Image.new("RGB", (8, 8)).save(file, format="PNG", pnginfo=text_chunk(text))
    assert b"tEXtparameters\0a caf\xe9\n" in file.getvalue()


@given(st.lists(prompts, min_size=1, max_size=4), prompts)
def test_a_sheet_names_every_prompt(shown: list[str], negative: str) -> None:
    texts = [parameters_text(p, negative, {**SETTINGS, "Seed": i}) for i, p in enumerate(shown)]
    prompt, found, settings = front_end_reads(sheet_text(texts))
    assert prompt.strip() == "\n".join(p.replace("\n", " ") for p in shown).strip()
    assert found == negative
    assert settings["Seed"] == "0"
