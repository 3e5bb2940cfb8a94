"""Where each row of a batch ends, and why: the model's end, a stop string, a loop, or the limit of tokens.

transformers calls ``Endings`` after every token, as one of its stopping criteria. The tokens of the answers
are kept here as they come: what ``generate`` returns holds the prompt for one family and not for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch

from trainkit.captioning.captioner import Finish
from trainkit.captioning.loops import LoopConfig, loop_period


class Endings:
    """The answers of one batch as they grow. ``tokens`` and ``finish`` have one entry a row."""

    def __init__(
        self,
        rows: int,
        *,
        ends: Collection[int],
        loop: LoopConfig,
        stop: Sequence[str],
        decode: Callable[[list[int]], str],
    ) -> None:
        self.tokens: list[list[int]] = [[] for _ in range(rows)]
        self.finish: list[Finish] = ["length"] * rows
        self._done = [False] * rows
        self._ends = frozenset(ends)
        self._loop = loop
        self._stop = tuple(stop)
        self._decode = decode
        # A token is at least one byte of a stop string, and a character may be begun by the tokens before.
        self._tail = max((len(text.encode()) for text in stop), default=0) + 8

    def __call__(self, input_ids: torch.Tensor, scores: Any, **more: Any) -> torch.Tensor:
        """Which rows are done, [B] of bool. ``input_ids`` [B, n] ends with each row's newest token."""
        for row, token in enumerate(input_ids[:, -1].tolist()):
            if not self._done[row]:
                self._done[row] = self._take(row, token)
        return torch.tensor(self._done, device=input_ids.device)

    def _take(self, row: int, token: int) -> bool:
        """Note a row's newest token; whether it is its last."""
        tokens = self.tokens[row]
        tokens.append(token)
        if token in self._ends or (self._stop and self._stops(tokens)):
            self.finish[row] = "stop"
        elif loop_period(tokens, self._loop) is not None:
            self.finish[row] = "loop"
        else:
            return False
        return True

    def _stops(self, tokens: list[int]) -> bool:
        tail = self._decode(tokens[-self._tail :])
        return any(text in tail for text in self._stop)


def before_stop(text: str, stop: Sequence[str]) -> str:
    """The text up to the first stop string in it."""
    places = [at for word in stop if (at := text.find(word)) >= 0]
    return text[: min(places)] if places else text
