import math

import pytest
import torch

from cannabis_ml.models.losses import head_weights, hierarchical_loss, summed_loss
from cannabis_ml.taxonomy import Head

WEIGHTS = {"multiclass": 1.0, "ordinal": 0.6, "multilabel": 0.3}


def example():
    """Two photos; the second lacks colour and dot."""
    logits = {
        "colour": torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])),
        "shade": torch.logit(torch.tensor([[0.9, 0.5, 0.2], [0.75, 0.5, 0.25]])),
        "marks": torch.logit(torch.tensor([[0.8, 0.5], [0.4, 0.9]])),
    }
    targets = {
        "colour": torch.tensor([1, -1]),
        "shade": torch.tensor([1, 3]),
        "marks": torch.tensor([[1.0, 0.0], [0.0, float("nan")]]),
    }
    return {name: values.requires_grad_() for name, values in logits.items()}, targets


def test_losses_by_hand(taxonomy):
    logits, targets = example()
    total, per_head = hierarchical_loss(logits, targets, taxonomy, WEIGHTS)
    colour = -math.log(0.25)
    # Shade 1 of 0..3: worse than 0, not worse than 1, not worse than 2. Shade 3: worse than all.
    shade = -(math.log(0.9 * 0.5 * 0.8) + math.log(0.75 * 0.5 * 0.25)) / 2
    marks = -(math.log(0.8) + math.log(0.5) + math.log(0.6)) / 3
    assert per_head["colour"].item() == pytest.approx(colour, rel=1e-5)
    assert per_head["shade"].item() == pytest.approx(shade, rel=1e-5)
    assert per_head["marks"].item() == pytest.approx(marks, rel=1e-5)
    assert total.item() == pytest.approx(colour + 0.6 * shade + 0.3 * marks, rel=1e-5)


def test_label_smoothing_by_hand(taxonomy):
    logits, targets = example()
    _, per_head = hierarchical_loss(logits, targets, taxonomy, WEIGHTS, label_smoothing=0.3)
    # Targets 0.1, 0.8, 0.1 for probabilities 0.5, 0.25, 0.25.
    expected = -(0.1 * math.log(0.5) + 0.9 * math.log(0.25))
    assert per_head["colour"].item() == pytest.approx(expected, rel=1e-5)


def test_missing_labels_get_no_gradient(taxonomy):
    logits, targets = example()
    hierarchical_loss(logits, targets, taxonomy, WEIGHTS)[0].backward()
    assert logits["colour"].grad[1].abs().sum() == 0
    assert logits["colour"].grad[0].abs().sum() > 0
    assert logits["marks"].grad[1, 1] == 0
    assert logits["marks"].grad[1, 0] != 0


def test_batch_without_any_label_costs_exactly_nothing(taxonomy):
    logits, _ = example()
    targets = {
        "colour": torch.tensor([-1, -1]),
        "shade": torch.tensor([-1, -1]),
        "marks": torch.full((2, 2), float("nan")),
    }
    for smoothing in (0.0, 0.1):
        total, per_head = hierarchical_loss(logits, targets, taxonomy, WEIGHTS, smoothing)
        assert [loss.item() for loss in per_head.values()] == [0, 0, 0]
        total.backward()
    assert all(values.grad.abs().sum() == 0 for values in logits.values())


def test_extreme_logits_stay_finite(taxonomy):
    logits, targets = example()
    huge = {name: (values.detach() * 1e4).requires_grad_() for name, values in logits.items()}
    total, _ = hierarchical_loss(huge, targets, taxonomy, WEIGHTS)
    total.backward()
    assert torch.isfinite(total)
    assert all(torch.isfinite(values.grad).all() for values in huge.values())


def test_a_head_named_wins_over_its_kind(taxonomy):
    weights = {**WEIGHTS, "shade": 2.0}
    assert head_weights(taxonomy, weights) == {"colour": 1.0, "shade": 2.0, "marks": 0.3}
    assert head_weights(taxonomy, {}) == {"colour": 1.0, "shade": 1.0, "marks": 1.0}


def test_a_photo_adds_what_it_weighs():
    # By hand: -log softmax([0, ln 3]) = log 4 for class 0 and log(4/3) for class 1.
    head = Head(name="kind", classes=["a", "b"])
    logits = torch.tensor([[0.0, math.log(3)]]).repeat(3, 1)
    weights = torch.tensor([0.5, 2.0, 9.0])
    total, known = summed_loss(head, logits, torch.tensor([0, 1, -1]), photo_weights=weights)
    assert total.item() == pytest.approx(0.5 * math.log(4) + 2 * math.log(4 / 3))
    assert known == 2


@pytest.mark.parametrize(
    ("kind", "targets", "size"),
    [("ordinal", torch.tensor([0, 2]), 2), ("multilabel", torch.tensor([[1.0, 0], [0, 1]]), 2)],
)
def test_photo_weights_hold_for_every_kind(kind, targets, size):
    head = Head(name="h", kind=kind, classes=["A", "B", "C"][: size + (kind == "ordinal")])
    # Every logit is 0: each of the two decisions of a photo costs log 2.
    total, _ = summed_loss(
        head, torch.zeros(2, size), targets, photo_weights=torch.tensor([3.0, 1.0])
    )
    assert total.item() == pytest.approx((3 + 1) * 2 * math.log(2))
