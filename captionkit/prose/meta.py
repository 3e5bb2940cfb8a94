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
      there\s(?:is|are|isn't|aren't)\s(?:also\s)?(?:no|not\sany|any)\s{_QUALIFIERS}{_ABSENT}\b(?!.*\b(?:but|only)\b)
    | (?:step\sby\sstep:?\s)?\d+[.)]\s(?:count|identify|describe|list|look|observe|note|determine)\b
    | no\s(?:other\s|visible\s|additional\s)*{_ABSENT}\b.*\b(?:visible|present|seen|discernible)\b
    | (?:the|this)\s{_IMAGE}\s(?:does\snot|doesn't|is\sfree\sof)\s
    | (?:the|this)\s{_IMAGE}\s(?:has|contains|shows|features|includes|displays|depicts)\sno\s
        (?!.*\b(?:but|only)\b)
    | (?:the|this)\s{_IMAGE}\s(?:(?:quality|resolution)\sis\b|is\s(?:of\s)?(?:an?\s)?(?:very\s)?
        (?:high|good|low|poor|excellent|great)[\s-](?:quality|resolution|definition)\b)
    | (?:the|this)\s(?:overall\s)?(?:visual\s|artistic\s)?(?:style|quality|resolution|format|genre)
        \sof\sthe\s{_IMAGE}\b
    | the\sstyle\s(?:is|appears)\b
    | (?:the|this)\s{_IMAGE}\sis\s(?:an?\s)?(?:\S+\s){{0,6}}{_IMAGE},?
        \swith\s(?:no|a\s(?:clear\s)?focus\son)\b
    | (?:the|this)\s{_IMAGE}\s(?:is\sa\s)?(?:standard|real-life|realistic|straightforward|typical)\b
    | the\soverall\s{_OVERALL}\b
    | the\s(?:general\s)?(?:atmosphere|mood|ambiance|ambience|vibe)\s
        (?:of|in|is|appears|seems|feels|suggests|conveys|created)\b
    | the\s(?:composition|framing|perspective)\sof\sthe\s{_IMAGE}\b
    | the\s(?:relative\spositions?|positioning|arrangement|placement|juxtaposition)\sof\b.*
        \b(?:suggest|indicat|creat|convey|impl|add)
    | (?:the\s)?(?:text|writing|lettering|wording)(?:\son\s[^,.]*)?\s(?:is|are)\s(?:not|too|in)\s?
        (?:small|blurry|clearly\s|fully\s|entirely\s)*(?:legible|readable|visible|clear)\b
    | it\s(?:is|'s)\s(?:not\s(?:possible|clear)|unclear|impossible|difficult|hard)\b
    | (?:i\s(?:cannot|can't|can\snot|am)|i'm|as\san\sai|sorry)\b
    | (?:note:\s)?(?:this|the)\s(?:description|caption)\s(?:is|was|provides)\b
    | (?:the|this)\s{_IMAGE}\s(?:conveys|evokes|exudes|creates|gives|suggests)\b
    | (?:the|this)\s{_IMAGE}\s(?:captures|depicts|shows|portrays|presents)\sa\ssense\b
    | (?:sure|certainly|of\scourse|absolutely|description|caption)[!.]$
    )""",
    re.IGNORECASE | re.VERBOSE,
)
# At the beginning of a caption this introduces what is to be seen; later it sums up.
_SUMMARY = re.compile(
    rf"""(?:overall|in\ssummary|in\sconclusion|to\ssum\sup|in\sessence)\s?,\s
    | (?:the|this)\s{_IMAGE}\s(?:
      (?:(?:also|beautifully|vividly)\s)?captures\s(?:an?|the)\s(?:[\w-]+,?\s){{0,4}}(?:moment|scene|instant|interaction)\b
    | (?:(?:also|beautifully|vividly)\s)?(?:captures|depicts|shows|portrays|presents)
        \sthe\s(?:essence|beauty|thrill|charm|spirit|mood|atmosphere)\b
    | is\san?\s(?:\S+\s)?(?:photo|photograph|picture)(?:[,.]|\s(?:that|and|taken|capturing|showing)\b)
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_MOOD = r"(?:senses?|feelings?|atmospheres?|moods?|impression|ambian?ce|ambience|charm|vibe)"
# Clauses that say the same, with a list of moods ("calm, peace, and joy"); what else follows stays.
_MOOD_CLAUSE = re.compile(
    rf",\s(?:(?:and|which|all)\s)?(?:creat|convey|evok|add|giv|contribut|lend|enhanc|provid|set|exud)\w*\s"
    rf"(?:[\w'-]+\s){{0,6}}{_MOOD}\b(?:(?!\s(?:as(?!\s(?:well|if|though)\b)|while)\s)[^,.;!?\ue000])*"
    rf"(?:,\s(?:(?:and|or)\s)?(?:[\w-]+\s)?[\w-]+(?=[,.!?]|$)){{0,4}}"
    r"(?:,(?=\s(?!(?:and|or|but|while|with|as|which|who|\w+ing)\b))|(?=[,.!?]|\s(?:as|while)\s|$))",
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
