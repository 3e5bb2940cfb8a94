"""How captions are held against the tags of their pictures; `captionkit.prose.agreement` does it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class AgreementConfig(BaseModel):
    """How captions are compared with the tags of their pictures."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    exclusive: tuple[tuple[str, ...], ...] = (("day", "night"), ("indoors", "outdoors"))
    """Groups of tags of which a picture has at most one: a caption that says another one denies it."""
