"""EveryDream2: a plugin that writes the captions.

EveryDream2 tells a plugin the caption's text, not which picture it is of, so the text is the key: two
pictures of one text share their draws, and a text that is just a record's id stands for this record. Pictures
are loaded and mirrored before the plugin is asked, so no caption is that of a mirrored picture.
"""

from __future__ import annotations

import importlib
from typing import Any

from captionkit.adapters.captioner import Captioner
from captionkit.errors import CaptionkitError

PLUGIN = "CaptionPlugin"
"""The class that EveryDream2 loads: `"plugins": ["captionkit.adapters.everydream.CaptionPlugin"]`. It is made
when it is first asked for, since its base class is EveryDream2's own."""


class Captions:
    """What the plugin does, apart from EveryDream2's base class; configured by the environment
    (`Captioner.from_environment`).

    The epoch comes from the trainer; texts that come again within it are counted, by all workers together.
    """

    def __init__(self) -> None:
        super().__init__()
        self._captioner = Captioner.from_environment(mirror=False)

    def on_epoch_start(self, **kwargs: Any) -> None:
        """Take note of `epoch`; the workers, which EveryDream2 starts anew for each, then have it."""
        self._captioner.visits.begin_epoch(int(kwargs["epoch"]))

    def transform_caption(self, caption: str) -> str:
        """The text of this step."""
        return self._captioner.render(caption).text


def __getattr__(name: str) -> Any:
    if name != PLUGIN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        base = importlib.import_module("plugins.plugins").BasePlugin
    except ModuleNotFoundError as error:
        raise CaptionkitError(
            f"EveryDream2's plugins cannot be imported: {error}", hint="run this from EveryDream2's folder"
        ) from None
    # At its own name in this module, where pickle looks for it when workers are spawned.
    plugin = globals()[PLUGIN] = type(PLUGIN, (Captions, base), {"__module__": __name__})
    return plugin
