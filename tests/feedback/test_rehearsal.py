import numpy as np

from cannabis_ml.feedback.rehearsal import rehearsal_rows

LABELS = np.array([0] * 50 + [1] * 20 + [2] * 3 + [3] * 8 + [-1] * 2)
OLD, NEW = np.r_[0:73, 81:83], np.arange(73, 81)


def test_old_classes_get_the_same_number_of_photos_as_far_as_they_have_them():
    rows = rehearsal_rows(LABELS, OLD, NEW, most=33)
    counts = {k: int((LABELS[rows] == k).sum()) for k in range(-1, 4)}
    assert counts[3] == 8
    assert (counts[2], counts[-1]) == (3, 2)
    assert {counts[0], counts[1]} == {14}


def test_few_old_photos_are_all_taken():
    np.testing.assert_array_equal(rehearsal_rows(LABELS, OLD, NEW), np.arange(83))
    np.testing.assert_array_equal(rehearsal_rows(LABELS, OLD[:0], NEW), NEW)


def test_which_photos_of_a_class_follows_from_the_seed():
    first = rehearsal_rows(LABELS, OLD, NEW, most=20, seed=1)
    np.testing.assert_array_equal(first, rehearsal_rows(LABELS, OLD, NEW, most=20, seed=1))
    assert not np.array_equal(first, rehearsal_rows(LABELS, OLD, NEW, most=20, seed=2))


def test_no_old_photos_are_taken_where_none_are_wanted():
    np.testing.assert_array_equal(rehearsal_rows(LABELS, OLD, NEW, most=0), NEW)
