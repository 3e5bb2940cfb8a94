"""A tagger that `trainkit tagger train` made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

from trainkit.errors import ModelError
from trainkit.tagging.backbone import read_backbone
from trainkit.tagging.folder import WEIGHTS, About, read_about, write_about
from trainkit.tagging.judge import mean_of_views, output_sides
from trainkit.tagging.label import Label
from trainkit.tagging.network import Head, TaggerNetwork
from trainkit.tagging.outputs import Temperatures
from trainkit.tagging.pointer import refuse_pointer
from trainkit.tagging.tagger import Tagger


class TrainedTagger(Tagger):
    """Loads a tagger's folder. Nothing in it is run, and no pickle is read."""

    def __init__(self, folder: Path, *, device: str = "cpu") -> None:
        """Raises ModelError for a folder that is no tagger, or is damaged."""
        self.folder = folder
        self.about: About = read_about(folder)
        self._device = torch.device(device)
        refuse_pointer(folder / WEIGHTS)
        outputs, preprocessing = self.about.outputs, self.about.preprocessing
        backbone = read_backbone(folder / "backbone", self.about.pool, preprocessing.size)
        network = TaggerNetwork(backbone, Head(backbone.num_features, outputs.count, 0.0))
        try:
            network.load_state_dict(load_file(folder / WEIGHTS))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise ModelError(
                f"{folder / WEIGHTS} does not fit {folder / 'backbone'}: "
                f"{' '.join(str(error).split())[:300]}; copy the tagger again"
            ) from error
        self._network = network.eval().to(self._device)
        sided = np.array([label.name in self.about.sided for label in outputs.labels], np.bool_)
        self._sided = output_sides(outputs, sided)

    @property
    def name(self) -> str:
        return self.about.name

    @property
    def labels(self) -> tuple[Label, ...]:
        return self.about.outputs.labels

    @property
    def thresholds(self) -> Mapping[str, float]:
        return {}

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        return self.about.preprocessing(image)

    def scores(self, batch: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        return self.about.outputs.probabilities(self.logits(batch), self.about.temperatures)

    @torch.inference_mode()
    def logits(self, batch: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """What `scores` makes probabilities of, [B, O]; see `Outputs`."""
        if not len(batch):
            return np.zeros((0, self.about.outputs.count), np.float32)
        pictures = torch.from_numpy(np.stack(list(batch))).to(self._device)
        views = [pictures, pictures.flip(3)] if self.about.mirrored_too else [pictures]
        half = self._device.type == "cuda" and torch.cuda.is_bf16_supported()
        with torch.autocast(self._device.type, torch.bfloat16, enabled=half):
            seen = [self._network(view) for view in views]
        return mean_of_views([one.float().cpu() for one in seen], self._sided).numpy()


def write_temperatures(folder: Path, temperatures: Temperatures) -> None:
    """Calibrate a tagger anew. Raises ModelError as `read_about`, OSError when it cannot be written."""
    write_about(folder, replace(read_about(folder), temperatures=temperatures))
