"""Of photos that belong together, those that are learnt from make way."""

import pandas as pd

from cannabis_ml.photos.defects import twin_of_test


def found(rows):
    photos = pd.DataFrame(rows, columns=["path", "group", "cluster", "split"])
    return twin_of_test.find(photos.astype({"cluster": "Int64", "split": "str"})).fillna("-")


def test_train_makes_way_for_test():
    told = found([["a", "g", 1, "train"], ["b", "g", 1, "test"], ["c", "h", 2, "train"]])
    assert told.tolist() == ["Shows the same as b, which is in test.", "-", "-"]


def test_photos_of_one_group_that_do_not_look_alike():
    told = found([["a", "g", None, "train"], ["b", "g", None, "test"]])
    assert told[0] == "Belongs with b, which is in test."


def test_only_the_least_learnt_from_stays():
    splits = ["train", "calibration", "validation", "test", "test"]
    told = found([[name, "g", 1, split] for name, split in zip("abcde", splits, strict=True)])
    assert (told != "-").tolist() == [True, True, True, False, False]


def test_groups_of_one_split_stay():
    assert (found([["a", "g", 1, "train"], ["b", "g", 1, "train"]]) == "-").all()
