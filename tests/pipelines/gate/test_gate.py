"""Small bundles of ONNX files that tell colours, compared on photos of these colours."""

from types import SimpleNamespace

import cv2
import datasets
import numpy as np
import pytest

from cannabis_ml.datasets.champion import Candidate, ChampionDataset
from cannabis_ml.errors import BundleError
from cannabis_ml.evaluation.latency import FileLatency, LatencyReport, Percentiles, Timing
from cannabis_ml.evaluation.predictions import predictions_of
from cannabis_ml.inference.bundle_writer import write_bundle
from cannabis_ml.inference.decision import Decision
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.pipelines.gate import nodes
from cannabis_ml.pipelines.gate.comparison import HeldOutPhotos, compare_tier
from cannabis_ml.pipelines.gate.params import GateStageParams
from cannabis_ml.taxonomy import Taxonomy

KIND = "kind.of thing"
TIER = "tier1"
COUNT = 240
GATE = GateStageParams.model_validate({"paired": {"draws": 200}, "margin": 0.05})


def weights(taxonomy, wrong=0):
    """Red, green and blue are the three kinds; with `wrong`, green is called red."""
    found = {head.name: np.zeros((3, len(head.classes)), np.float32) for head in taxonomy.heads}
    kinds = 30 * np.eye(3, dtype=np.float32)
    if wrong:
        kinds[1] = kinds[0]
    found[KIND] = kinds
    return found


def photo(color, seed):
    pixels = np.random.default_rng(seed).integers(0, 30, (20, 24, 3), dtype=np.uint8)
    pixels[..., color] += 90
    return pixels


@pytest.fixture(scope="module")
def bundles(onnx_contents, tmp_path_factory):
    root = tmp_path_factory.mktemp("bundles")
    taxonomy = onnx_contents().taxonomy
    made = {"same": weights(taxonomy), "other": weights(taxonomy), "worse": weights(taxonomy, 1)}
    return {
        name: write_bundle(
            root / name / "bundle", onnx_contents(tiers=(TIER,), weights=these, name=name)
        )
        for name, these in made.items()
    }


@pytest.fixture(scope="module")
def photo_set(bundles):
    names = bundles["same"].taxonomy[KIND].class_names
    rows = [
        {
            "photo_id": f"{i:064x}",
            "image": {
                "bytes": cv2.imencode(".png", photo(i % 3, i)[..., ::-1])[1].tobytes(),
                "path": None,
            },
            "split": "test" if i < COUNT else "train",
            "group": f"g{i}",
            KIND: names[i % 3],
        }
        for i in range(COUNT + 6)
    ]
    features = {name: datasets.Value("string") for name in ("photo_id", "split", "group", KIND)}
    features["image"] = datasets.Image()
    return PhotoSet(datasets.Dataset.from_list(rows, features=datasets.Features(features)))


@pytest.fixture(scope="module")
def latency():
    times = Percentiles(p50=5.0, p95=6.0)
    timing = Timing(
        invoke_ms=times,
        pixels_ms=times,
        jpeg_ms=times,
        open_ms=1.0,
        memory_before_mb=None,
        peak_memory_mb=None,
    )
    file = FileLatency(
        quantization="float", format="onnx", bytes=10**6, one_thread=timing, all_threads=timing
    )
    return LatencyReport(machine={}, photos=1, files={"float": file}, quantized_to_float={})


@pytest.fixture(scope="module")
def compare(bundles, photo_set, latency):
    """The report and the evidence on a challenger: `compare("same", "worse", unlabelled=[…])`."""

    def compare(champion, challenger, unlabelled=(), gate=GATE):
        champion = bundles[champion] if champion else None
        bundle = bundles[challenger]
        before = nodes.answer_as_champion(TIER, champion, bundle, photo_set, list(unlabelled), gate)
        models = {"float": bundle.model_file(TIER)}
        predictor = bundle.predictor(TIER)
        outputs = [predictor.outputs([photo_set.pixels(i)]) for i in range(len(photo_set))]
        file_outputs = predictions_of(photo_set.labels("photo_id", "split"), outputs)
        after = nodes.answer_as_challenger(
            TIER, bundle, models, file_outputs, list(unlabelled), gate
        )
        evidence = nodes.gather_evidence(
            TIER, champion, bundle, before, after, photo_set, latency, gate
        )
        report = nodes.decide_promotion(champion, bundle, gate, **{TIER: evidence})
        return SimpleNamespace(report=report, evidence=evidence, before=before, after=after)

    return compare


def test_the_first_bundle_is_promoted_without_asking_any_model(compare):
    found = compare(None, "same")
    assert found.report.outcome == "promote"
    assert found.report.champion is None
    assert found.before.empty
    assert found.evidence.labelled is None
    assert found.evidence.cost.megabytes == 1


def test_a_challenger_that_answers_alike_is_promoted(compare):
    found = compare("same", "other")
    assert found.report.outcome == "promote"
    assert found.evidence.labelled.photos == COUNT
    assert found.evidence.labelled.overall.champion == 1
    assert found.evidence.unlabelled.heads[KIND].agreement == 1
    assert found.evidence.unlabelled.flipped == 0


def test_a_challenger_that_takes_green_for_red_is_refused(compare, bundles):
    found = compare("same", "worse")
    assert found.report.outcome == "refuse"
    abouts = {reason.about for reason in found.report.of("refuse")}
    assert {"overall", "head", "class"} <= abouts
    green = bundles["same"].taxonomy[KIND].class_names[1]
    assert found.evidence.labelled.heads[KIND].classes[green].challenger == 0
    assert found.evidence.unlabelled.heads[KIND].agreement == pytest.approx(2 / 3)


def test_the_champion_is_not_compared_with_itself(compare):
    found = compare("same", "same")
    assert found.report.outcome == "promote"
    assert found.before.empty


def test_photos_without_labels_are_compared_too_and_unreadable_ones_left_out(
    compare, tmp_path, photo_set
):
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for i, path in enumerate(paths[:3]):
        cv2.imwrite(str(path), photo(i, i)[..., ::-1])
    paths[3].write_bytes(b"no photo")
    found = compare("same", "worse", paths)
    assert found.evidence.unlabelled.photos == 3
    assert found.evidence.labelled.photos == COUNT
    (flip,) = found.evidence.unlabelled.flips
    assert flip.photo == str(paths[1])
    page = nodes.write_gate_page(found.report, photo_set, paths)
    assert page.count("data:image/jpeg") == 1
    assert "Refused" in page


def test_names_on_the_page_are_text_and_no_markup(compare, photo_set):
    report = compare("same", "worse").report
    reason = report.reasons[0].model_copy(update={"text": "<script>alert(1)</script>"})
    hostile = report.model_copy(update={"reasons": [reason], "in_words": "<img src=x>"})
    page = nodes.write_gate_page(hostile, photo_set, [])
    assert "<script>" not in page
    assert "<img src=x>" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_file_that_is_newer_than_the_bundle_is_noticed(bundles, photo_set):
    models = {"float": bundles["worse"].model_file(TIER)}
    empty = nodes.answer_as_champion(TIER, None, bundles["same"], photo_set, [], GATE)
    with pytest.raises(BundleError, match="bundle,gate"):
        nodes.answer_as_challenger(TIER, bundles["same"], models, empty, [], GATE)


def candidate(report, bundle, gate=GATE):
    return nodes.promote_challenger(report, bundle, "2026-11-27T12:00:00+00:00", None, gate)


def test_what_passes_becomes_champion_and_what_is_refused_does_not(compare, bundles, tmp_path):
    entry = ChampionDataset(filepath=tmp_path / "champion")
    assert entry.load() is None
    for champion, challenger, wins in ((None, "same", "same"), ("same", "worse", "same")):
        report = compare(champion, challenger).report
        entry.save(candidate(report, bundles[challenger]))
        assert entry.load().manifest.name == wins
    entry.save(candidate(compare("same", "other").report, bundles["other"]))
    assert entry.load().manifest.name == "other"
    records = entry.store.records()
    assert [record.name for record in records] == ["same", "other"]
    assert [record.by for record in records] == ["gate", "gate"]
    assert "no champion" in records[0].reason
    assert records[1].outcome == "promote"
    assert {"overall", "class", "calibration"} <= {reason.about for reason in records[1].test}


def test_promotion_can_be_left_to_a_person(compare, bundles, tmp_path):
    entry = ChampionDataset(filepath=tmp_path / "champion")
    gate = GATE.model_copy(update={"promote": False})
    made = candidate(compare(None, "same").report, bundles["same"], gate)
    assert isinstance(made, Candidate)
    entry.save(made)
    assert entry.load() is None


def test_risk_is_that_of_labels_that_both_know(bundles, photo_set, compare):
    """The champion, as if it had never heard of blue, is not blamed for photos of it."""
    found = compare("same", "other")
    bundle = bundles["same"]
    heads = bundle.taxonomy.model_dump()["heads"]
    heads[0]["classes"] = heads[0]["classes"][:2]
    small = Taxonomy.model_validate({"heads": heads})
    before = found.before.assign(**{KIND: [probs[:2] for probs in found.before[KIND]]})
    known = SimpleNamespace(
        taxonomy=small,
        tiers=[TIER],
        routing=None,
        rules=lambda tier: SimpleNamespace(decision=Decision(small), unknown=None),
    )
    rows = np.arange(COUNT)
    truth = photo_set.encode(bundles["other"].taxonomy, rows)
    after = found.after.iloc[:COUNT]
    evidence = compare_tier(
        (known, before),
        (bundles["other"], after),
        TIER,
        HeldOutPhotos(np.ones(COUNT, bool), truth, rows),
        GATE,
    )
    assert evidence.risk.groups == COUNT * 2 // 3
    assert evidence.risk.champion == 0
    assert evidence.labelled.heads[KIND].new_classes
