"""Tags for what a fact says, such as the rating."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, model_validator

from captionkit.policies.fact_tags import FactTags, TagName, written
from captionkit.record import Caption, Fact


def _one_as_list(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


_Names: TypeAlias = Annotated[
    tuple[TagName, ...],
    BeforeValidator(_one_as_list, json_schema_input_type=TagName | list[TagName]),
]


class TagFromFact(FactTags):
    """Add the tags of a fact's value: `{s = "safe", q = "questionable", e = ["explicit", "nsfw"]}`.

    A value that the table does not have, and a fact that nobody knows, add nothing.
    """

    kind: Literal["tag_from_fact"] = "tag_from_fact"
    tags: dict[str, _Names]
    """The tag, or the list of tags, of each value; numbers and true or false are written out as keys."""

    @model_validator(mode="after")
    def _some_value(self) -> TagFromFact:
        if not self.tags:
            raise ValueError('no value; give at least one, such as `tags = {s = "safe"}`')
        return self

    def names(self, caption: Caption, fact: Fact) -> tuple[str, ...]:
        """The names of the value's tags."""
        return self.tags.get(written(fact), ())
