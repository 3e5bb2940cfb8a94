"""The run of ``trainkit caption``: choose, ask, clean, judge, write down; at the end into the manifest.

Every answer is in the journal before the next one is taken, with what the model said and what cleaning made
of it. A run that is killed asks again only what was on its way.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainkit.additions.finished import read_additions
from trainkit.additions.journal import Journal, open_journal
from trainkit.additions.lines import header_of
from trainkit.additions.merge import Merged, merge_additions
from trainkit.additions.places import check_prepared, file_of
from trainkit.captioning.captioner import Captioner
from trainkit.captioning.choose import Choice, ChooseConfig
from trainkit.captioning.config import CaptionConfig
from trainkit.captioning.estimate import cost_of, money
from trainkit.captioning.failed import failed_keys
from trainkit.captioning.judged import Judge, state_of
from trainkit.captioning.made_by import check_served, made_by, named_model, recorded_model
from trainkit.captioning.meter import Meter, duration
from trainkit.captioning.plan import Plan, choose_pictures, plan_of
from trainkit.captioning.questions import Questions
from trainkit.captioning.tally import Tally
from trainkit.errors import TrainkitError
from trainkit.manifest_pictures import ManifestPictures
from trainkit.ranks import Ranks, joined
from trainkit.signals import Stop, Stopped


@dataclass(frozen=True, slots=True)
class Result:
    """What a run did."""

    choice: Choice
    asked: int
    """Answers that this start had, those with problems included."""
    seconds: float
    """Of questions."""
    tokens: tuple[int, int]
    """Read and written by this start."""
    tally: Tally
    """Of all that the run and its earlier starts have."""
    merged: Merged
    cost: float | None
    """Of all tokens, by the server's prices; None without prices."""

    def describe(self) -> str:
        """For people."""
        tally = self.tally
        told = [f"{tally.captioned:,} captions are in {self.merged.manifest}"]
        if self.asked:
            told[0] += f"; {self.asked:,} asked in {duration(self.seconds)}"
            told[0] += f", {self.asked / self.seconds:.2f} a second"
        if tally.refused:
            faults = ", ".join(f"{fault} {count:,}" for fault, count in tally.faults.most_common())
            told.append(f"{tally.refused:,} refused by the gate: {faults}")
        told.append(f"mean {tally.mean_tokens:.0f} tokens an answer, {tally.mean_words:.0f} words a caption")
        if self.cost is not None:
            told[-1] += f"; all answers cost {money(self.cost)}"
        if tally.failed:
            told.append(f"{tally.failed:,} have no answer (--retry-failed asks again):")
            told += [f"  {id}: {problem}" for id, problem in tally.problems[:5]]
            told += [f"  and {tally.failed - 5:,} more, in the report"] if tally.failed > 5 else []
        return "\n".join(told)

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "pictures": self.choice.seen,
            "chosen": len(self.choice.rows),
            "asked": self.asked,
            "seconds": round(self.seconds, 3),
            **self.tally.summary(),
            "cost": self.cost,
            "manifest": str(self.merged.manifest),
            "fingerprint": self.merged.fingerprint,
        }


def caption(
    config: CaptionConfig,
    stop: Stop,
    *,
    restart: bool = False,
    retry_failed: bool = False,
    show: bool = True,
) -> Result | None:
    """Caption the chosen pictures of a manifest; None in all processes but the first.

    ``restart`` asks everything anew; ``retry_failed`` asks again about pictures that had no answer.

    Raises TrainkitError for what can be mended, Stopped when it was asked to stop.
    """
    with joined() as ranks, ExitStack() as stack:
        # Which pictures, and which of their prompts were not answered before.
        check_prepared(config.data)
        pictures = ManifestPictures.open(config.data, transparent_as=config.transparent_as)
        choice = choose_pictures(pictures, config)
        check_some(choice, len(pictures), config.choose)

        # The model's name is among what must not change; where the run file has none, the servers are asked.
        model = named_model(config) or ("" if restart else recorded_model(config.data, config.sources))
        captioner = None if model else stack.enter_context(config.backend.open(config.sampling))
        model = model if captioner is None else captioner.model
        journals = _open(config, model, ranks, restart, stack)
        done: dict[str, Set[int]] = {source: journal.done for source, journal in journals.items()}
        if retry_failed:
            done = {name: set(done[name]) - failed_keys(config.data, name, ranks.rank) for name in done}
        plan = plan_of(pictures, config, choice.rows, done, rank=ranks.rank, world=ranks.world)
        judge = Judge(config.clean, config.gate)
        show = show and ranks.speaks
        if show:
            print(told_plan(choice, plan, model, ranks.world))

        # Ask, clean, judge, write down. The model is loaded only when there is something to ask.
        meter = Meter(plan.count, plan.answered, show=show)
        if plan.count:
            captioner = captioner or stack.enter_context(config.backend.open(config.sampling))
            if not named_model(config):
                check_served(model, captioner.model)
            with meter, meter.telling(captioner):
                _ask_all(config, pictures, captioner, plan, judge, journals, meter, stop)

        # Together again: make one file of all journals.
        for journal in journals.values():
            journal.sync()
        ranks.wait()
        if not ranks.speaks:
            return None
        for journal in journals.values():
            journal.finish()
        stack.close()

        # What was cleaned or judged by other settings before is judged by these; then all goes in.
        tally, merged = _bring_in(config, judge, show)
        cost = cost_of(config, tally.tokens_in, tally.tokens_out)
        tokens = (meter.tokens_in, meter.tokens_out)
        return Result(choice, meter.asked, meter.seconds, tokens, tally, merged, cost)


def _bring_in(config: CaptionConfig, judge: Judge, show: bool) -> tuple[Tally, Merged]:
    """Judge again what other settings judged, count all, and merge it into the manifest."""
    tally = Tally()
    for source in config.sources:
        judge_again(config.data, source, judge)
        for addition in read_additions(config.data, source):
            tally.add(addition)
    merged = merge_additions(config.data, show=show)
    return tally, merged


def _ask_all(
    config: CaptionConfig,
    pictures: ManifestPictures,
    captioner: Captioner,
    plan: Plan,
    judge: Judge,
    journals: Mapping[str, Journal],
    meter: Meter,
    stop: Stop,
) -> None:
    questions = Questions(pictures, config, captioner.model)
    requests = questions.requests(plan.todo, lambda: stop.asked is not None)
    try:
        for answer in stop.noting(captioner.answers(requests)):
            source, addition = questions.addition(questions.answered(answer), answer, judge)
            journals[source].append([addition])
            meter.add(answer, state_of(addition))
            for source, addition in questions.failures():
                journals[source].append([addition])
                meter.add_failure()
        for source, addition in questions.failures():
            journals[source].append([addition])
            meter.add_failure()
    except Stopped as stopped:
        whole = plan.count + plan.answered
        told = f"with {plan.answered + meter.counted:,} of {whole:,} captions, which are kept"
        raise Stopped(stopped.number, told) from None


def judge_again(manifest: Path, source: str, judge: Judge) -> int:
    """Clean and judge what was finished by other settings, from what the model said; how many there were."""
    changed = 0
    if all(judge.again(addition, source) is addition for addition in read_additions(manifest, source)):
        return 0
    header = header_of(file_of(manifest, source))
    assert header is not None  # Its lines were read.
    with open_journal(manifest, source, header.settings) as journal:
        for addition in read_additions(manifest, source):
            if (again := judge.again(addition, source)) is not addition:
                journal.append([again])
                changed += 1
        journal.finish()
    return changed


def check_some(choice: Choice, rows: int, config: ChooseConfig) -> None:
    """Raise TrainkitError when no picture was chosen."""
    if choice.rows:
        return
    told = (
        f"choose: none of {rows:,} pictures is chosen: {choice.captioned:,} have a caption already, and the "
        f"filter leaves {choice.left:,}; raise choose.share, loosen choose.any and choose.none, or set "
        'choose.skip = "nothing"'
    )
    if choice.left and choice.captioned and config.way == "random":
        # Two runs with one seed draw the same pictures, and the first has captioned them.
        told += f", or draw other pictures than those with a caption: choose.seed={config.seed + 1}"
    raise TrainkitError(told)


def told_plan(choice: Choice, plan: Plan, model: str, world: int = 1) -> str:
    """What will be done, in two lines."""
    passed = f"; {choice.captioned:,} with a caption were passed over" if choice.captioned else ""
    told = (
        f"{len(choice.rows):,} of {choice.seen:,} pictures are chosen{passed}\n"
        f"{plan.count:,} captions to ask of {model or 'the model that is served'}"
    )
    told += f", {plan.answered:,} are there already" if plan.answered else ""
    return told + (f" (the share of the first of {world} processes)" if world > 1 else "")


def _open(
    config: CaptionConfig, model: str, ranks: Ranks, restart: bool, stack: ExitStack
) -> dict[str, Journal]:
    """The journal of each source."""
    return {
        source: stack.enter_context(
            open_journal(
                config.data,
                source,
                made_by(config, source, model),
                rank=ranks.rank,
                world=ranks.world,
                restart=restart,
            )
        )
        for source in config.sources
    }
