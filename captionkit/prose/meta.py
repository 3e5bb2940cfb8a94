"""Talk about the picture as a picture, about what is not in it, and about moods: sentences that describe
nothing."""

from __future__ import annotations

import re

_IMAGE = r"(?:image|picture|photo|photograph|scene|composition|shot|frame)"
_ABSENT = (
    r"(?:texts?|writings?|words|letters|captions?|watermarks?|logos?|brands?|brand\snames|signatures?|markings?|marks"
    r"|indications?|people|persons?|humans?|individuals|animals|objects?|items|elements|features|details|signs|actions?"
    r"|vehicles|figures|subjects|characters|filters|effects)"
)

_QUALIFIERS = (
    r"(?:(?:other|additional|visible|discernible|apparent|clear|clearly|distinct|distinctive|distinguishing|legible"
    r"|notable|noticeable|significant|immediately|recognizable|identifiable|specific|obvious|or|moving|living"
    r"|further),?\s)*"
)
_OVERALL = (
    r"(?:scene|atmosphere|mood|impression|style|composition|feel|feeling|tone|setting|ambiance|ambience|effect|layout"
    r"|aesthetic|theme|environment|context|picture|image|sense|arrangement|quality|visual|design)"
)
META = re.compile(
    rf"""(?:
      there\s(?:is|are|isn't|aren't)\s(?:also\s)?(?:no|not\sany|any)\s{_QUALIFIERS}{_ABSENT}\b(?!.*\bbut\b)
    | (?:step\sby\sstep:?\s)?\d+[.)]\s(?:count|identify|describe|list|look|observe|note|determine)\b
    | no\s(?:other\s|visible\s|additional\s)*{_ABSENT}\b.*\b(?:visible|present|seen|discernible)\b
    | (?:the|this)\s{_IMAGE}\s(?:does\snot|doesn't|has\sno|contains\sno)\s
    | (?:the|this)\s(?:overall\s)?(?:visual\s|artistic\s)?(?:style|quality|resolution|format|genre)
        \sof\sthe\s{_IMAGE}\b
    | the\sstyle\s(?:is|appears)\b
    | (?:the|this)\s{_IMAGE}\sis\s(?:an?\s)?(?:\S+\s){{0,6}}{_IMAGE},?
        \swith\s(?:no|a\s(?:clear\s)?focus\son)\b
    | (?:the|this)\s{_IMAGE}\s(?:is\sa\s)?(?:standard|real-life|realistic|straightforward|typical)\b
    | (?:overall|in\ssummary|in\sconclusion|to\ssum\sup|in\sessence)\s?,\s
    | the\soverall\s{_OVERALL}\b
    | the\s(?:general\s)?(?:atmosphere|mood|ambiance|ambience|vibe)\s
        (?:of|in|is|appears|seems|suggests|conveys|created)\b
    | the\s(?:composition|framing|perspective)\sof\sthe\s{_IMAGE}\b
    | the\s(?:relative\spositions?|positioning|arrangement|placement|juxtaposition)\sof\b.*
        \b(?:suggest|indicat|creat|convey|impl|add)
    | (?:the\s)?(?:text|writing|lettering|wording)(?:\son\s[^,.]*)?\s(?:is|are)\s(?:not|too|in)\s?
        (?:small|blurry|clearly\s|fully\s|entirely\s)*(?:legible|readable|visible|clear)\b
    | it\s(?:is|'s)\s(?:not\s(?:possible|clear)|unclear|impossible|difficult|hard)\b
    | (?:i\s(?:cannot|can't|can\snot|am)|i'm|as\san\sai|sorry)\b
    | (?:this|the)\s(?:description|caption)\s(?:is|was|provides)\b
    | (?:the|this)\s{_IMAGE}\s(?:conveys|evokes|exudes|creates|gives|suggests)\b
    | (?:the|this)\s{_IMAGE}\s(?:captures|depicts|shows|portrays|presents)
        \s(?:the\s(?:essence|beauty|mood|atmosphere)|a\ssense)\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
# At the beginning of a caption this introduces what is to be seen; later it sums up.
_SUMMARY = re.compile(
    rf"""(?:the|this)\s{_IMAGE}\s(?:
      (?:also\s)?captures\s(?:an?|the)\s(?:[\w-]+,?\s){{0,4}}(?:moment|scene|instant|interaction)\b
    | is\san?\s(?:\S+\s)?(?:photo|photograph|picture)(?:[,.]|\s(?:that|and|taken|capturing|showing)\b)
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_MOOD = r"(?:senses?|feelings?|atmospheres?|moods?|impression|ambian?ce|ambience|charm|vibe)"
# Ends of sentences that say the same in a clause; only where no other clause follows.
_MOOD_CLAUSE = re.compile(
    rf",\s(?:(?:and|which|all)\s)?(?:creat|convey|evok|add|giv|contribut|lend|enhanc|provid|set|exud)\w*\s"
    rf"(?:[\w'-]+\s){{0,6}}{_MOOD}\b[^.;!?\ue000]*(?=[.!?]|$)",
    re.IGNORECASE,
)
_UNSEEN_CLAUSE = re.compile(
    r",\s(?:but|though|although|and)\s(?:their|his|her|its|the)\s(?:[\w-]+\s){1,3}(?:is|are)\s(?:also\s)?not\s"
    r"(?:clearly\s|fully\s|entirely\s)?(?:visible|legible|discernible|clear|readable)(?=[.,;!?]|$)"
    r"|,\s(?:and|but|though)\sthere\s(?:is|are)\sno\s(?:visible|other|apparent|discernible)\s[^,.;]*(?=[.;]|$)"
    r"|,?\swith\sno\s(?:other\s)?(?:visible|apparent|discernible)\s(?:[\w-]+\s?){1,4}(?=[.,;!?]|$)",
    re.IGNORECASE,
)


def is_meta(sentence: str, *, first: bool = True) -> bool:
    """Whether a sentence talks about the picture instead of describing what is in it.

    `first` says that it opens the caption.

    >>> is_meta("There are no visible watermarks."), is_meta("There is no roof on the house.")
    (True, False)
    """
    return META.match(sentence) is not None or (not first and _SUMMARY.match(sentence) is not None)


def cut_meta_clauses(sentence: str) -> str:
    """The sentence without clauses about moods and about what cannot be seen.

    >>> cut_meta_clauses("Fog lies over the lake, creating a sense of calm.")
    'Fog lies over the lake.'
    >>> cut_meta_clauses("The third person is walking, but their face is not visible.")
    'The third person is walking.'
    """
    if ", " not in sentence and " no " not in sentence:
        return sentence
    return _UNSEEN_CLAUSE.sub("", _MOOD_CLAUSE.sub("", sentence))
