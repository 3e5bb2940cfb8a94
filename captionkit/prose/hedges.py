"""Doubt, taken out of the wording: "appears to be a dog" becomes "is a dog". Nothing is rejected for it.

People hedge as well (measured: 53 % of careful human captions), so a hedge is no fault to throw a caption
away for, and a prompt never says "possibly".
"""

from __future__ import annotations

import re

from captionkit.prose.capitals import with_capital
from captionkit.prose.modals import ADVERB, TO_BE, many_follow, rewrite_modals, words_before

# Each rule has words without which it cannot match: looking for those first is ten times as fast.
_VERBS = ("appear", "seem")
_MODALS = ("might", "may ", "could")
_ADVERBS = ("ossibly", "erhaps", "robably", "resumably", "pparently", "eemingly", "aybe", "ikely")

_WHAT = re.compile(
    r"\bwhat\s(?:(?:appears?|seems?)\sto\sbe|looks\slike|(?:might|may|could)\sbe)\s", re.IGNORECASE
)
_IT = re.compile(
    r"\bit\s(?:(?:appears|seems)\s(?:that|as\s(?:if|though))"
    r"|(?:is|may\sbe)\s(?:very\s|quite\s)?(?:possible|likely|probable)\sthat)\s(?=\w)"
    r"|\bit['\u2019]s\s(?:possible|likely|probable)\sthat\s(?=\w)",
    re.IGNORECASE,
)
_TO_BE = re.compile(
    r"\b(?P<there>there\s)?(?P<verb>appears?|seems?)\sto\s(?P<what>have\sbeen|have|be)\b", re.IGNORECASE
)
_BETWEEN_COMMAS = re.compile(
    rf"(?P<bound>\b(?:and|or|is|are|was|were))?, {ADVERB},(?= (?P<article>an?|the)?\b)", re.IGNORECASE
)
_LIKELY_TO_BE = re.compile(r"\b(is|are|was|were) (?:most |very )?likely to be\b")
_ADVERB_WORD = re.compile(
    rf"(?:\b(?P<article>[Aa]n?) )?\b{ADVERB}(?:, | (?!that\b))(?=(?P<next>[\w\ue000][\w-]*))", re.IGNORECASE
)
# By the sound: an hour, an umbrella, an 18th, but a unicorn, a European, a one-eyed cat.
_VOWEL = re.compile(
    r"(?!eu|ew|one\b|once\b|u(?:ni[cfqtvs]|s[aeiu]|t[aeio]|k|b[aeiou]|r[aeiou]))[aeiou]|8|1[18](?:th)?\b"
    r"|h(?:our|one?st|onou?r|eir)"
)

# Before these words' "to be" another verb stands: "does not appear to be", "may appear to be".
_BINDS_VERB = {
    *("not", "doesn't", "don't", "didn't", "do", "does", "did"),
    *("may", "might", "can", "could", "would", "will", "to"),
}
_NEGATIONS = {"not", "doesn't", "don't", "didn't"}
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
    likeness, possible = "hat looks like" in sentence, "possible that" in sentence
    if not (verbs or modals or adverbs or likeness or possible) or sentence.endswith("?"):
        return sentence
    rewritten = sentence
    if "hat " in sentence:
        rewritten = _WHAT.sub("", rewritten)
    if verbs or adverbs or possible:
        rewritten = _IT.sub("", rewritten)
    if verbs:
        rewritten = _TO_BE.sub(_is, rewritten)
    if modals:
        rewritten = rewrite_modals(rewritten)
    if adverbs:
        rewritten = _BETWEEN_COMMAS.sub(_without_commas, rewritten)
        rewritten = _ADVERB_WORD.sub(_without_adverb, _LIKELY_TO_BE.sub(r"\1", rewritten))
    # Only where the beginning itself was cut; a sentence that began small stays so.
    return with_capital(rewritten) if sentence[:1].isupper() and rewritten[:1] != sentence[:1] else rewritten


def _is(found: re.Match[str]) -> str:
    """`appears to be` -> `is`, `seem to have` -> `have`."""
    if not _BINDS_VERB.isdisjoint(words_before(found, 1)) or not _NEGATIONS.isdisjoint(
        words_before(found, 3)
    ):
        return found.group()
    one = found["verb"].endswith("s")
    if found["there"] is not None:  # Models write "there appears to be two people".
        one = one and not many_follow(found.string, found.end())
    return (found["there"] or "") + TO_BE[" ".join(found["what"].lower().split())][0 if one else 1]


def _without_adverb(found: re.Match[str]) -> str:
    """`a possibly old car` -> `an old car`, by the sound of the word that follows."""
    article, following = found["article"], found["next"]
    rest = found.string[found.end() : found.end() + 7]
    if "ikely" in found.group() and rest.startswith("to ") and rest != "to the ":
        return found.group()  # `is likely to rain` speaks of later.
    if article is None:
        bound = "ikely" in found.group() and not _BINDS_LIKELY.isdisjoint(words_before(found, 1))
        return found.group() if bound else ""
    if "ikely" in found.group():
        return found.group()  # `a likely place` is an adjective.
    return article[0] + ("n " if _VOWEL.match(following.lower()) else " ")


def _without_commas(found: re.Match[str]) -> str:
    """`wings and, possibly, a tail` -> `wings and a tail`, `a dog, possibly, a fox` -> `a dog, a fox`."""
    return found["bound"] or ("," if found["article"] else "")
