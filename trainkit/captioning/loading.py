"""A vision-language model and its processor from a folder, by transformers: nothing runs that the user did
not allow, and no weights are taken but those of the folder."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trainkit.captioning.pictures_only import load_processor
from trainkit.errors import ModelError

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Quantize = Literal["none", "8bit", "4bit"]

_CODE_FILES = ("config.json", "processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
_HELP = "docs/captioning.md lists models that do"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready to answer. transformers' own objects: they have no type of their own here."""

    model: Any
    processor: Any
    kind: str
    """transformers' name of the family, such as "qwen2_5_vl"."""


def load_captioner(
    folder: Path,
    *,
    dtype: Dtype = "auto",
    device: str = "auto",
    quantize: Quantize = "none",
    attention: str = "auto",
    code: bool = False,
) -> Loaded:
    """Load a folder. Raises ModelError for what is not a whole model that writes about pictures."""
    config = _read(folder / "config.json")
    kind = str(config.get("model_type", ""))
    runs = _own_code(folder)
    if not code:
        _refuse_code(folder, kind, runs)
    _refuse_pickles(folder)
    device = _device(device)
    import torch

    settings: dict[str, Any] = {"dtype": _dtype(dtype, device, config)}
    if attention != "auto":
        settings["attn_implementation"] = attention
    if quantize != "none":
        settings["quantization_config"] = _quantization(quantize, device)
    if device == "spread" or quantize != "none":
        settings["device_map"] = "auto" if device == "spread" else {"": device}
    try:
        processor = load_processor(
            folder, _processor_named(folder), kind, local_files_only=True, trust_remote_code=code
        )
        model, report = _factory(config, kind, code).from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=code,
            use_safetensors=True,
            output_loading_info=True,
            **settings,
        )
        if "device_map" not in settings:
            model = model.to(device)
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f'{folder} does not fit into the memory of {device}: set quantize = "8bit" or "4bit", or '
            'device = "spread" to use all GPUs of this machine'
        ) from error
    except ModelError:
        raise
    except Exception as error:
        # transformers raises anything for a damaged or foreign folder; its first line says which file.
        text = (str(error).strip() or repr(error)).splitlines()[0]
        raise ModelError(
            f"{folder} cannot be loaded by transformers: {type(error).__name__}: {text}"
        ) from error
    _refuse_part(folder, kind, processor, report["missing_keys"])
    return Loaded(model.eval(), processor, kind)


def _refuse_pickles(folder: Path) -> None:
    """Refuse a folder without safetensors."""
    if not list(folder.glob("*.safetensors")):
        pickled = " (pickled .bin or .pt weights are never loaded)" if list(folder.glob("*.bin")) else ""
        raise ModelError(f"{folder} holds no *.safetensors weights{pickled}; save it with save_pretrained")


def _refuse_part(folder: Path, kind: str, processor: Any, missing: Collection[str]) -> None:
    """Refuse a model that lacks weights, which would be random, or a processor for pictures and text."""
    if missing := sorted(missing):
        raise ModelError(
            f"{folder} lacks {len(missing)} weights of a {kind} model, such as {missing[0]}: it is cut off, "
            f"or not in transformers' own format (whose folders often end in -hf); {_HELP}"
        )
    if getattr(processor, "tokenizer", None) is None or getattr(processor, "image_processor", None) is None:
        raise ModelError(f"{folder} has no processor for pictures and text together; {_HELP}")


def _read(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ModelError(
            f"{path.parent} is no model's folder: config.json cannot be read ({error})"
        ) from None
    except ValueError as error:
        raise ModelError(f"{path} is not JSON ({error}); fetch the model again") from None
    if not isinstance(read, dict):
        raise ModelError(f"{path} must hold a JSON object; fetch the model again")
    return read


def _processor_named(folder: Path) -> str | None:
    """The class of the processor by the folder's files; transformers looks into them in this order."""
    for name in _CODE_FILES[1:]:
        stated = _read(folder / name).get("processor_class") if (folder / name).is_file() else None
        if isinstance(stated, str):
            return stated
    return None


def _own_code(folder: Path) -> dict[str, str]:
    """The Python files that this folder's settings would have transformers run, and who asks for each."""
    found: dict[str, str] = {}
    for name in _CODE_FILES:
        if not (folder / name).is_file():
            continue
        asked = _read(folder / name).get("auto_map")
        for value in asked.values() if isinstance(asked, dict) else ():
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, str) and "." in one:
                    repository, _, target = one.rpartition("--")
                    file = target.partition(".")[0] + ".py"
                    found.setdefault(f"{repository}: {file}" if repository else file, name)
    return found


def _refuse_code(folder: Path, kind: str, runs: dict[str, str]) -> None:
    """Refuse a folder that works only with code of its own. Where transformers has the family itself, its own
    code is taken and the folder's never runs."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as WRITES

    if kind in WRITES:
        return
    if runs:
        files = ", ".join(f"{file} (asked for by {asking})" for file, asking in sorted(runs.items()))
        raise ModelError(
            f"{folder} brings code of its own, which would run as you: {files}. Read it; if you trust it, "
            "set backend.trust_remote_code = true. A form of the model that transformers knows needs none: "
            f"{_HELP}"
        )
    import transformers

    raise ModelError(
        f"{folder} is a {kind or 'nameless'} model, and transformers {transformers.__version__} has no model "
        f"of that kind that writes about pictures; {_HELP}, and how to ask a server that runs others (CogVLM)"
    )


def _factory(config: dict[str, Any], kind: str, code: bool) -> Any:
    """The class of transformers that loads the model."""
    import transformers

    names = ["AutoModelForImageTextToText"]
    if code and isinstance(config.get("auto_map"), dict):
        names = [
            name
            for name in (*names, "AutoModelForVision2Seq", "AutoModelForCausalLM", "AutoModel")
            if name in config["auto_map"] and hasattr(transformers, name)
        ] or names
    return getattr(transformers, names[0])


def _device(device: str) -> str:
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            import os

            return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if (device.startswith("cuda") or device == "spread") and not torch.cuda.is_available():
        raise ModelError(f'device is {device!r}, but torch sees no GPU here; take "auto" or "cpu"')
    return device


def _dtype(dtype: Dtype, device: str, config: dict[str, Any]) -> Any:
    """On a CPU float32, which it is fastest at; on a GPU as the folder says, but no wider than bfloat16."""
    import torch

    if dtype != "auto":
        return getattr(torch, dtype)
    if device == "cpu":
        return torch.float32
    stored = config.get("dtype") or config.get("torch_dtype")
    return torch.bfloat16 if stored in (None, "float32") else "auto"


def _quantization(quantize: Quantize, device: str) -> Any:
    if not (device.startswith("cuda") or device == "spread"):
        raise ModelError(f'quantize = "{quantize}" needs a GPU, but the model runs on {device}; take "none"')
    import torch
    from transformers import BitsAndBytesConfig

    if quantize == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
