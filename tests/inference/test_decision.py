"""One decision: scores, golden answers, training and clients decide by the same rule."""

import json

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from cannabis_ml.errors import BundleError, ExportError
from cannabis_ml.inference import golden
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.bundle_writer import write_bundle
from cannabis_ml.inference.decision import Decision, DecisionRule
from cannabis_ml.inference.golden import ExpectedAnswers
from cannabis_ml.inference.manifest import content_hash
from cannabis_ml.inference.outputs import GIVEN
from cannabis_ml.inference.predictor import open_model
from cannabis_ml.inference.reliability import TierRules
from cannabis_ml.taxonomy import MISSING, Taxonomy

RULE = {"thresholds": {"marks": {"line": 0.3, "dot": 0.7}}}

FAMILY = Taxonomy.model_validate(
    {
        "heads": [
            {
                "name": "mark",
                "kind": "multilabel",
                "classes": ["scab", "rust", "mould"],
                "parent": "state",
                "allowed": {"sick": ["scab", "rust"], "stored": ["mould"]},
            },
            {"name": "crop", "classes": ["apple", "maize", "fern"]},
            {
                "name": "state",
                "classes": ["sound", "sick", "stored"],
                "parent": "crop",
                "allowed": {"apple": ["sound", "sick"], "maize": ["sick", "stored"]},
            },
        ]
    }
)
"""A head that stands before its parent, and a class of that parent, fern, that allows no state."""


def _drawn(photos=500, seed=0):
    random = np.random.default_rng(seed)
    outputs = {h.name: random.dirichlet([0.4] * len(h.classes), photos) for h in FAMILY.heads}
    outputs["mark"] = random.random((photos, 3))
    return outputs


def test_no_attribute_contradicts_the_class_of_its_parent():
    decided = Decision(FAMILY).decide(_drawn())
    assert list(decided) == ["mark", "crop", "state"]
    allowed = {MISSING: [], 0: [], 1: [0, 1], 2: [2]}
    seen = set()
    for state, claimed in zip(decided["state"], decided["mark"], strict=True):
        assert set(np.flatnonzero(claimed)) <= set(allowed[int(state)])
        seen.add(int(state))
    assert seen == {MISSING, 0, 1, 2}  # every case was there
    assert (decided["state"] == MISSING).sum() == (decided["crop"] == 2).sum() > 0


def test_attributes_of_a_possible_parent_are_claimed_from_their_threshold_on():
    """By hand: maize, sick; scab at just its threshold, rust below 0.5, mould not of the sick."""
    outputs = {
        "mark": np.array([[0.2, 0.49, 0.99]], np.float32),
        "crop": np.array([[0.1, 0.8, 0.1]]),
        "state": np.array([[0.1, 0.8, 0.1]]),
    }
    rule = DecisionRule(thresholds={"mark": {"scab": float(np.float32(0.2))}})
    assert Decision(FAMILY, rule).named(outputs) == {
        "mark": [["scab"]],
        "crop": ["maize"],
        "state": ["sick"],
    }


def test_scores_decide_as_clients_do():
    """A column of probabilities per head, as training has them, and a client's outputs."""
    pytest.importorskip("sklearn")
    from cannabis_ml.evaluation.predictions import decide

    outputs, thresholds = _drawn(seed=1), {"mark": {"scab": 0.8, "mould": 0.1}}
    predictions = pd.DataFrame({name: list(values) for name, values in outputs.items()})
    ours = Decision(FAMILY, DecisionRule(thresholds=thresholds)).decide(outputs)
    for name, decided in decide(predictions, FAMILY, thresholds).items():
        np.testing.assert_array_equal(decided, ours[name])


def test_training_counts_by_the_same_decision():
    torch = pytest.importorskip("torch")
    from cannabis_ml.networks.decoding import given_parents, marginals
    from cannabis_ml.training.module import count_right, decide

    torch.manual_seed(0)
    logits = {head.name: 2 * torch.randn(200, 3, 3) for head in FAMILY.heads}
    outputs = {name: probs.numpy() for name, probs in marginals(logits, FAMILY).items()}
    given = given_parents(logits, FAMILY)
    outputs |= {f"{name}{GIVEN}": probs.numpy() for name, probs in given.items()}
    expected, found = Decision(FAMILY).decide(outputs), decide(logits, FAMILY)
    for name, decided in expected.items():
        np.testing.assert_array_equal(found[name], decided)
        targets = torch.from_numpy(decided.astype(np.float32 if decided.ndim == 2 else np.int64))
        right, known = count_right(found[name], targets)
        assert right == known == (targets != MISSING).sum()


def test_the_checks_of_files_decide_by_the_thresholds_and_the_parent():
    pytest.importorskip("sklearn")
    from cannabis_ml.evaluation.agreement import agreement
    from cannabis_ml.evaluation.parity import compare

    two = {"crop": np.array([[0.9, 0.05, 0.05]] * 2), "state": np.array([[0.1, 0.8, 0.1]] * 2)}
    ours = {**two, "mark": np.array([[0.4, 0.9, 0.9]] * 2), "embedding": np.zeros((2, 1))}
    theirs = {**ours, "mark": np.array([[0.4, 0.9, 0.1]] * 2)}
    truth = {
        "crop": np.array([0, 0]),
        "state": np.array([1, 1]),
        "mark": np.array([[1.0, 1.0, 0.0]] * 2),
    }
    decision = Decision(FAMILY, DecisionRule(thresholds={"mark": {"scab": 0.3}}))
    found = compare(decision, ours, theirs, truth).heads["mark"]
    assert (found.accuracy, found.same_decisions) == (1.0, 1.0)  # mould is not of the sick
    agreed = agreement(decision, ours, theirs, truth)["mark"]
    assert (agreed.decisions, agreed.same_decisions) == (6, 1.0)
    by_half = compare(Decision(FAMILY), ours, theirs, truth).heads["mark"]
    assert by_half.accuracy == pytest.approx(2 / 3)


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_clients_decide_by_the_thresholds_that_were_scored(model_file, photos, kind):
    """Constructed: F1 was 1 with these thresholds, and would be 0 from 0.5 on."""
    given = photos(6)
    probs = open_model(model_file(kind), threads=1).probs(given)["marks"]
    apart = {"line": probs[:, 0] >= 0.5, "dot": probs[:, 1] >= 0.5}
    chosen = {name: 0.0 if there.mean() < 0.5 else 1.0 for name, there in apart.items()}
    tier = open_model(model_file(kind, decision={"thresholds": {"marks": chosen}}), threads=1)
    wanted = [name for name, threshold in chosen.items() if threshold == 0]
    assert tier.decide(tier.outputs(given))["marks"] == [wanted] * 6
    assert tier.decision.rule.thresholds == {"marks": chosen}


def test_a_file_without_a_decision_claims_from_one_half_on(model_file):
    tier = open_model(model_file("onnx"), threads=1)
    outputs = {"kind.of thing": [[1, 0, 0]], "grade": [[1, 0, 0, 0]], "marks": [[0.5, 0.499]]}
    decided = tier.decide({name: np.array(values) for name, values in outputs.items()})
    assert decided == {"kind.of thing": ["red"], "grade": ["A"], "marks": [["line"]]}


@pytest.mark.parametrize(
    ("decision", "told"),
    [
        ({"thresholds": {"mark": {"line": 0.3}}}, "'mark', which is not a multilabel head"),
        ({"thresholds": {"grade": {"A": 0.3}}}, "'grade', which is not a multilabel head"),
        ({"thresholds": {"marks": {"lines": 0.3}}}, "'lines', which is not a class of 'marks'"),
        ({"thresholds": {"marks": {"line": 1.5}}}, "less than or equal to 1"),
        ({"threshold": {}}, "Extra inputs are not permitted"),
        ([1], "makes no sense"),
    ],
)
def test_a_decision_that_cannot_be_is_refused(model_file, decision, told):
    with pytest.raises(ExportError, match=told):
        open_model(model_file("onnx", decision=decision), threads=1)


def test_thresholds_are_numbers():
    for wrong in (float("nan"), float("inf"), -0.1):
        with pytest.raises(ValidationError):
            DecisionRule(thresholds={"marks": {"line": wrong}})


def _tiers(model_file, float_rule=RULE, quantized_rule=RULE):
    kinds = {
        "float": model_file("tflite", decision=float_rule),
        "quantized": model_file("tflite", "weight_only_int8", decision=quantized_rule),
    }
    return {"tier1": kinds, "tier2": {"float": model_file("onnx")}}


def test_the_decision_of_each_tier_stands_in_the_manifest(contents, model_file, tmp_path):
    write_bundle(tmp_path / "b", contents(tiers=_tiers(model_file)))
    manifest = json.loads((tmp_path / "b" / "bundle.json").read_text(encoding="utf-8"))
    assert manifest["tiers"]["tier1"]["decision"] == RULE
    assert manifest["tiers"]["tier2"]["decision"] == {"thresholds": {}}
    for packed in ("b", "b.zip"):
        bundle = Bundle.open(tmp_path / packed)
        for quantized in (False, True):
            assert bundle.predictor("tier1", quantized).decision.rule.model_dump() == RULE
    assert bundle.check_golden().passed


def test_files_of_a_tier_that_decide_apart_make_no_bundle(contents, model_file, tmp_path):
    apart = _tiers(model_file, quantized_rule={"thresholds": {"marks": {"line": 0.31}}})
    with pytest.raises(BundleError, match="files of tier1 have different decisions"):
        write_bundle(tmp_path / "b", contents(tiers=apart))


def _edited(folder, change):
    manifest = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    change(manifest)
    manifest["content_sha256"] = content_hash(manifest)
    (folder / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_a_manifest_with_another_rule_than_its_file_is_refused(bundle):
    _edited(bundle, lambda manifest: manifest["tiers"]["tier1"].update(decision=RULE))
    with pytest.raises(BundleError, match=r"tier1.* another decision rule than in bundle\.json"):
        Bundle.open(bundle).predictor("tier1")
    of_another = {"thresholds": {"spots": {"line": 0.3}}}
    _edited(bundle, lambda manifest: manifest["tiers"]["tier1"].update(decision=of_another))
    with pytest.raises(BundleError, match="tier1: thresholds are for 'spots', which is not"):
        Bundle.open(bundle)


def test_a_bundle_without_decisions_is_refused(bundle):
    _edited(bundle, lambda manifest: [tier.pop("decision") for tier in manifest["tiers"].values()])
    with pytest.raises(BundleError, match=r"tiers\.tier1\.decision: Field required"):
        Bundle.open(bundle)


def test_golden_answers_are_compared_as_they_are_decided(small):
    outputs = {"kind.of thing": [[0.7, 0.2, 0.1]], "grade": [[1, 0, 0, 0]], "marks": [[0.31, 0.6]]}
    rules = TierRules(Decision(small.taxonomy, DecisionRule.model_validate(RULE)))
    theirs = {name: np.array(values, np.float32) for name, values in outputs.items()}
    expected = ExpectedAnswers(
        file="f",
        image_size=16,
        tolerance=0.1,
        outputs=outputs,
        conclusions=golden.conclusions(rules, rules.apply(theirs)),
    )
    ours = {name: np.array(values, np.float32) for name, values in outputs.items()}
    ours["marks"][0, 0] = 0.29
    assert golden.compare(expected, ours, rules).same_decision["marks"] == 0.5
    plain = TierRules(Decision(small.taxonomy))
    assert golden.compare(expected, ours, plain).same_decision["marks"] == 1
