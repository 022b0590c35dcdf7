import numpy as np
import pytest

from cannabis_ml.feedback.label_next.queries import diverse, margins, typical, typicality, wavering
from cannabis_ml.feedback.label_next.strategy import Pool, choose_query, next_batch
from cannabis_ml.feedback.linear_head import LinearHead, Projection


@pytest.fixture(scope="module")
def islands():
    """4 islands of 30, 20, 10 and 5 photos, far apart, in 6 dimensions."""
    random = np.random.default_rng(0)
    island = np.repeat([0, 1, 2, 3], [30, 20, 10, 5])
    return 20 * np.eye(6)[island] + random.normal(size=(65, 6)), island


def test_typicality_is_one_over_the_mean_distance():
    """On a line: the middle photo is 1 away from both, the ends 1 and 2."""
    np.testing.assert_allclose(typicality(np.array([[0.0], [1], [2]])), [2 / 3, 1, 2 / 3])


def test_typical_photos_come_from_different_clusters_the_largest_first(islands):
    components, island = islands
    chosen = typical(components, np.arange(65), np.array([], int), 4, seed=0)
    assert island[chosen].tolist() == [0, 1, 2, 3]
    for row in chosen:
        mine = components[island == island[row]]
        own = typicality(mine)
        assert np.flatnonzero(island == island[row])[own.argmax()] == row


def test_clusters_with_a_label_wait(islands):
    components, island = islands
    chosen = typical(
        components, np.arange(65), np.array([0, 31]), 2, seed=0
    )  # 4 clusters, islands 0 and 1 known
    assert sorted(island[chosen]) == [2, 3]


def test_no_photo_is_chosen_twice_or_beyond_the_pool(islands):
    components, _ = islands
    chosen = typical(components, np.arange(65), np.arange(60), 10, seed=0)
    assert sorted(chosen) == [60, 61, 62, 63, 64]


def test_margins_are_those_of_the_two_most_probable_classes():
    probs = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    np.testing.assert_allclose(margins(probs), [0.2, 0.7])


def test_diverse_photos_lie_in_different_places(islands):
    components, island = islands
    assert sorted(island[diverse(components, np.ones(65), 4, seed=0)]) == [0, 1, 2, 3]


def test_only_photos_near_a_border_waver():
    """Classes by sign of the sum: far from 0 dropping features changes nothing."""
    head = LinearHead(np.array([[-1.0], [1.0]]), np.zeros(2))
    projection = Projection(np.zeros(32), np.ones((32, 1)))
    random = np.random.default_rng(0)
    far = np.full((20, 32), 5.0)
    near = random.normal(size=(20, 32))
    changed = wavering(np.concatenate([far, near]), projection, head, seed=0)
    assert changed[:20].max() == 0
    assert changed[20:].mean() > 0.2


@pytest.fixture
def pool(islands):
    """Photos 2 k and 2 k + 1 are near-duplicates; 4 have a label."""
    components, island = islands
    labels = np.full(65, -1)
    labels[[0, 31, 51, 61]] = island[[0, 31, 51, 61]]
    return Pool(components, np.arange(65) // 2, labels, 4)


@pytest.mark.parametrize("query", ["typical", "margin", "dropquery", "uniform"])
def test_a_batch_has_one_photo_of_a_group_and_none_of_a_labelled_group(pool, query):
    batch = next_batch(pool, 12, 0, query)
    groups = pool.groups[batch]
    assert len(batch) == len(set(groups)) == 12
    assert not set(groups) & set(pool.groups[pool.labelled])


@pytest.mark.parametrize("query", ["typical", "margin", "dropquery", "uniform"])
def test_a_batch_ends_with_the_pool(pool, query):
    assert len(next_batch(pool, 1000, 0, query)) == 29


def test_typical_photos_are_asked_for_while_labels_are_few(pool):
    assert choose_query(pool) == "margin"
    assert choose_query(Pool(pool.embeddings, pool.groups, np.full(65, -1), 4)) == "typical"


def test_margin_asks_for_photos_between_the_classes(islands):
    components, _ = islands
    between = np.concatenate([components, (components[:5] + components[31:36]) / 2])
    labels = np.full(70, -1)
    labels[:5], labels[31:36] = 0, 1
    batch = next_batch(Pool(between, np.arange(70), labels, 2), 3, 0, "margin")
    unsure = set(range(65, 70)) | set(range(50, 65))  # between, or of islands never seen
    assert set(batch) <= unsure
