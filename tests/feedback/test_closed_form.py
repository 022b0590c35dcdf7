import numpy as np
import pytest
from sklearn.linear_model import Ridge

from cannabis_ml.errors import TrainingError
from cannabis_ml.feedback.closed_form import (
    ClosedFormHead,
    EmbeddedPhotos,
    RandomProjection,
    RidgeSums,
    _weights,
)

CLASSES = ("hash", "leaf", "bud")


def photos(count=60, seed=0, first=0, features=12):
    random = np.random.default_rng(seed)
    which = random.integers(0, 3, count)
    centers = np.random.default_rng(99).normal(size=(3, features))
    embeddings = (centers[which] + random.normal(size=(count, features))).astype(np.float32)
    ids = tuple(f"photo{first + i}" for i in range(count))
    return EmbeddedPhotos(ids, embeddings, tuple(CLASSES[k] for k in which))


def solved(head, ridge=0.1):
    return head.sums.solve(ridge, CLASSES)


def assert_same(one, other, rtol=1e-8):
    np.testing.assert_allclose(one.weights, other.weights, rtol=rtol, atol=1e-10)
    np.testing.assert_allclose(one.bias, other.bias, rtol=rtol, atol=1e-10)


def test_it_is_ridge_regression_of_one_hot_labels():
    found = photos()
    head = solved(ClosedFormHead.of(found))
    inputs = found.embeddings.astype(float)
    scale = np.var(inputs, axis=0).sum() * len(inputs) / inputs.shape[1]
    one_hot = np.array(found.labels)[:, None] == np.array(CLASSES)
    theirs = Ridge(alpha=0.1 * scale).fit(inputs, one_hot.astype(float))
    np.testing.assert_allclose(head.weights, theirs.coef_.T, rtol=1e-8)
    np.testing.assert_allclose(head.bias, theirs.intercept_, rtol=1e-8)


def test_order_of_photos_and_classes_changes_nothing():
    found = photos()
    order = np.random.default_rng(1).permutation(len(found))
    together = ClosedFormHead.of(found)
    in_parts = ClosedFormHead.of(found.at(order[:10]))
    for part in (order[10:35], order[35:]):
        in_parts = in_parts.with_photos(found.at(part))
    assert_same(solved(together), solved(in_parts))
    backwards = together.sums.solve(0.1, CLASSES[::-1])
    np.testing.assert_allclose(backwards.weights[:, ::-1], solved(together).weights, rtol=1e-12)


def test_classes_that_come_one_by_one_end_as_if_all_had_come_at_once():
    found = photos()
    names = np.array(found.labels)
    grown = ClosedFormHead.of(found.at(np.flatnonzero(names == "leaf")))
    for name in ("bud", "hash"):
        grown = grown.with_photos(found.at(np.flatnonzero(names == name)))
    assert_same(solved(grown), solved(ClosedFormHead.of(found)))


@pytest.mark.parametrize("projection", [None, RandomProjection(12, 40, seed=3)])
def test_what_is_taken_out_was_never_there(projection):
    everything = photos()
    erased = set(everything.photo_ids[5:25])
    kept = everything.at(np.array([i for i in range(60) if not 5 <= i < 25]))
    left = ClosedFormHead.of(everything, projection).without(erased)
    assert left.photos.photo_ids == kept.photo_ids
    assert not erased & set(left.photos.photo_ids)
    assert left.photos.embeddings.shape == (40, 12)
    assert_same(solved(left), solved(ClosedFormHead.of(kept, projection)))


def test_a_class_whose_last_photo_goes_is_gone_and_never_answered():
    found = photos()
    hash_ids = {
        i for i, label in zip(found.photo_ids, found.labels, strict=True) if label == "hash"
    }
    left = ClosedFormHead.of(found).without(hash_ids)
    assert set(left.sums.counts) == {"leaf", "bud"}
    assert set(left.sums.sums) == {"leaf", "bud"}
    scores = solved(left).scores(found.embeddings)
    assert (scores[:, 0] == 0).all()
    assert (scores.argmax(axis=1) > 0).all()


def test_the_same_photo_does_not_count_twice():
    found = photos()
    head = ClosedFormHead.of(found)
    with pytest.raises(TrainingError, match="already"):
        head.with_photos(found.at(np.arange(3)))


def test_what_was_never_added_cannot_be_subtracted():
    with pytest.raises(TrainingError, match="2 photos of 'leaf' cannot be removed"):
        RidgeSums.empty(3).removed(np.ones((2, 3)), ["leaf", "leaf"])
    with pytest.raises(TrainingError, match="needs photos"):
        RidgeSums.empty(3).solve(0.1)


def test_penalty_and_scale_are_chosen_on_other_photos():
    random = np.random.default_rng(5)
    few = photos(24, seed=1)
    noisy = EmbeddedPhotos(
        few.photo_ids,
        np.concatenate([few.embeddings, random.normal(size=(24, 200))], axis=1).astype(np.float32),
        few.labels,
    )
    other = photos(300, seed=2, first=100)
    held_out = EmbeddedPhotos(
        other.photo_ids,
        np.concatenate([other.embeddings, random.normal(size=(300, 200))], 1).astype(np.float32),
        other.labels,
    )
    head = ClosedFormHead.of(noisy)
    found, ridge, _ = head.fitted(held_out, CLASSES)

    def log_loss(one):
        scores = one.scores(held_out.embeddings)
        scores -= scores.max(axis=1, keepdims=True)
        probs = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        truth = [CLASSES.index(label) for label in held_out.labels]
        return -np.log(probs[np.arange(300), truth]).mean()

    assert ridge > 1e-4
    assert log_loss(found) < log_loss(head.sums.solve(1e-4, CLASSES))
    for factor in (0.9, 1.1):
        assert log_loss(found) < log_loss(found.scaled(factor))


def test_a_projection_follows_from_its_seed_alone():
    embeddings = photos().embeddings
    first = RandomProjection(12, 20, seed=4).apply(embeddings)
    np.testing.assert_array_equal(first, RandomProjection(12, 20, seed=4).apply(embeddings))
    assert not np.array_equal(first, RandomProjection(12, 20, seed=5).apply(embeddings))
    assert first.min() == 0


def test_no_validation_photo_of_a_known_class_is_reported():
    head = ClosedFormHead.of(photos())
    strange = EmbeddedPhotos(("x",), np.zeros((1, 12), np.float32), ("kief",))
    with pytest.raises(TrainingError, match="validation"):
        head.fitted(strange, CLASSES)


def test_members_differ_and_their_mean_is_near_the_head():
    head = ClosedFormHead.of(photos(600))
    members = head.members(0.1, CLASSES, 4)
    weights = np.stack([member.weights for member in members])
    assert weights.std(axis=0).mean() > 0
    whole = solved(head).weights
    assert np.abs(weights.mean(axis=0) - whole).mean() < np.abs(whole).mean() / 4
    (alone,) = head.members(0.1, CLASSES, 1)
    assert_same(alone, solved(head))


def test_members_do_not_remember_what_was_taken_out():
    everything = photos()
    left = ClosedFormHead.of(everything).without(everything.photo_ids[:9])
    kept = ClosedFormHead.of(everything.at(np.arange(9, 60)[::-1]))
    for one, other in zip(
        left.members(0.1, CLASSES, 3), kept.members(0.1, CLASSES, 3), strict=True
    ):
        assert_same(one, other)


def test_weights_of_a_bootstrap_have_a_mean_of_one():
    found = photos(4000)
    head = ClosedFormHead.of(found)
    sums = RidgeSums.empty(12)
    drawn = _weights(found.photo_ids, 0)
    assert drawn.mean() == pytest.approx(1, abs=0.05)
    assert drawn.std() == pytest.approx(1, abs=0.1)
    weighted = sums.added(found.embeddings, found.labels, drawn)
    assert weighted.total == pytest.approx(head.sums.total, rel=0.05)
