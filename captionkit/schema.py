"""The JSON schema of a recipe."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from itertools import pairwise
from textwrap import dedent
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import (
    GenerateJsonSchema,
    JsonSchemaValue,
    JsonSchemaWarningKind,
    models_json_schema,
)
from pydantic_core import core_schema

from captionkit.load import PresetRecipe
from captionkit.pipeline import CaptionPipeline
from captionkit.policies import BUILT_IN
from captionkit.policy import Policy, kind_of


@cache
def setting_docs(model: type[BaseModel]) -> dict[str, str]:
    """What the docstring under each setting of a class says, those of its parents among them.

    Pydantic can read them too, but does it for every class at import: 65 ms for all of ours.
    """
    docs: dict[str, str] = {}
    for parent in reversed(model.__mro__):
        if not (issubclass(parent, BaseModel) and parent.__module__ != BaseModel.__module__):
            continue
        try:
            body = ast.parse(dedent(inspect.getsource(parent))).body[0]
        except (OSError, TypeError):  # Written at a prompt: there is no source.
            continue
        statements = body.body if isinstance(body, ast.ClassDef) else []
        for field, below in pairwise(statements):
            text = below.value if isinstance(below, ast.Expr) else None
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Constant)
                and isinstance(text.value, str)
            ):
                docs[field.target.id] = inspect.cleandoc(text.value)
    return docs


class _Documented(GenerateJsonSchema):
    """Adds what the docstrings under the settings say, and leaves out a default that is no JSON value, such
    as an empty graph, without a warning."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """A model's schema, each property with its description."""
        json_schema = super().model_schema(schema)
        model: type[BaseModel] = schema["cls"]
        docs = setting_docs(model)
        for name, prop in json_schema.get("properties", {}).items():
            if name in docs:
                prop.setdefault("description", docs[name])
        return json_schema

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        """Warn, except of such a default."""
        if kind != "non-serializable-default":
            super().emit_warning(kind, detail)


def recipe_schema() -> dict[str, Any]:
    """What a recipe may hold: a preset with a few settings, or all the steps, each of a built-in kind.

    An editor that is given this schema completes and checks a recipe. Kinds of your own are beyond it.
    """
    models: list[type[BaseModel]] = [PresetRecipe, CaptionPipeline, *BUILT_IN]
    references, whole = models_json_schema(
        [(model, "validation") for model in models], schema_generator=_Documented
    )
    definitions = whole["$defs"]
    by_kind = {kind_of(policy): references[policy, "validation"] for policy in BUILT_IN}
    for reference in by_kind.values():
        definition = definitions[reference["$ref"].rpartition("/")[2]]
        definition["required"] = sorted({*definition.get("required", []), "kind"})
    # A field that holds any policy refers to the abstract class, which would let every step pass.
    definitions[Policy.__name__] = {
        "title": "Policy",
        "description": "One step, by its kind.",
        "oneOf": list(by_kind.values()),
        "discriminator": {
            "propertyName": "kind",
            "mapping": {kind: reference["$ref"] for kind, reference in by_kind.items()},
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A caption recipe",
        "anyOf": [references[PresetRecipe, "validation"], references[CaptionPipeline, "validation"]],
        "$defs": definitions,
    }
