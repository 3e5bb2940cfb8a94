"""What is odd about single records and captions: what a person would want to look at."""

from __future__ import annotations

import re

NO_TEXT = "no text"
"""Records without a tag and without a caption; examples are ids."""
ONE_TAG = "one tag"
"""Records with a single tag and no caption; examples are ids."""
SAME_ID = "same id"
"""Records whose id another has too; examples are ids."""
TWICE = "tag twice"
"""Records that have a tag more than once, in whatever spelling; examples are ids."""
PLACEHOLDER = "placeholder"
"""Captions that stand for one nobody wrote; examples are ids."""
CONTROL_TEXT = "control characters in captions"
"""Captions with control characters or characters that could not be decoded; examples are ids."""
SIDES = "sides"
"""Captions that speak of left or right, of pictures that may be mirrored; examples are ids."""
OF_RECORDS = frozenset({NO_TEXT, ONE_TAG, SAME_ID, TWICE})
OF_CAPTIONS = frozenset({PLACEHOLDER, CONTROL_TEXT, SIDES})

SIDE_TAGS = "side tags"
"""Tags that speak of left or right, on pictures that may be mirrored; examples are tags, here and below."""
WRITING_TAGS = "writing tags"
"""Tags that say that there is writing, on pictures that may be mirrored."""
TWINS = "spelled in several ways"
"""Tags that come out as another text than their commonest spelling; examples are both: `Fox / fox`."""
UNDERSCORES = "underscores and spaces"
"""The same, of tags that differ by these alone: `red_fox / red fox`."""
ESCAPED = "escaped"
r"""Tags with parentheses behind a backslash: `saber \\(fate\\)`."""
CONTROL_NAME = "control characters in tags"
SEPARATOR = "separators in tags"
"""Tags with what separates tags, or what front ends and trainers divide them by."""
CHOICE = "choices in tags"
"""Tags such as `{red|blue} fox`, in a recipe that draws no wildcards."""
LONG = "long tags"
"""Tags of more than one chunk of 75 tokens."""
SENTENCE = "sentences as tags"
NO_TAG = "placeholder tags"
"""Tags that stand for one nobody gave."""
NO_TAGS = frozenset(
    {"tagme", "untagged", "none", "null", "nan", "n/a", "todo", "undefined", "unknown", "no tags", "tag me"}
)

WRITING = (
    *("text", "text on*", "*text", "*writing*", "written*", "typography", "onomatopoeia", "sheet music"),
    *("signature", "*signature", "watermark*", "*watermark*", "logo", "*logo", "*username", "url", "dated"),
    *("web address", "artist name", "copyright name", "speech bubble*", "thought bubble*", "dialogue"),
    *("subtitle*", "subtitled", "comic", "*4koma*", "cover page", "*magazine cover", "newspaper*"),
    *("road sign", "license plate", "jersey number", "clothes writing", "patreon*"),
)
"""Tags, as patterns, of pictures with writing in them, which no mirror image has."""

# Control characters, what stands for characters that could not be read, and UTF-8 that was read as CP1252.
_UNREADABLE = re.compile(
    "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\u202d\\u202e\\ufffd\\ufffe\\uffff\\ud800-\\udfff]"
    "|\\u00c3[\\u0080-\\u00bf]|\\u00e2\\u20ac"
)
_PLACEHOLDER = re.compile(
    r"\W*(?:none|null|nan|n/?a|todo|tbd|undefined|caption|no caption|no description(?: available)?|untitled|"
    r"placeholder|lorem ipsum.*|error\b.*|description|image|i'?m sorry\b.*|i cannot\b.*|i can'?t\b.*|"
    r"as an ai\b.*|sorry,.*|unable to .*|insert .* here)\W*",
    re.IGNORECASE | re.DOTALL,
)


def unreadable(text: str) -> bool:
    """Whether a text holds control characters, halves of characters, or UTF-8 read as something else.

    What turns the letters behind it round is a control character too.

    >>> unreadable("caf\\u00c3\\u00a9"), unreadable("caf\\u00e9\\n")
    (True, False)
    """
    return not (text.isascii() and text.isprintable()) and _UNREADABLE.search(text) is not None


def placeholder(text: str) -> bool:
    """Whether a caption is none: `null`, `TODO`, or a model's refusal.

    >>> placeholder("None."), placeholder("I'm sorry, I cannot help with that."), placeholder("None of them.")
    (True, True, False)
    """
    return _PLACEHOLDER.fullmatch(text) is not None


def sentence(name: str) -> bool:
    """Whether a tag is a caption that was taken for a tag.

    >>> sentence("A fox runs through snow."), sentence("holding another's hand"), sentence("so it goes...")
    (True, False, False)
    """
    words = name.count(" ") + 1
    return words >= 12 or (words >= 4 and name[-1] in ".!?" and name[:1].isupper())
