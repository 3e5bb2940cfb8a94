"""Captions by a model in this process: batches of requests through transformers' ``generate``."""

from __future__ import annotations

import gc
import itertools
import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LogitsProcessorList, StoppingCriteriaList

from trainkit.captioning.asking import Asking
from trainkit.captioning.captioner import Answer, Captioner, Request
from trainkit.captioning.drawing import DrawToken
from trainkit.captioning.endings import Endings, before_stop
from trainkit.captioning.loading import Loaded
from trainkit.captioning.loops import LoopConfig
from trainkit.captioning.sampling import Sampling
from trainkit.errors import ModelError, TrainkitError

_LOG = logging.getLogger("trainkit")

HOPELESS = 16
"""So many failures of the network in a row, and it is not the pictures that are wrong."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Requests that go through the network together, and their tensors (or why there are none)."""

    requests: tuple[Request, ...]
    inputs: Any
    error: Exception | None = None


class LocalCaptioner(Captioner):
    """A loaded model and how it is asked. The answer to a request does not depend on the others."""

    def __init__(
        self,
        loaded: Loaded,
        asking: Asking,
        sampling: Sampling,
        *,
        name: str,
        batch: int,
        loop: LoopConfig,
        after: str = "",
    ) -> None:
        self._model, self._processor = loaded.model, loaded.processor
        self._asking, self._sampling, self._loop = asking, sampling, loop
        self._name, self._batch, self._after = name, batch, after
        self._ends = _ends(loaded.model, loaded.processor.tokenizer)
        self._stop = (*sampling.stop, *_stop_strings(loaded.model))
        self._settings = _greedy(loaded.model, loaded.processor.tokenizer, sampling)
        # ``generate`` fills up what is None in the settings it is given from those of the model.
        loaded.model.generation_config = self._settings
        self._failures = 0

    @property
    def model(self) -> str:
        """The folder's name, or the one on the hub."""
        return self._name

    @property
    def batch(self) -> int:
        """Requests that go through the network together now; fewer than set, after a lack of memory."""
        return self._batch

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """In the order of their batches. On a GPU the next batch is made ready meanwhile."""
        if self._model is None:
            raise TrainkitError("the captioner was closed")
        source = iter(requests)
        ahead = 1 if self._device.type == "cuda" else 0
        with ThreadPoolExecutor(1, "captioner") as pool:
            waiting: deque[Future[tuple[list[Answer], list[_Group]]]] = deque()
            while True:
                while len(waiting) <= ahead and (drawn := list(itertools.islice(source, self._batch))):
                    waiting.append(pool.submit(self._prepared, drawn))
                if not waiting:
                    return
                refused, groups = waiting.popleft().result()
                yield from refused
                for group in groups:
                    yield from self._answered(group)

    def close(self) -> None:
        """Let go of the model."""
        self._model = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @property
    def _device(self) -> torch.device:
        return torch.device(self._model.device)

    def _prepared(self, requests: Sequence[Request]) -> tuple[list[Answer], list[_Group]]:
        """The requests that cannot be asked, answered, and the others in groups."""
        problems = [(request, self._asking.problem(request)) for request in requests]
        refused = [Answer.failed(request.key, why) for request, why in problems if why is not None]
        good = [request for request, why in problems if why is None]
        if not self._asking.one_length:
            return refused, [self._encoded(good)] if good else []
        by_length: dict[int, list[Request]] = {}
        for request, length in zip(good, self._asking.lengths(good), strict=True):
            by_length.setdefault(length, []).append(request)
        return refused, [self._encoded(group) for group in by_length.values()]

    def _encoded(self, requests: Sequence[Request]) -> _Group:
        try:
            return _Group(tuple(requests), self._asking.encode(requests))
        except TrainkitError:
            raise
        except Exception as error:
            # Processors raise anything for a picture they cannot take.
            return _Group(tuple(requests), None, error)

    def _answered(self, group: _Group) -> Iterator[Answer]:
        """A group's answers. What fails together is tried in halves, so that one request fails alone."""
        started = time.monotonic()
        error = group.error
        if error is None:
            try:
                answers = self._generated(group, started)
            except torch.OutOfMemoryError as trouble:
                error = trouble
            except Exception as trouble:
                error = trouble
            else:
                self._failures = 0
                yield from answers
                return
        requests = group.requests
        memory = isinstance(error, torch.OutOfMemoryError)
        if memory:
            self._smaller(len(requests))
        if len(requests) > 1:
            del group
            middle = (len(requests) + 1) // 2
            for half in (requests[:middle], requests[middle:]):
                yield from self._answered(self._encoded(half))
            return
        yield self._failed(requests[0], error, memory, time.monotonic() - started)

    def _failed(self, request: Request, error: Exception, memory: bool, seconds: float) -> Answer:
        self._failures += 1
        text = (str(error).strip() or repr(error)).splitlines()[0][:300]
        said = f"{type(error).__name__}: {text}{self._asking.doubt}"
        what = "the GPU's memory is not enough for it alone" if memory else said
        if self._failures >= HOPELESS:
            hint = (
                "max_side, quantize and sampling.max_new_tokens"
                if memory
                else "style, dtype and prompt_format"
            )
            raise ModelError(
                f"{self._name} failed {HOPELESS} times in a row, the last time with {said}. "
                f"See to backend.{hint}"
            ) from error
        return Answer.failed(request.key, f"the model failed: {what}", seconds=seconds)

    def _smaller(self, rows: int) -> None:
        torch.cuda.empty_cache()
        if 1 < rows <= self._batch:
            self._batch = (rows + 1) // 2
            _LOG.warning(
                "%s: no memory for %d pictures at once; goes on with %d. Set backend.batch = %d to start so",
                *(self._name, rows, self._batch, self._batch),
            )

    @torch.inference_mode()
    def _generated(self, group: _Group, started: float) -> list[Answer]:
        requests, sampling = group.requests, self._sampling
        inputs = group.inputs.to(self._device, self._model.dtype)
        mask = inputs.get("attention_mask")
        tokens_in = mask.sum(dim=1).tolist() if mask is not None else [0] * len(requests)
        draw = DrawToken([request.seed for request in requests], sampling)
        endings = Endings(
            len(requests), ends=self._ends, loop=self._loop, stop=self._stop, decode=self._decode
        )
        self._model.generate(
            **inputs,
            generation_config=self._settings,
            logits_processor=LogitsProcessorList([draw]),
            stopping_criteria=StoppingCriteriaList([endings]),
        )
        seconds = time.monotonic() - started
        broken = set(draw.broken)
        return [
            self._answer(request, endings, row, int(tokens_in[row]), seconds, row in broken)
            for row, request in enumerate(requests)
        ]

    def _answer(
        self, request: Request, endings: Endings, row: int, tokens_in: int, seconds: float, broken: bool
    ) -> Answer:
        tokens, finish = endings.tokens[row], endings.finish[row]
        problem = 'the network gave no numbers (NaN); try dtype = "float32" or "bfloat16"' if broken else None
        text = before_stop(self._asking.read(tokens), self._stop)
        if self._after and problem is None:
            _, found, text = text.rpartition(self._after)
            if not found:
                problem = f"no {self._after!r} in its {len(tokens)} tokens; raise sampling.max_new_tokens"
        if problem is not None:
            return Answer(request.key, None, problem, tokens_in, len(tokens), "error", seconds)
        return Answer(request.key, text.strip(), None, tokens_in, len(tokens), finish, seconds)

    def _decode(self, tokens: list[int]) -> str:
        return str(self._processor.tokenizer.decode(tokens, skip_special_tokens=True))


def _ends(model: Any, tokenizer: Any) -> set[int]:
    """Every token that ends an answer of this model."""
    ends: set[int] = set()
    for owner, name in (
        *((model.generation_config, "eos_token_id"), (tokenizer, "eos_token_id")),
        *((model.config.get_text_config(), name) for name in ("eos_token_id", "sep_token_id")),
    ):
        value = getattr(owner, name, None)
        ends |= set(value) if isinstance(value, list | tuple) else set() if value is None else {value}
    return ends


def _stop_strings(model: Any) -> tuple[str, ...]:
    """Where answers of this model end, by its own settings."""
    strings = model.generation_config.stop_strings
    return (strings,) if isinstance(strings, str) else tuple(strings or ())


def _greedy(model: Any, tokenizer: Any, sampling: Sampling) -> Any:
    """The model's own settings of generating, but one beam and no drawing: DrawToken does that."""
    settings = deepcopy(model.generation_config)
    settings.update(
        **dict.fromkeys(
            (
                *("temperature", "top_p", "top_k", "min_p", "typical_p", "max_length", "forced_eos_token_id"),
                *("stop_strings", "guidance_scale", "watermarking_config"),
                *("penalty_alpha", "dola_layers", "prompt_lookup_num_tokens"),  # Other ways of generating.
            )
        ),
        do_sample=False,
        num_beams=1,
        early_stopping=False,
        length_penalty=1.0,
        repetition_penalty=1.0,
        max_new_tokens=sampling.max_new_tokens,
        return_dict_in_generate=False,
    )
    if settings.pad_token_id is None:
        settings.pad_token_id = tokenizer.pad_token_id
    return settings
