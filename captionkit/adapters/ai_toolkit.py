"""ai-toolkit: an extension that writes the captions and takes care of mirrored copies."""

from __future__ import annotations

import importlib
from typing import Any

from captionkit.adapters.captioner import Captioner, mirrored, unmirrored
from captionkit.adapters.lookup import PathLike, Records
from captionkit.errors import CaptionkitError
from captionkit.pipeline import CaptionPipeline
from captionkit.record import Record

_WRITTEN = "_captionkit_text"  # What was written for this copy of a file item.


class ItemCaptions:
    """The text of one file item of ai-toolkit, and whether its picture is mirrored.

    ai-toolkit has each picture twice where `flip_x` is set, once as it is and once mirrored. The mirrored one
    gets the text of the mirrored picture; where the recipe forbids mirroring it is left as it is. Neither the
    epoch nor the repeat is known: visits are counted (`Visits`), of both copies together, so that each of the
    `repeats` of a picture has its own text.
    """

    def __init__(self, captioner: Captioner) -> None:
        self._captioner = captioner
        self._pipelines = {False: unmirrored(captioner.pipeline), True: mirrored(captioner.pipeline)}

    def text(self, item: Any, raw: str) -> str:
        """The text for an item with the caption `raw`; the same one until `forget`.

        Where ai-toolkit caches text embeddings it looks them up by the text, so that the text is always that
        of draw 0 of epoch 0.
        """
        written: str | None = item.__dict__.get(_WRITTEN)
        if written is not None:
            return written
        record, pipeline = self._record(item, raw), self._pipelines[bool(item.flip_x)]
        if item.dataset_config.cache_text_embeddings:
            return pipeline.render(record).text
        visit = self._captioner.visits.next(record)
        text = pipeline.render(record, epoch=visit.epoch, draw=visit.draw).text
        setattr(item, _WRITTEN, text)
        return text

    def forget(self, item: Any) -> None:
        """Have the next text of this item drawn anew."""
        item.__dict__.pop(_WRITTEN, None)

    def settle_mirroring(self, item: Any) -> None:
        """Leave a mirrored copy as it is where its record forbids mirroring; before its picture is loaded."""
        if item.flip_x and not self._pipelines[True].may_flip(self._record(item, item.raw_caption or "")):
            item.flip_x = False

    def _record(self, item: Any, raw: str) -> Record:
        return self._captioner.records.record(raw, item.path)


def install(
    recipe: CaptionPipeline | PathLike,
    data: Records | PathLike | None = None,
    *,
    first_epoch: int = 0,
    repeats: int = 1,
) -> None:
    """Make ai-toolkit write captions by this recipe; arguments as for `Captioner`.

    For the `__init__.py` of a folder below ai-toolkit's `extensions`, which are imported at its start. Raises
    `CaptionkitError` where ai-toolkit cannot be imported.
    """
    captions = ItemCaptions(Captioner(recipe, data, first_epoch=first_epoch, repeats=repeats))
    try:
        mixins = importlib.import_module("toolkit.dataloader_mixins")
        inject = importlib.import_module("toolkit.prompt_utils").inject_trigger_into_prompt
    except ModuleNotFoundError as error:
        raise CaptionkitError(
            f"ai-toolkit cannot be imported: {error}", hint="run this from ai-toolkit's folder"
        ) from None
    patch(mixins.CaptionProcessingDTOMixin, mixins.ImageProcessingDTOMixin, captions, inject)


def patch(captioned: Any, pictured: Any, captions: ItemCaptions, inject: Any) -> None:
    """Wrap `load_caption`, `get_caption` and `load_and_process_image` of ai-toolkit's two mixins.

    `inject` is its `inject_trigger_into_prompt(prompt, trigger, to_replace_list, add_if_not_present)`.
    """
    load_caption, get_caption = captioned.load_caption, captioned.get_caption
    load_picture = pictured.load_and_process_image

    def load_caption_anew(self: Any, caption_dict: Any = None) -> Any:
        captions.forget(self)
        return load_caption(self, caption_dict)

    # Short captions, which only some of its losses read, stay ai-toolkit's.
    def get_caption_by_recipe(
        self: Any,
        trigger: Any = None,
        to_replace_list: Any = None,
        add_if_not_present: bool = False,
        short_caption: bool = False,
    ) -> Any:
        if short_caption:
            return get_caption(self, trigger, to_replace_list, add_if_not_present, short_caption)
        if trigger is None:
            trigger = getattr(self, "trigger_word", None)
        if trigger is not None and not getattr(self, "is_reg", False):
            add_if_not_present = True
        text = captions.text(self, self.raw_caption or "")
        # An empty caption is one that was left out, and a trigger would be a caption.
        return inject(text, trigger, to_replace_list, add_if_not_present) if text else text

    def load_settled_picture(self: Any, *arguments: Any, **named: Any) -> Any:
        captions.settle_mirroring(self)
        return load_picture(self, *arguments, **named)

    captioned.load_caption, captioned.get_caption = load_caption_anew, get_caption_by_recipe
    pictured.load_and_process_image = load_settled_picture
