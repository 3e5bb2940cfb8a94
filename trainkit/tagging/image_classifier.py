"""An image classifier of transformers as a tagger: a folder with config.json, weights and preprocessor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from trainkit.errors import ModelError
from trainkit.tagging.foreign_folder import read_about, source_name
from trainkit.tagging.label import Label
from trainkit.tagging.pointer import refuse_pointer
from trainkit.tagging.probabilities import Activation, probabilities
from trainkit.tagging.tagger import Tagger
from trainkit.tagging.vit_tagger import torch_device

GROUP = "class"
"""The group of the labels of a classifier that says one of them."""


def is_image_classifier(about: Mapping[str, Any]) -> bool:
    """Whether a config.json is that of an image classifier of transformers."""
    kinds = about.get("architectures")
    return isinstance(kinds, list) and any(str(kind).endswith("ForImageClassification") for kind in kinds)


@final
class ImageClassifier(Tagger):
    """Scores by transformers' AutoModelForImageClassification.

    With ``problem_type`` "multi_label_classification" every label stands by itself; else they are one group.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Load the model. Raises ModelError for a folder that cannot be used, with what to do."""
        self.path, self.device = folder, torch_device(device)
        about = read_about(folder / "config.json")
        if not (weights := list(folder.glob("*.safetensors"))):
            raise ModelError(f"{folder} holds no .safetensors file; other weights are never opened")
        for file in weights:
            refuse_pointer(file)
        self._network, self._processor = _load(folder)
        self._network.to(self.device).eval().requires_grad_(False)
        several = about.get("problem_type") == "multi_label_classification"
        self._activation: Activation = "sigmoid" if several else "softmax"
        self._labels = _labels(self._network.config, folder, None if several else GROUP)

    @property
    def name(self) -> str:
        """The folder's name."""
        return source_name(self.path.resolve().name)

    @property
    def labels(self) -> tuple[Label, ...]:
        """The model's ``id2label``."""
        return self._labels

    @property
    def thresholds(self) -> Mapping[str, float]:
        """None come with it."""
        return {}

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """[3, H, W], as its preprocessor makes it."""
        pixels = self._processor(images=image, return_tensors="np")["pixel_values"]
        return np.asarray(pixels[0], dtype=np.float32)

    def scores(self, batch: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Probabilities, [B, L]. Raises ModelError when the network gives no numbers."""
        with torch.inference_mode():
            images = torch.from_numpy(np.stack(batch)).to(self.device)
            outputs = self._network(pixel_values=images).logits.float().cpu().numpy()
        return probabilities(outputs, self._activation, self.path)


def _load(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    try:
        network = AutoModelForImageClassification.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
        processor = AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, backend="pil"
        )
    except Exception as error:  # transformers raises whatever its parts do for a damaged folder.
        raise ModelError(
            f"{folder} cannot be loaded as an image classifier: {' '.join(str(error).split())[:300]}"
        ) from error
    return network, processor


def _labels(config: Any, folder: Path, group: str | None) -> tuple[Label, ...]:
    count = int(config.num_labels)
    names = [str(config.id2label.get(n, "")).strip() for n in range(count)]
    if not all(names) or len(set(names)) != count:
        raise ModelError(f"{folder / 'config.json'}: id2label must name each of its {count} labels, once")
    return tuple(Label(name, None, group) for name in names)
