"""Prediction sets: against crepes and MAPIE, and by how often they hold the truth."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from cannabis_ml.calibration.conformal import SetParams, fit_sets
from cannabis_ml.calibration.quantile import conformal_quantile
from cannabis_ml.evaluation.answered import Calibrated
from cannabis_ml.evaluation.set_scores import score_sets
from cannabis_ml.inference.decision import Decision
from cannabis_ml.inference.prediction_sets import (
    PredictionSets,
    consistent,
    named,
    nonconformity,
)
from cannabis_ml.taxonomy import MISSING, Taxonomy

FLAT = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "kind", "classes": ["a", "b", "c", "d", "e"]},
            {"name": "grade", "kind": "ordinal", "classes": ["A", "B", "C", "D", "F"]},
            {"name": "marks", "kind": "multilabel", "classes": ["x", "y", "z"]},
        ]
    }
)
TREE = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "crop", "classes": ["tomato", "potato", "stone"]},
            {
                "name": "state",
                "classes": ["well", "blight", "mould", "scab"],
                "parent": "crop",
                "allowed": {"tomato": ["well", "blight", "mould"], "potato": ["well", "scab"]},
            },
            {
                "name": "level",
                "kind": "ordinal",
                "classes": ["low", "middle", "high"],
                "parent": "state",
                "allowed": {"blight": ["low", "middle", "high"], "scab": ["low", "high"]},
            },
        ]
    }
)
ALPHA = 0.1


def fit(outputs, decided, labels, groups, taxonomy=FLAT, **params):
    return fit_sets(Calibrated(outputs, decided), labels, groups, taxonomy, SetParams(**params))


def softmax(logits):
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def drawn(random, n, copies=1, sharp=1.6):
    """Outputs and labels whose probabilities are right, and groups of `copies` near-duplicates."""
    groups = np.arange(n) // copies
    found = len(np.unique(groups))
    which = groups[:, None]
    outputs, labels = {}, {}
    for name in ("kind", "grade"):
        probs = softmax(sharp * random.normal(size=(found, 5)))
        truth = (random.random(found)[:, None] > probs.cumsum(axis=1)).sum(axis=1)
        noise = 0.02 * random.random((n, 5))
        near = probs[groups] + noise
        outputs[name], labels[name] = near / near.sum(axis=1, keepdims=True), truth[groups]
    marks = random.random((found, 3))
    outputs["marks"] = np.clip(marks[groups] + 0.01 * random.random((n, 3)), 0, 1)
    labels["marks"] = (random.random((found, 3)) < marks).astype(np.float32)[which[:, 0]]
    return outputs, Decision(FLAT).decide(outputs), labels, groups


def part(values, rows):
    return {name: array[rows] for name, array in values.items()}


def test_ordinal_nonconformity_by_hand():
    probs = np.array([[0.1, 0.4, 0.3, 0.15, 0.05]])
    found = nonconformity(FLAT["grade"], probs, np.array([1]))
    # From B to C (0.3 > 0.1), to D (0.15 > 0.1), to A (0.1 > 0.05), to F.
    assert found == pytest.approx(np.array([[0.85, 0.0, 0.4, 0.7, 0.95]]))


@given(st.lists(st.floats(0.01, 1), min_size=5, max_size=5), st.integers(0, 4), st.floats(0, 1))
def test_ordinal_sets_are_contiguous_and_hold_the_answer(weights, answer, limit):
    probs = np.array([weights]) / sum(weights)
    inside = np.flatnonzero(nonconformity(FLAT["grade"], probs, np.array([answer]))[0] <= limit)
    assert answer in inside
    assert inside.tolist() == list(range(inside[0], inside[-1] + 1))


@pytest.mark.parametrize("method", ["pooled", "classwise"])
def test_sets_are_those_of_crepes(method):
    crepes = pytest.importorskip("crepes", reason="needs pip install crepes")
    outputs, decided, labels, groups = drawn(np.random.default_rng(0), 900)
    first, second = np.arange(600), np.arange(600, 900)
    fitted = fit(
        *(part(v, first) for v in (outputs, decided, labels)),
        groups[first],
        method=method,
        fewest=0,
    )
    head, truth = FLAT["kind"], labels["kind"]
    scores = nonconformity(head, outputs["kind"], decided["kind"])
    theirs = crepes.ConformalClassifier()
    bins = truth[first] if method == "classwise" else None
    theirs.fit(scores[first, truth[first]], bins=bins)
    inside = scores[second] <= fitted.sets.heads["kind"].array()
    confidence = 1 - ALPHA - 1e-9  # they also take in what has a p-value of exactly alpha
    if method == "pooled":
        expected = theirs.predict_set(scores[second], confidence=confidence, smoothing=False)
        assert (inside == expected).all()
        return
    for k in range(5):
        bins = np.full(len(second), k)
        expected = theirs.predict_set(
            scores[second][:, [k]], bins=bins, confidence=confidence, smoothing=False
        )
        assert (inside[:, k] == expected[:, 0]).all()


def test_sets_are_those_of_mapie():
    mapie = pytest.importorskip("mapie.classification", reason="needs pip install mapie")
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Given(ClassifierMixin, BaseEstimator):
        """Takes probabilities as features."""

        classes_ = np.arange(5)

        def fit(self, x, y):
            return self

        def __sklearn_is_fitted__(self):
            return True

        def predict_proba(self, x):
            return x

        def predict(self, x):
            return x.argmax(axis=1)

    outputs, decided, labels, groups = drawn(np.random.default_rng(1), 900)
    first, second = np.arange(600), np.arange(600, 900)
    theirs = mapie.SplitConformalClassifier(
        Given(), confidence_level=1 - ALPHA, conformity_score="lac", prefit=True
    )
    theirs.conformalize(outputs["kind"][first], labels["kind"][first])
    _, expected = theirs.predict_set(outputs["kind"][second])
    fitted = fit(*(part(v, first) for v in (outputs, decided, labels)), groups[first])
    sets = fitted.sets.apply(part(outputs, second), part(decided, second), FLAT)["kind"]
    # They leave out the answer itself where it is improbable.
    sets[np.arange(300), decided["kind"][second]] &= expected[
        np.arange(300), decided["kind"][second], 0
    ]
    assert (sets == expected[..., 0]).all()


@pytest.mark.parametrize("copies", [1, 4])
def test_coverage_is_as_promised(copies):
    """200 repetitions of 120 calibration groups; one photo of each of 50 new groups counts."""
    random = np.random.default_rng(copies)
    held = {"kind": 0, "grade": 0, "marks": 0}
    for _ in range(200):
        outputs, decided, labels, groups = drawn(random, 170 * copies, copies)
        first = groups < 120
        second = np.flatnonzero(~first)[::copies]
        fitted = fit(*(part(v, first) for v in (outputs, decided, labels)), groups[first])
        sets = fitted.sets.apply(part(outputs, second), part(decided, second), FLAT)
        scored = score_sets(sets, part(labels, second), groups[second], FLAT)
        for name in held:
            held[name] += round(scored[name].coverage * scored[name].n)
    for name, labelled in (("kind", 50), ("grade", 50), ("marks", 150)):
        # Sets of one repetition share a limit: their coverage varies by sqrt(0.1 * 0.9 / 121).
        n = 200 * labelled
        spread = np.sqrt(0.09 / n + 0.09 / 121 / 200)
        assert held[name] / n > 1 - ALPHA - 3 * spread, name
        assert held[name] / n < 1 - ALPHA + 0.06, name  # the answer itself is always in


def test_pooled_photos_would_promise_too_much():
    """The same with photos taken as independent: copies make the limit vary as with 30 photos."""
    random = np.random.default_rng(0)
    alpha, covered = 0.02, {"groups": 0, "photos": 0}
    for _ in range(400):
        outputs, decided, labels, groups = drawn(random, 60 * 10, 10)
        scores = nonconformity(FLAT["kind"], outputs["kind"], decided["kind"])
        own = scores[np.arange(600), labels["kind"]]
        first, new = groups < 55, np.flatnonzero(groups >= 55)[::10]
        covered["groups"] += (
            own[new] <= conformal_quantile(own[first], groups[first], alpha).value
        ).sum()
        covered["photos"] += (
            own[new] <= conformal_quantile(own[first], np.arange(550), alpha).value
        ).sum()
    least = binom.ppf(0.001, 2000, 1 - alpha)
    assert covered["groups"] >= least
    assert covered["photos"] < covered["groups"]


def test_classwise_covers_each_class_and_pooled_does_not():
    random = np.random.default_rng(0)
    n = 4000
    truth = random.integers(5, size=n)
    logits = random.normal(size=(n, 5))
    logits[np.arange(n), truth] += np.where(truth == 0, 0.5, 3.0)
    outputs = {"kind": softmax(logits)}
    taxonomy = Taxonomy.model_validate({"heads": [FLAT["kind"].model_dump()]})
    decided, labels = Decision(taxonomy).decide(outputs), {"kind": truth}
    first = np.arange(n) < n // 2
    groups = np.arange(n)
    hard = {}
    for method in ("pooled", "classwise", "clustered"):
        fitted = fit(
            *(part(v, first) for v in (outputs, decided, labels)),
            groups[first],
            taxonomy,
            method=method,
        )
        sets = fitted.sets.apply(part(outputs, ~first), part(decided, ~first), taxonomy)
        scored = score_sets(sets, part(labels, ~first), groups[~first], taxonomy)["kind"]
        hard[method] = scored.per_class["a"].coverage
        assert scored.coverage > 0.87
    assert hard["pooled"] < 0.8
    assert hard["classwise"] > 0.86
    assert hard["clustered"] > 0.84
    clusters = fitted.report["kind"].clusters
    assert ("a",) in clusters  # the class that is unlike the others is alone
    assert sorted(itertools.chain(*clusters)) == list("abcde")


def test_too_few_photos_of_a_class_are_reported():
    outputs, decided, labels, groups = drawn(np.random.default_rng(0), 200)
    rare = part(labels, slice(None))
    rare["kind"] = np.where(labels["kind"] == 2, MISSING, labels["kind"])
    rare["kind"][:5] = 2
    fitted = fit(outputs, decided, rare, groups, method="classwise", fewest=0)
    assert fitted.report["kind"].infinite == ("c",)
    assert fitted.sets.heads["kind"].limits[2] is None
    sets = fitted.sets.apply(outputs, decided, FLAT)
    assert sets["kind"][:, 2].all()
    pooled = fit(outputs, decided, rare, groups, method="classwise")
    assert "c" in pooled.report["kind"].pooled
    assert pooled.report["kind"].infinite == ()
    limits = fit(outputs, decided, rare, groups).sets.heads["kind"].limits
    assert pooled.sets.heads["kind"].limits[2] == limits[2]


def test_clusters_need_photos():
    outputs, decided, labels, groups = drawn(np.random.default_rng(0), 100)
    fitted = fit(outputs, decided, labels, groups, method="clustered")
    assert fitted.report["kind"].method == "pooled"
    assert fitted.report["kind"].asked == "clustered"
    assert "too few" in fitted.report["kind"].because


def test_of_too_few_photos_every_class_is_in():
    outputs, decided, labels, groups = drawn(np.random.default_rng(0), 8)
    fitted = fit(outputs, decided, labels, groups)
    assert fitted.report["kind"].infinite == tuple("abcde")
    assert fitted.sets.apply(outputs, decided, FLAT)["kind"].all()


def test_heads_without_labels_have_no_sets():
    outputs, decided, labels, groups = drawn(np.random.default_rng(0), 50)
    labels["kind"] = np.full(50, MISSING)
    fitted = fit(outputs, decided, labels, groups)
    assert set(fitted.sets.heads) == {"grade", "marks"}
    assert set(fitted.sets.apply(outputs, decided, FLAT)) == {"grade", "marks"}


def test_rare_attributes_share_a_limit_and_states_may_have_their_own():
    outputs, decided, labels, groups = drawn(np.random.default_rng(0), 400)
    labels["marks"][30:, 0] = np.nan
    fitted = fit(outputs, decided, labels, groups, method="classwise")
    marks = fitted.sets.heads["marks"]
    assert fitted.report["marks"].pooled == ("x",)
    assert marks.limits[0] == marks.absent_limits[0]
    assert marks.limits[1] != marks.absent_limits[1]
    assert marks.groups[1] + marks.absent_groups[1] == 400
    sets = fitted.sets.apply(outputs, decided, FLAT)
    scored = score_sets(sets, labels, groups, FLAT)["marks"]
    assert scored.coverage > 0.89


def test_sets_travel_as_json():
    outputs, decided, labels, groups = drawn(np.random.default_rng(0), 100)
    fitted = fit(outputs, decided, labels, groups, method="classwise", fewest=0, alpha=0.01)
    read = PredictionSets.model_validate_json(fitted.sets.model_dump_json())
    assert read == fitted.sets
    for name, values in read.apply(outputs, decided, FLAT).items():
        assert (values == fitted.sets.apply(outputs, decided, FLAT)[name]).all()


def test_sets_in_names():
    sets = {
        "kind": np.array([[True, False, True, False, False]]),
        "marks": np.array([[[True, False], [False, True], [True, True]]]),
    }
    assert named(sets, FLAT) == {
        "kind": ["a", "c"],
        "marks": {"present": ["y"], "absent": ["x"], "unsure": ["z"]},
    }


def test_a_class_without_a_parent_brings_its_most_probable_one():
    outputs = {"crop": np.array([[0.2, 0.3, 0.5]]), "state": np.array([[0.4, 0.2, 0.1, 0.3]])}
    sets = {
        "crop": np.array([[False, False, True]]),
        "state": np.array([[True, False, False, False]]),
    }
    found = consistent(sets, outputs, TREE)
    assert named(found, TREE) == {"crop": ["potato", "stone"], "state": ["well"]}


SETS = st.lists(st.booleans(), min_size=10, max_size=10)


@given(SETS, st.integers(0, 1000))
def test_extended_sets_are_consistent_and_lose_nothing(flags, seed):
    random = np.random.default_rng(seed)
    outputs = {
        name: random.dirichlet(np.ones(k), 1)
        for name, k in (("crop", 3), ("state", 4), ("level", 3))
    }
    flags = np.array([flags])
    sets = {"crop": flags[:, :3], "state": flags[:, 3:7], "level": flags[:, 7:]}
    found = consistent(sets, outputs, TREE)
    for name, before in sets.items():
        assert (before <= found[name]).all()
    for child, parent in (("state", "crop"), ("level", "state")):
        allowed = TREE.allowed_pairs(TREE[child])
        assert (found[child] <= found[parent] @ allowed).all()
        needs = found[parent] & allowed.any(axis=1)
        assert (needs <= found[child] @ allowed.T).all()
    again = consistent(found, outputs, TREE)
    assert all((again[name] == found[name]).all() for name in found)


def test_an_attribute_that_no_possible_parent_allows_is_absent():
    taxonomy = Taxonomy.model_validate(
        {
            "heads": [
                {"name": "crop", "classes": ["leaf", "stone"]},
                {
                    "name": "marks",
                    "kind": "multilabel",
                    "classes": ["hole", "crack"],
                    "parent": "crop",
                    "allowed": {"leaf": ["hole"], "stone": ["crack"]},
                },
            ]
        }
    )
    sets = {
        "crop": np.array([[True, False]]),
        "marks": np.array([[[True, True], [False, True]]]),
    }
    found = consistent(sets, {"crop": np.array([[0.9, 0.1]])}, taxonomy)
    assert named(found, taxonomy)["marks"] == {
        "present": [],
        "absent": ["crack"],
        "unsure": ["hole"],
    }
