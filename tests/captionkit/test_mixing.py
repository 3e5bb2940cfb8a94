"""Mixing: which part is taken, which caption, and how much of it.

Every frequency is judged by `plausible`, at a false-alarm rate of 1e-6 for each comparison; there are about
30, so that all of them together would fail by chance less than once in 30,000 seeds. The seeds are fixed.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import Caption, CaptionPipeline, Draws, Policy, Prose, RecipeError, Record, Tag, load_pipeline
from captionkit.curves import Curve
from captionkit.policies import ChooseSource
from captionkit.policies.cut_prose import CutProse
from captionkit.prose.sentences import split_sentences
from captionkit.testing import captions, check_policy
from tests.captionkit.chances import plausible

TAGS = (Tag("fox"), Tag("tree"))
FIVE = Prose("One fox sleeps. Two foxes run. Three hide. Four wait. Five eat.", "cogvlm")


def draws(number: int, epoch: int = 0) -> Draws:
    return Draws(0, epoch, number, "a").child("here")


def num_sentences(caption: Caption) -> int:
    return len(split_sentences(caption.prose[0].text))


# ------------------------------------------------------------------------------------------------- laws


@given(captions(), st.integers(0, 99), st.floats(0.0, 1.0), st.sampled_from([None, ("cogvlm",)]))
def test_whole_first_sentences_stay(
    caption: Caption, number: int, share: float, sources: tuple[str, ...] | None
) -> None:
    after = CutProse(share=share, sources=sources).apply(caption, draws(number))
    assert len(after.prose) == len(caption.prose)
    assert after.tags == caption.tags
    for piece, was in zip(after.prose, caption.prose, strict=True):
        sentences = split_sentences(was.text)
        assert piece.source == was.source
        if sources is not None and was.source not in sources:
            assert piece == was
        elif piece != was:
            stay = piece.text.split()
            lengths = [len(" ".join(sentences[:k]).split()) for k in range(1, len(sentences))]
            assert stay == was.text.split()[: len(stay)]
            assert len(stay) in lengths


@given(captions(), st.integers(0, 99), st.integers(1, 6))
def test_so_many_sentences_stay(caption: Caption, number: int, count: int) -> None:
    after = CutProse(count=count).apply(caption, draws(number))
    for piece, was in zip(after.prose, caption.prose, strict=True):
        expected = split_sentences(was.text)[:count]
        assert piece.text.split() == " ".join(expected).split()


@given(captions(), st.integers(0, 99), st.dictionaries(st.sampled_from(["human", "cogvlm"]), st.just(0.0)))
def test_an_unwanted_caption_is_taken_only_for_want_of_anything_else(
    caption: Caption, number: int, weights: dict[str, float | Curve]
) -> None:
    after = ChooseSource(prose_weights=weights).apply(caption, draws(number))
    wanted = [piece for piece in caption.prose if piece.source not in weights]
    if caption.tags or wanted:
        assert all(piece in wanted for piece in after.prose)
    assert bool(after.tags or after.prose) == bool(caption.tags or caption.prose)


@given(captions(), st.integers(0, 99), st.floats(0.1, 5.0))
def test_one_source_alone_needs_no_weight(caption: Caption, number: int, weight: float) -> None:
    alone = caption.with_prose(tuple(piece for piece in caption.prose if piece.source == "cogvlm"))
    weighted = ChooseSource(prose_weights={"cogvlm": weight, "human": 3.0}).apply(alone, draws(number))
    assert weighted.source is ChooseSource().apply(alone, draws(number)).source


@pytest.mark.parametrize(
    "policy",
    [
        ChooseSource(prose_weights={"cogvlm": 2.0, "human": 0.0}),
        ChooseSource(tags=0.0, prose_weights={"cogvlm": Curve(points=((0.0, 0.0), (3.0, 1.0)))}),
        CutProse(p=0.5, share=(0.0, 1.0)),
        CutProse(count=(1, 3), sources=("cogvlm",)),
        CutProse(count=2),
    ],
    ids=lambda policy: str(policy)[:60],
)
def test_laws(policy: Policy) -> None:
    check_policy(policy)


# --------------------------------------------------------------------------------------------- examples


def test_a_caption_that_is_not_cut_keeps_its_line_breaks() -> None:
    piece = Prose("A fox.\nA tree.")
    caption = Caption(TAGS, (piece,))
    assert CutProse(share=1.0).apply(caption, draws(0)) is caption
    assert CutProse(share=0.5).apply(caption, draws(0)).prose == (Prose("A fox."),)


def test_only_captions_of_the_sources_named_are_cut() -> None:
    human = Prose(FIVE.text, "human")
    after = CutProse(count=1, sources=("cogvlm",)).apply(Caption(prose=(human, FIVE)), draws(0))
    assert after.prose == (human, Prose("One fox sleeps.", "cogvlm"))


def test_a_share_of_nothing_keeps_one_sentence() -> None:
    after = CutProse(share=0.0).apply(Caption(prose=(FIVE,)), draws(0))
    assert after.prose[0].text == "One fox sleeps."


def test_the_explanation_says_how_many_sentences_stay() -> None:
    record = Record("a", TAGS, (FIVE,))
    trace = CaptionPipeline(steps=(CutProse(count=2),)).explain(record).trace
    assert trace[-1].reason.endswith("cogvlm: 2 of 5 sentences stay")


def test_weights_may_change_over_the_run() -> None:
    human, model = Prose("A.", "human"), Prose("B.", "cogvlm")
    later = Curve(points=((0.0, 0.0), (4.0, 1.0)), shape="steps")
    policy = ChooseSource(tags=0.0, both=0.0, prose_weights={"human": later, "cogvlm": 1.0})
    caption = Caption(TAGS, (human, model))
    assert {policy.apply(caption, draws(number)).prose for number in range(40)} == {(model,)}
    assert {policy.apply(caption, draws(number, 4)).prose for number in range(40)} == {(human,), (model,)}


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"kind": "cut_prose"}, "steps[0] (cut_prose): neither is given: give either `count` or `share`"),
        (
            {"kind": "cut_prose", "count": [0, 2]},
            "steps[0] (cut_prose): count is 0; at least one sentence stays, so it must be 1 or above",
        ),
        (
            {"kind": "choose_source", "prose_weights": {"a": -1}},
            "steps[0].prose_weights.a (choose_source): input should be greater than or equal to 0, got -1",
        ),
    ],
)
def test_error(step: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_pipeline({"steps": [step]}, kinds=[CutProse])
    assert str(caught.value) == message


# ------------------------------------------------------------------------------------------ frequencies


@pytest.mark.statistics
@pytest.mark.parametrize(
    ("policy", "numbers"),
    [
        (CutProse(share=(0.0, 1.0)), range(1, 6)),
        (CutProse(share=(0.4, 0.8)), range(3, 5)),
        (CutProse(count=(2, 4)), range(2, 5)),
    ],
)
def test_every_length_of_a_range_is_as_likely(policy: CutProse, numbers: range) -> None:
    caption = Caption(prose=(FIVE,))
    counts = Counter(num_sentences(policy.apply(caption, draws(number))) for number in range(4000))
    assert set(counts) == set(numbers)
    assert all(plausible(count, 4000, 1 / len(numbers)) for count in counts.values())


@pytest.mark.statistics
def test_how_often_captions_are_cut() -> None:
    caption = Caption(prose=(FIVE,))
    policy = CutProse(p=0.3, count=2)
    cut = sum(num_sentences(policy.apply(caption, draws(number))) == 2 for number in range(4000))
    assert plausible(cut, 4000, 0.3)


@pytest.mark.statistics
def test_whether_and_where_a_caption_is_cut_are_independent() -> None:
    # One number for both would cut only to the lengths that low numbers stand for.
    policy, caption = CutProse(p=0.5, share=(0.0, 1.0)), Caption(prose=(FIVE,))
    counts = Counter(num_sentences(policy.apply(caption, draws(number))) for number in range(4000))
    assert plausible(counts[5], 4000, 0.5 + 0.5 / 5)
    assert all(plausible(counts[number], 4000, 0.5 / 5) for number in range(1, 5))


@pytest.mark.statistics
def test_two_captions_are_cut_independently() -> None:
    caption = Caption(prose=(FIVE, Prose(FIVE.text, "human")))
    after = [CutProse(count=(1, 2)).apply(caption, draws(number)).prose for number in range(4000)]
    pairs = Counter((one.text.count("."), other.text.count(".")) for one, other in after)
    assert set(pairs) == {(1, 1), (1, 2), (2, 1), (2, 2)}
    assert all(plausible(number, 4000, 0.25) for number in pairs.values())


@pytest.mark.statistics
def test_the_weight_belongs_to_the_source_however_many_captions_it_wrote() -> None:
    captions_of = {"cogvlm": 1, "human": 3, "llava": 1, "other": 1}
    prose = tuple(
        Prose(f"{source} {at}.", source) for source, num in captions_of.items() for at in range(num)
    )
    policy = ChooseSource(prose_weights={"cogvlm": 2.0, "human": 0.5, "llava": 0.0})
    chosen = Counter(
        (after.source.value, after.prose[0].text if after.prose else "")
        for number in range(20_000)
        for after in [policy.apply(Caption(TAGS, prose), draws(number))]
    )
    by_text: Counter[str] = Counter()
    for (_, text), number in chosen.items():
        by_text[text] += number
    # Tags 0.7 of all; the other 0.3 by 2 to 0.5 to 1, and the share of human by its three captions.
    shares = {"": 0.7, "cogvlm 0.": 0.3 * 4 / 7, "other 0.": 0.3 * 2 / 7}
    shares |= {f"human {at}.": 0.3 / 21 for at in range(3)}
    assert set(by_text) == set(shares)
    assert all(plausible(by_text[text], 20_000, share) for text, share in shares.items())
    # Which caption it is does not hang on what stands beside it.
    both = sum(
        number for (source, text), number in chosen.items() if "both" in source and text == "cogvlm 0."
    )
    assert plausible(both, 20_000, 0.1 * 4 / 7)


@pytest.mark.statistics
@pytest.mark.parametrize(("weights", "share"), [(None, 2 / 3), ({}, 1 / 2), ({"human": 3.0}, 3 / 4)])
def test_the_share_of_a_source_with_two_captions_of_three(
    weights: dict[str, float | Curve] | None, share: float
) -> None:
    prose = (Prose("A.", "human"), Prose("B.", "human"), Prose("C.", "cogvlm"))
    policy = ChooseSource(prose_weights=weights)
    taken = [policy.apply(Caption(prose=prose), draws(number)).prose[0].source for number in range(4000)]
    assert plausible(taken.count("human"), 4000, share)
