"""Of copies one is kept, and knows what all of them knew."""

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from cannabis_ml.photo_sets.checks import exact_duplicate
from cannabis_ml.splits import split_rank


def table(rows):
    frame = pd.DataFrame(rows, columns=["path", "photo_id", "given_split", "kind", "wet"])
    return frame.astype({"given_split": "str", "kind": "str", "wet": "Int8"})


def test_the_one_given_as_test_is_kept():
    photos = table([["a", "x", None, None, None], ["b", "x", "test", None, None]])
    assert exact_duplicate.find(photos).to_dict() == {0: 1}


def test_the_kept_copy_speaks_first_and_the_others_fill_in():
    photos = table(
        [["a", "x", None, "p", None], ["b", "x", None, None, 1], ["c", "y", None, None, 0]]
    )
    merged = exact_duplicate.merged_labels(photos, ["kind", "wet"])
    assert merged["kind"].fillna("-").tolist() == ["p", "p", "-"]
    assert merged["wet"].tolist() == [1, 1, 0]
    assert merged.dtypes.equals(photos[["kind", "wet"]].dtypes)


@given(
    st.lists(
        st.tuples(st.sampled_from("xyz"), st.sampled_from(["test", "train", "validation", None])),
        max_size=12,
    )
)
def test_one_of_each_is_kept_and_it_is_the_least_learnt_from(photos):
    rows = table([[f"{i}", name, split, None, None] for i, (name, split) in enumerate(photos)])
    instead = exact_duplicate.find(rows)
    kept = rows.drop(index=instead.index)
    assert sorted(kept["photo_id"]) == sorted(set(rows["photo_id"]))
    for copy, original in instead.items():
        assert rows["photo_id"][original] == rows["photo_id"][copy]
        ranks = rows["given_split"].map(split_rank)
        assert ranks[original] <= ranks[copy]


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.sampled_from("xy"), st.sampled_from(["test", "train", None])
        ),
        max_size=12,
    )
)
def test_a_path_may_stand_in_several_rows(photos):
    rows = table([[path, name, split, None, None] for path, name, split in photos])
    instead = exact_duplicate.find(rows)
    assert sorted(rows["photo_id"].drop(instead.index)) == sorted(set(rows["photo_id"]))
    assert exact_duplicate.sentences(rows, instead).notna().all()


def test_copies_are_not_rows_of_the_same_file():
    names = [("a", "x"), ("b", "x"), ("b", "x"), ("c", "y"), ("c", "y"), ("c", "y")]
    rows = table([[path, name, None, None, None] for path, name in names])
    told = exact_duplicate.sentences(rows, exact_duplicate.find(rows)).to_dict()
    assert list(told) == [1, 2, 4, 5]
    assert told[1] == told[2] == "The same file as a."
    assert told[4] == told[5] == "Listed 3 times: c; its rows were merged."
