"""The language of a caption, by py3langid: a model of byte sequences, wrong now and then, above all on short
texts and on texts of names."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any, final

from captionkit.prose.quotes import hide_quotes

_LABELS = (
    "ace af am an ar ary arz as az ba bcl be bg bn br bs ca crh cs cy da de dz el en eo es et eu ext "
    "fa fi fo fr fuv fy ga gcf gcr gd gl gom grc gu gug guw ha hbo he hi hr ht hu hy id ig is it ja "
    "jv ka kab kik kk km kn ko ku ky la lb lg lij ln lo lt ltg lv mg mk ml mn mr ms mt my ne nl nn "
    "no nso oc om or pa pcm pl ps pt qu ro ru rw sa sdh se si sk sl sn so sq sr st sv sw ta te tg th "
    "tk tl tr tt ug uk ur uz uzs vec vi vo wa wuu xh yo yue zh zu zxx "
)
KNOWN = frozenset(_LABELS.split())
"""The languages of py3langid's model, as ISO 639 codes."""
_ELSE = frozenset(
    {
        *("ar", "de", "en", "es", "fr", "hi", "id", "it", "ja", "ko"),
        *("nl", "pl", "pt", "ru", "th", "tr", "uk", "vi", "zh"),
    }
)
"""The languages that caption models fall into; all of the model's would mistake more texts."""
_NAME = re.compile(r"(?<=[^\s.!?:])\s+[A-Z\u00c0-\u00de][\w'\u2019-]*")  # A capital that begins no sentence.


@final
class Languages:
    """The languages that are wanted, against those that models fall into. The model, a few MB, is read at the
    first text."""

    def __init__(self, wanted: tuple[str, ...], *, sure: float) -> None:
        """``wanted`` are some of `KNOWN`; ``sure`` is the probability, 0 to 1, from which another language
        counts as one."""
        self._wanted, self._sure = frozenset(wanted), sure

    def foreign(self, text: str) -> str | None:
        """The language of a text when it is none of the wanted ones, for sure; None otherwise."""
        ranks = self._identifier.rank(text)
        found: str = ranks[0][0]
        unwanted = sum(share for language, share in ranks if language not in self._wanted)
        return found if found not in self._wanted and unwanted >= self._sure else None

    @cached_property
    def _identifier(self) -> Any:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier  # type: ignore[import-untyped]

        identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        identifier.set_languages(sorted(self._wanted | _ELSE))
        return identifier


def without_names(text: str) -> str:
    """A text without what says nothing of its language: quotations, and words whose capital no sentence
    explains.

    >>> without_names("A portrait of Johann Wolfgang von Goethe beside a sign 'Zum Adler'.").split()
    ['A', 'portrait', 'of', 'von', 'beside', 'a', 'sign', '.']
    """
    hidden = re.sub("\ue000\\d+\ue001", "", hide_quotes(text)[0])
    return _NAME.sub("", hidden)
