"""A policy is its configuration: a frozen model with a `kind` and one method, from caption to caption."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, Literal, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from captionkit.draws import Draws
from captionkit.errors import RecipeError
from captionkit.problems import argument_error
from captionkit.record import Caption

Probability = Annotated[float, Field(strict=True, ge=0.0, le=1.0, allow_inf_nan=False)]
"""Between 0 and 1, both possible: 15 % is 0.15. Neither text nor true and false count as numbers."""

Weight = Annotated[float, Field(strict=True, ge=0.0, le=1e9, allow_inf_nan=False)]
"""A share in any unit, 0 or above, and not so large that a sum of shares runs over."""

Flag = Annotated[bool, Field(strict=True)]
"""true or false, and nothing that is taken for one of them, such as "no" or 1."""

Claim = Literal["subset", "permutation", "idempotent", "spares important", "off at zero", "all at one"]
"""A law that a policy says it keeps; `captionkit.testing.check_policy` holds it to that.

- subset: every tag and every caption in the result was in the input
- permutation: the same tags and captions, perhaps in another order
- idempotent: a second time, with whatever draws, changes nothing more
- spares important: no important tag leaves
- off at zero: with its field `p`, `rate` or `rate_range` at 0 it changes nothing
- all at one: with that field at 1, no tag stays that is not important
"""


class Config(BaseModel):
    """What everything that can be written in a recipe shares: frozen, unknown keys are errors."""

    # Validators are built when first used, and the docstrings under the fields are read when somebody asks
    # for the schema: either would cost every import tens of milliseconds.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    def __init__(self, /, **data: Any) -> None:
        """From keyword arguments. `RecipeError` with every fault at once, each with its path."""
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise argument_error(error, type(self), data) from None

    # Pydantic's mark for an `__init__` that adds nothing to validation: the tables of a recipe are validated
    # without it, so that inside one all faults are found and their paths stay whole.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]


class Policy(Config, ABC):
    """One step from caption to caption.

    A subclass gives `kind` a literal type and a default, declares its settings as fields, and writes `apply`,
    which must not change its arguments and must take all its randomness from `draws`.
    """

    kind: str
    """Which policy this is."""
    name: Annotated[str, Field(pattern=r"^[^/#]+$")] | None = None
    """Names the step, so that its draws stay the same when other steps of its kind come before it."""

    @abstractmethod
    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption after this step."""

    def claims(self) -> frozenset[Claim]:
        """The laws this policy, as configured, says it keeps; all are optional."""
        return frozenset()


class Rule(Policy, ABC):
    """A policy that draws nothing: the same caption always becomes the same caption."""

    @abstractmethod
    def rewrite(self, caption: Caption) -> Caption:
        """The caption after this step."""

    @final
    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption after this step; `draws` is not touched."""
        return self.rewrite(caption)


def kind_of(policy: type[Policy]) -> str:
    """The kind a class stands for. `RecipeError` when it has none."""
    if not (isinstance(policy, type) and issubclass(policy, Policy)):
        raise RecipeError(f"must be a class of policies, got {policy!r}", hint="kinds = [MyPolicy]")
    kind = policy.model_fields["kind"].default
    if not isinstance(kind, str):
        raise RecipeError(
            f"{policy.__name__} has no kind",
            hint=f'write `kind: Literal["my_kind"] = "my_kind"` in {policy.__name__}',
        )
    return kind
