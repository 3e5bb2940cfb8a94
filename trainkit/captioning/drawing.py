"""The next token of each row of a batch, drawn by the row's own generator.

transformers draws all rows of a batch from one global generator, so that an answer would depend on the other
requests in its batch. Here the draw is made before: ``generate`` runs greedily, and ``DrawToken``, one of its
logits processors, leaves one possible token. A row's n-th draw is a function of its seed and n alone.
"""

from __future__ import annotations

import torch

from trainkit.captioning.sampling import Sampling


class DrawToken:
    """Shapes the scores of one batch by the sampling settings. For one call of ``generate``.

    B rows, V tokens of the vocabulary, T new tokens at most. The draw is by inverse transform: one uniform
    number a token, and the first token at which the cumulated probability exceeds it.
    """

    def __init__(self, seeds: list[int], sampling: Sampling) -> None:
        self._sampling = sampling
        self._step = 0
        self._prompt = 0
        self._uniform_BT: torch.Tensor | None = None
        if sampling.temperature > 0:
            self._uniform_BT = torch.stack(
                [
                    torch.rand(
                        sampling.max_new_tokens, generator=torch.Generator().manual_seed(seed & (2**63 - 1))
                    )
                    for seed in seeds
                ]
            )
        self._broken_B: torch.Tensor | None = None

    @property
    def broken(self) -> list[int]:
        """Rows for which the network gave no numbers (NaN) at some token."""
        return [] if self._broken_B is None else self._broken_B.nonzero().flatten().tolist()

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores [B, V] after the prompt and the tokens so far, ``input_ids`` [B, n]."""
        if self._step == 0:
            self._prompt = input_ids.shape[1]
        nan_B = scores.isnan().any(dim=-1)
        self._broken_B = nan_B if self._broken_B is None else self._broken_B | nan_B
        scores = torch.nan_to_num(scores.float(), nan=0.0, posinf=None, neginf=-torch.inf)
        scores = penalised(scores, input_ids[:, self._prompt :], self._sampling.repetition_penalty)
        if self._uniform_BT is not None:
            uniform_B = self._uniform_BT[:, self._step].to(scores.device)
            scores = only(drawn(likely(scores, self._sampling), uniform_B), scores)
        self._step += 1
        return scores


def penalised(scores: torch.Tensor, written: torch.Tensor, penalty: float) -> torch.Tensor:
    """Scores [B, V] with those of the tokens in ``written`` [B, n] lowered (Keskar et al. 2019, CTRL, 4.1).

    The prompt's tokens are not penalised: it names the tags, and they shall be named.
    """
    if penalty == 1.0 or written.shape[1] == 0:
        return scores
    there = scores.gather(1, written)
    return scores.scatter(1, written, torch.where(there < 0, there * penalty, there / penalty))


def likely(scores: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Probabilities [B, V] at the temperature, those outside of top_k and top_p taken out; not normalised."""
    logits = scores / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    # float64 keeps the sum over 150,000 tokens exact enough; MPS has none.
    exact = torch.float32 if logits.device.type == "mps" else torch.float64
    chances = torch.softmax(logits, dim=-1, dtype=exact)
    if sampling.top_p < 1:
        ordered, order = chances.sort(dim=-1, descending=True, stable=True)
        # A token stays while those before it do not reach top_p; the first always does.
        surplus = ordered.cumsum(dim=-1) - ordered >= sampling.top_p
        chances = chances.masked_fill(surplus.gather(1, order.argsort(dim=-1)), 0.0)
    return chances


def drawn(chances: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """One token [B] a row from chances [B, V] (any positive sum) and uniform numbers [B] in [0, 1)."""
    below = chances.cumsum(dim=-1)
    aim = uniform.to(below.dtype)[:, None] * below[:, -1:]
    return torch.searchsorted(below, aim, right=True)[:, 0].clamp(max=chances.shape[-1] - 1)


def only(token: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Scores [B, V] that leave nothing but one token [B] a row."""
    return torch.full_like(scores, -torch.inf).scatter(1, token[:, None], 0.0)
