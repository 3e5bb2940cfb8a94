"""The steps that do to captions what the options of one kohya subset do, in the order in which they do it."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import floor

from captionkit.importing.kohya_folders import Texts
from captionkit.importing.written import COMMENT, Step
from captionkit.readers.kohya_caption import parted
from captionkit.readers.kohya_config import KohyaSubset
from captionkit.record import parse_tags

MAX_EMPTY_EPOCHS = 50
"""A curve names epochs one by one; so many of `caption_dropout_every_n_epochs` are written out."""


@dataclass(frozen=True, slots=True)
class Change:
    """An option that is not kept exactly."""

    where: str
    """File and line."""
    option: str
    instead: str
    """What happens instead."""
    do: str
    """What can be done about it."""

    def __str__(self) -> str:
        return f"{self.where}: {self.option}: {self.instead} ({self.do})"


@dataclass(frozen=True, slots=True)
class MadeSteps:
    """The steps of a subset."""

    steps: list[Step] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)


def batch_matters(subset: KohyaSubset) -> bool:
    """Whether the steps depend on the batch size: a warm-up counts samples, there steps."""
    return bool(subset.get("token_warmup_step"))


def steps_of(
    subset: KohyaSubset, max_train_steps: int | None = None, texts: Texts | None = None
) -> MadeSteps:
    """The steps of a subset, each with a comment that names its option, and what they do not keep of texts
    such as these."""
    made = _Maker(subset, max_train_steps, texts or Texts())
    made.empty()
    made.source()
    made.around()
    made.wildcards()
    made.between(made.moving())
    made.glued()
    made.separator()
    return MadeSteps(made.steps, made.changes)


class _Maker:
    """Goes through the options in the order of sd-scripts' `process_caption`."""

    def __init__(self, subset: KohyaSubset, max_train_steps: int | None, texts: Texts) -> None:
        self.subset = subset
        self.max_train_steps = max_train_steps
        self.texts = texts
        self.steps: list[Step] = []
        self.changes: list[Change] = []
        self.get = subset.get
        self.moves = bool(
            self.get("shuffle_caption")
            or self.get("token_warmup_step")
            or self.get("caption_tag_dropout_rate")
        )

    def changed(self, option: str, instead: str, do: str) -> None:
        self.changes.append(Change(self.subset.places[option], option, instead, do))

    def empty(self) -> None:
        """The whole caption, by chance or in every n-th epoch."""
        rate, every = float(self.get("caption_dropout_rate")), self.get("caption_dropout_every_n_epochs")
        if every == 1:
            comment = "caption_dropout_every_n_epochs = 1: every caption of every epoch is empty."
            self.steps.append({COMMENT: comment, "kind": "empty_caption", "p": 1.0})
        elif every > 1:
            last = every * MAX_EMPTY_EPOCHS
            points: list[list[float]] = [[0, rate]]
            for epoch in range(every, last + 1, every):
                points += [[epoch, 1.0], [epoch + 1, rate]]
            curve = {"over": "epoch", "shape": "steps", "points": points}
            comment = f"caption_dropout_rate, and every epoch that {every} divides without captions"
            self.steps.append({COMMENT: f"{comment}.", "kind": "empty_caption", "p": curve})
            self.changed(
                "caption_dropout_every_n_epochs",
                f"the epochs without captions are named one by one, up to epoch {last}",
                "if the training is longer, add points to p of empty_caption",
            )
        elif rate:
            comment = "caption_dropout_rate. First, as there: prefix and fixed tags leave too."
            self.steps.append({COMMENT: comment, "kind": "empty_caption", "p": rate})

    def source(self) -> None:
        """Caption and tags of metadata; the lines of a text."""
        if "metadata_file" in self.subset.values:
            comment = "Metadata: the caption and behind it the tags."
            weights = {"tags": 0.0, "caption": 0.0, "both": 1.0, "tags_first": 0.0}
            self.steps.append({COMMENT: comment, "kind": "choose_source", **weights})
        elif self.get("enable_wildcard"):
            self.steps.append(
                {
                    COMMENT: "enable_wildcard, for texts of several lines: the first gives the tags.",
                    "kind": "when",
                    "facts": {"kohya.lines": {"min": 2}},
                    "then": {"kind": "choose_source", "tags": 1.0, "caption": 1.0, "both": 0.0},
                }
            )
            if self.texts.lines:
                self.changed(
                    "enable_wildcard",
                    "of a text with several lines, the first (as tags) is drawn half of the time and the"
                    " others share the other half, as whole captions whose commas part no tags; there every"
                    " line is as likely, and is parted at its commas",
                    "texts of one line are not concerned; else set caption in choose_source to the number of"
                    " other lines",
                )

    def around(self) -> None:
        """What stands before and behind every caption."""
        separator, keep = self.get("caption_separator"), self.get("keep_tokens_separator").strip()
        prefix, suffix = self.get("caption_prefix").strip(), self.get("caption_suffix").strip()
        ends = tuple(mark for mark in (separator.strip() or separator, keep) if mark)
        before, behind = _names(prefix, separator, keep), _names(suffix, separator, keep)
        if keep in before:  # A tag can stand once: the second separator is another.
            behind = [f"{keep} {keep}" if name == keep else name for name in behind]
        glued = []
        for option, text, names, parts, where in (
            ("caption_prefix", prefix, before, prefix.endswith(ends), "first"),
            ("caption_suffix", suffix, behind, suffix.startswith(ends), "last"),
        ):
            if not names:
                continue
            if not parts:
                glued.append((option, text))
                continue
            moved = self.moves and not (where == "first" and len(names) <= self.get("keep_tokens"))
            moved = moved and not any(keep and keep in name for name in names)
            comment = f"{option}. Tags like the others, as there"
            comment += ": they are shuffled and dropped too." if moved else "."
            self.steps.append(
                {COMMENT: comment, "kind": "add_tags", "tags": names, "where": where, "important": False}
            )
        self._glued_around(glued)

    def _glued_around(self, glued: list[tuple[str, str]]) -> None:
        """A prefix or suffix that no separator parts from the caption."""
        if not glued:
            return
        texts = {option: text.replace("{", "{{").replace("}", "}}") for option, text in glued}
        template = f"{texts.get('caption_prefix', '')} {{}} {texts.get('caption_suffix', '')}".strip()
        comment = f"{' and '.join(texts)}: around the whole caption."
        self.steps.append({COMMENT: comment, "kind": "template", "templates": [template]})
        for option, text in glued:
            if self.moves:
                end = "first" if option == "caption_prefix" else "last"
                self.changed(
                    option,
                    f"{text!r} stays where it is; there it becomes part of the {end} tag, and is shuffled and"
                    " dropped with it",
                    "with a comma between them it would be a tag, and be treated as there",
                )

    def wildcards(self) -> None:
        """`{a|b}`."""
        if not self.get("enable_wildcard"):
            return
        self.steps.append({COMMENT: "enable_wildcard, for {a|b}.", "kind": "wildcards"})
        if self.texts.braces:
            self.changed(
                "enable_wildcard",
                "choices nest and have weights ({2::a|b}), and braces without a | stay, such as {:; there {a}"
                " becomes a, and nested choices break",
                "texts without braces, and with {a|b} alone, are not concerned",
            )

    def moving(self) -> list[Step]:
        """What moves or drops the tags that are not fixed."""
        steps = self._warm_up()
        if self.get("shuffle_caption"):
            steps.append({COMMENT: "shuffle_caption", "kind": "shuffle_tags"})
        if rate := float(self.get("caption_tag_dropout_rate")):
            steps.append({COMMENT: "caption_tag_dropout_rate", "kind": "drop_tags", "rate": rate})
        return steps

    def _warm_up(self) -> list[Step]:
        """Few of the first tags in the beginning, and step by step all of them."""
        until, least = self.get("token_warmup_step"), self.get("token_warmup_min")
        if not until:
            return []
        if until < 1:
            if self.max_train_steps is None:
                self.changed(
                    "token_warmup_step",
                    f"left out: it is a share ({until:g}) of the training's steps, which stand elsewhere",
                    "give --max-train-steps",
                )
                return []
            until = floor(until * self.max_train_steps)
        batch = self.get("batch_size")
        share = {"over": "samples", "points": [[0, 0.0], [until * batch, 1.0]]}
        step: Step = {"kind": "keep_tags", "which": "first", "share": share}
        if least:
            step = {"kind": "keep_fixed", "first": least, "separator": "", "then": step}
        self.changed(
            "token_warmup_step",
            "the number of tags is rounded up, there down, so that one more is seen for a while; and it grows"
            f" with the samples that were seen: {until} steps of {batch} are {until * batch} samples",
            f"where a step sees more than {batch}, by several processes or accumulated gradients, write"
            f" {until} times that number for {until * batch} in the recipe; the adapter counts steps and"
            " needs nothing",
        )
        return [{COMMENT: "token_warmup_min and token_warmup_step"} | step] if until else []

    def between(self, steps: list[Step]) -> None:
        """The tags that stay where they are, around the steps for the others."""
        first, keep = self.get("keep_tokens"), self.get("keep_tokens_separator").strip()
        fixes = bool(first or keep)
        if keep and not self.moves:
            self.changed(
                "keep_tokens_separator",
                f"{keep!r} is taken out of the text; there it stays in it, since nothing moves or drops tags",
                "nothing to do",
            )
        if not fixes or not (steps or keep):
            self.steps += steps
            return
        comment = " and ".join(
            option for option in ("keep_tokens", "keep_tokens_separator") if self.get(option)
        )
        then = bare_or_sequence(steps)
        self.steps.append(
            {COMMENT: f"{comment}.", "kind": "keep_fixed", "first": first, "separator": keep, "then": then}
        )

    def glued(self) -> None:
        """Tags that went through all this as one."""
        if not (separator := self.get("secondary_separator").strip()):
            return
        self.steps.append({COMMENT: "secondary_separator", "kind": "split_tags", "separator": separator})
        self.changed("secondary_separator", "its tags are written 'a, b', there 'a,b'", "nothing to do")

    def separator(self) -> None:
        """What stands between two tags."""
        if (separator := self.get("caption_separator")) != ",":
            self.changed(
                "caption_separator",
                "parts the tags when they are read; written is ', ', as by sd-scripts until 2026-06 where it"
                " moved or dropped tags",
                f"for later versions set [text] tag_separator = {separator!r}",
            )


def bare_or_sequence(steps: list[Step]) -> Step:
    """One step as it is, several as a sequence."""
    return steps[0] if len(steps) == 1 else {"kind": "sequence", "steps": steps}


def _names(text: str, separator: str, keep: str) -> list[str]:
    """The tags of a prefix or suffix, keep separators among them."""
    return [tag.name for tag in parted(parse_tags(text, separator=separator or ","), keep)]
