"""What shows the same, or is said to belong together, is one group."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cannabis_ml.photos.phash import fingerprint
from cannabis_ml.pipelines.ingestion.groups import group_photos
from cannabis_ml.pipelines.ingestion.params import GroupParams


@pytest.fixture(scope="module")
def seen(draw):
    """Fingerprints of photos 0 to 9, each as drawn and as re-encoded, and of a grey one."""
    found = {}
    for seed in range(10):
        image = draw(seed, 96, 96)
        found[seed] = fingerprint(np.asarray(image))
        found[f"{seed} again"] = fingerprint(np.asarray(image.resize((64, 64))))
    found["grey"] = fingerprint(np.full((64, 64, 3), 90, np.uint8))
    return found


@pytest.fixture(scope="module")
def table(seen):
    """One row per name in `seen`: `table({"a.jpg": 0, …}, group=[…])`."""

    def table(photos, **columns):
        frame = pd.DataFrame({"path": list(photos)})
        for name in ("group", "source", "given_split", "defect", "flags", "duplicate_of"):
            frame[name] = pd.Series(columns.pop(name, [None] * len(frame)), dtype="str")
        frame["photo_id"] = columns.pop("photo_id", [f"id {path}" for path in photos])
        hashes = [seen[name].phash for name in photos.values()]
        frame["phash"] = pd.arrays.IntegerArray(
            np.array([value or 0 for value in hashes], np.uint64),
            np.array([value is None for value in hashes]),
        )
        frame["thumbnail"] = [seen[name].thumbnail for name in photos.values()]
        return frame

    return table


def groups_of(photos, **params):
    grouped = group_photos(photos, GroupParams(**params))
    return dict(zip(grouped["path"], grouped["group"], strict=True))


def test_near_duplicates_share_a_group(table):
    photos = table({"a": 0, "b": 1, "c": "0 again"})
    grouped = group_photos(photos, GroupParams())
    assert grouped["group"].tolist() == ["id a", "id b", "id a"]
    assert grouped["cluster"].fillna(-1).tolist() == [0, -1, 0]
    assert "thumbnail" not in grouped


def test_without_near_duplicates_only_the_source_speaks(table):
    photos = table({"a": 0, "b": "0 again", "c": 1}, group=["x", None, "x"])
    assert groups_of(photos, near_duplicates=False) == {"a": "x", "b": "id b", "c": "x"}


def test_photos_without_structure_are_alone(table):
    grouped = group_photos(table({"a": "grey", "b": "grey"}), GroupParams())
    assert grouped["group"].tolist() == ["id a", "id b"]
    assert grouped["cluster"].isna().all()


def test_groups_join_over_near_duplicates(table):
    photos = table({"a": 0, "b": "0 again", "c": 1}, group=["x", "y", "y"])
    assert set(groups_of(photos).values()) == {"x"}


def test_copies_join_the_groups_that_they_were_put_in(table):
    photos = table(
        {"a": 0, "a2": 0, "b": 1, "c": 2},
        photo_id=["A", "A", "B", "C"],
        group=["x", "y", "y", None],
        defect=[None, "exact_duplicate", None, None],
        duplicate_of=[None, "a", None, None],
    )
    assert groups_of(photos) == {"a": "x", "a2": "x", "b": "x", "c": "C"}


def test_near_duplicates_are_flagged_beside_what_else_is(table):
    photos = table({"a": 0, "b": 1, "c": "0 again"}, flags=["dark", "blurred", None])
    flags = group_photos(photos, GroupParams())["flags"]
    assert flags.tolist() == ["dark;near_duplicate", "blurred", "near_duplicate"]


def test_photos_set_aside_have_no_part(table):
    photos = table({"a": 0, "b": "0 again"}, defect=["truncated", None])
    grouped = group_photos(photos, GroupParams())
    assert grouped["cluster"].isna().all()
    assert grouped["group"][1] == "id b"


NAMES = st.lists(
    st.tuples(
        st.sampled_from([*range(10), *(f"{i} again" for i in range(10)), "grey"]),
        st.sampled_from([None, "x", "y", "z"]),
    ),
    min_size=1,
    max_size=20,
)


@given(NAMES, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_order_does_not_matter(table, names, random):
    rows = table(
        {f"{i:02}": name for i, (name, _) in enumerate(names)}, group=[g for _, g in names]
    )
    shuffled = rows.iloc[random.sample(range(len(rows)), len(rows))].reset_index(drop=True)
    assert groups_of(rows) == groups_of(shuffled)


@given(NAMES)
@settings(max_examples=40, deadline=None)
def test_near_and_named_photos_always_share(table, names):
    rows = table(
        {f"{i:02}": name for i, (name, _) in enumerate(names)}, group=[g for _, g in names]
    )
    grouped = group_photos(rows, GroupParams())
    for tie in (rows["group"], grouped["cluster"]):
        assert (grouped["group"].groupby(tie).nunique() == 1).all()
