"""Of photos that belong together, those that are learnt from make way."""

import pandas as pd

from cannabis_ml.photo_sets.checks import twin_of_test


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


def test_each_twin_names_the_first_photo_that_stays():
    told = found(
        [
            ["t1", "g", 1, "train"],
            ["t2", "g", 2, "train"],
            ["t3", "g", None, "train"],
            ["z", "g", 1, "test"],
            ["y", "g", 1, "test"],
            ["b", "g", None, "test"],
            ["t4", "h", None, "calibration"],
            ["v", "h", None, "validation"],
        ]
    )
    assert told.tolist() == [
        "Shows the same as y, which is in test.",
        "Belongs with b, which is in test.",
        "Belongs with b, which is in test.",
        *["-"] * 3,
        "Belongs with v, which is in validation.",
        "-",
    ]


def test_no_step_is_taken_per_twin(monkeypatch):
    """As many calls into pandas for 400 twins as for 4."""
    calls = []
    of_rows = pd.Series.__setitem__
    monkeypatch.setattr(
        pd.Series, "__setitem__", lambda *given: (calls.append(1), of_rows(*given))[1]
    )

    def steps(n):
        calls.clear()
        rows = [
            [f"{split}{i:03}", f"g{i}", i, split] for i in range(n) for split in ("train", "test")
        ]
        assert (found(rows) != "-").sum() == n
        return len(calls)

    assert steps(4) == steps(400)


def given(rows):
    return pd.DataFrame(rows, columns=["group", "given_split"], dtype="str")


def test_photos_that_share_a_group_with_held_out_ones_are_counted():
    photos = given(
        [
            *[["a", "train"]] * 3,
            ["a", "test"],
            ["a", None],
            *[["b", "train"], ["b", "validation"]],
            *[["c", "validation"], ["c", "test"]],
            *[["d", "train"]] * 6,
        ]
    )
    counts = twin_of_test.shared(photos)
    assert counts == {"train": (4, 10), "validation": (1, 2)}
    sentence = twin_of_test.shared_sentence(counts)
    assert "4 of 10 photos given as train (40%) and 1 of 2 photos given as validation" in sentence


def test_splits_given_by_group_share_nothing():
    photos = given([["a", "train"], ["b", "test"], ["c", None]])
    assert twin_of_test.shared(photos) == {}
