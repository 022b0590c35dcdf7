"""Of copies one is kept, and knows what all of them knew."""

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from cannabis_ml.photos.defects import exact_duplicate
from cannabis_ml.photos.defects.split_rank import split_rank


def table(rows):
    frame = pd.DataFrame(rows, columns=["path", "photo_id", "given_split", "kind", "wet"])
    return frame.astype({"given_split": "str", "kind": "str", "wet": "Int8"})


def test_the_one_given_as_test_is_kept():
    photos = table([["a", "x", None, None, None], ["b", "x", "test", None, None]])
    assert exact_duplicate.find(photos).fillna("-").tolist() == ["b", "-"]


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
    kept = rows[instead.isna()]
    assert sorted(kept["photo_id"]) == sorted(set(rows["photo_id"]))
    for _, row in rows.assign(of=instead).dropna(subset="of").iterrows():
        original = kept.set_index("path").loc[row["of"]]
        assert original["photo_id"] == row["photo_id"]
        assert split_rank(original["given_split"]) <= split_rank(row["given_split"])
