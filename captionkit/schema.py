"""The JSON schema of a recipe."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind, models_json_schema

from captionkit.load import PresetRecipe
from captionkit.pipeline import CaptionPipeline
from captionkit.policies import BUILT_IN
from captionkit.policy import Policy, kind_of


class _Quiet(GenerateJsonSchema):
    """Leaves out a default that is no JSON value, such as an empty graph, without a warning."""

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
        [(model, "validation") for model in models], schema_generator=_Quiet
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
