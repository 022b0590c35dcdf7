"""From outputs of a file to bands, sets, unknown score and routing, and what they reach on test."""

import datasets
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cannabis_ml.calibration.routing_choice import TierEvidence
from cannabis_ml.evaluation.latency import FileLatency, LatencyReport, Percentiles, Timing
from cannabis_ml.evaluation.params import ReportParams
from cannabis_ml.inference.cards import NetworkCard
from cannabis_ml.inference.decision import DecisionRule
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.pipelines.calibration import nodes, reliability_nodes, routing_nodes
from cannabis_ml.pipelines.calibration.params import CalibrationParams
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Taxonomy

TAXONOMY = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "look", "kind": "multilabel", "classes": ["dry", "wet"]},
            {"name": "kind", "classes": ["leaf", "bud", "hash"]},
        ]
    }
)
PARAMS = CalibrationParams.model_validate({"choice": {"repeats": 1, "folds": 2}})
COUNT = 640
SPLITS = ("calibration", "validation", "test", "train")
TRUTH = np.random.default_rng(0).integers(0, 3, COUNT)


@pytest.fixture(scope="module")
def photo_set():
    rows = [
        {
            "photo_id": f"{i:064x}",
            "image": {"bytes": b"", "path": None},
            "split": SPLITS[i % 4],
            "group": f"g{i}",
            "kind": None if i % 40 == 2 else TAXONOMY["kind"].class_names[k],
            "look.dry": int(k == 0),
            "look.wet": None,
        }
        for i, k in enumerate(TRUTH)
    ]
    features = {name: datasets.Value("string") for name in ("photo_id", "split", "group", "kind")}
    features |= {"image": datasets.Image(), "look.dry": datasets.Value("int8")}
    features |= {"look.wet": datasets.Value("int8")}
    return PhotoSet(datasets.Dataset.from_list(rows, features=datasets.Features(features)))


def table(photos, truth, seed, away=0.0):
    """Outputs of a network that is twice too sure, with an embedding that shows its classes."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(len(truth), 3)) + 2.0 * (truth[:, None] == np.arange(3))
    sure = np.exp(2 * logits)
    embedding = random.normal(scale=0.3, size=(len(truth), 6)) + np.eye(6)[truth]
    embedding[:, 3:] += away
    look = np.tile([0.7, 0.2], (len(truth), 1))
    columns = {"kind": sure / sure.sum(axis=1, keepdims=True), "look": look}
    columns |= {"embedding": embedding, "kind.epistemic": random.random((len(truth), 1))}
    return photos.assign(
        **{n: pd.Series(list(v.astype(np.float32)), dtype=object) for n, v in columns.items()}
    )


@pytest.fixture(scope="module")
def outputs(photo_set):
    return table(photo_set.labels("photo_id", "split"), TRUTH, seed=1)


@pytest.fixture(scope="module")
def unknown_outputs():
    kinds = ["noise", "text"] * 10
    photos = pd.DataFrame({"photo_id": [str(i) for i in range(20)], "unknown_kind": kinds})
    return table(photos, np.zeros(20, int), seed=9, away=3.0)


@pytest.fixture(scope="module")
def calibrated(outputs, photo_set):
    return nodes.calibrate("tier1", outputs, photo_set, TAXONOMY, DecisionRule(), PARAMS)


@pytest.fixture(scope="module")
def reliability(outputs, photo_set, calibrated):
    return reliability_nodes.fit_reliability(
        outputs, photo_set, TAXONOMY, DecisionRule(), calibrated[1], PARAMS
    )


@pytest.fixture(scope="module")
def unknown(outputs, unknown_outputs, photo_set):
    state = {"heads.1.0.1.weight": np.eye(3, 6), "heads.1.0.1.bias": np.zeros(3)}
    checkpoint = Checkpoint(state=state, card=NetworkCard(taxonomy=TAXONOMY, image_size=8))
    return reliability_nodes.choose_unknown(
        outputs, unknown_outputs, photo_set, TAXONOMY, checkpoint, PARAMS
    )


def test_reliability_rests_on_calibration_photos_alone(outputs, photo_set, calibrated, reliability):
    fitted, report = reliability
    assert report.photos == COUNT / 4
    assert report.splits == ["calibration"]
    assert set(fitted.bands) == set(fitted.sets.heads) == {"kind", "look"}
    elsewhere = outputs.copy()
    others = outputs["split"] != "calibration"
    elsewhere.loc[others, "kind"] = pd.Series(
        [np.array([0.0, 0.0, 1.0], np.float32)] * others.sum(), index=outputs.index[others]
    )
    again, _ = reliability_nodes.fit_reliability(
        elsewhere, photo_set, TAXONOMY, DecisionRule(), calibrated[1], PARAMS
    )
    assert again == fitted


def test_the_unknown_score_is_fitted_to_training_photos_and_chosen_on_unknown_ones(unknown):
    score, report = unknown
    assert report.head == "kind"  # the first that is not multilabel
    assert report.training_photos == COUNT / 4
    assert report.known_groups == COUNT / 2  # validation and calibration
    assert report.unknown_photos == {"noise": 10, "text": 10}
    assert report.candidates[score.method].mean == pytest.approx(1.0, abs=0.02)
    assert report.candidates["energy"].refused is None


def test_promises_are_held_against_test_photos(
    outputs, unknown_outputs, photo_set, calibrated, reliability, unknown
):
    found = reliability_nodes.judge_reliability(
        outputs,
        unknown_outputs,
        photo_set,
        TAXONOMY,
        calibrated[0],
        reliability[0],
        unknown[0],
        ReportParams(),
    )
    labelled = COUNT / 4 - COUNT / 40  # of every tenth test photo the kind is not known
    assert found.sets["kind"].n == found.bands["kind"].answers == labelled
    assert found.sets["kind"].kept
    assert found.sets["kind"].coverage == pytest.approx(0.9, abs=0.08)
    assert found.unknown.photos == COUNT / 4
    assert found.unknown.kept
    assert found.unknown.caught == {"noise": 1.0, "text": 1.0}


def latency(milliseconds):
    jpeg = Percentiles(p50=milliseconds, p95=milliseconds)
    timing = Timing.model_construct(jpeg_ms=jpeg)
    files = {"float": FileLatency.model_construct(one_thread=timing)}
    return LatencyReport.model_construct(files=files)


@pytest.fixture(scope="module")
def evidence(outputs, photo_set, calibrated, unknown):
    return {
        name: routing_nodes.answers_for_routing(
            outputs, photo_set, TAXONOMY, calibrated[0], unknown[0], latency(ms), PARAMS
        )
        for name, ms in (("tier1", 5.0), ("tier3", 50.0))
    }


def test_evidence_is_of_labelled_photos_of_three_splits(evidence):
    found: TierEvidence = evidence["tier1"]
    assert found.milliseconds == 5.0
    assert set(found.heads) == {Split.VALIDATION, Split.CALIBRATION, Split.TEST}
    assert len(found.groups[Split.TEST]) == COUNT / 4 - COUNT / 40
    assert "agreement" in found.heads[Split.TEST].scores  # by the file's epistemic uncertainty
    assert len(found.heads[Split.TEST].unknown) == len(found.groups[Split.TEST])


def test_a_routing_is_chosen_and_drawn(evidence):
    rule, report = routing_nodes.choose_routing(TAXONOMY, PARAMS, **evidence)
    assert [row.tier for row in rule.tiers] == ["tier1", "tier3"]
    assert report.costs["tier3"].milliseconds == 50
    figures = routing_nodes.draw_routing(rule, report, PARAMS, **evidence)
    assert set(figures) == {"risk_coverage", "cost_accuracy"}


def test_unknown_photos_are_read_and_files_that_are_not_photos_left_out(
    tmp_path, monkeypatch, caplog
):
    class Opened:
        image_size = 8

        def outputs(self, photos, batch_size):
            return {"kind": np.full((1, 3), photos[0].mean(), np.float32)}

    monkeypatch.setattr("cannabis_ml.inference.predictor.open_model", lambda _: Opened())
    for i in range(3):
        Image.fromarray(np.full((9, 9, 3), 10 * i, np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "broken.png").write_bytes(b"no photo")
    names = ["0.png", "broken.png", "1.png", "2.png", "gone.png"]
    photos = pd.DataFrame({"path": [str(tmp_path / n) for n in names], "source": "mine"})
    found = reliability_nodes.predict_unknown({"float": None}, photos, PARAMS)
    assert [row[0] for row in found["kind"]] == [0, 10, 20]
    assert set(found["unknown_kind"]) == {"mine"}  # the source, where no kinds are told
    assert "broken.png" in caplog.text
    assert "gone.png" in caplog.text
