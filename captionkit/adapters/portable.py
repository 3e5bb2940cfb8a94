"""A pipeline as plain data: the same bytes in every process, and back."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from captionkit.implications import ImplicationGraph
from captionkit.load import dump_pipeline, load_pipeline
from captionkit.pipeline import CaptionPipeline
from captionkit.policies import BUILT_IN
from captionkit.policy import Config, Policy
from captionkit.render import Counter

_BUILT_IN = frozenset(BUILT_IN)


class Portable(NamedTuple):
    """What a pipeline is made of. Pickled, equal pipelines are equal bytes, whatever the process.

    A pickled pipeline is not: it holds sets, whose order differs from process to process. Caches that go by a
    hash of the pickle, such as that of `datasets`, would find nothing again.
    """

    recipe: str
    """The recipe as JSON, with the implications themselves instead of the path of their file. Its keys stand
    in their order, which may matter: a tag belongs to the first category that has it as a member."""
    kinds: tuple[type[Policy], ...]
    """The classes of policies that are not built in, sorted by their kinds."""
    counter: Counter | None
    """The caller's own token counter."""

    @classmethod
    def of(cls, pipeline: CaptionPipeline) -> Portable:
        """The parts of a pipeline."""
        kinds: dict[str, type[Policy]] = {}
        inline = _inline(pipeline, kinds)
        recipe = json.dumps(dump_pipeline(inline), ensure_ascii=False)
        return cls(recipe, tuple(kinds[kind] for kind in sorted(kinds)), pipeline._count_tokens)

    def pipeline(self) -> CaptionPipeline:
        """The pipeline again."""
        pipeline = _loaded(self.recipe, self.kinds)
        return pipeline if self.counter is None else pipeline.with_counter(self.counter)


@lru_cache(maxsize=8)
def _loaded(recipe: str, kinds: tuple[type[Policy], ...]) -> CaptionPipeline:
    """Read once per process, however many batches bring it."""
    return load_pipeline(json.loads(recipe), kinds=kinds)


def _inline(value: Any, kinds: dict[str, type[Policy]]) -> Any:
    """The value with graphs that do not know their file; the kinds that are not built in are gathered."""
    if isinstance(value, ImplicationGraph):
        graph = copy.copy(value)
        graph.origin = None
        return graph
    if isinstance(value, Config):
        if isinstance(value, Policy) and type(value) not in _BUILT_IN:
            kinds[value.kind] = type(value)
        fields = {name: _inline(getattr(value, name), kinds) for name in type(value).model_fields}
        return value.model_copy(update=fields)
    if type(value) in (tuple, list):
        return type(value)(_inline(item, kinds) for item in value)
    if isinstance(value, Mapping):
        return {key: _inline(item, kinds) for key, item in value.items()}
    return value
