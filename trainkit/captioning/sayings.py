"""What models say instead of describing a picture: that they will not, that they see none, that they are glad
to help.

Sentences are looked at one by one, in small letters and without short forms ("can't" is "cannot"). What
stands in quotation marks is written in the picture and does not count.
"""

from __future__ import annotations

import re

from captionkit.prose.quotes import hide_quotes
from captionkit.prose.sentences import split_sentences

_SHORT_FORMS = (
    (re.compile(r"\bcan(?:'t| not)\b"), "cannot"),
    (re.compile(r"\bwon't\b"), "will not"),
    (re.compile(r"n't\b"), " not"),
    (re.compile(r"\bi'm\b"), "i am"),
    (re.compile(r"\bi'll\b"), "i will"),
    (re.compile(r"\bi'd\b"), "i would"),
    (re.compile(r"\bi've\b"), "i have"),
    (re.compile(r"\b(it|that|there|here)'s\b"), r"\1 is"),
)
_CANNOT = r"i (?:cannot|could not|will not|am (?:not able|unable|not allowed|not comfortable)(?: to| with)?)"
_DO_IT = (
    r"(?:assist|help|provid|describ|caption|fulfil|comply|creat|generat|writ|discuss|engag|continu|process"
    r"|analy[sz]|answer|support|offer|produc|complet|do (?:that|this))\w*"
)
_AI = r"(?:ai\b|artificial intelligence|(?:large |text-based |text-only )?language model|chatbot)"
_PICTURE = r"(?:image|picture|photo|photograph|attachment|file|visual content|visual input)s?"
_HOLD = r"(?:see|view|access|open|load|look at|perceive|display|process|receive|find)"
_GIVEN = r"(?:provided|attached|uploaded|given|shared|included|supplied|received|sent)"
_TO_GIVE = r"(?:provid|attach|upload|shar|includ|suppl|send|sent|giv|reupload|re-upload|resend|describ)\w*"
_SEEMS = r"(?:is|was|are|were|seems to be|appears to be)"

REFUSAL = "refusal"
BLIND = "blind"
TALK = "talk"

_SAYINGS = {
    REFUSAL: (
        rf"\b{_CANNOT} (?:\w+ly )?{_DO_IT}",
        r"^(?:(?:oh|ah|no|well),? )?i am (?:(?:so|very|really) )?(?:sorry|afraid)\b",
        r"^(?:(?:oh|ah|no|well),? )?(?:sorry|my apologies|i apologi[sz]e)\b(?!-)",
        rf"\bas an? {_AI}",
        rf"\bi am (?:just |only |merely )?an? {_AI}",
        r"\b(?:violat\w+|against|breach\w*) (?:(?:our|my|the|openai's?) )?"
        r"(?:(?:content|usage|use|safety|community|my|our) )+(?:policy|policies|guidelines|rules)\b",
        r"^i (?:must |have to |respectfully |will have to )*(?:decline|refuse)\b",
        r"^it is not (?:appropriate|possible for me|ethical)\b",
        r"^(?:request|content|response|answer) (?:was |has been )?(?:blocked|filtered|refused|denied)\b",
        r"^(?:unable|failed|not able) to (?:generate|describe|process|provide|comply|assist|caption)\b",
        r"^i (?:do not|would rather not|would prefer not to) (?:feel comfortable|provide|describe|create)\b",
    ),
    BLIND: (
        rf"\b(?:{_CANNOT}|i do not|unable to|not able to|failed to) (?:\w+ly )?(?:{_HOLD}|have access to)"
        rf"(?: to)? (?:(?:the|this|that|your|any|an?|such) )?(?:\w+ ){{0,2}}?{_PICTURE}\b",
        rf"\b{_CANNOT} (?:\w+ly )?(?:see|view|look at) (?:it|them|anything)\b",
        rf"\b(?:no|not an?|without an?|without any) {_PICTURE} (?:(?:is|are|was|were|has been|have been) )?"
        rf"(?:{_GIVEN}|available|found|here)\b",
        rf"\b(?:the|your|this) {_PICTURE} (?:{_SEEMS} missing|failed to load|"
        r"(?:did|does|could|would) not (?:load|come through|show up|display|open|upload)|"
        r"(?:is|was|were|are|has|have|could|cannot) (?:not )?be(?:en)? (?:loaded|displayed|opened|found)|"
        rf"(?:is|was|has|have|had) not (?:been )?(?:{_GIVEN}|available|loaded|displayed))\b",
        rf"^(?:please|could you|can you|kindly|if you)\b.*\b{_TO_GIVE}\b.*\b{_PICTURE}\b",
        rf"\b(?:not|forgot to|forgotten to) (?:been )?(?:{_TO_GIVE}) (?:me )?(?:with )?(?:an?|any|the|your) "
        rf"(?:\w+ )?{_PICTURE}\b",
        r"\bi (?:currently )?do not (?:currently |actually )?have (?:the )?(?:ability|access|eyes)",
        rf"\bi (?:currently )?do not (?:currently |actually )?have (?:any|an?) {_PICTURE}\b",
        r"\bi am (?:only |just )?a text-?(?: ?based| ?only)\b",
        rf"\bthere {_SEEMS} no {_PICTURE} (?:here|attached|provided|to (?:describe|see|view|caption)"
        r"|in (?:your|the) (?:message|prompt|request|conversation))\b",
        rf"^(?:the )?{_PICTURE} (?:failed to load|not (?:found|available|provided|loaded))\b",
    ),
    TALK: (
        r"^(?:please )?(?:let me know|feel free to)\b",
        r"^i (?:really )?hope (?:this|that|it|you)\b|^hope (?:this|that|it) helps\b",
        r"^(?:would you like|do you (?:want|need)|is there anything|(?:how|what) (?:else )?(?:can|may) i)\b",
        r"^if you (?:have (?:any|more|further)|need|would like|want|provide|tell)\b",
        r"^(?:i am )?happy to help\b|^you are welcome\b",
        r"^(?:sure|certainly|of course|absolutely|okay|ok|great|yes)(?: thing)?[!,.:]* "
        r"(?:here|i|let|this is|below)\b",
        r"^(?:here|below) (?:is|are) (?:an?|the|your|my|some|one|two|three) (?:[\w-]+ ){0,4}"
        r"(?:captions?|descriptions?|summary|prompts?|tags|response|answer)\b",
        r"^(?:i will|let me|i would) (?:now )?(?:describe|analy[sz]e|help|try|provide|caption|start)\b",
        r"^i would be (?:happy|glad) to\b",
        r"^the (?:user|prompt|question|instructions?) (?:wants?|asks?|asked|is asking|says?|requires?)\b",
        r"^(?:thanks|thank you) for\b",
    ),
}
_PATTERNS = {
    name: re.compile("|".join(f"(?:{pattern})" for pattern in patterns))
    for name, patterns in _SAYINGS.items()
}


def sayings(text: str) -> frozenset[str]:
    """Which of `REFUSAL`, `BLIND` and `TALK` a text says.

    >>> sorted(sayings("I\\u2019m sorry, but I can't see the image. Please upload the picture."))
    ['blind', 'refusal']
    >>> sorted(sayings("A woman says 'I'm sorry, I can't help you' to a man who cannot see the picture."))
    []
    """
    plain = hide_quotes(text)[0].replace("\u2019", "'")
    found: set[str] = set()
    for sentence in split_sentences(plain):
        small = _long_forms(sentence.lower())
        found.update(name for name, pattern in _PATTERNS.items() if pattern.search(small))
    return frozenset(found)


def _long_forms(sentence: str) -> str:
    if "'" in sentence or "can not" in sentence:
        for short, long in _SHORT_FORMS:
            sentence = short.sub(long, sentence)
    return sentence
