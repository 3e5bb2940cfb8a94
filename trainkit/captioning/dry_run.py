"""What a run would do, without any model."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from trainkit.additions.lines import header_of, lines_of
from trainkit.additions.places import check_prepared, file_of, journal_of
from trainkit.captioning.choose import Choice
from trainkit.captioning.config import CaptionConfig
from trainkit.captioning.made_by import named_model, recorded_model
from trainkit.captioning.plan import Plan, choose_pictures, plan_of, prompts_of
from trainkit.captioning.preview import even_sample
from trainkit.captioning.run import check_some, told_plan
from trainkit.captioning.silent import silent_placeholders
from trainkit.manifest_pictures import ManifestPictures

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class DryRun:
    """What would be done."""

    choice: Choice
    plan: Plan
    told: str
    prompts: Counter[str]
    """Captions to ask for, by the prompt's name."""
    sent: tuple[tuple[str, str, str], ...]
    """(id, name of the prompt, the prompt as sent) of a few pictures."""
    silent: tuple[str, ...]
    """What is odd about placeholders."""

    def describe(self) -> str:
        """For people."""
        told = [self.told]
        if len(self.prompts) > 1:
            told.append("by prompt: " + ", ".join(f"{name} {n:,}" for name, n in self.prompts.items()))
        told += [f"note: {note}" for note in self.silent]
        for id, name, text in self.sent:
            told.append(f"\n{id} ({name}):\n  " + text.replace("\n", "\n  "))
        return "\n".join(told) + "\n"

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "pictures": self.choice.seen,
            "chosen": len(self.choice.rows),
            "to_ask": self.plan.count,
            "answered": self.plan.answered,
            "prompts": dict(self.prompts),
            "sent": [{"id": id, "prompt": name, "text": text} for id, name, text in self.sent],
            "notes": list(self.silent),
        }


def dry_run(config: CaptionConfig) -> DryRun:
    """Look, and write nothing. Raises TrainkitError for what can be mended."""
    check_prepared(config.data)
    pictures = ManifestPictures.open(config.data, transparent_as=config.transparent_as)
    choice = choose_pictures(pictures, config)
    check_some(choice, len(pictures), config.choose)
    done = {source: _answered(config, source) for source in config.sources}
    plan = plan_of(pictures, config, choice.rows, done)
    model = named_model(config) or recorded_model(config.data, config.sources)
    sent = []
    for row in even_sample(choice.rows, _SHOWN):
        record = pictures.record(row)
        for prompt in prompts_of(config, record.id):
            sent.append((record.id, prompt.name, prompt.ask(record, config.words, config.ours)))
    records = (pictures.record(row) for row in even_sample(choice.rows, 2000))
    return DryRun(
        choice,
        plan,
        told_plan(choice, plan, model),
        Counter(name for names in plan.todo.values() for name in names),
        tuple(sent),
        tuple(silent_placeholders(config, records)),
    )


def _answered(config: CaptionConfig, source: str) -> frozenset[int]:
    """Keys of what a source has, read without opening its journal."""
    files = [file_of(config.data, source), *sorted(journal_of(config.data, source).glob("rank-*.jsonl"))]
    return frozenset(lines_of([path for path in files if header_of(path) is not None]).found["key"].tolist())
