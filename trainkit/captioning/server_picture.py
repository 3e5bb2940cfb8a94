"""A picture as it is sent to a server: a data URL."""

from __future__ import annotations

import base64
import io
from typing import Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from trainkit.captioning.asking import MAX_ASPECT, MIN_SIDE


class PictureForm(BaseModel):
    """How pictures are sent. The model scales them to what it takes; more only costs time on the way."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    format: Literal["jpeg", "png"] = "jpeg"
    """"png" loses nothing and is some five times as large."""
    quality: int = Field(default=92, ge=1, le=100)
    """Of JPEG."""
    max_side: int = Field(default=1344, ge=16, le=16_384)
    """Larger pictures are scaled down to this many pixels of their longer side. CogVLM takes 490, CogVLM2
    1344; Qwen-VL's tokens, and with them its time, grow with the area."""
    detail: Literal["auto", "low", "high"] | None = None
    """For services that ask for it (OpenAI's)."""

    def data_url(self, image: Image.Image) -> str:
        """``image`` (RGB, upright) as data:image/...;base64,...

        Raises ValueError for pictures that no model sees anything in, and that some servers fail at.
        """
        if min(image.size) < MIN_SIDE or max(image.size) > MAX_ASPECT * min(image.size):
            raise ValueError(
                f"{image.width} x {image.height} px: a side needs {MIN_SIDE} px, and none may be over "
                f"{MAX_ASPECT:g} times the other"
            )
        scale = self.max_side / max(image.size)
        if scale < 1:
            width, height = (max(round(side * scale), 1) for side in image.size)
            # Decimates by boxes first: four times as fast, and no difference to see.
            image = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
        buffer = io.BytesIO()
        if self.format == "jpeg":
            image.save(buffer, "JPEG", quality=self.quality)
        else:
            image.save(buffer, "PNG", compress_level=3)
        return f"data:image/{self.format};base64,{base64.b64encode(buffer.getvalue()).decode()}"
