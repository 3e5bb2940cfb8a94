"""Recipes: from TOML, JSON or a dict to a pipeline, and back."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from captionkit.curves import Rate
from captionkit.errors import RecipeError
from captionkit.implications import Implications
from captionkit.kinds import RecipeContext, did_you_mean
from captionkit.patterns import PatternList
from captionkit.pipeline import CaptionPipeline
from captionkit.policy import Config, Policy, kind_of
from captionkit.problems import recipe_error

M = TypeVar("M", bound=Config)

_SURROGATE = re.compile("[\ud800-\udfff]")

PRESET_FOLDER = Path(__file__).parent / "presets"
"""The presets are recipes like any other: read them, copy them, change them."""


class PresetRecipe(Config):
    """A recipe that starts from a preset: its name, and the few settings that differ from run to run."""

    preset: str
    """Name of the preset, such as "hyperfusion"."""
    seed: Annotated[int, Field(strict=True)] | None = None
    """Another seed, other draws."""
    implications: Implications | None = None
    """Which tag implies which: the path of a CSV with e621's columns, or a table."""
    important: PatternList | None = None
    """Which tags come first; instead of the preset's list."""
    no_flip: PatternList | None = None
    """Which tags forbid mirroring; instead of the preset's list."""
    flip: Rate | None = None
    """How often a picture that may be mirrored is."""
    mirror: Literal["keep", "swap", "tags"] | None = None
    """What is said about a picture when it is mirrored."""
    max_tokens: Annotated[int, Field(strict=True, ge=1)] | None = None
    """The token budget."""


def load_pipeline(
    recipe: str | Path | Mapping[str, Any], *, kinds: Iterable[type[Policy]] = ()
) -> CaptionPipeline:
    """The pipeline of a recipe: the path of a `.toml` or `.json` file, or a mapping.

    `kinds` are policy classes of your own that the recipe may name, besides the built-in ones and those that
    installed distributions offer (entry-point group `captionkit.policies`). Relative paths in a recipe start
    at its folder; in a mapping, at the working folder. A recipe with `preset = "hyperfusion"` starts from
    that preset.

    Raises `RecipeError` with every fault at once, each with its path and, for unknown names, the nearest
    known one.
    """
    if isinstance(recipe, Mapping):
        data, base, where = dict(recipe), Path(), None
    else:
        if not isinstance(recipe, str | Path):
            raise RecipeError(f"a recipe is a path or a mapping, got {recipe!r}")
        path = Path(recipe)
        data, base, where = _read(path), path.parent, str(path)
    if isinstance(data.get("datasets"), list) and "steps" not in data:
        raise RecipeError(
            "is a kohya dataset configuration, not a recipe",
            where=where,
            hint=f"make one of it: captionkit import kohya {where or 'dataset.toml'} -o recipe.toml",
        )
    context = RecipeContext(_all_kinds(kinds), base)
    if "preset" in data:
        if isinstance(data.get("flip"), Mapping) and "points" not in data["flip"]:
            raise RecipeError(
                f"flip: beside a preset it is a number or a curve, got a table of {', '.join(data['flip'])}",
                where=where,
                hint="beside a preset stand `no_flip` and `mirror`; to change more, copy the preset's file",
            )
        data = _from_preset(_validated(PresetRecipe, data, context, where), where)
    return _validated(CaptionPipeline, data, context, where)


def preset(name: str, **overrides: Any) -> CaptionPipeline:
    """A preset by name, with some settings changed; the settings are the fields of `PresetRecipe`.

    >>> preset("hyperfusion", seed=7, important=["solo"]).seed
    7
    """
    return load_pipeline({"preset": name, **overrides})


def dump_pipeline(pipeline: CaptionPipeline) -> dict[str, Any]:
    """The recipe of a pipeline, of plain JSON values: `load_pipeline(dump_pipeline(p), kinds=...) == p`.

    Paths come out absolute, a preset as all its steps. A token counter is not part of a recipe.
    """
    return pipeline.model_dump(mode="json", exclude_none=True)


def dump_toml(pipeline: CaptionPipeline) -> str:
    """The same recipe as TOML text, one step to a block."""
    data = dump_pipeline(pipeline)
    steps = data.pop("steps")
    lines = [f"{key} = {_toml(value)}" for key, value in data.items() if not isinstance(value, dict)]
    for key, table in data.items():
        if isinstance(table, dict):
            lines += ["", f"[{key}]", *(f"{_toml_key(k)} = {_toml(v)}" for k, v in table.items())]
    for step in steps:
        lines += ["", "[[steps]]", *(f"{_toml_key(k)} = {_toml(v)}" for k, v in step.items())]
    return "\n".join(lines) + "\n"


def _read(path: Path) -> dict[str, Any]:
    """The data of a recipe file."""
    suffix = path.suffix.lower()
    if suffix not in (".toml", ".json"):
        raise RecipeError(f"a recipe is a .toml or .json file, got {path.name!r}", where=str(path))
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows editors put a mark before it.
        data = tomllib.loads(text) if suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise RecipeError(f"cannot read the recipe: {error.strerror}", where=str(path)) from error
    except RecursionError as error:
        raise RecipeError("is nested too deep to be read", where=str(path)) from error
    except ValueError as error:  # Both parsers' errors and wrong encodings; they name line and column.
        raise RecipeError(f"is not valid {suffix[1:].upper()}: {error}", where=str(path)) from error
    if not isinstance(data, dict):
        raise RecipeError(f"a recipe is a table, got {type(data).__name__}", where=str(path))
    return data


def _all_kinds(own: Iterable[type[Policy]]) -> dict[str, type[Policy]]:
    # Loaded with the first recipe: who only renders or draws does not pay for thirty classes at import.
    from captionkit.policies import BUILT_IN

    kinds = {kind_of(policy): policy for policy in BUILT_IN}
    for policy in own:
        kind = kind_of(policy)
        if kinds.setdefault(kind, policy) is not policy:
            raise RecipeError(
                f"kind {kind!r} of {policy.__name__} is taken by {kinds[kind].__name__}",
                hint="choose another kind",
            )
    return kinds


def _validated(model: type[M], data: Mapping[str, Any], context: RecipeContext, where: str | None) -> M:
    try:
        for place in _half_characters(data, ""):
            raise RecipeError(f"{place}: holds half a surrogate pair, which is no character", where=where)
        return model.model_validate(data, context=context)
    except ValidationError as error:
        raise recipe_error(error, model, data, context.get, where) from None
    except RecursionError as error:
        raise RecipeError("steps are nested too deep to be read", where=where) from error


def _half_characters(value: Any, place: str) -> Iterator[str]:
    """Where a text stands that no file could hold: JSON can spell half of a surrogate pair."""
    if isinstance(value, str):
        if not value.isascii() and _SURROGATE.search(value):
            yield place or "recipe"
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _half_characters(key, place)
            yield from _half_characters(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _half_characters(item, f"{place}[{index}]")


def _from_preset(chosen: PresetRecipe, where: str | None) -> dict[str, Any]:
    """The preset's recipe with the settings put where they belong."""
    known = sorted(path.stem for path in PRESET_FOLDER.glob("*.toml"))
    if chosen.preset not in known:
        raise RecipeError(
            f"preset: unknown preset {chosen.preset!r}{did_you_mean(chosen.preset, known)}", where=where
        )
    data = _read(PRESET_FOLDER / f"{chosen.preset}.toml")
    steps = {step["kind"]: step for step in data["steps"]}
    places: dict[str, tuple[dict[str, Any], str]] = {
        "seed": (data, "seed"),
        "implications": (steps["drop_implied"], "implications"),
        "important": (steps["mark_important"], "patterns"),
        "no_flip": (data["flip"], "no_flip"),
        "flip": (data["flip"], "p"),
        "mirror": (data["flip"], "mirror"),
        "max_tokens": (data["text"], "max_tokens"),
    }
    for setting, (table, key) in places.items():
        if (value := getattr(chosen, setting)) is not None:
            table[key] = value
    return data


def _toml_key(key: str) -> str:
    bare = key.replace("_", "").replace("-", "")
    return key if bare.isascii() and bare.isalnum() else _toml(key)


def _toml(value: Any) -> str:
    """A JSON value as an inline TOML value. JSON's strings are TOML's, but for the delete character."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_key(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
