"""The back end "transformers": a model on this machine, as the run file sets it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from trainkit.captioning.captioner import Captioner
from trainkit.captioning.loops import LoopConfig
from trainkit.captioning.sampling import Sampling

_OURS = frozenset(
    {
        *("conversation", "messages", "chat_template", "add_generation_prompt", "continue_final_message"),
        *("tokenize", "return_dict", "return_tensors", "processor_kwargs", "padding"),
    }
)


class LocalConfig(BaseModel):
    """A model that transformers loads on this machine; docs/captioning.md has the settings of each family."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["transformers"] = "transformers"
    model: str = Field(min_length=1, max_length=1000)
    """A folder with config.json and *.safetensors, or a repository of the Hugging Face hub, such as
    "Qwen/Qwen2.5-VL-7B-Instruct", which is downloaded once."""
    revision: str | None = Field(default=None, min_length=1, max_length=200)
    """Branch, tag or commit of a repository; a full commit is asked for only once. None: the main branch."""
    trust_remote_code: bool = False
    """Run the Python files in the model's folder, as you. Only for models you have read."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the weights: "auto" is float32 on a CPU, and on a GPU what the folder says, at most bfloat16."""
    device: str = Field(default="auto", pattern=r"^(auto|spread|cpu|mps|cuda(:\d{1,3})?)$")
    """"auto": the GPU of this process (one a process under torchrun), else the CPU. "spread": the layers over
    all GPUs, for a model larger than one."""
    quantize: Literal["none", "8bit", "4bit"] = "none"
    """Weights of 8 or 4 bits by bitsandbytes, on a GPU: half or a quarter of bfloat16, but slower."""
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = "auto"
    """How attention is computed; flash_attention_2 needs the package flash-attn."""
    batch: int = Field(default=8, ge=1, le=1024)
    """Pictures at once. Halved by itself where the GPU's memory is not enough."""
    style: Literal["auto", "chat", "plain", "task"] = "auto"
    """How the prompt is put: by the model's chat template, as plain text (BLIP, GIT), or as the name of a
    task (Florence-2). "auto" knows."""
    system: str = Field(default="", max_length=20_000)
    """What the model is told before, in style "chat"."""
    prompt_format: str = Field(default="{prompt}", max_length=2000)
    """What stands around the prompt in style "plain", such as "Question: {prompt} Answer:" (BLIP-2)."""
    template: Mapping[str, str | bool | int] = {}
    """Settings that the model's chat template takes, such as enable_thinking = false."""
    after: str = Field(default="", max_length=100)
    """The caption begins after the last of these in the answer: "</think>" for models that think aloud. An
    answer without it counts as failed."""
    max_side: int = Field(default=1344, ge=32, le=8192)
    """px; a picture with a longer side is reduced first. What the model itself makes of it comes after."""
    loop: LoopConfig = LoopConfig()
    """When an answer that repeats itself is cut off."""

    @field_validator("template")
    @classmethod
    def _is_the_templates(cls, template: Mapping[str, str | bool | int]) -> Mapping[str, str | bool | int]:
        if taken := sorted(_OURS.intersection(template)):
            raise ValueError(f"{taken[0]} is set by trainkit")
        return template

    @field_validator("prompt_format")
    @classmethod
    def _has_place(cls, value: str) -> str:
        if "{prompt}" not in value:
            raise ValueError(f"is {value!r}, must have {{prompt}} where the prompt goes")
        return value

    def open(self, sampling: Sampling) -> Captioner:
        """Load the model. Raises TrainkitError for what cannot be loaded, or not asked like this."""
        from trainkit.hub import find_model

        found = find_model(self.model, revision=self.revision, code=self.trust_remote_code)

        from trainkit.captioning.asking import Asking
        from trainkit.captioning.loading import load_captioner
        from trainkit.captioning.local_model import LocalCaptioner

        loaded = load_captioner(
            found.folder,
            dtype=self.dtype,
            device=self.device,
            quantize=self.quantize,
            attention=self.attention,
            code=self.trust_remote_code,
        )
        asking = Asking(
            loaded.processor,
            loaded.kind,
            style=self.style,
            system=self.system,
            prompt_format=self.prompt_format,
            template=self.template,
            encodes=bool(loaded.model.config.is_encoder_decoder),
            max_side=self.max_side,
        )
        return LocalCaptioner(
            loaded, asking, sampling, name=found.name, batch=self.batch, loop=self.loop, after=self.after
        )
