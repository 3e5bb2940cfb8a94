"""Simple forms of English words: singular and plural, and whether one verb form may be another's."""

from __future__ import annotations

import re
from functools import lru_cache

_IRREGULAR = {
    "person": "people",
    "man": "men",
    "woman": "women",
    "child": "children",
    "foot": "feet",
    "tooth": "teeth",
    "goose": "geese",
    "mouse": "mice",
    "ox": "oxen",
    "leaf": "leaves",
    "wolf": "wolves",
    "knife": "knives",
    "calf": "calves",
    "half": "halves",
    "hoof": "hooves",
    "scarf": "scarves",
    "shelf": "shelves",
    "elf": "elves",
    "thief": "thieves",
    "loaf": "loaves",
    "wife": "wives",
    "dwarf": "dwarves",
    "fireman": "firemen",
    "policeman": "policemen",
    "snowman": "snowmen",
    "cactus": "cacti",
}
_SINGULAR = {plural: singular for singular, plural in _IRREGULAR.items()}
_QUALIFIER = re.compile(r"\s*\([^()]*\)$")
_PLURAL_ES = re.compile(r"(?:s|x|z|ch|sh)$")
_VOWEL = "aeiou"


def bare(tag: str) -> str:
    """A folded tag without what stands in parentheses behind it.

    >>> bare("mercury (planet)"), bare("(o)")
    ('mercury', '(o)')
    """
    return _QUALIFIER.sub("", tag) or tag


@lru_cache(maxsize=1 << 15)
def numbers(phrase: str) -> frozenset[str]:
    """A phrase in singular and plural, its last word changed.

    >>> sorted(numbers("red foxes")), sorted(numbers("person"))
    (['red fox', 'red foxes'], ['people', 'person'])
    """
    before, space, last = phrase.rpartition(" ")
    singular = _singular(last)
    return frozenset({before + space + word for word in (last, singular, _plural(singular))})


@lru_cache(maxsize=1 << 15)
def verb_forms(word: str) -> frozenset[str]:
    """A single word as a verb might stand: `smile`, `smiling`, `smiles`. Of phrases, the phrase alone.

    >>> sorted(verb_forms("smiling")), sorted(verb_forms("running"))
    (['smile', 'smiles', 'smiling'], ['run', 'running', 'runs'])
    """
    if not word.isalpha() or len(word) < 3:
        return frozenset({word})
    if word.endswith("ing") and len(word) > 5:
        doubled = word[-4] == word[-5] and word[-4] not in "ls"
        stems = [word[:-4]] if doubled else [word[:-3], word[:-3] + "e"]
        stems = [stem for stem in stems if _ing(stem) == word]
    else:
        stems = [word]
    return frozenset({word, *stems, *(stem + "s" for stem in stems), *map(_ing, stems)})


def _ing(stem: str) -> str:
    """The form with -ing of a verb."""
    if stem.endswith("e") and not stem.endswith(("ee", "ye", "oe")):
        return stem[:-1] + "ing"
    doubles = (
        len(stem) <= 4
        and stem[-1] not in "wxyaeiou"
        and stem[-2:-1] in tuple(_VOWEL)
        and stem[-3:-2] not in tuple(_VOWEL)
    )
    return stem + (stem[-1] if doubles else "") + "ing"


def _singular(word: str) -> str:
    if word in _SINGULAR:
        return _SINGULAR[word]
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("es") and _PLURAL_ES.search(word[:-2]) and not word.endswith(("ses", "zes")):
        return word[:-2]
    if word.endswith("sses"):
        return word[:-2]
    return word[:-1]


def _plural(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("y") and word[-2:-1] not in tuple(_VOWEL):
        return word[:-1] + "ies"
    return word + ("es" if _PLURAL_ES.search(word) else "s")
