"""What sd-scripts does to a caption (48d368f, `BaseDataset.process_caption`), told again; and how likely each
outcome is, exactly."""

from __future__ import annotations

import math
import random
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Protocol, TypeVar

T = TypeVar("T")


@dataclass
class BaseSubset:
    """The options of a subset that captions and mirroring depend on."""

    image_dir: str = "fox"
    num_repeats: int = 1
    shuffle_caption: bool = False
    caption_separator: str = ","
    keep_tokens: int = 0
    keep_tokens_separator: str | None = None
    secondary_separator: str | None = None
    enable_wildcard: bool = False
    flip_aug: bool = False
    random_crop: bool = False
    caption_dropout_rate: float = 0.0
    caption_dropout_every_n_epochs: int = 0
    caption_tag_dropout_rate: float = 0.0
    caption_prefix: str | None = None
    caption_suffix: str | None = None
    token_warmup_min: int = 1
    token_warmup_step: float = 0
    is_reg: bool = False


@dataclass(frozen=True)
class Now:
    """Where in the training it is."""

    epoch: int = 1
    step: int = 0
    max_train_steps: int = 1000


class Chances(Protocol):
    """Who decides."""

    def chance(self, p: float) -> bool: ...

    def choice(self, items: Sequence[T]) -> T: ...

    def shuffled(self, items: Sequence[T]) -> list[T]: ...


class ByRandom:
    """As there: the generator of the process."""

    def chance(self, p: float) -> bool:
        return random.random() < p

    def choice(self, items: Sequence[T]) -> T:
        return random.choice(items)

    def shuffled(self, items: Sequence[T]) -> list[T]:
        order = list(items)
        random.shuffle(order)
        return order


def process_caption(subset: BaseSubset, caption: str, chances: Chances, now: Now) -> str:
    """The order of reference/kohya.md, section 1.1, but for textual inversion."""
    caption = " ".join(filter(None, (subset.caption_prefix, caption)))
    caption = " ".join(filter(None, (caption, subset.caption_suffix)))
    every = subset.caption_dropout_every_n_epochs
    dropped = subset.caption_dropout_rate > 0 and chances.chance(subset.caption_dropout_rate)
    if dropped or (every > 0 and now.epoch % every == 0):
        return ""
    lines = caption.split("\n")
    caption = chances.choice(lines) if subset.enable_wildcard and len(lines) > 1 else lines[0]
    if subset.enable_wildcard:
        caption = _filled(caption, chances)
    if subset.shuffle_caption or subset.token_warmup_step > 0 or subset.caption_tag_dropout_rate > 0:
        caption = ", ".join(_tags(subset, caption, chances, now))
    if subset.secondary_separator:
        caption = caption.replace(subset.secondary_separator, subset.caption_separator)
    return caption


def _tags(subset: BaseSubset, caption: str, chances: Chances, now: Now) -> list[str]:
    """Fixed tags, loose tags as they are drawn, fixed tags."""
    keep, last = subset.keep_tokens_separator, list[str]()
    if keep and keep in caption:
        parts = caption.split(keep, 2)
        first, loose = _split(parts[0], subset), _split(parts[1], subset)
        last = _split(parts[2], subset) if len(parts) == 3 else []
    else:
        every = [tag.strip() for tag in caption.strip().split(subset.caption_separator)]
        first, loose = every[: subset.keep_tokens], every[subset.keep_tokens :]
    until = subset.token_warmup_step
    until = math.floor(until * now.max_train_steps) if until < 1 else until
    if until and now.step < until:
        share = (len(loose) - subset.token_warmup_min) / until
        loose = loose[: math.floor(now.step * share) + subset.token_warmup_min]
    if subset.shuffle_caption:
        loose = chances.shuffled(loose)
    if (rate := subset.caption_tag_dropout_rate) > 0:
        loose = [tag for tag in loose if not chances.chance(rate)]
    return first + loose + last


def _split(text: str, subset: BaseSubset) -> list[str]:
    return [tag for part in text.split(subset.caption_separator) if (tag := part.strip())]


def _filled(text: str, chances: Chances) -> str:
    """Doubled braces stand for themselves; of each other pair one choice is drawn."""
    text = text.replace("{{", "\0").replace("}}", "\1")
    text = re.sub(r"\{([^}]+)\}", lambda found: chances.choice(found[1].split("|")), text)
    return text.replace("\0", "{").replace("\1", "}")


class _Branch:
    """One way through all decisions, and how likely it is; `after` is the next way."""

    def __init__(self, way: Sequence[int]) -> None:
        self.way, self.taken, self.p = way, list[tuple[int, int]](), 1.0

    def _take(self, weights: Sequence[float]) -> int:
        at = len(self.taken)
        index = self.way[at] if at < len(self.way) else 0
        self.taken.append((index, len(weights)))
        self.p *= weights[index] / sum(weights)
        return index

    def chance(self, p: float) -> bool:
        return self._take([p, 1 - p]) == 0

    def choice(self, items: Sequence[T]) -> T:
        return items[self._take([1.0] * len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        return list(self.choice(list(permutations(items))))

    def after(self) -> list[int] | None:
        taken = self.taken
        while taken and taken[-1][0] + 1 == taken[-1][1]:
            taken.pop()
        return [index for index, _ in taken[:-1]] + [taken[-1][0] + 1] if taken else None


def chances_of(draw: Callable[[Chances], str]) -> dict[str, float]:
    """Each outcome with its probability, by going through all decisions.

    >>> chances_of(lambda chances: "a" if chances.chance(0.25) else chances.choice("bc"))
    {'a': 0.25, 'b': 0.375, 'c': 0.375}
    """
    outcomes: defaultdict[str, float] = defaultdict(float)
    way: list[int] | None = []
    while way is not None:
        branch = _Branch(way)
        text = draw(branch)
        outcomes[text] += branch.p
        way = branch.after()
    return dict(outcomes)
