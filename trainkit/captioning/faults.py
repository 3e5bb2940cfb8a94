"""The faults of a caption that its shape gives away: loops, echoes, signs of a conversation, markup."""

from __future__ import annotations

import re
from collections.abc import Iterable

# What chat templates and models with boxes put between their words.
_TOKENS = re.compile(
    r"<\|[\w/ -]{1,40}\|>"
    r"|</?(?:s|pad|unk|bos|eos|img|image|images|video|ref|box|quad|think|thinking|answer|grounding|start_of_turn|"
    r"end_of_turn|image_soft_token|fake_token_around_image|sep|cls|mask|od|caption|detailed_caption)>"
    r"|<(?:loc|x|y|extra_id|reserved_special_token|seg|image|poly)_\w+>"
    r"|\[/?(?:INST|SYS|IMG|PAD|CLS|SEP|gMASK|UNUSED_TOKEN_\d+)\]|<</?SYS>>"
    r"|^\s*(?:#{1,4} ?)?(?:USER|ASSISTANT|SYSTEM|User|Assistant|System|Human|Question|Answer|Q|A|Caption|"
    r"Description|Response|Output)\s?:"
    r"|(?<=[\s.!?])(?:#{2,4} ?)?(?:USER|ASSISTANT|User|Assistant|Human)\s?:"
    r"|^\s*(?:assistant|user|system)\s*\n",
    re.MULTILINE,
)
_MARKUP = re.compile(
    r"```"  # Code.
    r"|^\s*[\[{]\s*(?:[\"'{\[]|$)|\"\w[\w ]*\"\s*:\s*[\"\[{\d]"  # JSON.
    r"|^\s*\|.*\|\s*$|\|\s*:?-{3,}"  # Tables.
    r"|^\s*#{1,6} \S|^\s*[-*•] \S.*\n\s*[-*•] \S"  # Headings, lists.
    r"|</?(?:p|br|div|span|b|i|em|strong|ul|ol|li|h\d|table|tr|td|html|body|a|img|script|style|"
    r"iframe|svg|font|center|code|pre|su[bp]|u)\b[^<>]*>"  # HTML.
    r"|\*\*[^*\n]+\*\*|!?\[[^\]\n]{0,300}\]\(https?:|\\(?:begin|text\w*|frac)\{",  # Bold, links, LaTeX.
    re.MULTILINE,
)
_SIGNS = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"  # Chinese, Japanese, Korean.
_WORD = re.compile(rf"[{_SIGNS}]|[^\W_{_SIGNS}]+(?:['\u2019][^\W\d_]+)?")
_RUN = 8


def words(text: str) -> list[str]:
    """The words of a text, in small; every sign of Chinese, Japanese and Korean counts as one.

    >>> words("A dog's tail, 3.5 m."), len(words("\\u72ac\\u3067\\u3059"))
    (['a', "dog's", 'tail', '3', '5', 'm'], 3)
    """
    return _WORD.findall(text.casefold())


def has_tokens(text: str) -> bool:
    """Whether a text holds what belongs between the turns of a conversation, not in it.

    >>> has_tokens("A dog.<|im_end|>"), has_tokens("ASSISTANT: A dog."), has_tokens("A dog, as an assistant.")
    (True, True, False)
    """
    return _TOKENS.search(text) is not None


def has_markup(text: str) -> bool:
    """Whether a text is, or holds, JSON, HTML, code, a table, a heading or a list with bullets.

    >>> has_markup('{"caption": "A dog."}'), has_markup("| dog | 1 |"), has_markup("A dog (brown) runs.")
    (True, True, False)
    """
    return _MARKUP.search(text) is not None


def repeats(text: str, below: float) -> bool:
    """Whether of the text's runs of four words a share below ``below`` (0 to 1) are different ones.

    Texts of fewer than twelve words are left alone. A list of things that are much alike comes down to 0.5,
    a loop goes on to nothing.

    >>> repeats("a red car, a blue car, " * 6, below=0.5), repeats("a red car, a blue car", below=0.5)
    (True, False)
    """
    found = words(text)
    runs = list(zip(found, found[1:], found[2:], found[3:], strict=False))
    return len(found) >= 12 and len(set(runs)) < below * len(runs)


def echoes(text: str, prompts: Iterable[str]) -> bool:
    """Whether a text says a prompt again: eight of its words running, or, at the beginning, all of it.

    >>> echoes("Describe this picture. A dog.", ["Describe this picture."])
    True
    >>> echoes("A red fox in the snow.", ["The tags are: red fox, snow. Describe the picture in a sentence."])
    False
    """
    spoken = words(text)
    runs = {tuple(spoken[at : at + _RUN]) for at in range(len(spoken) - _RUN + 1)}
    for prompt in prompts:
        asked = words(prompt)
        if len(asked) >= 2 and spoken[: len(asked)] == asked:
            return True
        if any(tuple(asked[at : at + _RUN]) in runs for at in range(len(asked) - _RUN + 1)):
            return True
    return False
