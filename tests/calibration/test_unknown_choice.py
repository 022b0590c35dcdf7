import numpy as np
import pytest

from cannabis_ml.calibration.unknown_choice import (
    KnownPhotos,
    UnknownParams,
    choose_unknown_score,
    linear_head,
)
from cannabis_ml.errors import CalibrationError
from cannabis_ml.inference.cards import NetworkCard
from cannabis_ml.taxonomy import Taxonomy

TAXONOMY = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "grade", "kind": "ordinal", "classes": ["A", "B"]},
            {"name": "kind", "classes": ["a", "b", "c"]},
        ]
    }
)
KIND = TAXONOMY["kind"]


def outputs(count, seed, away=0.0):
    """Three clusters in 8 dimensions; probabilities tell nothing, so that features must."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    features = random.normal(scale=0.3, size=(count, 8))
    features[np.arange(count), labels] += 3
    features[:, 5:] += away
    probs = np.full((count, 3), 1 / 3) + random.normal(scale=1e-3, size=(count, 3))
    return {"kind": probs, "embedding": features}, labels


@pytest.fixture(scope="module")
def known():
    train, labels = outputs(90, 0)
    held_out, _ = outputs(60, 1)
    return KnownPhotos(train, labels, held_out, np.arange(60))


def test_the_score_that_separates_unknown_photos_is_taken_and_keeps_known_ones(known):
    far = {"noise": outputs(30, 2, away=4)[0], "text": outputs(12, 3, away=-4)[0]}
    score, report = choose_unknown_score(KIND, known, far, None, UnknownParams())
    assert report.method == score.method
    assert report.candidates[score.method].far == pytest.approx(1.0)
    assert report.candidates[score.method].by_kind == {"noise": 1.0, "text": 1.0}
    assert report.candidates["max_probability"].far < 0.8
    assert "needs the linear head" in report.candidates["nci"].refused
    assert report.unknown_photos == {"noise": 30, "text": 12}
    assert (report.training_photos, report.known_photos, report.known_groups) == (90, 60, 60)
    # The 58th smallest of 60 scores: at least 95% of 61 places.
    expected = np.sort(score.score(known.held_out))[57]
    assert score.threshold == report.threshold == expected
    assert (score.kept, score.groups) == (0.95, 60)


def test_kinds_called_near_count_apart_from_the_others(known):
    unknown = {"left out": outputs(20, 4, away=0.4)[0], "noise": outputs(30, 2, away=4)[0]}
    params = UnknownParams(near=["left out"])
    _, report = choose_unknown_score(KIND, known, unknown, None, params)
    found = report.candidates["mahalanobis"]
    assert found.near == found.by_kind["left out"]
    assert found.far == found.by_kind["noise"]
    assert found.mean == pytest.approx((found.near + found.far) / 2)


def test_without_unknown_photos_there_is_a_default_and_it_reports_it(known):
    score, report = choose_unknown_score(KIND, known, {}, None, UnknownParams())
    assert score.method == "relative_mahalanobis"
    assert report.because == "There were no unknown photos to choose by."


def test_a_configured_method_is_taken_or_refused_with_the_reason(known):
    score, report = choose_unknown_score(KIND, known, {}, None, UnknownParams(method="knn"))
    assert score.method == "knn"
    assert "configured" in report.because
    with pytest.raises(CalibrationError, match=r"'fdbd' cannot be fitted: .*linear head"):
        choose_unknown_score(KIND, known, {}, None, UnknownParams(method="fdbd"))


def test_few_training_photos_leave_the_scores_that_need_none(known):
    few = KnownPhotos(
        {name: values[:2] for name, values in known.train.items()},
        known.labels[:2],
        known.held_out,
        known.groups,
    )
    score, report = choose_unknown_score(KIND, few, {}, None, UnknownParams())
    assert "several photos of a class" in report.candidates["relative_mahalanobis"].refused
    assert score.method == "max_probability"


def test_too_few_known_photos_call_nothing_unknown(known):
    few = KnownPhotos(
        known.train,
        known.labels,
        {name: values[:18] for name, values in known.held_out.items()},
        known.groups[:18],
    )
    score, report = choose_unknown_score(KIND, few, {}, None, UnknownParams())
    assert report.threshold is None
    assert not score.is_unknown(outputs(5, 9, away=9)[0]).any()


def test_the_linear_head_is_the_mean_of_its_members():
    random = np.random.default_rng(0)
    weights = random.normal(size=(2, 3, 8))
    state = {f"heads.1.{m}.1.weight": weights[m] for m in (0, 1)}
    state |= {f"heads.1.{m}.1.bias": np.arange(3.0) + m for m in (0, 1)}
    card = NetworkCard(taxonomy=TAXONOMY, image_size=8, ensemble=2)
    found = linear_head(state, card, KIND)
    np.testing.assert_allclose(found.weight, weights.mean(axis=0))
    assert found.bias.tolist() == [0.5, 1.5, 2.5]
    assert linear_head(state, card.model_copy(update={"hidden": 4}), KIND) is None
    assert linear_head(state, card, TAXONOMY["grade"]) is None


def test_the_linear_head_makes_the_logits_of_a_network():
    import torch

    from cannabis_ml.networks.backbones import create_backbone
    from cannabis_ml.networks.network import Architecture, HierarchicalNet

    torch.manual_seed(0)
    backbone = create_backbone("test_efficientnet", 64)
    network = HierarchicalNet(backbone, TAXONOMY, Architecture(image_size=64, ensemble=3)).eval()
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    found = linear_head(state, network.card("test_efficientnet"), KIND)
    photos = torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        features = network.embed(photos)
        logits = network.classify(features)["kind"].mean(dim=1)
    np.testing.assert_allclose(
        features.numpy() @ found.weight.T + found.bias, logits.numpy(), atol=1e-5
    )
