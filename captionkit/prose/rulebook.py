"""Where rules come from: files of rules, those of the library among them, and the words they share."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationError, ValidationInfo

from captionkit.errors import RecipeError
from captionkit.kinds import did_you_mean, resolve_path
from captionkit.prose.rules import CleaningRule

RULES_FILE = Path(__file__).with_name("rules.toml")
"""The rules of the library: a file like any other."""

_WORD = re.compile(r"\{([a-z_]+)\}")


def read_rules(path: str | Path) -> tuple[CleaningRule, ...]:
    """The rules of a TOML file, `{name}` in their patterns replaced by the words of the file or the library.

    Raises `RecipeError`, naming the file and the rule.
    """
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RecipeError(f"cannot read the rules: {error.strerror}", where=str(path)) from error
    except ValueError as error:  # Both wrong TOML and wrong encodings; they name the place.
        raise RecipeError(f"is not valid TOML: {error}", where=str(path)) from error
    if unknown := sorted(set(data) - {"words", "rule"}):
        raise RecipeError(
            f"unknown key {unknown[0]!r}{did_you_mean(unknown[0], ['words', 'rule'])}", where=str(path)
        )
    rules, own_words = data.get("rule", []), data.get("words", {})
    if not isinstance(rules, list) or not isinstance(own_words, Mapping):
        raise RecipeError("must hold [[rule]] blocks and perhaps a table [words]", where=str(path))
    known = {} if Path(path) == RULES_FILE else library_words()
    try:
        words = _all_words(own_words, known)
    except ValueError as error:
        raise RecipeError(str(error), where=str(path)) from None
    return tuple(_rule(rule, words, f"{path}: rule {index + 1}") for index, rule in enumerate(rules))


@lru_cache(maxsize=1)
def library_rules() -> tuple[CleaningRule, ...]:
    """The rules that come with the library, in their order; read once per process.

    >>> [rule.name for rule in library_rules()][:3]
    ['bold', 'emphasis', 'bullet']
    """
    return read_rules(RULES_FILE)


@lru_cache(maxsize=1)
def library_words() -> Mapping[str, str]:
    """The patterns that rules may name in braces, such as `{picture}`."""
    return _all_words(tomllib.loads(RULES_FILE.read_text(encoding="utf-8"))["words"], {})


def _all_words(own: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, str]:
    """The words of a file after those known before; each may name those that stand before it."""
    words = dict(known)
    for name, pattern in own.items():
        if not isinstance(pattern, str):
            raise ValueError(f"words.{name} must be a pattern, got {pattern!r}")
        words[name] = _filled(pattern, words)
    return words


def _filled(pattern: str, words: Mapping[str, str]) -> str:
    def word(found: re.Match[str]) -> str:
        if found[1] not in words:
            raise ValueError(
                f"{pattern!r} names the unknown word {found[1]!r}{did_you_mean(found[1], words)}"
            )
        return words[found[1]]

    return _WORD.sub(word, pattern)


def _with_words(rule: Any, words: Mapping[str, str]) -> Any:
    """The table of a rule with its patterns filled in; anything else as it is, for pydantic to judge."""
    if not isinstance(rule, Mapping):
        return rule
    filled = dict(rule)
    if isinstance(patterns := rule.get("patterns"), list | tuple):
        filled["patterns"] = [_filled(item, words) if isinstance(item, str) else item for item in patterns]
    if isinstance(unless := rule.get("unless"), str):
        filled["unless"] = _filled(unless, words)
    return filled


def _rule(data: Any, words: Mapping[str, str], where: str) -> CleaningRule:
    if isinstance(data, Mapping) and isinstance(data.get("name"), str):
        where += f" ({data['name']})"
    try:
        return CleaningRule.model_validate(_with_words(data, words))
    except ValidationError as error:
        # A misspelt key is told before the key that is missing for it.
        fault = min(error.errors(include_url=False), key=lambda each: each["type"] == "missing")
        path = ".".join(map(str, fault["loc"]))
        if fault["type"] == "extra_forbidden":
            what = f"unknown key {path!r}{did_you_mean(path, CleaningRule.model_fields)}"
        else:
            what = (f"{path}: " if path else "") + fault["msg"].removeprefix("Value error, ")
        raise RecipeError(what, where=where) from None
    except ValueError as error:
        raise RecipeError(str(error), where=where) from None


def _read_extra(value: Any, info: ValidationInfo) -> Any:
    """The rules of a file, or a list in which each item is a rule or a file of rules."""
    items = value if isinstance(value, list | tuple) else [value]
    rules: list[Any] = []
    for item in items:
        if isinstance(item, str | Path):
            rules += read_rules(resolve_path(item, info))
        else:
            rules.append(_with_words(item, library_words()) if isinstance(item, Mapping) else item)
    return tuple(rules)


RuleList = Annotated[
    tuple[CleaningRule, ...],
    BeforeValidator(_read_extra, json_schema_input_type=str | tuple[CleaningRule | str, ...]),
]
"""The type of a field of rules: the path of a TOML file, or a list of rules and paths."""
