"""How a model is asked: the picture and the prompt of each request as the tensors its family takes, and its
tokens as text again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from PIL import Image

from trainkit.captioning.captioner import Request
from trainkit.errors import TrainkitError

Style = Literal["auto", "chat", "plain", "task"]

MIN_SIDE, MAX_ASPECT = 8, 50.0
"""A picture whose shorter side has fewer pixels, or whose sides differ more, is not asked about: some
processors fail on it, others blow it up to gigabytes, and none sees anything in it."""

_IN_PLACES = frozenset({"blip", "git"})
"""Families with learned positions counted from the first token, padding included: only prompts of one length
may share a batch."""

_PLAIN = frozenset({"blip", "blip-2", "git", "instructblip", "paligemma"})
"""Families that never had a chat template."""


class Asking:
    """The way of one model: its processor, and how the prompt is put."""

    def __init__(
        self,
        processor: Any,
        kind: str,
        *,
        style: Style = "auto",
        system: str = "",
        prompt_format: str = "{prompt}",
        template: Mapping[str, Any] | None = None,
        encodes: bool = False,
        max_side: int = 1344,
    ) -> None:
        """``encodes``: the model has an encoder for the prompt and starts its answer in a decoder."""
        self.style = _style(processor, kind, style)
        self.one_length = kind in _IN_PLACES
        self.doubt = ""
        """What may be the matter where the model fails."""
        if style == "auto" and self.style == "plain" and kind not in _PLAIN:
            self.doubt = (
                "; its folder has no chat template (chat_template.jinja), so it was asked in plain text: "
                "fetch the whole folder, or set style and prompt_format"
            )
        self._processor, self._kind = processor, kind
        self._system, self._format, self._template = system, prompt_format, dict(template or {})
        self._max_side = max_side
        tokenizer = processor.tokenizer
        tokenizer.padding_side = "right" if encodes else "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        special = {str(token) for token in tokenizer.all_special_tokens}
        special |= {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
        # Longest first, so that no part of one is left over.
        self._special = sorted((token for token in special if token.strip()), key=len, reverse=True)

    def problem(self, request: Request) -> str | None:
        """What forbids to ask at all; None when nothing does. Raises TrainkitError for a wrong task."""
        width, height = request.image.size
        if min(width, height) < MIN_SIDE:
            return f"{width} x {height} px: too small to be captioned; a side needs {MIN_SIDE} px"
        if max(width, height) > MAX_ASPECT * min(width, height):
            return (
                f"{width} x {height} px: one side is over {MAX_ASPECT:g} times the other; nothing to be seen"
            )
        if self.style == "task":
            self._check_task(request.prompt)
        elif self.style == "chat" and not request.prompt.strip():
            return "the prompt is empty"
        return None

    def lengths(self, requests: Sequence[Request]) -> list[int]:
        """Number of tokens of each prompt, without the picture's."""
        if not requests:
            return []
        prompts = [self._harmless(request.prompt) for request in requests]
        return [len(ids) for ids in self._processor.tokenizer(prompts)["input_ids"]]

    def encode(self, requests: Sequence[Request]) -> Any:
        """The tensors of a batch, a BatchFeature on the CPU."""
        inputs = self._encoded(requests)
        inputs.pop("labels", None)  # PaliGemma's processor makes them, for training.
        return inputs

    def _encoded(self, requests: Sequence[Request]) -> Any:
        images = [fitting(request.image, self._max_side) for request in requests]
        if self.style == "chat":
            return self._processor.apply_chat_template(
                [self._talk(request.prompt, image) for request, image in zip(requests, images, strict=True)],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs={"padding": True},
                **self._template,
            )
        if self.style == "task":
            prompts = [request.prompt.strip() for request in requests]
        else:
            prompts = [self._format.replace("{prompt}", self._harmless(r.prompt)) for r in requests]
        if self._kind == "blip" and not any(prompts):
            return self._processor(images=images, return_tensors="pt")
        inputs = self._processor(images=images, text=prompts, padding=True, return_tensors="pt")
        return _for_git(inputs, self._processor.tokenizer) if self._kind == "git" else inputs

    def read(self, tokens: Sequence[int]) -> str:
        """The answer in a row's new tokens."""
        # Of Florence-2's tasks only captions are allowed, whose text needs nothing but this.
        return str(self._processor.tokenizer.decode(tokens, skip_special_tokens=True)).strip()

    def _talk(self, prompt: str, image: Image.Image) -> list[dict[str, Any]]:
        content = [{"type": "image", "image": image}, {"type": "text", "text": self._harmless(prompt)}]
        said: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if self._system:
            said.insert(0, {"role": "system", "content": [{"type": "text", "text": self._system}]})
        return said

    def _harmless(self, prompt: str) -> str:
        """The prompt without the model's special tokens: a tag must not be able to end the user's turn, or
        to promise a second picture."""
        before = None
        while before != prompt:
            before = prompt
            for token in self._special:
                prompt = prompt.replace(token, "")
        return prompt

    def _check_task(self, prompt: str) -> None:
        answers: Mapping[str, str] = self._processor.tasks_answer_post_processing_type
        allowed = [
            task
            for task in self._processor.task_prompts_without_inputs
            if answers.get(task) == "pure_text" and "CAPTION" in task
        ]
        if prompt.strip() not in allowed:
            raise TrainkitError(
                f"the prompt is {prompt[:80]!r}, but this model takes only the name of a task: "
                f"{', '.join(sorted(allowed))}. Write it as the text of the prompt"
            )


def fitting(image: Image.Image, max_side: int) -> Image.Image:
    """The picture as RGB, reduced until its longer side is at most ``max_side`` px."""
    image = image if image.mode == "RGB" else image.convert("RGB")
    longer = max(image.size)
    if longer <= max_side:
        return image
    width, height = (max(1, round(side * max_side / longer)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def _style(processor: Any, kind: str, style: Style) -> Style:
    templated = bool(getattr(processor, "chat_template", None))
    if style == "auto":
        return "task" if kind == "florence2" else "chat" if templated else "plain"
    if style == "chat" and not templated:
        raise TrainkitError(
            'style is "chat", but the model has no chat template; take "plain", with prompt_format as the '
            'model was trained, such as "Question: {prompt} Answer:"'
        )
    if style == "task" and not hasattr(processor, "task_prompts_without_inputs"):
        raise TrainkitError('style is "task", which is for Florence-2 only; take "auto"')
    return style


def _for_git(inputs: Any, tokenizer: Any) -> Any:
    """Without the token that ends a text, so that the answer goes on where the prompt stops, and without what
    GIT does not know."""
    inputs.pop("token_type_ids", None)
    if bool((inputs["input_ids"][:, -1] == tokenizer.sep_token_id).all()):
        for name in ("input_ids", "attention_mask"):
            inputs[name] = inputs[name][:, :-1]
    return inputs
