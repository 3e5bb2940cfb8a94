"""A tagger in an ONNX file: the WD, Z3D, Camie and PixAI taggers as published, and exports of others.

Pictures are [B, S, S, 3] or [B, 3, S, S], as the model's input says; its output is [B, L].
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from captionkit.readers.parallel import usable_cores
from trainkit.errors import ModelError
from trainkit.tagging.foreign_folder import SETTINGS, ForeignFolder
from trainkit.tagging.foreign_input import MOST_SIDE, WD, InputConfig, from_timm
from trainkit.tagging.label import Label
from trainkit.tagging.onnx_files import check_external_files
from trainkit.tagging.probabilities import Activation, probabilities, seen_activation
from trainkit.tagging.tagger import Tagger

_BEST_FIRST = ("prediction", "predictions", "refined_predictions", "probabilities", "logits", "output")
"""Of several outputs with one number a tag, the one to take: PixAI gives logits beside its prediction, Camie
a first guess beside a refined one."""


@final
class OnnxTagger(Tagger):
    """Scores by onnxruntime."""

    def __init__(self, found: ForeignFolder, device: str = "cpu") -> None:
        """Load the model. ``device`` is "cpu", "cuda", "cuda:1" or "auto" (CUDA where onnxruntime has it).

        Raises ModelError for a model that cannot be used, with what to do.
        """
        self._found, self._tags = found, found.tags()
        self.path = found.model
        self._session, self.device = _session(found, device)
        self._input = self._session.get_inputs()[0]
        self._layout, self._size = _shape(self._input, found)
        self.input = _input_config(found, self._layout)
        self._output = _output(self._session, found, len(self._tags.labels))
        self._at_a_time = _batch_of(self._input)
        self._activation: Activation = (
            seen_activation(self._run(self._plain_pictures()), found.model)
            if found.config.activation == "auto"
            else found.config.activation
        )

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
        """[S, S, 3] or [3, S, S], in the range that the model wants."""
        return self.input.prepare(image, self._size, self._layout)

    def scores(self, batch: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Probabilities, [B, L]. Raises ModelError when the model fails or gives no numbers."""
        return probabilities(self._run(batch), self._activation, self._found.model)

    def _run(self, batch: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Outputs, [B, L], whatever their range."""
        count = self._at_a_time or len(batch)
        found = []
        for begin in range(0, len(batch), count):
            some = batch[begin : begin + count]
            # A fixed batch is filled up with its last picture.
            part = [*some, *[some[-1]] * (self._at_a_time - len(some))]
            pictures = np.stack(part).astype(_KINDS[self._input.type], copy=False)
            try:
                out = self._session.run([self._output], {self._input.name: pictures})[0]
            except Exception as error:  # onnxruntime's own errors have no base of their own.
                raise ModelError(f"{self._found.model} failed: {_first_line(error)}") from error
            if not isinstance(out, np.ndarray) or out.shape != (len(part), len(self._tags.labels)):
                raise ModelError(
                    f"{self._found.model}: output {self._output!r} of {len(part)} pictures has the shape "
                    f"{list(getattr(out, 'shape', []))}, must be [{len(part)}, {len(self._tags.labels)}], a "
                    f"number for each tag of {self._found.tags_file().name}"
                )
            found.append(_numbers(out[: len(some)], self._found.model))
        return np.concatenate(found)

    def _plain_pictures(self) -> list[NDArray[np.float32]]:
        return [
            self.prepare(Image.new("RGB", (64, 64), colour)) for colour in ("white", "black", "gray", "red")
        ]


_KINDS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


def _session(found: ForeignFolder, device: str) -> tuple[Any, str]:
    """The loaded model, and where it runs."""
    try:
        ort: Any = importlib.import_module("onnxruntime")  # It says nothing of its types.
    except ModuleNotFoundError as error:
        other = " or use its .safetensors file" if any(found.folder.glob("*.safetensors")) else ""
        raise ModelError(
            f"{found.model} needs onnxruntime: pip install 'captionkit[onnx]' (on a GPU: pip install "
            f"onnxruntime-gpu){other}"
        ) from error
    check_external_files(found.model)
    cuda = "CUDAExecutionProvider" in ort.get_available_providers()
    if device.startswith("cuda") and not cuda:
        raise ModelError(
            f"device is {device!r}, but onnxruntime was installed without CUDA: pip install onnxruntime-gpu, "
            "or --device cpu"
        )
    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    if (together := int(os.environ.get("LOCAL_WORLD_SIZE", "1"))) > 1:
        settings.intra_op_num_threads = max(1, usable_cores() // together)
    providers: list[Any] = ["CPUExecutionProvider"]
    if device != "cpu" and cuda:
        number = device.partition(":")[2] or os.environ.get("LOCAL_RANK", "0")
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": number}))
    try:
        session = ort.InferenceSession(str(found.model), settings, providers=providers)
    except Exception as error:  # onnxruntime's own errors have no base of their own.
        raise ModelError(f"{found.model} cannot be loaded: {_first_line(error)}") from error
    return session, "cuda" if session.get_providers()[0].startswith("CUDA") else "cpu"


def _shape(told: Any, found: ForeignFolder) -> tuple[Literal["NHWC", "NCHW"], int]:
    """Layout and side of the model's input."""
    shape, wish = list(told.shape), found.config.input or from_timm(found.about) or InputConfig()
    if told.type not in _KINDS:
        raise ModelError(f"{found.model}: its input {told.name!r} is {told.type}, must be of floats")
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise ModelError(
            f"{found.model}: its input {told.name!r} has the shape {shape}, must be [B, S, S, 3] or "
            "[B, 3, S, S]"
        )
    layout = wish.layout or ("NHWC" if shape[3] == 3 else "NCHW")
    sides = shape[1:3] if layout == "NHWC" else shape[2:4]
    known = {side for side in sides if isinstance(side, int) and side > 0}
    if max(known, default=0) > MOST_SIDE:
        raise ModelError(f"{found.model}: its input has the sides {sides}, at most {MOST_SIDE} can be made")
    if len(known) > 1 or (known and wish.size not in (None, *known)):
        raise ModelError(
            f"{found.model}: its input has the sides {sides}, must be a square"
            + (f" of {wish.size} as its settings say" if wish.size else "")
        )
    size = next(iter(known), wish.size)
    if size is None:
        raise ModelError(
            f"{found.model} takes pictures of any size; say in {found.folder / SETTINGS} which it was "
            "made for: [input] size = 448"
        )
    return layout, size


def _batch_of(told: Any) -> int:
    """How many pictures the model takes at a time; 0 where it takes any number."""
    count = told.shape[0]
    return count if isinstance(count, int) and count > 0 else 0


def _numbers(out: NDArray[Any], model: Path) -> NDArray[np.float32]:
    try:
        return out.astype(np.float32)
    except (TypeError, ValueError):  # Texts, perhaps.
        raise ModelError(f"{model} gave {str(out.flat[0])[:40]!r} in place of numbers") from None


def _input_config(found: ForeignFolder, layout: str) -> InputConfig:
    """How pictures are made ready: as said, as timm's config says, or as all NHWC exports want it."""
    if (told := found.config.input or from_timm(found.about)) is not None and layout == "NCHW":
        return told
    if found.config.input is not None:
        return found.config.input
    if layout == "NHWC":
        return WD
    raise ModelError(
        f"{found.model} takes pictures as [B, 3, S, S], and nothing says in which range; say so in "
        f"{found.folder / SETTINGS}, such as\n"
        "  [input]\n  mean = [0.5, 0.5, 0.5]          # JTP; Camie: [0.485, 0.456, 0.406]\n"
        "  std = [0.5, 0.5, 0.5]           # JTP; Camie: [0.229, 0.224, 0.225]"
    )


def _output(session: Any, found: ForeignFolder, count: int) -> str:
    """The name of the output that has a number for each tag."""
    outputs: dict[str, list[Any]] = {str(out.name): list(out.shape) for out in session.get_outputs()}
    if (wish := found.config.output) is not None:
        if wish not in outputs:
            raise ModelError(f"{found.model}: output is {wish!r}, must be one of {', '.join(outputs)}")
        return wish
    fitting = [n for n, shape in outputs.items() if len(shape) == 2 and shape[1] == count]
    fitting = fitting or [n for n, s in outputs.items() if len(s) == 2 and not isinstance(s[1], int)]
    if not fitting:
        told = ", ".join(f"{name} {shape}" for name, shape in outputs.items())
        raise ModelError(
            f"{found.tags_file()} has {count:,} tags, but no output of {found.model.name} has as many "
            f"numbers ({told}): they do not belong together"
        )
    best = [name for wish in _BEST_FIRST for name in fitting if name == wish]
    if len(fitting) > 1 and not best:
        raise ModelError(
            f"{found.model}: {', '.join(fitting)} could be the scores; say which in {SETTINGS}: "
            f'output = "{fitting[0]}"'
        )
    return (best or fitting)[0]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
