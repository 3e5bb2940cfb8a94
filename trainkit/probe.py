"""The black and white probe: can the model show what only a zero terminal SNR lets it show?

A model whose last timestep still holds some of the picture answers "solid black" and "solid white" with
pictures of middling brightness (Lin et al. 2023, arXiv:2305.08891). The mean lightness of a few samples says
in one number whether that has been unlearned: it should go to 0 and to 100.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, field_validator

from trainkit.loss import ObjectiveConfig
from trainkit.models import Model
from trainkit.sample import PreviewConfig, Request, sample_pictures
from trainkit.schedule import ScheduleConfig
from trainkit.text import Tokens


class ProbeConfig(BaseModel):
    """Prompts whose samples should be of a known lightness. Steps, guidance and negative prompt are those of
    the previews."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    every: int = Field(default=0, ge=0)
    """Samples seen between two probes; 0 means only before the first step and at the end."""
    pictures: int = Field(default=0, ge=0)
    """Samples per prompt; 0 turns the probe off. 4 give a steady number."""
    prompts: dict[str, str] = {"black": "solid black", "white": "solid white"}
    """Name and prompt. Use the words of your captions: a model that was never told "solid" shows nothing
    else."""

    @field_validator("prompts")
    @classmethod
    def _named(cls, prompts: dict[str, str]) -> dict[str, str]:
        for name in prompts:
            if not name.isidentifier():
                raise ValueError(f"{name!r} must be a name of letters, digits and _, such as black")
        return prompts


def probe(
    model: Model,
    tokens: Tokens,
    config: ProbeConfig,
    preview: PreviewConfig,
    schedule: ScheduleConfig,
    objective: ObjectiveConfig,
    size: tuple[int, int],
) -> dict[str, float]:
    """Mean CIELAB lightness of each prompt's samples, 0 (black) to 100 (white): ``{"probe_black": ...}``.

    ``size`` is (width, height). The noise is the same in every probe, and that of the first previews.
    """
    requests = [
        Request(prompt, number) for prompt in config.prompts.values() for number in range(config.pictures)
    ]
    if not requests:
        return {}
    pictures = sample_pictures(model, tokens, preview, schedule, objective, requests, size)
    means = [float(lightness(picture).mean()) for picture in pictures]
    return {
        f"probe_{name}": sum(means[k * config.pictures : (k + 1) * config.pictures]) / config.pictures
        for k, name in enumerate(config.prompts)
    }


def lightness(image: Image.Image) -> NDArray[np.float64]:
    """CIELAB L* of every pixel, [h, w], 0 to 100, of an sRGB picture (IEC 61966-2-1, CIE 15)."""
    c = np.asarray(image.convert("RGB"), dtype=np.float64) / 255.0
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    Y = linear @ np.array([0.2126729, 0.7151522, 0.0721750])
    L: NDArray[np.float64] = np.where(Y > (6 / 29) ** 3, 116 * np.cbrt(Y) - 16, Y * (29 / 3) ** 3)
    return L
