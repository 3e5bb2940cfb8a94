"""SimpleTuner: the same finite set of captions for its text cache and for its draws."""

from __future__ import annotations

import importlib
from typing import Any

from captionkit.adapters.captioner import Captioner, unmirrored
from captionkit.adapters.lookup import PathLike, Records
from captionkit.errors import CaptionkitError, DataError
from captionkit.pipeline import CaptionPipeline


class Variants:
    """The captions of each picture: draws 0 to count - 1 of epoch 0, each text once.

    SimpleTuner encodes all captions before it trains and looks them up again by their text, so that nothing
    may be drawn later: a caption that was not in the set is not in the cache. It draws one of the set itself,
    by a generator of its own, and mirrors no pictures.

    >>> from captionkit import CaptionPipeline
    >>> Variants(Captioner(CaptionPipeline()), 4)("a.png", ["fox, snow"])
    ['fox, snow']
    """

    def __init__(self, captioner: Captioner, count: int) -> None:
        """Raises `DataError` when `count` is less than 1."""
        if count < 1:
            raise DataError(f"count is {count}, must be 1 or more", hint="8 captions per picture are usual")
        self._captioner, self._count = captioner, count
        self._pipeline = unmirrored(captioner.pipeline)

    def __call__(self, path: PathLike, captions: list[str]) -> list[str]:
        """The texts for a picture whose captions SimpleTuner read as these."""
        record = self._captioner.records.record("\n".join(captions), path)
        return list(dict.fromkeys(one.text for one in self._pipeline.render_many(record, self._count)))


def install(
    recipe: CaptionPipeline | PathLike, data: Records | PathLike | None = None, *, count: int = 8
) -> None:
    """Give SimpleTuner's `PromptHandler` `count` captions per picture by this recipe.

    `recipe` and `data` as for `Captioner`. Call it in every process that trains, before the data backends are
    configured. Instance prompts alone (`caption_strategy = "instanceprompt"`) stay as they are. Raises
    `CaptionkitError` when SimpleTuner cannot be imported.
    """
    variants = Variants(Captioner(recipe, data), count)
    try:
        handler = importlib.import_module("simpletuner.helpers.prompts").PromptHandler
    except ModuleNotFoundError as error:
        raise CaptionkitError(
            f"SimpleTuner cannot be imported: {error}", hint="run this with SimpleTuner's Python"
        ) from None
    patch(handler, variants)


def patch(handler: Any, variants: Variants) -> None:
    """Wrap the two static methods of `PromptHandler` from which all captions come."""
    one, every = handler.magic_prompt, handler.get_all_captions

    # The sampler asks for the captions of one picture, and takes one of a list.
    def magic_prompt(image_path: str, *arguments: Any, **named: Any) -> Any:
        caption = one(image_path, *arguments, **named)
        strategy = arguments[1] if len(arguments) > 1 else named.get("caption_strategy")
        if caption is None or strategy == "instanceprompt":
            return caption
        texts = variants(image_path, _texts(caption))
        return texts if len(texts) > 1 else texts[0]

    # The text cache asks for those of all pictures. Its third result, the paths, came in 3.1.
    def get_all_captions(*arguments: Any, return_image_paths: bool = False, **named: Any) -> Any:
        captions, missing, paths = every(*arguments, return_image_paths=True, **named)
        if named.get("caption_strategy", arguments[4] if len(arguments) > 4 else None) != "instanceprompt":
            read: dict[Any, list[str]] = {}
            for path, caption in zip(paths, captions, strict=True):
                read.setdefault(path, []).extend(_texts(caption))
            pairs = [(path, text) for path, texts in read.items() for text in variants(path, texts)]
            paths, captions = [path for path, _ in pairs], [text for _, text in pairs]
        return (captions, missing, paths) if return_image_paths else (captions, missing)

    handler.magic_prompt, handler.get_all_captions = (
        staticmethod(magic_prompt),
        staticmethod(get_all_captions),
    )


def _texts(caption: Any) -> list[str]:
    if caption is None:
        return []
    return [caption] if isinstance(caption, str) else [str(one) for one in caption if one is not None]
