"""A processor of pictures and text from a folder whose family also takes videos.

transformers has the part for videos only where torchvision is installed, and without it refuses the whole
processor (Qwen-VL, GLM-4V, InternVL, SmolVLM). We never show videos: that part is left out everywhere.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any


def load_processor(folder: Path, named: str | None, kind: str, **settings: Any) -> Any:
    """The processor of a folder. ``named`` is the class that its files name, ``kind`` the model's family;
    ``settings`` go to ``from_pretrained``. Raises what transformers raises."""
    from transformers import AutoProcessor

    both = _with_videos(named, kind)
    if both is None:
        return AutoProcessor.from_pretrained(folder, **settings)
    return _without_videos(both).from_pretrained(folder, **settings)


def _with_videos(named: str | None, kind: str) -> Any:
    """transformers' own class of the processor, if it has a part for videos; else None."""
    import transformers
    from transformers.models.auto import processing_auto

    names: Any = processing_auto.PROCESSOR_MAPPING_NAMES  # type: ignore[attr-defined]
    found = getattr(transformers, str(named or names.get(kind)), None)
    return found if found is not None and "video_processor" in found.get_attributes() else None


def _without_videos(both: Any) -> Any:
    """The class with nothing in the place of its part for videos, neither read nor asked for."""
    place = both.get_attributes().index("video_processor")

    def attributes(cls: Any) -> list[str]:
        return [name for name in both.get_attributes() if name != "video_processor"]

    def arguments(cls: Any, *where: Any, **settings: Any) -> list[Any]:
        parts = super(pictures, cls)._get_arguments_from_pretrained(*where, **settings)
        return [*parts[:place], None, *parts[place:]]

    pictures: Any = type(
        both.__name__,
        (both,),
        {
            "get_attributes": classmethod(attributes),
            "_get_arguments_from_pretrained": classmethod(arguments),
            # SmolVLM looks these up for pictures too, and makes nothing of them.
            "video_processor": SimpleNamespace(num_frames=None, fps=None),
        },
    )
    return pictures
