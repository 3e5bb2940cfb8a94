"""Doubt, taken out of the wording: "appears to be a dog" becomes "is a dog". Nothing is rejected for it.

People hedge as well (measured: 53 % of careful human captions), so a hedge is no fault to throw a caption
away for, and a prompt never says "possibly".
"""

from __future__ import annotations

import re

from captionkit.prose.capitals import with_capital

# Each rule has words without which it cannot match: looking for those first is ten times as fast.
_VERBS = ("appear", "seem")
_MODALS = ("might", "may ", "could")
_ADVERBS = ("ossibly", "erhaps", "robably", "resumably", "pparently", "eemingly", "aybe", "ikely")

_WHAT = re.compile(
    r"\bwhat\s(?:(?:appears?|seems?)\sto\sbe|looks\slike|(?:might|may|could)\sbe)\s", re.IGNORECASE
)
_IT = re.compile(
    r"\bit\s(?:(?:appears|seems)\s(?:that|as\s(?:if|though))|(?:is|may\sbe)\s(?:possible|likely|probable)\sthat)\s(?=\w)",
    re.IGNORECASE,
)
_TO_BE = re.compile(r"\b(?P<verb>appears?|seems?)\sto\s(?P<what>have\sbeen|have|be)\b")
_TO_BE_TO = {"be": ("is", "are"), "have": ("has", "have"), "have been": ("was", "were")}
_ADVERB = r"(?:possibly|perhaps|probably|presumably|apparently|seemingly|maybe|(?:most |very )?likely)"
_MODAL = re.compile(
    rf"""\b(?:(?P<many>they|we|you|these|those)
        |(?P<one>it|he|she|this|that|which|there|who|(?:the|an?|this|that|his|her|its)\s[a-z-]*[a-rt-z]))
    \s(?:might|may|could)\s(?:{_ADVERB.replace(" ", chr(92) + "s")}\s)?(?P<what>be|have\sbeen)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_LIKELY_TO_BE = re.compile(r"\b(is|are|was|were) (?:most |very )?likely to be\b")
_ADVERB_WORD = re.compile(
    rf"(?:\b(?P<article>[Aa]n?) )?\b{_ADVERB}(?:, | (?!that\b))(?=(?P<next>[\w\ue000]))", re.IGNORECASE
)

# Before these words' "to be" another verb stands: "does not appear to be", "may appear to be".
_BINDS_VERB = {
    *("not", "doesn't", "don't", "didn't", "do", "does", "did"),
    *("may", "might", "can", "could", "would", "will", "to"),
}
_BINDS_LIKELY = {"not", "isn't", "aren't", "more", "less", "as", "the", "than", "equally"}


def rewrite_hedges(sentence: str) -> str:
    """The sentence with its doubts rewritten.

    >>> rewrite_hedges("Possibly a dog, which appears to be asleep, and they seem to be happy.")
    'A dog, which is asleep, and they are happy.'
    >>> rewrite_hedges("He does not appear to be asleep.")
    'He does not appear to be asleep.'
    """
    verbs = any(word in sentence for word in _VERBS)
    modals = any(word in sentence for word in _MODALS)
    adverbs = any(word in sentence for word in _ADVERBS)
    if not (verbs or modals or adverbs or "what looks like" in sentence):
        return sentence
    rewritten = sentence
    if "hat " in sentence:
        rewritten = _WHAT.sub("", rewritten)
    if verbs or adverbs or "possible that" in sentence:
        rewritten = _IT.sub("", rewritten)
    if verbs:
        rewritten = _TO_BE.sub(_is, rewritten)
    if modals:
        rewritten = _MODAL.sub(_surely, rewritten)
    if adverbs:
        rewritten = _ADVERB_WORD.sub(_without_adverb, _LIKELY_TO_BE.sub(r"\1", rewritten))
    # Only where the beginning itself was cut; a sentence that began small stays so.
    return with_capital(rewritten) if sentence[:1].isupper() and rewritten[:1] != sentence[:1] else rewritten


def _is(found: re.Match[str]) -> str:
    """`appears to be` -> `is`, `seem to have` -> `have`."""
    if _word_before(found) in _BINDS_VERB:
        return found.group()
    return _TO_BE_TO[found["what"].replace("\n", " ")][0 if found["verb"].endswith("s") else 1]


def _surely(found: re.Match[str]) -> str:
    """`it might be` -> `it is`, `they may have been` -> `they were`. The number is the subject's."""
    subject = found["many"] or found["one"]
    return f"{subject} {_TO_BE_TO[' '.join(found['what'].split()).lower()][0 if found['one'] else 1]}"


def _without_adverb(found: re.Match[str]) -> str:
    """`a possibly old car` -> `an old car`; the article by the letter, which is right for all but a few
    words."""
    article, following = found["article"], found["next"]
    rest = found.string[found.end() : found.end() + 7]
    if "ikely" in found.group() and rest.startswith("to ") and rest != "to the ":
        return found.group()  # `is likely to rain` speaks of later.
    if article is None:
        return found.group() if _word_before(found) in _BINDS_LIKELY and "ikely" in found.group() else ""
    if "ikely" in found.group():
        return found.group()  # `a likely place` is an adjective.
    return article[0] + ("n " if following.lower() in "aeio" else " ")


def _word_before(found: re.Match[str]) -> str:
    before = found.string[max(0, found.start() - 12) : found.start()].split()
    return before[-1].lower() if before else ""
