"""What came of a run, counted from what it has written down."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from trainkit.additions.addition import Addition
from trainkit.captioning.judged import state_of

_MOST_NAMED = 200


@dataclass(slots=True)
class Tally:
    """Counts of additions; those of several sources can be added one after the other."""

    captioned: int = 0
    refused: int = 0
    failed: int = 0
    mended: int = 0
    """Captions that cleaning changed."""
    faults: Counter[str] = field(default_factory=Counter)
    problems: list[tuple[str, str]] = field(default_factory=list)
    """(id, what is wrong) of the first pictures without an answer."""
    finishes: Counter[str] = field(default_factory=Counter)
    prompts: Counter[str] = field(default_factory=Counter)
    tokens_in: int = 0
    tokens_out: int = 0
    words: int = 0
    """Of the captions that passed."""

    def add(self, addition: Addition) -> None:
        """Count one."""
        detail = addition.detail
        state = state_of(addition)
        self.tokens_in += _whole(detail.get("tokens_in"))
        self.tokens_out += _whole(detail.get("tokens_out"))
        if state == "failed":
            self.failed += 1
            if len(self.problems) < _MOST_NAMED:
                self.problems.append((addition.id, str(detail.get("problem"))))
            return
        self.finishes[str(detail.get("finish"))] += 1
        self.prompts[str(detail.get("prompt_name"))] += 1
        if state == "refused":
            self.refused += 1
            self.faults.update(map(str, detail.get("faults") or ()))
            return
        self.captioned += 1
        self.mended += detail.get("cleaned") != detail.get("raw")
        self.words += sum(len(piece.text.split()) for piece in addition.prose)

    @property
    def answered(self) -> int:
        """Answers that were had."""
        return self.captioned + self.refused

    @property
    def mean_tokens(self) -> float:
        """Tokens of an answer."""
        return self.tokens_out / max(self.answered, 1)

    @property
    def mean_words(self) -> float:
        """Words of a caption that passed."""
        return self.words / max(self.captioned, 1)

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "captioned": self.captioned,
            "refused": self.refused,
            "failed": self.failed,
            "mended": self.mended,
            "faults": dict(self.faults.most_common()),
            "finish": dict(self.finishes.most_common()),
            "prompts": dict(self.prompts.most_common()),
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "mean_tokens": round(self.mean_tokens, 1),
            "mean_words": round(self.mean_words, 1),
            "problems": [{"id": id, "problem": problem} for id, problem in self.problems],
        }


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0
