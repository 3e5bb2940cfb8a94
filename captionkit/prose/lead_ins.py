"""Words that introduce the picture instead of describing it: "The image showcases", "This is a picture
of"."""

from __future__ import annotations

import re

from captionkit.prose.capitals import with_capital

_PICTURE = r"(?:image|picture|photo|photograph)"
_SHOWS = (
    r"(?:showcase|depict|show|feature|display|present|portray|illustrate|capture|contain|reveal|highlight"
    r"|include)s?"
)
_SHOWING = r"(?:showcasing|depicting|showing|featuring|displaying|presenting|portraying|capturing|of)"
# What may follow for the rest to stand alone: not "shows that", "captures how", "depicts him".
_THING = r"(?=[^\s,.;:])(?!(?:that|how|what|why|where|when|him|her own|us|off|up)\b)"

LEAD_IN = re.compile(
    rf"""(?:
      (?:the|this|that)\s{_PICTURE}\s(?:(?:also|clearly|primarily|prominently|mainly|further|then)\s)?{_SHOWS}\s{_THING}
    | (?:the|this)\s{_PICTURE}\sis\s(?:of\s|(?=an?\s(?!(?:close|bit|little)\s)))
    | (?:this\sis\s)?(?:an?|the)\s{_PICTURE}\s{_SHOWING}\s{_THING}
    | this\sis\s(?=an?\s(?:[\w-]+\s){{0,4}}{_PICTURE}\b)
    | in\s(?:this|the)\s{_PICTURE}(?:,|:)?\s(?:
          (?:we|you|one|i)\s(?:can\s(?:also\s)?)?(?:see|observe)\s{_THING}
        | it\s(?:shows|depicts)\s{_THING} | (?=\S))
    | (?:we|you|one)\scan\s(?:also\s)?(?:see|observe)\s{_THING}
    | (?:upon\s(?:close|closer)\s(?:observation|inspection|look)|as\s(?:seen|shown)\sin\sthe\s{_PICTURE}),\s
    | (?:sure|certainly|of\scourse|step\sby\sstep|description|caption|answer)(?:!|:|,)\s+
    )""",
    re.IGNORECASE | re.VERBOSE,
)
# Not after "captured in the image" and its like, whose verb would be left alone.
_MENTION = re.compile(
    r"(?<=[\w,])(?<!captured)(?<!shown)(?<!depicted)(?<!seen)(?<!portrayed)(?<!present)(?<!displayed)"
    r"(?<! is)(?<! are)"
    r" (?:in|of|within|across|throughout) (?:the|this) (?:entire |whole )?image(?=[\s,.;:!?)]|$)"
)


def cut_lead_in(sentence: str) -> str:
    """The sentence without its lead-ins, with a capital at the new beginning.

    >>> cut_lead_in("The image showcases Emma Watson at the Eiffel Tower.")
    'Emma Watson at the Eiffel Tower.'
    >>> cut_lead_in("In this image, we can see a fox.")
    'A fox.'
    """
    while (found := LEAD_IN.match(sentence)) is not None:
        rest = with_capital(sentence[found.end() :])
        if not rest.strip(" .!?,;:"):
            return sentence  # There is nothing else in it.
        sentence = rest
    return sentence


def cut_mentions(sentence: str) -> str:
    """The sentence without "in the image" and "of the image", which say nothing.

    >>> cut_mentions("On the left side of the image, there are two people in the image.")
    'On the left side, there are two people.'
    """
    return _MENTION.sub("", sentence) if "image" in sentence else sentence
