import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from cannabis_ml.feedback.linear_head import (
    fit_head,
    fit_projection,
    folds_by_group,
    out_of_fold_probs,
)


@pytest.fixture
def blobs():
    """60 photos of 3 classes in 4 dimensions, well apart."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 20)
    return 4 * np.eye(4)[labels] + random.normal(size=(60, 4)), labels


def test_probabilities_are_those_of_scikit_learn(blobs):
    embeddings, labels = blobs
    theirs = LogisticRegression(max_iter=200).fit(embeddings, labels)
    ours = fit_head(embeddings, labels, 3).probs(embeddings)
    np.testing.assert_allclose(ours, theirs.predict_proba(embeddings), atol=1e-12)


def test_two_classes_are_those_of_scikit_learn(blobs):
    embeddings, labels = blobs
    theirs = LogisticRegression(max_iter=200).fit(embeddings[:40], labels[:40])
    ours = fit_head(embeddings[:40], labels[:40], 2).probs(embeddings)
    np.testing.assert_allclose(ours, theirs.predict_proba(embeddings), atol=1e-12)


def test_classes_without_photos_get_no_probability(blobs):
    embeddings, labels = blobs
    probs = fit_head(embeddings, labels + 1, 5).probs(embeddings)
    assert probs[:, [0, 4]].max() == 0
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    only = fit_head(embeddings[:5], np.full(5, 3), 5).probs(embeddings)
    np.testing.assert_array_equal(only, np.tile([0, 0, 0, 1, 0], (60, 1)))


def test_no_photos_are_refused():
    with pytest.raises(ValueError, match="no photos"):
        fit_head(np.zeros((0, 4)), np.zeros(0, int), 3)


def test_the_first_component_has_unit_variance(blobs):
    embeddings, _ = blobs
    projection = fit_projection(np.hstack([embeddings] * 10), components=3)
    seen = projection(np.hstack([embeddings] * 10))
    assert seen.shape == (60, 3)
    variance = seen.var(axis=0, ddof=1)
    assert variance[0] == pytest.approx(1)
    assert np.all(np.diff(variance) < 0)


def test_folds_keep_groups_whole_and_classes_even():
    labels = np.repeat([0, 1], 30)
    groups = np.concatenate([np.repeat(np.arange(10), 3), np.arange(10, 40)])
    folds = folds_by_group(labels, groups, 5, seed=0)
    for group in np.unique(groups):
        assert len(np.unique(folds[groups == group])) == 1
    for label in (0, 1):
        assert np.bincount(folds[labels == label]).tolist() == [6] * 5


def test_out_of_fold_probabilities_know_nothing_of_the_photo_or_its_copies(blobs):
    """A label that only one group bears cannot be guessed for this group."""
    embeddings, labels = blobs
    groups = np.arange(60) // 2
    labels = labels.copy()
    labels[:2] = 3
    probs = out_of_fold_probs(embeddings, labels, groups, 4)
    assert probs[:2, 3].max() == 0
    assert (probs[2:].argmax(axis=1) == labels[2:]).mean() > 0.9


def test_one_group_cannot_be_divided():
    with pytest.raises(ValueError, match="one group"):
        out_of_fold_probs(np.zeros((3, 2)), np.array([0, 1, 0]), np.zeros(3), 2)
