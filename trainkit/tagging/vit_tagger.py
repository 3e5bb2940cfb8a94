"""A tagger in a safetensors file with weights of a plain vision transformer: JTP PILOT, PILOT2, WD ViT."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

from trainkit.errors import ModelError
from trainkit.tagging.foreign_folder import SETTINGS, ForeignFolder
from trainkit.tagging.foreign_input import JTP, WD_TIMM, InputConfig, from_timm
from trainkit.tagging.label import Label
from trainkit.tagging.probabilities import Activation, probabilities
from trainkit.tagging.tagger import Tagger
from trainkit.tagging.timm_vit import Unlike, timm_vit


@final
class VitTagger(Tagger):
    """Scores by transformers' SigLIP tower."""

    def __init__(self, found: ForeignFolder, device: str = "cpu") -> None:
        """Load the weights. Raises ModelError for a file that cannot be used, with what to do."""
        self._found, self._tags = found, found.tags()
        self.path = found.model
        self.device = torch_device(device)
        try:
            weights = load_file(found.model)
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelError(
                f"{found.model} cannot be loaded: {' '.join(str(error).split())[:300]}"
            ) from error
        try:
            network = timm_vit(weights, found.model, found.about, found.config.heads)
        except Unlike as error:
            raise ModelError(_other_network(found, str(error), weights)) from error
        if network.num_outputs != len(self._tags.labels):
            raise ModelError(
                f"{found.tags_file()} has {len(self._tags.labels):,} tags, but {found.model.name} has "
                f"{network.num_outputs:,} outputs: they do not belong together"
            )
        self.input = found.config.input or _input_config(found)
        self._network = network.to(self.device)
        gated = network.gated or found.config.activation == "none"
        self._activation: Activation = "none" if gated else "sigmoid"

    @property
    def name(self) -> str:
        """The folder's name, unless trainkit.toml says another."""
        return self._found.name

    @property
    def labels(self) -> tuple[Label, ...]:
        """Of the list of tags beside the model."""
        return self._tags.labels

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Of the list of tags, where it has a column for them."""
        return self._tags.thresholds

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """[3, S, S], in the range that the network wants."""
        return self.input.prepare(image, self._network.side, "NCHW")

    def scores(self, batch: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Probabilities, [B, L]. Raises ModelError when the network gives no numbers."""
        images = torch.from_numpy(np.stack(batch)).to(self.device)
        half = torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda")
        with torch.inference_mode(), half:
            outputs = self._network(images).float().cpu().numpy()
        return probabilities(outputs, self._activation, self._found.model)


def torch_device(device: str) -> torch.device:
    """The device of a name; "auto" is the GPU of this process where there is one. Raises ModelError."""
    if device == "auto":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f'device is {device!r}, must be "auto", "cpu", "cuda" or "cuda:0"') from error
    if found.type not in ("cpu", "cuda") or (found.type == "cuda" and not torch.cuda.is_available()):
        raise ModelError(f"device is {device!r}, which torch does not find here: --device cpu")
    return found


def _input_config(found: ForeignFolder) -> InputConfig:
    """WD's lists of tags are CSV, JTP's JSON; timm's config says means for both."""
    told = from_timm(found.about)
    if found.tags_file().suffix.lower() == ".json":
        return JTP
    if found.tags_file().name == "selected_tags.csv" and told is not None:
        return WD_TIMM
    if told is not None:
        return told
    raise ModelError(
        f"{found.model}: nothing says how pictures are made ready for it; say so in "
        f"{found.folder / SETTINGS}, such as\n  [input]\n  mean = [0.5, 0.5, 0.5]\n  std = [0.5, 0.5, 0.5]"
    )


def _other_network(found: ForeignFolder, why: str, weights: Mapping[str, object]) -> str:
    named = found.about.get("architecture")
    what = f"timm's {named}" if isinstance(named, str) else "another network"
    if any(key.startswith("embeds.") for key in weights):
        what = "a NaFlex transformer, as JTP-3 is"
    return (
        f"{found.model} holds {what} ({why}). Of safetensors files trainkit reads plain vision transformers "
        "(JTP PILOT and PILOT2, WD ViT) and the image classifiers of transformers; of others, the ONNX file"
    )
