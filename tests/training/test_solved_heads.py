"""Heads solved on features: against scikit-learn and SciPy, which know nothing of this code."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from cannabis_ml.errors import TrainingError
from cannabis_ml.feedback.closed_form import RidgeSums
from cannabis_ml.networks.building import build_network, restore
from cannabis_ml.networks.params import ModelParams, WeightSource
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import MISSING
from cannabis_ml.training import train
from cannabis_ml.training.data import RowTargets
from cannabis_ml.training.features import kept_features
from cannabis_ml.training.predict import predict
from cannabis_ml.training.schedule import Phase, Schedule, TrainingParams, TrainingPlan
from cannabis_ml.training.solved_heads import LabeledFeatures, Problem, solve_heads
from cannabis_ml.training.training_data import TrainingData

PENALTY = 0.05
HEADS = Phase(name="heads", train="heads", solver="lbfgs")


def make_network(taxonomy, ensemble=1):
    model = ModelParams(
        backbone="test_efficientnet", image_size=32, weights=["random"], ensemble=ensemble
    )
    torch.manual_seed(0)
    return build_network(model, taxonomy)[0].eval()


def labeled(photo_set, taxonomy, split, width, members=1):
    """Features that tell the colour, a little of the shade and nothing else."""
    data = TrainingData.of_split(photo_set, taxonomy, split)
    random = np.random.default_rng(len(data))
    values = random.normal(3, 2, (len(data), width)).astype(np.float32)
    told = photo_set.encode(taxonomy, data.rows)
    colour = told["colour"]
    values[np.arange(len(data)), np.maximum(colour, 0)] += 2 * (colour != MISSING)
    values[:, 3] += told.get("shade", 0)
    return LabeledFeatures(values, RowTargets(data, members))


def problem_of(photo_set, taxonomy, network, **others):
    parts = [
        labeled(photo_set, taxonomy, split, network.num_features, network.ensemble)
        for split in (Split.TRAIN, Split.VALIDATION)
    ]
    return Problem(*parts, **{"penalties": (PENALTY,), **others})


def answers(network, features):
    with torch.inference_mode():
        found = network.classify(torch.from_numpy(features.values))
    return {name: logits[:, 0].double().numpy() for name, logits in found.items()}


def scaled(problem):
    values = problem.train.values.astype(float)
    mean = np.average(values, axis=0, weights=problem.weights)
    variances = np.average((values - mean) ** 2, axis=0, weights=problem.weights)
    return (values - mean) / np.sqrt(variances.mean())


@pytest.mark.parametrize("weighted", [False, True])
def test_multiclass_is_logistic_regression_of_scikit_learn(photo_set, taxonomy, weighted):
    network = make_network(taxonomy)
    balance = np.linspace(0.5, 2, 24) if weighted else None
    problem = problem_of(photo_set, taxonomy, network, balance=balance)
    solve_heads(network, problem, "lbfgs")
    truth = problem.train.targets.labels["colour"]
    known = truth != MISSING
    theirs = LogisticRegression(C=1 / (PENALTY * known.sum()), tol=1e-9, max_iter=10_000)
    inputs = scaled(problem)
    theirs.fit(inputs[known], truth[known], problem.weights[known])
    logits = answers(network, problem.train)["colour"]
    expected = theirs.decision_function(inputs)
    # Adding a number to all logits of a photo changes nothing.
    logits, expected = (one - one.mean(axis=1, keepdims=True) for one in (logits, expected))
    np.testing.assert_allclose(logits, expected, atol=3e-3)


def test_multilabel_is_a_logistic_regression_per_attribute(photo_set, taxonomy):
    network = make_network(taxonomy)
    problem = problem_of(photo_set, taxonomy, network)
    solve_heads(network, problem, "lbfgs")
    truth = problem.train.targets.labels["marks"]
    inputs, logits = scaled(problem), answers(network, problem.train)["marks"]
    strength = 1 / (PENALTY * (~np.isnan(truth)).sum())
    for attribute in range(2):
        known = ~np.isnan(truth[:, attribute])
        theirs = LogisticRegression(C=strength, tol=1e-9, max_iter=10_000)
        theirs.fit(inputs[known], truth[known, attribute])
        np.testing.assert_allclose(
            logits[:, attribute], theirs.decision_function(inputs), atol=3e-3
        )


def test_ordinal_is_the_minimum_of_its_cumulative_loss(photo_set, taxonomy):
    network = make_network(taxonomy)
    problem = problem_of(photo_set, taxonomy, network)
    solve_heads(network, problem, "lbfgs")
    truth = problem.train.targets.labels["shade"]
    known = truth != MISSING
    inputs = scaled(problem)
    worse = truth[known][:, None] > np.arange(3)

    def loss(solution):
        weights, thresholds = solution[:-3], solution[-3:]
        logits = inputs[known] @ weights[:, None] + thresholds
        losses = np.logaddexp(0, np.where(worse, -logits, logits))
        slopes = (expit(logits) - worse) / known.sum()
        gradient = np.concatenate(
            [inputs[known].T @ slopes.sum(axis=1) + PENALTY * weights, slopes.sum(axis=0)]
        )
        return losses.sum() / known.sum() + PENALTY / 2 * (weights**2).sum(), gradient

    best = minimize(loss, np.zeros(inputs.shape[1] + 3), jac=True, method="BFGS", tol=1e-9).x
    expected = inputs @ best[:-3, None] + best[-3:]
    np.testing.assert_allclose(answers(network, problem.train)["shade"], expected, atol=3e-3)


def test_penalty_with_the_lowest_validation_loss_is_chosen(photo_set, taxonomy):
    network = make_network(taxonomy)
    tried = (10.0, 1.0, 0.1, 0.01)
    losses = {}
    for penalty in tried:
        one = problem_of(photo_set, taxonomy, network, penalties=(penalty,))
        solve_heads(network, one, "lbfgs")
        truth = one.held_out.targets.labels["colour"]
        logits = torch.from_numpy(answers(network, one.held_out)["colour"])[truth != MISSING]
        known = torch.from_numpy(truth[truth != MISSING])
        losses[penalty] = float(torch.nn.functional.cross_entropy(logits, known))
    chosen = solve_heads(
        network, problem_of(photo_set, taxonomy, network, penalties=tried), "lbfgs"
    )
    assert chosen["colour"] == min(losses, key=losses.get)
    assert len(set(losses.values())) == len(tried)


def test_a_feature_that_is_rarely_there_sways_no_answer(photo_set, taxonomy):
    network = make_network(taxonomy)
    problem = problem_of(photo_set, taxonomy, network, penalties=(1e-2,))
    problem.train.values[:, 9] = 0
    problem.train.values[0, 9] = 1e-3
    solve_heads(network, problem, "lbfgs")
    before = answers(network, problem.held_out)
    problem.held_out.values[:, 9] = 1
    after = answers(network, problem.held_out)
    for name in before:
        assert np.abs(after[name] - before[name]).max() < 0.5, name


def test_members_disagree_and_agree_on_the_whole(photo_set, taxonomy):
    network = make_network(taxonomy, ensemble=4)
    problem = problem_of(photo_set, taxonomy, network)
    solve_heads(network, problem, "lbfgs")
    with torch.inference_mode():
        found = network.classify(torch.from_numpy(problem.train.values))["colour"]
    members = found.softmax(dim=2).numpy()
    assert members.std(axis=1).max() > 0.01
    alone = make_network(taxonomy)
    solve_heads(alone, problem_of(photo_set, taxonomy, alone), "lbfgs")
    expected = torch.from_numpy(answers(alone, problem.train)["colour"]).softmax(dim=1).numpy()
    assert np.abs(members.mean(axis=1) - expected).mean() < members.std(axis=1).mean()


def test_ridge_is_that_of_adding_a_class(photo_set, taxonomy):
    colour = taxonomy.model_copy(update={"heads": [taxonomy["colour"]]})
    network = make_network(colour)
    problem = problem_of(photo_set, colour, network)
    penalty = solve_heads(network, problem, "ridge")["colour"]
    truth = problem.train.targets.labels["colour"]
    known = truth != MISSING
    names = colour["colour"].class_names
    sums = RidgeSums.empty(network.num_features)
    sums = sums.added(problem.train.values[known], [names[k] for k in truth[known]])
    expected = sums.solve(penalty, names).scores(problem.train.values)
    logits = answers(network, problem.train)["colour"]
    # A factor makes probabilities of scores.
    factor = (logits * expected).sum() / (expected**2).sum()
    assert factor > 0
    np.testing.assert_allclose(logits, factor * expected, atol=1e-3 * factor)


def test_a_head_without_validation_labels_is_refused(photo_set, taxonomy):
    network = make_network(taxonomy)
    problem = problem_of(photo_set, taxonomy, network)
    problem.held_out.targets.labels["colour"][:] = MISSING
    with pytest.raises(TrainingError, match="No validation photo has a label of 'colour'"):
        solve_heads(network, problem, "lbfgs")


def test_ridge_refuses_heads_that_are_not_multiclass(photo_set, taxonomy):
    network = make_network(taxonomy)
    with pytest.raises(TrainingError, match=r"'shade' \(ordinal\), 'marks' \(multilabel\)"):
        solve_heads(network, problem_of(photo_set, taxonomy, network), "ridge")


@pytest.fixture
def plan(backbone_file):
    model = ModelParams(
        backbone="test_efficientnet",
        image_size=32,
        weights=[WeightSource(kind="file", path=backbone_file)],
        ensemble=2,
    )
    return TrainingPlan(model, TrainingParams(batch_size=8), Schedule(phases=[HEADS]))


def test_training_that_only_solves_keeps_the_backbone(photo_set, taxonomy, plan, backbone_file):
    data = TrainingData.of_split(photo_set, taxonomy)
    checkpoint, history = train.fit(data, plan)
    again, _ = train.fit(data, plan)
    assert checkpoint.sha256 == again.sha256
    assert checkpoint.card.best_epoch == 0
    (row,) = history.to_dict("records")
    assert (row["epoch"], row["phase"], row["learning_rate"]) == (0, "heads", 0.0)
    assert row["validation_loss"] == checkpoint.card.validation_loss
    assert 0 < row["train_loss"] < 3
    assert 0 <= row["validation_colour_accuracy"] <= 1
    start = torch.load(backbone_file, weights_only=True)
    for name, tensor in restore(checkpoint).backbone.state_dict().items():
        assert torch.equal(tensor, start[name]), name


def test_predictions_take_the_features_that_training_kept(photo_set, taxonomy, plan, tmp_path):
    data = TrainingData.of_split(photo_set, taxonomy)
    checkpoint, _ = train.fit(data, plan, tmp_path)
    kept = kept_features(restore(checkpoint), photo_set, tmp_path)
    assert kept.shape == (len(photo_set), restore(checkpoint).num_features)
    looked = predict(checkpoint, photo_set)
    known = predict(checkpoint, photo_set, workspace=tmp_path)
    assert list(looked["photo_id"]) == list(known["photo_id"])
    for column in ("colour", "shade", "marks", "embedding"):
        there, here = (np.stack(table[column].to_list()) for table in (looked, known))
        np.testing.assert_allclose(there, here, atol=1e-4)


def test_epochs_may_follow(photo_set, taxonomy, plan):
    top = Phase(name="top", epochs=2, learning_rate=1e-4, train="all")
    both = Schedule(phases=[HEADS, top])
    data = TrainingData.of_split(photo_set, taxonomy)
    checkpoint, history = train.fit(data, TrainingPlan(plan.model, plan.training, both))
    assert list(history["epoch"]) == [0, 1, 2]
    assert list(history["phase"]) == ["heads", "top", "top"]
    best = history.iloc[history["validation_loss"].argmin()]
    assert checkpoint.card.best_epoch == best["epoch"]
    _, alone = train.fit(data, plan)
    assert history["validation_loss"][0] == pytest.approx(alone["validation_loss"][0])


def test_solving_needs_linear_heads_and_pretrained_weights(photo_set, taxonomy, plan):
    data = TrainingData.of_split(photo_set, taxonomy)
    hidden = plan.model.model_copy(update={"hidden": 8})
    with pytest.raises(TrainingError, match=r"set model\.hidden: 0"):
        train.fit(data, TrainingPlan(hidden, plan.training, plan.schedule))
    fresh = plan.model.model_copy(update={"weights": [WeightSource(kind="random")]})
    with pytest.raises(TrainingError, match="features of a backbone of random weights"):
        train.fit(data, TrainingPlan(fresh, plan.training, plan.schedule))


def test_a_teacher_that_no_phase_learns_from_is_refused(photo_set, taxonomy, plan):
    data = TrainingData.of_split(photo_set, taxonomy)
    checkpoint, _ = train.fit(data, plan)
    taught = data.taught_by(predict(checkpoint, photo_set))
    with pytest.raises(TrainingError, match=r"distillation\.weight: 0"):
        train.fit(taught, plan)


@pytest.mark.parametrize(
    ("phases", "told"),
    [
        ([{"name": "a", "solver": "lbfgs"}], "solver lbfgs of phase 'a' needs train: heads"),
        ([{"name": "a", "train": "heads"}], "phase 'a' needs epochs and learning_rate"),
        (
            [{"name": "a", "train": "heads", "solver": "ridge", "epochs": 3}],
            r"phase 'a' is solved \(ridge\) and has no epochs",
        ),
        (
            [
                {"name": "a", "epochs": 1, "learning_rate": 1e-3},
                {"name": "b", "train": "heads", "solver": "lbfgs"},
            ],
            "only the first phase can be solved by lbfgs or ridge, not b",
        ),
    ],
)
def test_phases_that_cannot_be_are_refused(phases, told):
    with pytest.raises(ValidationError, match=told):
        Schedule.model_validate({"phases": phases})
