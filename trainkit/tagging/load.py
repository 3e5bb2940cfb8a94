"""Any tagger from its folder: one of ours, or one that others have trained."""

from __future__ import annotations

from pathlib import Path

from captionkit import ImplicationGraph
from trainkit.errors import ModelError
from trainkit.tagging.folder import is_tagger_folder
from trainkit.tagging.folder import read_about as about_ours
from trainkit.tagging.foreign_folder import open_folder, read_about
from trainkit.tagging.tagger import Tagger


def load_tagger(path: Path, *, device: str = "cpu") -> Tagger:
    """The tagger in a folder, or of a model's file in one.

    ``device`` is "cpu", "cuda", "cuda:1", or "auto": a GPU where there is one. Nothing is ever unpickled, and
    nothing outside of the folder is read. Raises TrainkitError with what to do.
    """
    if not path.exists():
        raise ModelError(f"{path} is not there; a tagger is a folder with a model and its list of tags")
    if is_tagger_folder(path):
        # Each kind brings its own libraries: seconds that others do not have to wait.
        from trainkit.tagging.trained import TrainedTagger
        from trainkit.tagging.vit_tagger import torch_device

        return TrainedTagger(path, device=str(torch_device(device)))
    if path.is_dir() and not any(path.glob("*.onnx")):
        from trainkit.tagging.image_classifier import ImageClassifier, is_image_classifier

        if is_image_classifier(read_about(path / "config.json")):
            return ImageClassifier(path, device)
    found = open_folder(path)
    if found.model.suffix.lower() == ".onnx":
        from trainkit.tagging.onnx_tagger import OnnxTagger

        return OnnxTagger(found, device)
    from trainkit.tagging.vit_tagger import VitTagger

    return VitTagger(found, device)


def implications_of(path: Path) -> ImplicationGraph:
    """Which tags of the tagger in a folder imply which, as far as the tagger itself knows."""
    edges: dict[str, list[str]] = {}
    if is_tagger_folder(path):
        outputs = about_ours(path).outputs
        for special, general in outputs.implications:
            edges.setdefault(outputs.labels[special].name, []).append(outputs.labels[general].name)
    return ImplicationGraph(edges)
