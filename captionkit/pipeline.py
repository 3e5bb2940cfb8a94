"""The pipeline: from a record to the text one training step sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, PrivateAttr

from captionkit.adjust import adjusted, rates_in, read_setting, with_field
from captionkit.curves import Curve
from captionkit.draws import Draws
from captionkit.flip import NOT_TRUE, FlipRule
from captionkit.policy import Config
from captionkit.record import Caption, Drawn, Record, Rendered, Step
from captionkit.render import Counter, Renderer, estimate_tokens
from captionkit.steps import Steps, difference, run

_FLIP = "#flip"  # No step can have this address: a name holds no `#`.


class CaptionPipeline(Config):
    """What to do with every record, as data: steps, flip rule, text, seed.

    It holds no state that changes and can be pickled, so that workers and ranks may share it: a rendering is
    a function of (pipeline, record, epoch, draw) alone.
    """

    seed: Annotated[int, Field(strict=True)] = 0
    """Another seed, other draws."""
    steps: Steps = ()
    """The policies, first to last."""
    flip: FlipRule = FlipRule()
    """Which pictures may be mirrored, and how often."""
    text: Renderer = Renderer()
    """How the caption is written out."""

    _count_tokens: Counter | None = PrivateAttr(default=None)

    def render(
        self, record: Record, *, epoch: int = 0, draw: int = 0, samples: int | None = None
    ) -> Rendered:
        """The text of one training step, and whether its picture is mirrored.

        `epoch` and `draw` (which repeat within the epoch) are any whole numbers. `samples`, how many samples
        the run has seen, is asked for by curves and schedules over samples, and by nothing else.
        """
        may_flip, flip, whole = self._drawn(record, epoch, draw, samples)
        caption, text = self.write(whole)
        return Rendered(text, may_flip, flip, caption.source.value)

    def draw_caption(
        self, record: Record, *, epoch: int = 0, draw: int = 0, samples: int | None = None
    ) -> Drawn:
        """The same as `render`, with the caption that the text was written from: its tags, its sentences."""
        may_flip, flip, whole = self._drawn(record, epoch, draw, samples)
        caption, text = self.write(whole)
        return Drawn(Rendered(text, may_flip, flip, caption.source.value), caption, whole)

    def _drawn(
        self, record: Record, epoch: int, draw: int, samples: int | None
    ) -> tuple[bool, bool, Caption]:
        """Whether the picture may be mirrored, whether it is, and the caption after the last step."""
        draws = Draws(self.seed, epoch, draw, record.id, samples)
        may_flip = self.flip.may_flip(record)
        flip = may_flip and self.flip.flip(record, draws.child(_FLIP))
        seen = self.flip.mirrored(record) if flip else record
        return may_flip, flip, run(self.steps, Caption.of(seen), draws)

    def render_many(
        self, record: Record, k: int, *, epoch: int = 0, samples: int | None = None
    ) -> tuple[Rendered, ...]:
        """The renderings of draws 0 to k - 1 of one epoch."""
        return tuple(self.render(record, epoch=epoch, draw=draw, samples=samples) for draw in range(k))

    def explain(
        self, record: Record, *, epoch: int = 0, draw: int = 0, samples: int | None = None
    ) -> Rendered:
        """The same as `render`, with the caption before and after every step, and the reason."""
        draws = Draws(self.seed, epoch, draw, record.id, samples).traced()
        flip_draws = draws.child(_FLIP)
        may_flip = self.flip.may_flip(record)
        flip = may_flip and self.flip.flip(record, flip_draws)
        before = Caption.of(record)
        whole = Caption.of(self.flip.mirrored(record)) if flip else before
        why = self._why_flip(record, flip, flip_draws)
        why += f"; {difference(before, whole)}" if whole != before else ""
        trace = [Step(_FLIP, "flip", before, whole, why)]
        caption = run(self.steps, whole, draws)
        trace += draws.trace or ()
        fitted, text = self.write(caption)
        if fitted is not caption:
            reason = f"over {self.text.max_tokens} tokens; {difference(caption, fitted)}"
            trace.append(Step("#text", "text", caption, fitted, reason))
        return Rendered(text, may_flip, flip, fitted.source.value, tuple(trace))

    def may_flip(self, record: Record) -> bool:
        """Whether any draw may mirror this picture, by the whole record, before any dropout."""
        return self.flip.may_flip(record)

    def write(self, caption: Caption) -> tuple[Caption, str]:
        """What of a caption fits into the token budget, and its text: the last thing that `render` does."""
        return self.text.write(caption, self.counter)

    @property
    def counter(self) -> Counter:
        """What counts the tokens of a text: the caller's own, or `estimate_tokens`."""
        return self._count_tokens or estimate_tokens

    def with_counter(self, count_tokens: Counter) -> CaptionPipeline:
        """The same pipeline with the caller's own token counter, which must not count begin and end marks.

        Without one, `captionkit.estimate_tokens` stands in. The counter is no part of the recipe: it is not
        dumped. The pipeline can be pickled if the counter can.
        """
        copy = self.model_copy()
        copy._count_tokens = count_tokens
        return copy

    def with_seed(self, seed: int) -> CaptionPipeline:
        """The same pipeline with another seed."""
        return self.model_copy(update={"seed": seed})

    def with_settings(self, settings: Mapping[str, Any]) -> CaptionPipeline:
        """The same pipeline with single settings changed: `{"empty_caption.p": 0.05, "flip.p": 0.0}`.

        A key is a step's address, as `explain` shows it, a dot and a field; steps inside others stand behind
        a slash (`short prompt/otherwise.rate`), and a kind that occurs once needs no `#0`. `flip` and `text`
        are the recipe's own tables. Raises `RecipeError` for an unknown step or field, with the nearest known
        one, and for a value that is not allowed there.
        """
        pipeline = self
        for address, value in settings.items():
            setting = read_setting(address, value)
            if setting.path == ("flip",):
                update: dict[str, Any] = {"flip": with_field(pipeline.flip, setting)}
            elif setting.path == ("text",):
                update = {"text": with_field(pipeline.text, setting)}
            else:
                update = {"steps": adjusted(pipeline.steps, setting)}
            pipeline = pipeline.model_copy(update=update)
        return pipeline

    def rates(self) -> dict[str, float | Curve]:
        """Every rate and weight of the recipe by its address, as `with_settings` takes them.

        >>> CaptionPipeline(steps=(), flip=FlipRule(p=0.25)).rates()
        {'flip.p': 0.25}
        """
        return dict(rates_in(self.steps)) | {"flip.p": self.flip.p}

    def _why_flip(self, record: Record, flip: bool, draws: Draws) -> str:
        if (forbidden := self.flip.forbidden_by(record)) is not None:
            pattern, why = forbidden
            return f"may not be mirrored: {why}" + ("" if pattern in NOT_TRUE else f" (pattern {pattern!r})")
        if not self.flip.may_flip(record):
            return "never mirrored: p is 0"
        return f"{'mirrored' if flip else 'not mirrored'}: {'; '.join(draws.notes or ())}"
