"""HCP-Diffusion: `_target_: captionkit.adapters.hcp.CaptionHandler` in a handler chain."""

from __future__ import annotations

import os
from typing import Any

from captionkit.adapters.captioner import Captioner
from captionkit.adapters.lookup import PathLike
from captionkit.errors import DataError


class CaptionHandler:
    """Writes the caption of one sample; stands in a `HandlerChain` before templates and tokens.

    A sample of HCP-Diffusion 2.6 is `{"id", "image", "prompt": {"template", "caption"}, ...}`, of the version
    before `{"prompt": template, "caption": text}`, and behind `TemplateFill` the prompt is a text; all three
    are understood. The picture is found by its path, else by its id, which is its path below the source's
    folder, else by its text.

    It is called like HCP's own handlers, and needs nothing of them. Samples are not changed; what comes back
    replaces the keys of the same name, as `HandlerChain` does it. HCP tells no epoch: visits are counted
    (`Visits`).
    """

    def __init__(
        self,
        recipe: PathLike,
        data: PathLike | None = None,
        mirror: bool = False,
        first_epoch: int = 0,
        repeats: int = 1,
    ) -> None:
        """`mirror`: mirror pictures too; the handler then stands behind `LoadImageHandler`. The rest is as
        for `Captioner`; `repeats` is that of the source."""
        self._captioner = Captioner(recipe, data, mirror=mirror, first_epoch=first_epoch, repeats=repeats)
        self._mirror = mirror

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """The sample's keys that change. Raises `DataError` when a picture is to be mirrored that is not
        loaded yet."""
        prompt, image = data.get("prompt"), data.get("image")
        if self._mirror and not hasattr(image, "transpose"):
            raise DataError(
                f"cannot mirror a picture that is {type(image).__name__}",
                where="CaptionHandler",
                hint="put it behind LoadImageHandler, or say mirror: false",
            )
        rendered = self._captioner.render(_text_of(data), self._path(image, data.get("id")))
        changed: dict[str, Any] = {}
        if "caption" in data:
            changed["caption"] = rendered.text
        elif isinstance(prompt, dict):
            changed["prompt"] = prompt | {"caption": rendered.text}
        else:
            changed["prompt"] = rendered.text
        if rendered.flip:
            changed["image"] = _mirrored(image)
        return changed

    def _path(self, image: Any, name: Any) -> PathLike | None:
        if isinstance(image, str | os.PathLike) and self._captioner.records.place(image) is not None:
            return image
        return name if isinstance(name, str) and name else None

    def __repr__(self) -> str:
        return f"CaptionHandler({len(self._captioner.records)} records, mirror={self._mirror})"


def _text_of(data: dict[str, Any]) -> str:
    text = data.get("caption", data.get("prompt"))
    text = text.get("caption") if isinstance(text, dict) else text
    return text or ""


def _mirrored(image: Any) -> Any:
    """A picture of PIL's, mirrored; imported only here."""
    from PIL import ImageOps

    return ImageOps.mirror(image)
