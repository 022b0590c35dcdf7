"""Unknown scores: against pytorch-ood, against hand calculation, and on photos that are unknown."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from scipy.special import logsumexp
from sklearn.covariance import ledoit_wolf

from cannabis_ml.calibration import unknown
from cannabis_ml.calibration.unknown import (
    LinearHead,
    choose_unknown,
    fit_candidates,
    fit_unknown,
    precision,
    with_threshold,
)
from cannabis_ml.errors import BundleError
from cannabis_ml.evaluation.ranking import auroc
from cannabis_ml.inference.unknown import METHODS, UnknownScore, l2_normalized

CLASSES, WIDTH = 4, 12


def softmax(logits):
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def centers():
    return 2.5 * np.random.default_rng(7).normal(size=(CLASSES, WIDTH))


@pytest.fixture(scope="module")
def linear():
    random = np.random.default_rng(3)
    weight = random.normal(size=(CLASSES, WIDTH)).astype(np.float32)
    return LinearHead(weight, random.normal(size=CLASSES).astype(np.float32))


@pytest.fixture(scope="module")
def answers(linear):
    """Outputs for given features."""

    def answers(features):
        features = np.asarray(features, np.float32)
        return {
            "embedding": features,
            "colour": softmax(features @ linear.weight.T + linear.bias),
        }

    return answers


@pytest.fixture(scope="module")
def training(centers, answers):
    random = np.random.default_rng(0)
    labels = np.arange(400) % CLASSES
    return answers(centers[labels] + random.normal(size=(400, WIDTH))), labels


@pytest.fixture(scope="module")
def new(centers, answers):
    """Known photos, and photos from elsewhere."""
    random = np.random.default_rng(1)
    known = centers[np.arange(200) % CLASSES] + random.normal(size=(200, WIDTH))
    away = 2.5 * random.normal(size=(1, WIDTH)) + random.normal(size=(150, WIDTH))
    return answers(known), answers(away)


@pytest.fixture(scope="module")
def candidates(training, linear):
    return fit_candidates("colour", *training, linear=linear)


@pytest.fixture
def exact(monkeypatch):
    """Covariances as they are, without shrinkage."""
    monkeypatch.setattr(unknown, "ledoit_wolf", lambda _: 0.0)


@pytest.fixture(scope="module")
def ood():
    from cannabis_ml.networks.compat import ready_torchvision

    ready_torchvision()
    pytest.importorskip("pytorch_ood", reason="needs pip install pytorch-ood, which is heavy")
    from pytorch_ood import detector

    return detector


@pytest.fixture
def in_float64():
    """What pytorch-ood allocates."""
    import torch

    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def torch_of(values):
    import torch

    return torch.from_numpy(np.asarray(values, np.float64))


def test_mahalanobis_is_pytorch_oods(ood, exact, in_float64, training, new):
    outputs, labels = training
    theirs = ood.Mahalanobis(None)
    theirs.fit_features(torch_of(l2_normalized(outputs["embedding"])), torch_of(labels).long())
    found = theirs.predict_features(torch_of(l2_normalized(new[1]["embedding"]))).numpy()
    ours = fit_unknown("mahalanobis", "colour", outputs, labels).score(new[1])
    # They halve the distance and do not divide the covariance by the number of photos, but add
    # 1e-6 to its diagonal.
    assert ours / (2 * len(labels)) == pytest.approx(found, rel=1e-5)


def test_relative_mahalanobis_is_pytorch_oods(ood, exact, in_float64, training, new):
    outputs, labels = training
    theirs = ood.RMD(None)
    theirs.fit_features(torch_of(l2_normalized(outputs["embedding"])), torch_of(labels).long())
    found = theirs.predict_features(torch_of(l2_normalized(new[1]["embedding"]))).numpy()
    ours = fit_unknown("relative_mahalanobis", "colour", outputs, labels).score(new[1])
    assert ours / len(labels) == pytest.approx(found, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(
    ("method", "name", "options"),
    [("nci", "NCI", {}), ("fdbd", "fDBD", {}), ("nci", "NCI", {"alpha": 0.05})],
)
def test_scores_of_the_linear_head_are_pytorch_oods(
    ood, training, new, linear, method, name, options
):
    import torch

    layer = torch.nn.Linear(WIDTH, CLASSES)
    layer.weight.data, layer.bias.data = map(torch.from_numpy, (linear.weight, linear.bias))
    theirs = getattr(ood, name)(None, layer, **options)
    theirs.fit_features(torch.from_numpy(training[0]["embedding"]))
    found = theirs.predict_features(torch.from_numpy(new[1]["embedding"])).numpy()
    ours = fit_unknown(method, "colour", *training, linear=linear, **options).score(new[1])
    assert ours == pytest.approx(found, abs=2e-6)


def test_scores_of_logits_are_pytorch_oods(ood, training, new, linear):
    import torch

    logits = torch.from_numpy(new[1]["embedding"] @ linear.weight.T + linear.bias)
    ours = {
        method: fit_unknown(method, "colour", *training, linear=linear).score(new[1])
        for method in ("max_probability", "gen", "energy")
    }
    assert ours["max_probability"] == pytest.approx(ood.MaxSoftmax.score(logits).numpy(), abs=1e-6)
    assert ours["energy"] == pytest.approx(ood.EnergyBased.score(logits).numpy(), abs=1e-5)
    # They take the mean over classes, the paper the sum.
    assert ours["gen"] / CLASSES == pytest.approx(ood.GEN.score(logits).numpy(), abs=1e-6)


def test_knn_is_pytorch_oods(ood, training, new):
    theirs = ood.KNN(None, k=unknown.NEIGHBORS)
    features = torch_of(l2_normalized(training[0]["embedding"]))
    theirs.fit_features(features, torch_of(training[1]).long())
    found = theirs.predict_features(torch_of(l2_normalized(new[1]["embedding"]))).numpy()
    ours = fit_unknown("knn", "colour", *training).score(new[1])
    # Of unit vectors the Euclidean distance d has cosine 1 - d² / 2.
    assert ours == pytest.approx(found**2 / 2, abs=1e-5)


def test_energy_by_hand(training, new, linear, candidates):
    logits = new[1]["embedding"].astype(float) @ linear.weight.T + linear.bias
    assert candidates["energy"].score(new[1]) == pytest.approx(-logsumexp(logits, axis=1))


def test_mahalanobis_by_scipy(exact, training, new):
    outputs, labels = training
    points = l2_normalized(outputs["embedding"].astype(float))
    means = np.stack([points[labels == c].mean(axis=0) for c in range(CLASSES)])
    residuals = points - means[labels]
    inverse = np.linalg.inv(residuals.T @ residuals / len(points))
    asked = l2_normalized(new[1]["embedding"].astype(float))
    expected = [min(mahalanobis(x, m, inverse) ** 2 for m in means) for x in asked]
    found = fit_unknown("mahalanobis", "colour", outputs, labels).score(new[1])
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("photos", [8, 200])
def test_precision_inverts_ledoit_and_wolfs_covariance(photos):
    random = np.random.default_rng(0)
    residuals = random.normal(size=(photos, 20)) * np.linspace(1, 3, 20)
    covariance, _ = ledoit_wolf(residuals, assume_centered=True)
    scale, directions = precision(residuals)
    found = scale * np.eye(20) - directions @ directions.T
    assert found @ covariance == pytest.approx(np.eye(20), abs=1e-8)


def test_few_directions_keep_the_total_variance():
    residuals = np.random.default_rng(0).normal(size=(500, 20)) * np.linspace(1, 3, 20)
    covariance, _ = ledoit_wolf(residuals, assume_centered=True)
    scale, directions = precision(residuals, directions=5)
    assert directions.shape == (20, 5)
    found = np.linalg.inv(scale * np.eye(20) - directions @ directions.T)
    assert np.trace(found) == pytest.approx(np.trace(covariance))
    largest = np.linalg.eigvalsh(covariance)[-5:]
    assert np.linalg.eigvalsh(found)[-5:] == pytest.approx(largest)


def test_embeddings_that_never_vary_are_an_error():
    with pytest.raises(ValueError, match="no covariance"):
        precision(np.zeros((5, 3)))


def test_photos_from_elsewhere_score_higher(candidates, new):
    for method in ("mahalanobis", "relative_mahalanobis", "knn"):
        known, away = (candidates[method].score(outputs) for outputs in new)
        assert np.median(away) > np.quantile(known, 0.95), method


def test_features_score_alike_whatever_their_length(candidates, new):
    twice = {**new[1], "embedding": 2 * new[1]["embedding"]}
    for method in ("mahalanobis", "relative_mahalanobis", "knn"):
        found = candidates[method].score(twice)
        assert found == pytest.approx(candidates[method].score(new[1]), rel=1e-6), method


def test_gen_does_not_hang_on_the_smallest_probabilities(candidates):
    """What one runtime rounds to 0 another gives as 1e-9."""
    probs = [np.array([[1.0, 0, 0, 0]]), np.array([[1 - 3e-9, 1e-9, 1e-9, 1e-9]])]
    zero, tiny = (candidates["gen"].score({"colour": p}) for p in probs)
    assert zero == pytest.approx(tiny)


def test_all_candidates_in_order(candidates, training):
    assert tuple(candidates) == METHODS
    without = fit_candidates("colour", *training)
    assert set(METHODS) - set(without) == {"energy", "nci", "fdbd"}


@pytest.mark.parametrize("method", METHODS)
def test_a_file_scores_as_what_was_fitted(candidates, new, method):
    fitted = with_threshold(candidates[method], new[0], np.arange(200))
    data = fitted.to_bytes()
    read = UnknownScore.from_bytes(data)
    assert read.to_bytes() == data
    assert (read.threshold, read.kept) == (fitted.threshold, 0.95)
    assert read.score(new[1]).tolist() == fitted.score(new[1]).tolist()
    assert read.is_unknown(new[1]).tolist() == fitted.is_unknown(new[1]).tolist()


def test_damaged_files_are_refused(candidates):
    data = candidates["knn"].to_bytes()
    for bad in (b"", b"nothing", data[: len(data) // 2], np.arange(3).tobytes()):
        with pytest.raises(BundleError):
            UnknownScore.from_bytes(bad)


def test_arrays_that_do_not_fit_together_are_refused(candidates):
    nci = candidates["nci"]
    short = {**nci.arrays, "mean": nci.arrays["mean"][:-1]}
    with pytest.raises(BundleError, match="where F is"):
        dataclasses.replace(nci, arrays=short)
    with pytest.raises(BundleError, match="takes arrays"):
        dataclasses.replace(nci, arrays={})
    with pytest.raises(BundleError, match="not finite"):
        dataclasses.replace(nci, arrays={**nci.arrays, "mean": nci.arrays["mean"] * np.nan})
    with pytest.raises(BundleError, match="k is 3000"):
        dataclasses.replace(candidates["knn"], numbers={"k": 3000})


def test_threshold_keeps_the_promised_share_of_new_known_photos(training, centers, answers):
    """200 repetitions; the mean share kept is at least 95% and not far above."""
    score = fit_unknown("mahalanobis", "colour", *training)
    random = np.random.default_rng(5)
    kept = []
    for _ in range(200):
        labels = random.integers(CLASSES, size=160)
        outputs = answers(centers[labels] + random.normal(size=(160, WIDTH)))
        first, second = (
            {k: v[part] for k, v in outputs.items()} for part in (slice(60), slice(60, None))
        )
        fitted = with_threshold(score, first, np.arange(60))
        kept.append(1 - fitted.is_unknown(second).mean())
    # Of 60 photos the 58th of 61: 0.951; the mean over 200 repetitions varies by 0.002.
    assert np.mean(kept) == pytest.approx(58 / 61, abs=0.008)


def test_with_too_few_known_photos_nothing_is_called_unknown(candidates, new):
    few = {name: values[:18] for name, values in new[0].items()}
    fitted = with_threshold(candidates["knn"], few, np.arange(18))
    assert fitted.threshold == np.inf
    assert not fitted.is_unknown(new[1]).any()
    assert UnknownScore.from_bytes(fitted.to_bytes()).threshold == np.inf


def test_the_best_is_chosen_and_a_simpler_one_that_is_as_good(candidates, new):
    known, away = new
    chosen = choose_unknown(candidates, known, np.arange(200), {"far": away})
    table = chosen.table
    assert table["mahalanobis"].mean > 0.95
    best = max(row.mean for row in table.values())
    assert table[chosen.method].mean > best - 0.02
    assert METHODS.index(chosen.method) <= METHODS.index("relative_mahalanobis")
    assert table["knn"].near is None
    again = choose_unknown(candidates, known, np.arange(200), {"far": away})
    assert again == chosen


def test_near_and_far_count_alike(candidates, new):
    known, away = new
    chosen = choose_unknown(candidates, known, np.arange(200), {"near": known, "far": away})
    for row in chosen.table.values():
        assert row.near == pytest.approx(0.5)
        assert row.mean == pytest.approx((row.near + row.far) / 2)


def test_without_unknown_photos_the_literature_decides(candidates, new):
    chosen = choose_unknown(candidates, new[0], np.arange(200), {})
    assert chosen.method == "relative_mahalanobis"
    assert "no unknown photos" in chosen.because


def test_labels_that_are_unknown_are_left_out(training, new):
    outputs, labels = training
    some = np.where(np.arange(len(labels)) % 2, labels, -1)
    kept = {name: values[some >= 0] for name, values in outputs.items()}
    found = fit_unknown("mahalanobis", "colour", outputs, some).score(new[1])
    assert found == pytest.approx(
        fit_unknown("mahalanobis", "colour", kept, some[some >= 0]).score(new[1])
    )


def test_what_cannot_be_fitted_is_refused_with_the_reason(training):
    outputs, labels = training
    with pytest.raises(ValueError, match="needs the linear head"):
        fit_unknown("fdbd", "colour", outputs, labels)
    with pytest.raises(ValueError, match="several photos of a class"):
        fit_unknown("mahalanobis", "colour", outputs, np.full(len(labels), -1))


@pytest.mark.parametrize("method", ["mahalanobis", "relative_mahalanobis"])
def test_photos_in_directions_that_no_training_photo_has_are_unknown(method):
    """Few photos in many dimensions, whose classes differ in a few: as embeddings are.

    Covariances shrunken each by its own intensity would call such photos the best known.
    """
    random = np.random.default_rng(0)
    labels = np.arange(150) % 5
    centers = np.zeros((5, 400))
    centers[np.arange(5), np.arange(5)] = 4

    def drawn(which, away=0.0):
        points = centers[which] + random.normal(scale=0.3, size=(len(which), 400))
        points[:, :60] += random.normal(scale=0.6, size=(len(which), 60))
        points[:, 200:] += away * random.normal(size=(len(which), 200))
        return {"embedding": points}

    score = fit_unknown(method, "kind", drawn(labels), labels)
    known, unknown = score.score(drawn(labels)), score.score(drawn(labels, away=0.6))
    assert auroc(np.r_[known, unknown], np.arange(300) >= 150) > 0.95
