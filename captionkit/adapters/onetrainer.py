"""OneTrainer: a module of its data pipeline that writes the prompt and says which pictures are mirrored."""

from __future__ import annotations

import importlib
from typing import Any

from captionkit.adapters.captioner import Captioner, unmirrored
from captionkit.adapters.lookup import PathLike, Records
from captionkit.errors import CaptionkitError
from captionkit.pipeline import CaptionPipeline

MIRRORED, NEVER = "captionkit_mirrored", "captionkit_never"
"""Names of the two flags that the module puts out: whether this picture is mirrored, and False."""

_OWN_TEXT_STEPS = frozenset({"DropTags", "CapitalizeTags", "ShuffleTags"})


class CaptionStep:
    """What the module does, apart from OneTrainer's classes: the prompt and the flags of one item.

    OneTrainer's `variation` is the epoch. It repeats pictures behind this point and does not say so, so that
    the repeats of one epoch share a caption, as they do with its own text options.
    """

    def __init__(self, captioner: Captioner, *, mirror: bool = True) -> None:
        self._captioner = captioner
        self._pipeline = captioner.pipeline if mirror else unmirrored(captioner.pipeline)

    def item(self, variation: int, image_path: str, prompt: str) -> dict[str, Any]:
        """The outputs for the picture at `image_path` whose text OneTrainer read as `prompt`."""
        record = self._captioner.records.record(prompt, image_path)
        rendered = self._pipeline.render(record, epoch=variation)
        return {"prompt": rendered.text, MIRRORED: rendered.flip, NEVER: False}


def caption_module(step: CaptionStep) -> Any:
    """The step as a module of mgds, OneTrainer's data pipeline; it stands before `RandomFlip`.

    Raises `CaptionkitError` where mgds is not installed.
    """
    module_type = _peer("mgds.PipelineModule").PipelineModule
    access_type = _peer("mgds.pipelineModuleTypes.RandomAccessPipelineModule").RandomAccessPipelineModule

    class CaptionKit(module_type, access_type):  # type: ignore[misc, valid-type]
        """Reads `image_path` and `prompt`, writes `prompt` and the flags."""

        def length(self) -> int:
            return int(self._get_previous_length("image_path"))

        def get_inputs(self) -> list[str]:
            return ["image_path", "prompt"]

        def get_outputs(self) -> list[str]:
            return ["prompt", MIRRORED, NEVER]

        def get_item(self, variation: int, index: int, requested_name: str | None = None) -> dict[str, Any]:
            path = self._get_previous_item(variation, "image_path", index)
            prompt = self._get_previous_item(variation, "prompt", index)
            return step.item(variation, path, prompt or "")

    return CaptionKit()


def with_captions(modules: list[Any], step: CaptionStep) -> list[Any]:
    """OneTrainer's augmentation modules with ours in front, and without those that change the text.

    `RandomFlip` then mirrors what the caption says is mirrored, and draws nothing by itself. Raises
    `CaptionkitError` when there is no `RandomFlip` of the known kind.
    """
    kept = [module for module in modules if type(module).__name__ not in _OWN_TEXT_STEPS]
    flips = [module for module in kept if type(module).__name__ == "RandomFlip"]
    if not flips or not all(
        hasattr(flip, name) for flip in flips for name in ("enabled_in_name", "fixed_enabled_in_name")
    ):
        raise CaptionkitError(
            "OneTrainer's augmentation has no RandomFlip with `enabled_in_name` and `fixed_enabled_in_name`",
            hint="this version is not known here; put `caption_module` into the pipeline by hand",
        )
    for flip in flips:
        flip.enabled_in_name, flip.fixed_enabled_in_name = NEVER, MIRRORED
    return [caption_module(step), *kept]


def install(recipe: CaptionPipeline | PathLike, data: Records | PathLike | None = None) -> None:
    """Make OneTrainer's data loaders write captions by this recipe; call it before the training starts.

    `recipe` and `data` as for `Captioner`. Where OneTrainer caches latents no picture is mirrored: it would
    cache some of them mirrored, and go on with the captions of others. Raises `CaptionkitError` when
    OneTrainer cannot be imported, or is built otherwise; the run raises it for several GPUs.
    """
    captioner = Captioner(recipe, data)
    name = "modules.dataLoader.mixin.DataLoaderText2ImageMixin"
    mixin = _peer(name).DataLoaderText2ImageMixin
    augmentation = mixin._augmentation_modules

    def augmentation_with_captions(self: Any, config: Any) -> list[Any]:
        step = CaptionStep(captioner, mirror=not _caches_pictures(config))
        return with_captions(augmentation(self, config), step)

    mixin._augmentation_modules = augmentation_with_captions


def _caches_pictures(config: Any) -> bool:
    """Whether this run caches latents, by either name of the setting. Raises `CaptionkitError` for what
    cannot work."""
    if getattr(config, "multi_gpu", False):
        raise CaptionkitError(
            "OneTrainer starts a process of its own for each further GPU, which would have other captions",
            hint="train on one GPU, or on captions that `captionkit bake` has written out",
        )
    names = [name for name in ("latent_caching", "image_caching") if hasattr(config, name)]
    if not names:
        raise CaptionkitError("OneTrainer's config has neither `latent_caching` nor `image_caching`")
    return any(getattr(config, name) for name in names)


def _peer(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise CaptionkitError(
            f"{name} cannot be imported: {error}",
            hint="run this with OneTrainer's Python, from its folder",
        ) from None
