"""The language of a caption, by py3langid: a model of byte sequences, wrong now and then, above all on short
texts and on texts of names."""

from __future__ import annotations

from functools import cached_property
from typing import Any, final

from trainkit.errors import ConfigError

_ELSE = (
    "ar",
    "de",
    "en",
    "es",
    "fr",
    "hi",
    "id",
    "it",
    "ja",
    "ko",
    "nl",
    "pl",
    "pt",
    "ru",
    "th",
    "tr",
    "uk",
    "vi",
    "zh",
)
"""The languages that caption models fall into; all 97 of the library would mistake more texts."""


@final
class Languages:
    """The languages that are wanted, against those that models fall into. The model is read at the first text."""

    def __init__(self, wanted: tuple[str, ...], *, sure: float) -> None:
        """``wanted`` are ISO 639-1 codes; ``sure`` is the probability, 0 to 1, from which another language
        counts as one. Raises ConfigError for a code that nobody knows."""
        self._wanted, self._sure = frozenset(wanted), sure

    def foreign(self, text: str) -> str | None:
        """The language of a text when it is none of the wanted ones, for sure; None otherwise."""
        ranks = self._identifier.rank(text)
        found = ranks[0][0]
        unwanted = sum(share for language, share in ranks if language not in self._wanted)
        return found if found not in self._wanted and unwanted >= self._sure else None

    @cached_property
    def _identifier(self) -> Any:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        if unknown := sorted(self._wanted - set(identifier.labels)):
            known = ", ".join(sorted(identifier.labels))
            raise ConfigError("gate.languages", [f"is {unknown[0]!r}, must be one of {known}"])
        identifier.set_languages(sorted(self._wanted | set(_ELSE)))
        return identifier
