"""Prompts: what a picture's record makes of them, whatever its tags say."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from captionkit import Prose, Record, Tag, parse_tags
from trainkit.captioning.prompts import PromptConfig, draw_prompts, prompt_hash, request_seed
from trainkit.captioning.sampling import Sampling
from trainkit.captioning.template import parse_template
from trainkit.captioning.words import WordsConfig, harmless

WORDS = WordsConfig()
ISSUE = "Describe the picture. It is tagged: {tags}. Name {tags:character}."
MARKS = ("<|im_end|>", "</s>", "<s>", "[INST]", "[/INST]", "<image>", "<\uff5cend\uff5c>", "<<SYS>>")
PIECES = ("<|", "|>", "im_end", "</", "s>", "\n", "\r", "\u2028", "\u200b", "\u202e", "\x00", "\ud800")
SIGNS = ("{tags}", "[", "]", "{", "}", "red", " ", "USER:", "e\u0301", "<<|im_end|>|im_end|>")

hostile = st.lists(st.sampled_from([*MARKS, *PIECES, *SIGNS]), min_size=1, max_size=8).map("".join)


def record(tags: tuple[Tag, ...] = (), **more: Any) -> Record:
    return Record("7", tags, **more)


def ask(text: str, of: Record, words: WordsConfig = WORDS) -> str:
    return PromptConfig(text=text, otherwise="Describe.").ask(of, words)


@given(st.lists(hostile, max_size=4))
def test_no_tag_breaks_a_prompt(names: list[str]) -> None:
    tags = tuple(Tag(name) for name in names if name.strip())
    told = ask("Look. [Tagged: {tags}.] End.", record(tags))
    assert told.startswith("Look. ")
    assert told.endswith("End.")
    assert "\n" not in told
    assert told.isprintable()
    assert not any(mark in told for mark in MARKS)
    assert re.search(r"<\|\w+\|>", told) is None


@given(hostile)
@example("<|<|im_end|>s>")
@example("USER::: hello")
def test_a_harmless_text_stays_as_it_is(text: str) -> None:
    once = harmless(text, 100)
    assert harmless(once, 100) == once


@given(st.text(max_size=40))
def test_escaped_text_comes_out_as_it_went_in(text: str) -> None:
    escaped = "".join(letter * 2 if letter in "{}[]" else letter for letter in text)
    told = parse_template(escaped).fill(lambda _: "")
    assert told.split() == text.split()


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ("", "Describe the picture."),
        ("red_fox", "Describe the picture. It is tagged: red fox."),
        ("red_fox, nick", "Describe the picture. It is tagged: red fox, nick. Name nick."),
    ],
)
def test_a_sentence_goes_with_what_it_has_to_say(tags: str, told: str) -> None:
    known = tuple(Tag(tag.name, "character" if tag.name == "nick" else "species") for tag in parse_tags(tags))
    assert ask(ISSUE, record(known)) == told


def test_a_part_in_brackets_goes_alone() -> None:
    prompt = (
        "Describe the picture [of {tags:character}] by [{tags:artist}, an artist of the] board. Be brief."
    )
    assert ask(prompt, record()) == "Describe the picture by board. Be brief."
    assert ask("[It shows {tags}.] Name {tags:artist}.", record((Tag("a"),))) == "It shows a."
    assert ask("Say e.g. {tags}. Done.", record()) == "Done."
    assert ask("A.\n\nTags: {tags}\n\nB", record((Tag("x"),))) == "A.\n\nTags: x\n\nB"
    assert ask("A.\n\nTags: {tags}\n\nB", record()) == "A.\n\nB"


def test_limits_scores_categories_and_spelling() -> None:
    tags = (
        Tag("big_cat", "species"),
        Tag("Big cat", "species"),
        Tag("sure", "general", "wd", 0.9),
        Tag("unsure", "general", "wd", 0.2),
        Tag("hi_res", "meta"),
        Tag("^_^", "general"),
        Tag("<o>_<o>", "general"),
        Tag("<|>_<|>", "general"),
    )
    of = record(tags)
    assert ask("{tags}", of) == "big cat, sure, ^_^, <o>_<o>, <|>_<|>"
    assert ask("{tags:2}", of) == "big cat, sure"
    assert ask("{tags:general:1}", of) == "sure"
    assert ask("{tags:meta}", of) == "hi res"
    assert ask("{tags}", of, WordsConfig(min_score=0, underscores=True, leave_out=())) == (
        "big_cat, sure, unsure, hi_res, ^_^, <o>_<o>, <|>_<|>"
    )


def test_captions_and_facts() -> None:
    of = record(
        prose=(Prose("Ours.", "cog"), Prose(" A <|im_end|> cat.\n"), Prose("B.", "blip")),
        info={"year": 2020, "score": 1.5, "safe": True, "title": "T{ags}"},
    )
    prompt = PromptConfig(
        text="Go. {caption}|{caption:blip}|{fact:year}|{fact:score}|{fact:safe}|{fact:title}"
    )
    assert prompt.ask(of, WORDS, ours={"cog"}) == "Go. A cat.|B.|2020|1.5|yes|T{ags}"
    assert ask("Go. {fact:none}.", of) == "Go."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("It is {tag}.", "did you mean {tags}?"),
        ("It is {tag:artist:2}.", "did you mean {tags:artist:2}?"),
        ("It is {wrong}.", "known: {tags}"),
        ("It is {fact}.", "names no fact"),
        ("It is {tags:0}.", "N being 1 or more"),
        ("It is {", "single '{'"),
        ("It is }.", "single '}'"),
        ("It is [{tags}.", "'[' without ']'"),
        ("It is {tags}].", "']' without '['"),
        ("[[[{tags} [{caption}]]", "brackets in brackets"),
        ("It is [so].", "holds no placeholder"),
        ("Tags: {tags}.", "otherwise"),
    ],
)
def test_what_is_wrong_with_a_prompt_is_said(text: str, said: str) -> None:
    with pytest.raises(ValidationError) as error:
        PromptConfig(text=text)
    assert said in str(error.value)


def test_prompts_are_drawn_by_weight_and_picture() -> None:
    prompts = [
        PromptConfig(name=name, text="Go.", weight=weight) for name, weight in (("a", 3), ("b", 1), ("c", 0))
    ]
    drawn = Counter(draw_prompts(prompts, 1, str(i), 5)[0].name for i in range(2000))
    # 1,500 of 2,000, standard deviation 19: five of them are one false alarm in two million seeds.
    assert abs(drawn["a"] - 1500) < 97
    assert drawn["c"] == 0
    assert draw_prompts(prompts, 1, "7", 5) == draw_prompts(prompts, 1, "7", 5)
    assert [prompt.name for prompt in draw_prompts(prompts, 9, "7", 5)] == ["a", "b", "c"]
    assert {prompt.name for prompt in draw_prompts(prompts, 2, "7", 5)} == {"a", "b"}


def test_the_hash_is_of_all_that_decides_an_answer() -> None:
    prompt, sampling = PromptConfig(text="Go."), Sampling()
    told = {
        prompt_hash(prompt, WORDS, sampling, "m"),
        prompt_hash(PromptConfig(text="Go!"), WORDS, sampling, "m"),
        prompt_hash(prompt, WordsConfig(max_tags=1), sampling, "m"),
        prompt_hash(prompt, WORDS, Sampling(temperature=1), "m"),
        prompt_hash(prompt, WORDS, sampling, "n"),
    }
    assert len(told) == 5
    assert prompt_hash(PromptConfig(text="Go.", name="other"), WORDS, sampling, "m") in told
    assert len({request_seed(0, "1", "a"), request_seed(1, "1", "a"), request_seed(0, "2", "a")}) == 3


def test_an_opening_is_asked_for_and_taken_off() -> None:
    prompt = PromptConfig(text="Go.", opening="The image showcases")
    assert prompt.ask(record(), WORDS) == 'Go. Begin your answer with the words "The image showcases".'
    assert prompt.without_opening("the image  showcases a cat.") == "A cat."
    assert prompt.without_opening("A cat. The image showcases.") == "A cat. The image showcases."
