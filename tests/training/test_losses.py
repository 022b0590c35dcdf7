import math

import pytest
import torch

from cannabis_ml.networks.params import LossParams
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.training.losses import (
    bootstrap_weights,
    distillation_loss,
    head_weights,
    hierarchical_loss,
    initial_log_variances,
    summed_loss,
)

PLAIN = LossParams(label_smoothing=0)


def one_member(logits):
    return {name: values[:, None].clone().requires_grad_() for name, values in logits.items()}


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
    return one_member(logits), targets


def test_losses_by_hand(taxonomy):
    logits, targets = example()
    total, per_head = hierarchical_loss(logits, targets, taxonomy, PLAIN)
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
    _, per_head = hierarchical_loss(logits, targets, taxonomy, LossParams(label_smoothing=0.3))
    # Targets 0.1, 0.8, 0.1 for probabilities 0.5, 0.25, 0.25.
    expected = -(0.1 * math.log(0.5) + 0.9 * math.log(0.25))
    assert per_head["colour"].item() == pytest.approx(expected, rel=1e-5)


def test_class_weights_multiply_the_loss_of_their_photos(taxonomy):
    logits, targets = example()
    weights = {
        "colour": torch.tensor([9.0, 3.0, 9.0]),
        "shade": torch.tensor([9.0, 2.0, 9.0, 4.0]),
        "marks": torch.tensor([5.0, 7.0]),
    }
    _, per_head = hierarchical_loss(logits, targets, taxonomy, PLAIN, class_weights=weights)
    shade = -(2 * math.log(0.9 * 0.5 * 0.8) + 4 * math.log(0.75 * 0.5 * 0.25)) / 2
    marks = -(5 * math.log(0.8) + 7 * math.log(0.5) + 5 * math.log(0.6)) / 3
    assert per_head["colour"].item() == pytest.approx(-3 * math.log(0.25), rel=1e-5)
    assert per_head["shade"].item() == pytest.approx(shade, rel=1e-5)
    assert per_head["marks"].item() == pytest.approx(marks, rel=1e-5)


def test_a_head_without_class_weights_weighs_all_alike(taxonomy):
    logits, targets = example()
    plain = hierarchical_loss(logits, targets, taxonomy, PLAIN)[1]
    weights = {"colour": torch.full((3,), 2.0)}
    weighed = hierarchical_loss(logits, targets, taxonomy, PLAIN, class_weights=weights)[1]
    assert weighed["colour"] == 2 * plain["colour"]
    assert weighed["shade"] == plain["shade"]


def test_asymmetric_loss_by_hand(taxonomy):
    logits, targets = example()
    params = LossParams(multilabel="asymmetric", gamma_neg=2, gamma_pos=1, clip=0.1)
    _, per_head = hierarchical_loss(logits, targets, taxonomy, params)
    # Present at 0.8; absent at 0.5 and 0.4, shifted to 0.4 and 0.3.
    terms = [0.2 * math.log(0.8), 0.4**2 * math.log(0.6), 0.3**2 * math.log(0.7)]
    assert per_head["marks"].item() == pytest.approx(-sum(terms) / 3, rel=1e-4)


def test_asymmetric_loss_without_focus_and_clip_is_cross_entropy(taxonomy):
    logits, targets = example()
    params = LossParams(multilabel="asymmetric", gamma_neg=0, gamma_pos=0, clip=0)
    asymmetric = hierarchical_loss(logits, targets, taxonomy, params)[1]["marks"]
    bce = hierarchical_loss(logits, targets, taxonomy, LossParams())[1]["marks"]
    torch.testing.assert_close(asymmetric, bce)


def test_easy_absences_cost_nothing_in_the_asymmetric_loss(taxonomy):
    logits, targets = example()
    logits["marks"] = torch.full((2, 1, 2), math.log(0.04 / 0.96)).requires_grad_()
    targets["marks"] = torch.zeros(2, 2)
    for gamma in (0, 0.5, 4):
        params = LossParams(multilabel="asymmetric", gamma_neg=gamma, clip=0.05)
        loss = hierarchical_loss(logits, targets, taxonomy, params)[1]["marks"]
        assert loss.item() == pytest.approx(0, abs=1e-9)
        loss.backward()
    assert torch.isfinite(logits["marks"].grad).all()


def test_members_are_averaged_and_weighted(taxonomy):
    logits, targets = example()
    other = {name: values.detach() * 0.5 for name, values in logits.items()}
    both = {name: torch.cat([values, other[name]], dim=1) for name, values in logits.items()}
    first, second = (
        hierarchical_loss(one, targets, taxonomy, PLAIN)[1]["shade"] for one in (logits, other)
    )
    mean = hierarchical_loss(both, targets, taxonomy, PLAIN)[1]["shade"]
    torch.testing.assert_close(mean, (first + second) / 2)
    weights = torch.tensor([[3.0, 0.0], [3.0, 0.0]])
    weighed = hierarchical_loss(both, targets, taxonomy, PLAIN, member_weights=weights)[1]["shade"]
    torch.testing.assert_close(weighed, 3 * first / 2)


def test_missing_labels_get_no_gradient(taxonomy):
    logits, targets = example()
    hierarchical_loss(logits, targets, taxonomy, PLAIN)[0].backward()
    assert logits["colour"].grad[1].abs().sum() == 0
    assert logits["colour"].grad[0].abs().sum() > 0
    assert logits["marks"].grad[1, 0, 1] == 0
    assert logits["marks"].grad[1, 0, 0] != 0


@pytest.mark.parametrize("multilabel", ["bce", "asymmetric"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_batch_without_any_label_costs_exactly_nothing(taxonomy, multilabel, smoothing):
    logits, _ = example()
    targets = {
        "colour": torch.tensor([-1, -1]),
        "shade": torch.tensor([-1, -1]),
        "marks": torch.full((2, 2), float("nan")),
    }
    params = LossParams(multilabel=multilabel, label_smoothing=smoothing)
    total, per_head = hierarchical_loss(logits, targets, taxonomy, params)
    assert [loss.item() for loss in per_head.values()] == [0, 0, 0]
    total.backward()
    assert all(values.grad.abs().sum() == 0 for values in logits.values())


@pytest.mark.parametrize("multilabel", ["bce", "asymmetric"])
def test_extreme_logits_stay_finite(taxonomy, multilabel):
    logits, targets = example()
    huge = {name: (values.detach() * 1e4).requires_grad_() for name, values in logits.items()}
    total, _ = hierarchical_loss(huge, targets, taxonomy, LossParams(multilabel=multilabel))
    total.backward()
    assert torch.isfinite(total)
    assert all(torch.isfinite(values.grad).all() for values in huge.values())


def test_a_head_named_wins_over_its_kind(taxonomy):
    weights = {**LossParams().weights, "shade": 2.0}
    assert head_weights(taxonomy, weights) == {"colour": 1.0, "shade": 2.0, "marks": 0.3}
    assert head_weights(taxonomy, {}) == {"colour": 1.0, "shade": 1.0, "marks": 1.0}


def test_a_photo_adds_what_it_weighs_whatever_the_kind(taxonomy):
    logits, targets = example()
    for head in taxonomy.heads:
        alone = []
        for n in range(2):
            one = {name: values[[n]] for name, values in targets.items()}
            alone.append(summed_loss(head, logits[head.name][[n]], one, taxonomy, PLAIN)[0].item())
        weighed, _ = summed_loss(
            head,
            logits[head.name],
            targets,
            taxonomy,
            PLAIN,
            member_weights=torch.tensor([[0.5], [3.0]]),
        )
        assert weighed.item() == pytest.approx(0.5 * alone[0] + 3 * alone[1], rel=1e-5)


def test_learned_balance_by_hand_and_from_the_fixed_one(taxonomy):
    logits, targets = example()
    fixed, per_head = hierarchical_loss(logits, targets, taxonomy, PLAIN)
    learned = PLAIN.model_copy(update={"balance": "learned"})
    start = initial_log_variances(taxonomy, learned)
    total, _ = hierarchical_loss(logits, targets, taxonomy, learned, log_variances=start)
    assert total.item() == pytest.approx(fixed.item() + start.sum().item() / 2, rel=1e-5)

    s = torch.tensor([0.5, -1.0, 2.0])
    total, _ = hierarchical_loss(logits, targets, taxonomy, learned, log_variances=s)
    means = [loss.item() for loss in per_head.values()]
    expected = sum(math.exp(-v) * m + v / 2 for v, m in zip(s.tolist(), means, strict=True))
    assert total.item() == pytest.approx(expected, rel=1e-5)


def test_a_learned_weight_rests_while_its_head_has_no_label(taxonomy):
    logits, targets = example()
    targets["shade"] = torch.tensor([-1, -1])
    params = LossParams(balance="learned", weights={"colour": 0.0})
    s = initial_log_variances(taxonomy, params).requires_grad_()
    hierarchical_loss(logits, targets, taxonomy, params, log_variances=s)[0].backward()
    assert s.grad[0] == 0  # weight 0
    assert s.grad[1] == 0  # no label
    assert s.grad[2] != 0
    with pytest.raises(ValueError, match="log variances"):
        hierarchical_loss(logits, targets, taxonomy, params)


def test_learned_balance_settles_where_the_variance_is_the_loss(taxonomy):
    # d/ds (exp(-s) L + s/2) = 0 at exp(s) = 2 L
    logits, targets = example()
    params = LossParams(balance="learned", label_smoothing=0)
    _, per_head = hierarchical_loss(logits, targets, taxonomy, params, log_variances=torch.zeros(3))
    s = torch.log(2 * torch.stack(list(per_head.values()))).detach().requires_grad_()
    hierarchical_loss(logits, targets, taxonomy, params, log_variances=s)[0].backward()
    torch.testing.assert_close(s.grad, torch.zeros(3), atol=1e-6, rtol=0)


def test_sums_of_batches_add_up(taxonomy):
    logits, targets = example()
    head = taxonomy["marks"]
    total, known = summed_loss(head, logits["marks"], targets, taxonomy, PLAIN)
    assert known == 3
    assert total.item() == pytest.approx(-math.log(0.8 * 0.5 * 0.6), rel=1e-5)


# A child and its parent


@pytest.fixture
def family():
    """x allows p and q, y allows r, z allows nothing; grade likewise for an ordinal child."""
    grades = {"x": ["1", "2"], "y": ["1", "2", "3"], "z": []}
    return Taxonomy.model_validate(
        {
            "heads": [
                {
                    "name": "child",
                    "classes": ["p", "q", "r"],
                    "parent": "top",
                    "allowed": {"x": ["p", "q"], "y": ["r"]},
                },
                {"name": "top", "classes": ["x", "y", "z"]},
                {
                    "name": "grade",
                    "kind": "ordinal",
                    "classes": ["1", "2", "3"],
                    "parent": "top",
                    "allowed": grades,
                },
                {
                    "name": "look",
                    "kind": "multilabel",
                    "classes": ["u", "v"],
                    "parent": "top",
                    "allowed": {"x": ["u"], "y": ["u", "v"]},
                },
            ]
        }
    )


def family_logits(n):
    return one_member(
        {
            "top": torch.log(torch.tensor([[0.5, 0.3, 0.2]])).repeat(n, 1),
            "child": torch.log(torch.tensor([[0.2, 0.3, 0.5]])).repeat(n, 1),
            # P(y > 1) = 0.6, P(y > 2) = 0.2: classes 0.4, 0.4, 0.2
            "grade": torch.logit(torch.tensor([[0.6, 0.2]])).repeat(n, 1),
            "look": torch.logit(torch.tensor([[0.7, 0.9]])).repeat(n, 1),
        }
    )


def family_targets(top, child=-1, grade=-1, look=(math.nan, math.nan)):
    return {
        "top": torch.tensor([top]),
        "child": torch.tensor([child]),
        "grade": torch.tensor([grade]),
        "look": torch.tensor([look]),
    }


def loss_of(head, family, targets, smoothing=0.0):
    params = LossParams(label_smoothing=smoothing)
    logits = family_logits(1)
    total, per_head = hierarchical_loss(logits, targets, family, params)
    total.backward()
    assert all(torch.isfinite(v.grad).all() for v in logits.values() if v.grad is not None)
    return per_head[head].item()


def test_child_is_taught_among_what_the_true_parent_allows(family):
    # Given x: p 0.4, q 0.6.
    assert loss_of("child", family, family_targets(0, child=0)) == pytest.approx(-math.log(0.4))
    # Given y only r is left: nothing to learn.
    assert loss_of("child", family, family_targets(1, child=2)) == pytest.approx(0, abs=1e-6)
    # Parent unknown: all compete.
    assert loss_of("child", family, family_targets(-1, child=0)) == pytest.approx(-math.log(0.2))


def test_smoothing_of_a_child_spreads_over_what_is_allowed(family):
    expected = -(0.9 * math.log(0.4) + 0.1 * math.log(0.6))
    found = loss_of("child", family, family_targets(0, child=0), smoothing=0.2)
    assert found == pytest.approx(expected, rel=1e-5)


def test_ordinal_child_is_taught_given_its_parent(family):
    # Given x: classes 1 and 2 at 0.5 each; "worse than 2" is out of the question.
    assert loss_of("grade", family, family_targets(0, grade=0)) == pytest.approx(
        -math.log(0.5), rel=1e-5
    )
    # Given y, or nothing, all are allowed: CORAL as it is.
    plain = -(math.log(0.6) + math.log(0.8))
    for parent in (1, -1):
        found = loss_of("grade", family, family_targets(parent, grade=1))
        assert found == pytest.approx(plain, rel=1e-5)


def test_attributes_that_the_parent_forbids_cost_nothing(family):
    found = loss_of("look", family, family_targets(0, look=(1.0, 0.0)))
    assert found == pytest.approx(-math.log(0.7), rel=1e-5)
    found = loss_of("look", family, family_targets(1, look=(1.0, 0.0)))
    assert found == pytest.approx(-(math.log(0.7) + math.log(0.1)) / 2, rel=1e-4)


@pytest.mark.parametrize(("top", "child", "grade"), [(1, 0, -1), (2, 0, 0), (0, -1, 2)])
def test_labels_that_contradict_their_parent_cost_nothing(family, top, child, grade):
    targets = family_targets(top, child=child, grade=grade)
    assert loss_of("child", family, targets) == 0
    assert loss_of("grade", family, targets) == 0
    for name in ("child", "grade"):
        logits = family_logits(1)[name]
        assert summed_loss(family[name], logits, targets, family, PLAIN)[1] == 0


# Distillation


def test_a_student_that_agrees_costs_nothing(family):
    from cannabis_ml.networks.decoding import marginals

    logits = family_logits(2)
    teacher = {name: probs.detach() for name, probs in marginals(logits, family).items()}
    for temperature in (1.0, 2.0, 4.0):
        total, per_head = distillation_loss(logits, teacher, family, temperature)
        assert total.item() == pytest.approx(0, abs=1e-5)
        assert all(loss.item() == pytest.approx(0, abs=1e-5) for loss in per_head.values())


def test_distillation_by_hand(taxonomy):
    logits, _ = example()
    teacher = {
        "colour": torch.tensor([[0.64, 0.32, 0.04], [1.0, 0.0, 0.0]]),
        "shade": torch.tensor([[0.1, 0.4, 0.3, 0.2], [0.25, 0.25, 0.25, 0.25]]),
        "marks": torch.tensor([[0.8, 0.5], [0.2, 0.9]]),
    }
    temperature = 2.0
    params = LossParams(weights={"colour": 2.0, "shade": 3.0, "marks": 5.0})
    total, per_head = distillation_loss(logits, teacher, taxonomy, temperature, params)

    def soft(probs):
        roots = [math.sqrt(p) for p in probs]
        return [r / sum(roots) for r in roots]

    def divergence(p, q):
        return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 1e-12)

    colour = divergence(soft([0.64, 0.32, 0.04]), soft([0.5, 0.25, 0.25]))
    colour += divergence([1, 0, 0], soft([0.1, 0.1, 0.8]))
    shade = divergence(soft([0.1, 0.4, 0.3, 0.2]), soft([0.1, 0.4, 0.3, 0.2]))
    # Of two attributes of two photos one differs: 0.2 for the teacher, 0.4 for the student.
    marks = divergence(soft([0.2, 0.8]), soft([0.4, 0.6])) / 2
    expected = {"colour": 4 * colour / 2, "shade": 4 * shade / 2, "marks": 4 * marks / 2}
    for name, loss in per_head.items():
        assert loss.item() == pytest.approx(expected[name], rel=1e-4, abs=1e-6), name
    weighted = 2 * expected["colour"] + 3 * expected["shade"] + 5 * expected["marks"]
    assert total.item() == pytest.approx(weighted, rel=1e-4)


def test_certain_teachers_leave_gradients_finite(family):
    logits = family_logits(1)
    teacher = {
        "top": torch.tensor([[0.0, 0.0, 1.0]]),
        "child": torch.tensor([[0.0, 0.0, 1.0]]),
        "grade": torch.tensor([[1.0, 0.0, 0.0]]),
        "look": torch.tensor([[1.0, 0.0]]),
    }
    total, _ = distillation_loss(logits, teacher, family, 1.0)
    total.backward()
    assert torch.isfinite(total)
    assert all(torch.isfinite(values.grad).all() for values in logits.values())


# Bootstrap


def test_bootstrap_weights_differ_by_member_and_average_to_one():
    weights = bootstrap_weights(20_000, 3, seed=1)
    assert weights.shape == (20_000, 3)
    torch.testing.assert_close(weights.mean(dim=0), torch.ones(3), atol=0.05, rtol=0)
    # Exponential: the standard deviation is the mean.
    torch.testing.assert_close(weights.std(dim=0), torch.ones(3), atol=0.05, rtol=0)
    assert torch.corrcoef(weights.T).fill_diagonal_(0).abs().max() < 0.05
    assert torch.equal(weights, bootstrap_weights(20_000, 3, seed=1))
    assert not torch.equal(weights, bootstrap_weights(20_000, 3, seed=2))
    assert torch.equal(bootstrap_weights(5, 1, seed=1), torch.ones(5, 1))
