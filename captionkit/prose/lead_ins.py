"""Words that introduce the picture instead of describing it: "The image showcases", "This is a picture
of"."""

from __future__ import annotations

import re

from captionkit.prose.capitals import with_capital

_PICTURE = r"(?:image|picture|photo|photograph)"
_PROVIDED = r"(?:\s(?:that\s)?(?:you(?:'ve|\shave)?\s)?(?:provided|shared|uploaded|given))?"
_THE_PICTURE = rf"(?:the|this|that)\s(?:(?:provided|given|attached)\s)?{_PICTURE}{_PROVIDED}"
_SHOW = (
    r"(?:showcase|depict|show|feature|display|present|portray|illustrate|capture|contain|reveal|highlight"
    r"|include)"
)
_ALSO = r"(?:(?:also|clearly|primarily|prominently|mainly|further|then|beautifully|vividly)\s)?"
_SHOWING = r"(?:showcasing|depicting|showing|featuring|displaying|presenting|portraying|capturing|of)"
# What may follow for the rest to stand alone: not "shows that", "captures how", "depicts him".
_THING = r"(?=[^\s,.;:])(?!(?:that|how|what|why|where|when|him|her own|us|off|up)\b)"
# "A photo of a dog hangs on the wall" is about a photo, "a photo of a dog that is asleep" about a dog.
_NO_VERB = (
    r"(?!(?:(?!\b(?:who|which|that|where|as|while|and)\b)[^,.;:])*\s(?:is|are|was|were|has|hangs?|lies|sits|stands"
    r"|rests|leans|adorns?|covers?|appears?|can)\b)"
)

LEAD_IN = re.compile(
    rf"""(?:
      {_THE_PICTURE}\s{_ALSO}{_SHOW}s?:?\s{_THING}
    | {_THE_PICTURE}\s(?:appears|seems)\sto\s{_SHOW}\s{_THING}
    | (?:the|this)\s{_PICTURE}\sis\s(?:of\s|(?=an?\s(?!(?:close|bit|little)\s)))
    | this\sis\s(?:an?|the)\s{_PICTURE}\s{_SHOWING}\s{_THING}
    | (?:an?|the)\s{_PICTURE}\s{_SHOWING}\s{_THING}{_NO_VERB}
    | this\sis\s(?=an?\s(?:[\w-]+\s){{0,4}}{_PICTURE}\b)
    | (?:the|this)\sscene\s{_ALSO}(?:depict|show|showcase|portray|capture|present|feature)s\s{_THING}
    | in\s(?:this|the)\s(?:{_PICTURE}|scene)(?:,|:)?\s(?:
          (?:we|you|one|i)\s(?:can\s(?:also\s)?)?(?:see|observe)\s{_THING}
        | it\s(?:shows|depicts)\s{_THING} | (?!(?:where|when|that|which|whose)\b)(?=\S))
    | (?:we|you|one|i)\s(?:can\s(?:also\s)?)?(?:see|observe)\s{_THING}
    | (?:upon\s(?:close|closer)\s(?:observation|inspection|look)|as\s(?:seen|shown)\sin\sthe\s{_PICTURE}),\s
    | (?:sure|certainly|of\scourse|absolutely|step\sby\sstep|description|caption|answer)(?:!|:|,)\s+
    | here(?:'s|\u2019s|\sis)\s(?:an?|the|your)\s(?:[\w-]+\s){{0,3}}(?:description|caption)
        (?:\s(?:of|for)\s(?:the|this|your)\s{_PICTURE}{_PROVIDED})?:\s+
    )""",
    re.IGNORECASE | re.VERBOSE,
)
# Where these open a caption they hold what is to be seen; later they sum up, and `is_meta` drops them.
_OPENING = re.compile(
    rf"""(?:
      (?:overall|in\ssummary|in\sconclusion|to\ssum\sup|in\sessence)\s?,\s
    | {_THE_PICTURE}\s{_ALSO}(?:captures|depicts|shows|portrays|presents)\s
        the\s(?:essence|beauty|thrill|charm|spirit|mood|atmosphere)\sof\s{_THING}
    )""",
    re.IGNORECASE | re.VERBOSE,
)
# What was drawn or painted stays said: "The illustration depicts a girl" becomes "An illustration of a girl".
_WORK = re.compile(
    rf"""(?:the|this)\s(?P<work>(?:(?:digital|anime-style|anime|pencil|oil|watercolou?r|black-and-white|colou?rful|detailed)\s)*
      (?:illustration|artwork|painting|drawing|sketch|cartoon|render|rendering|sculpture|collage|poster))
    \s{_ALSO}(?:depict|show|showcase|portray|capture|present)s\s{_THING}""",
    re.IGNORECASE | re.VERBOSE,
)
# Not after "captured in the image" and its like, whose verb would be left alone.
_MENTION = re.compile(
    r"(?<=[\w,])(?<!captured)(?<!shown)(?<!depicted)(?<!seen)(?<!portrayed)(?<!present)(?<!displayed)"
    r"(?<! is)(?<! are)"
    r" (?:in|of|within|across|throughout) (?:the|this) (?:entire |whole )?image(?=[\s,.;:!?)]|$)"
)


def cut_lead_in(sentence: str, *, first: bool = True) -> str:
    """The sentence without its lead-ins, with a capital at the new beginning.

    `first` says that it opens the caption.

    >>> cut_lead_in("The image showcases Emma Watson at the Eiffel Tower.")
    'Emma Watson at the Eiffel Tower.'
    >>> cut_lead_in("In this image, we can see a fox.")
    'A fox.'
    >>> cut_lead_in("The illustration depicts a fox.")
    'An illustration of a fox.'
    """
    if first and (work := _WORK.match(sentence)) is not None:
        article = "An" if work["work"][0].lower() in "aio" else "A"
        return f"{article} {work['work'].lower()} of {sentence[work.end() :]}"
    while (found := _lead_in(sentence, first)) is not None:
        rest = with_capital(sentence[found.end() :])
        if not rest.strip(" .!?,;:"):
            return sentence  # There is nothing else in it.
        sentence = rest
    return sentence


def _lead_in(sentence: str, first: bool) -> re.Match[str] | None:
    if first and (found := _OPENING.match(sentence)) is not None:
        return found
    return LEAD_IN.match(sentence)


def cut_mentions(sentence: str) -> str:
    """The sentence without "in the image" and "of the image", which say nothing.

    >>> cut_mentions("On the left side of the image, there are two people in the image.")
    'On the left side, there are two people.'
    """
    return _MENTION.sub("", sentence) if "image" in sentence else sentence
