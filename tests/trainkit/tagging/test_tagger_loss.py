"""The losses of a tagger against torch's own and against the papers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from trainkit.tagging.label import Label
from trainkit.tagging.loss import LossConfig, TaggerLoss, Truth, nnpu
from trainkit.tagging.outputs import Outputs

OUTPUTS = Outputs(
    (Label("a"), Label("day", None, "light"), Label("night", None, "light"), Label("b")), ("light",)
)


def loss_of(counts: tuple[int, ...] = (2, 3, 3, 2), **settings: Any) -> TaggerLoss:
    return TaggerLoss(LossConfig(**settings), OUTPUTS, np.array(counts), 8)


def truth(
    present: list[list[int]], certain: list[int] | None = None, unknown: list[int] | None = None
) -> Truth:
    there = torch.tensor(present, dtype=torch.bool)

    def same(row: list[int] | None) -> torch.Tensor:
        return torch.tensor([row or [0] * there.shape[1]] * len(there), dtype=torch.bool)

    return Truth(there, same(certain), same(unknown))


LOGITS = torch.tensor([[0.3, -1.0, 2.0, 4.0, 0.1], [-2.0, 0.5, 0.2, -6.0, 1.0]])
BOTH = [[1, 0, 1, 0], [0, 1, 0, 1]]


def test_plain_losses_are_those_of_torch() -> None:
    got = loss_of(group_smoothing=0.1)(LOGITS, truth(BOTH))
    single = F.binary_cross_entropy_with_logits(
        LOGITS[:, [0, 3]], torch.tensor(BOTH)[:, [0, 3]].float(), reduction="none"
    ).sum(dim=1)
    group = F.cross_entropy(LOGITS[:, [1, 2, 4]], torch.tensor([1, 0]), label_smoothing=0.1, reduction="none")
    assert torch.allclose(got, single + group, atol=1e-6)


def test_focal_and_asymmetric_become_the_plain_loss() -> None:
    plain = loss_of()(LOGITS, truth(BOTH))
    assert torch.allclose(loss_of(kind="focal", gamma=0.0)(LOGITS, truth(BOTH)), plain, atol=1e-6)
    asymmetric = loss_of(kind="asymmetric", gamma=0.0, margin=0.0)(LOGITS, truth(BOTH))
    assert torch.allclose(asymmetric, plain, atol=1e-4)
    # What is right already counts less, what is wrong stays.
    focal = loss_of(kind="focal", gamma=2.0)(LOGITS, truth(BOTH))
    assert (focal < plain).all()


@given(st.sampled_from(["bce", "focal", "asymmetric"]))
def test_nothing_is_learned_of_what_is_unknown(kind: str) -> None:
    logits = LOGITS.clone().requires_grad_()
    torch.autograd.backward(loss_of(kind=kind)(logits, truth(BOTH, unknown=[1, 1, 0, 0])).sum())
    assert logits.grad is not None
    assert (logits.grad[:, [0, 1, 2, 4]] == 0).all()  # The whole group, where one of it knows sides.
    assert (logits.grad[:, 3] != 0).all()


def test_what_a_person_said_counts_in_full() -> None:
    weak = loss_of(absent_is=0.1, absent_weight=0.25)
    nothing = [[0, 1, 0, 0]] * 2
    guessed = weak(LOGITS, truth(nothing))
    certain = weak(LOGITS, truth(nothing, certain=[1, 0, 0, 1]))
    plain = loss_of()(LOGITS, truth(nothing))
    assert torch.allclose(certain, plain, atol=1e-6)
    assert not torch.allclose(guessed, plain)


def test_of_a_group_without_its_tag_only_what_was_denied_is_known() -> None:
    outputs = Outputs(OUTPUTS.labels)
    loss = TaggerLoss(LossConfig(), outputs, np.array([2, 3, 3, 2]), 8)
    logits = torch.zeros(1, 4, requires_grad=True)
    torch.autograd.backward(loss(logits, truth([[0, 0, 0, 0]])).sum())
    assert logits.grad is not None
    assert (logits.grad[:, 1:3] == 0).all()
    logits.grad = None
    torch.autograd.backward(loss(logits, truth([[0, 0, 0, 0]], certain=[0, 1, 0, 0])).sum())
    assert logits.grad is not None
    assert logits.grad[0, 1] > 0 > logits.grad[0, 2]


def test_balanced_weights_have_a_cap() -> None:
    x = torch.zeros(1, 5)
    light = loss_of(counts=(1, 4, 4, 1))(x, truth([[1, 1, 0, 0]]))
    heavy = loss_of(counts=(1, 4, 4, 1), positive_weight="balanced", most_weight=3.0)(
        x, truth([[1, 1, 0, 0]])
    )
    assert torch.allclose(heavy - light, torch.log(torch.tensor(2.0)) * 2, atol=1e-5)


@given(st.lists(st.tuples(st.floats(-5, 5), st.booleans()), min_size=2, max_size=12), st.floats(0.05, 0.9))
def test_nnpu_is_the_risk_of_the_paper(pictures: list[tuple[float, bool]], prior: float) -> None:
    x = torch.tensor([logit for logit, _ in pictures])
    there = torch.tensor([found for _, found in pictures])
    nobody = torch.zeros_like(there)
    part = nnpu(x, there, prior, nobody, ~nobody).sum() / len(x)
    positives = x[there] if there.any() else None
    negative = F.softplus(x).mean()
    positive = torch.tensor(0.0)
    if positives is not None:
        positive = prior * F.softplus(-positives).mean()
        negative = negative - prior * F.softplus(positives).mean()
    expected = positive + negative if negative >= 0 else -negative
    assert torch.allclose(part, expected, atol=1e-4)


def test_unlabelled_pictures_are_not_taken_for_negatives() -> None:
    # Half of all pictures have the tag, half of those are labelled: a plain loss learns p = 0.5 of what looks
    # so, nnPU with the true prior p near 1.
    looks = torch.tensor([1.0] * 40 + [0.0] * 40)
    labelled = torch.tensor([True] * 20 + [False] * 60)
    nobody = torch.zeros_like(labelled)
    found = {}
    for pu in (False, True):
        w = torch.zeros(2, requires_grad=True)
        optimizer = torch.optim.Adam([w], lr=0.05)
        for _ in range(200):
            x = w[0] + w[1] * looks
            loss = (
                nnpu(x, labelled, 0.5, nobody, ~nobody).sum() / 80
                if pu
                else F.binary_cross_entropy_with_logits(x, labelled.float())
            )
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        found[pu] = torch.sigmoid(w.sum()).item()
    assert found[False] < 0.6
    assert found[True] > 0.9
