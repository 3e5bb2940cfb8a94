"""`check_policy`: one policy, every law."""

from __future__ import annotations

import copy
import json
import pickle
import tomllib
from collections.abc import Iterable

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from captionkit.draws import Draws
from captionkit.load import dump_pipeline, dump_toml, load_pipeline
from captionkit.pipeline import CaptionPipeline
from captionkit.policies import BUILT_IN
from captionkit.policy import Policy, Rule
from captionkit.record import Caption, Record
from captionkit.testing.laws import check_closures, check_laws, check_repeats
from captionkit.testing.processes import check_processes
from captionkit.testing.samples import sample_records
from captionkit.testing.strategies import captions, records


def check_policy(
    policy: Policy,
    *,
    kinds: Iterable[type[Policy]] = (),
    max_examples: int | None = None,
    processes: bool = False,
) -> None:
    """Run every law that applies to a policy; an `AssertionError` names the law that it breaks.

    Laws for all:

    - the same address gives the same caption, whatever was rendered before; the input and the policy itself
      stay as they are; explained, it does the same;
    - an empty caption is fine; tag names stay distinct, no caption is left without text, what is known about
      the picture stays known, and the text is one line that a token budget can cut;
    - other steps' draws stay where they are, and so do its own; inside a combinator it does the same;
    - another record beside it changes no record's caption; other repeats, seeds, records and steps draw
      otherwise;
    - as JSON, as TOML, copied and pickled it comes back equal and does the same;
    - implications that it holds are closed.

    Besides these, the laws that `policy.claims()` names. With `processes`, four worker processes, forked and
    fresh, give what this one gives; that takes seconds, and the policy's class must be importable.

    `kinds` are classes of your own that a combinator holds; the policy's own class is known. `max_examples`
    overrides the number of the hypothesis profile.
    """
    check_round_trips(policy, {type(policy), *kinds} - set(BUILT_IN))
    check_closures(policy)
    if not isinstance(policy, Rule):
        check_repeats(policy, Caption.of(sample_records(1)[0]))
    addresses = st.builds(
        Draws,
        *(st.integers(), st.integers(0, 9), st.integers(0, 9), st.text(min_size=1, max_size=5)),
        st.integers(0, 10**6),
    )

    def keeps_its_laws(caption: Caption, draws: Draws) -> None:
        check_laws(policy, caption, draws)

    def keeps_records_apart(several: list[Record], one_more: Record, place: int) -> None:
        check_records(policy, several, one_more, place)

    lists = st.lists(records(), min_size=1, max_size=3, unique_by=lambda record: record.id)
    # Without the phase that comments a failing example, whose tracing makes finding a small one slow.
    phases = [phase for phase in settings().phases if phase is not Phase.explain]
    chosen = settings(max_examples=max_examples or settings().max_examples, phases=phases)
    chosen(given(captions(), addresses)(keeps_its_laws))()
    fewer = settings(chosen, max_examples=max(1, chosen.max_examples // 4))
    fewer(given(lists, records(), st.integers(0, 3))(keeps_records_apart))()
    if processes:
        check_processes(CaptionPipeline(steps=(policy,)), sample_records())


def check_round_trips(policy: Policy, own: set[type[Policy]]) -> None:
    """As JSON, as TOML, copied and pickled, a policy comes back equal, and does the same.

    `own` are the classes in it that are not built in.
    """
    pipeline = CaptionPipeline(steps=(policy,))
    data, toml = json.dumps(dump_pipeline(pipeline)), dump_toml(pipeline)
    again = {
        "load(dump(p)) is not p, as JSON": load_pipeline(json.loads(data), kinds=own),
        "load(dump(p)) is not p, as TOML": load_pipeline(tomllib.loads(toml), kinds=own),
        "the pickled policy is not the policy": pickle.loads(pickle.dumps(pipeline)),
        "the copied policy is not the policy": copy.deepcopy(pipeline),
    }
    some = sample_records(4)
    texts = [pipeline.render(record, epoch=1, samples=1) for record in some]
    for broken, other in again.items():
        assert other == pipeline, broken
        assert [other.render(record, epoch=1, samples=1) for record in some] == texts, broken


def check_records(policy: Policy, several: list[Record], one_more: Record, place: int) -> None:
    """One more record among several changes nothing for these."""

    def apply(record: Record) -> Caption:
        return policy.apply(Caption.of(record), Draws(0, 0, 0, record.id, 0).child("here"))

    alone = [apply(record) for record in several]
    before = [apply(record) for record in several[:place]]
    apply(one_more)
    behind = [apply(record) for record in several[place:]]
    assert before + behind == alone, "one more record changed another record's caption"
