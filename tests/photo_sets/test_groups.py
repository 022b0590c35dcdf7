"""What shows the same, or is said to belong together, is one group."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cannabis_ml.photo_sets.groups import GroupParams, check_links, group_photos
from cannabis_ml.photo_sets.near_duplicates import (
    MAX_DIFFERENCE,
    MAX_DISTANCE,
    thumbnail_difference,
)
from cannabis_ml.photo_sets.split_ledger import empty_ledger
from cannabis_ml.photo_sets.splitting import SplitParams, split_photos
from cannabis_ml.photos.phash import fingerprint
from cannabis_ml.splits import SPLITS
from cannabis_ml.taxonomy import Taxonomy


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


KINDS = Taxonomy(heads=[{"name": "kind", "classes": ["a", "b"]}])


def walk(n, step=1, seed=0):
    """Fingerprints of frames of a slow pan: each is nearly the one before, the ends are not."""
    draw = np.random.default_rng(seed)
    scene = np.repeat(np.repeat(draw.integers(0, 256, (12, 12 + n, 3)), 8, 0), 8, 1)
    frames = (scene[:, step * i : step * i + 96] for i in range(n))
    return [fingerprint(frame.astype(np.uint8)) for frame in frames]


def frames(prints, **columns):
    n = len(prints)
    table = pd.DataFrame({"path": [f"{i:03}.jpg" for i in range(n)]})
    for name in ("group", "source", "given_split", "defect", "detail", "flags", "duplicate_of"):
        table[name] = pd.Series(columns.pop(name, [None] * n), dtype="str")
    table["photo_id"] = [f"{i:03}" for i in range(n)]
    table["kind"] = pd.Series([("a", "b")[i % 2] for i in range(n)], dtype="str")
    table["phash"] = pd.array([one.phash for one in prints], dtype="UInt64")
    table["thumbnail"] = [one.thumbnail for one in prints]
    return table


def others(n):
    """Photos that are unlike each other."""
    return [walk(1, seed=100 + i)[0] for i in range(n)]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 25)), min_size=1, max_size=40),
    st.lists(st.sampled_from([None, *SPLITS]), min_size=100, max_size=100),
    st.integers(0, 3),
)
@settings(max_examples=25, deadline=None)
def test_no_link_crosses_a_split_whatever_the_photos(shown, given_splits, seed):
    """Any frames of any pans, under any given splits."""
    pans = [walk(26, seed=pan) for pan in range(4)]
    prints = [*others(60), *(pans[pan][frame] for pan, frame in shown)]
    # The others are enough for every split, so that the photos can be divided at all.
    photos = frames(prints, given_split=[None] * 60 + given_splits[: len(shown)])
    grouped = group_photos(photos, GroupParams())
    divided, _ = split_photos(grouped, empty_ledger(), KINDS, SplitParams(seed=seed))
    links = check_links(photos, divided, GroupParams())
    assert links.across_splits == 0
    assert links.photos_across == {}
    kept = divided[divided["defect"].isna()]
    fingers = [prints[i] for i in kept.index]
    splits = kept["split"].tolist()
    for i in range(len(fingers)):  # the same again, by comparing all with all
        for j in range(i):
            assert splits[i] == splits[j] or not is_link(fingers[i], fingers[j])


def is_link(one, other):
    if one.phash is None or other.phash is None:
        return False
    left, right = (np.frombuffer(p.thumbnail, np.uint8)[None] for p in (one, other))
    near = thumbnail_difference(left, right)[0] <= MAX_DIFFERENCE
    return bool(near and (one.phash ^ other.phash).bit_count() <= MAX_DISTANCE)


def test_a_chain_is_reported_with_limits_that_break_it(caplog):
    prints = [*walk(40), *others(20)]
    photos = frames(prints)
    grouped = group_photos(photos, GroupParams())
    sizes = grouped["group"].value_counts()
    assert sizes.iloc[0] == 40
    assert "A chain of near-duplicates holds 40 of 60 photos (67%)" in caplog.text
    assert "lower ingestion.groups.max_difference to" in caplog.text

    divided = grouped.assign(split="train")
    (chain,) = check_links(photos, divided, GroupParams()).chains
    lower = chain.lower.max_difference
    again = group_photos(photos, GroupParams(max_difference=lower))
    assert again["group"].value_counts().iloc[0] <= 10
    assert (chain.first, chain.last) == ("000.jpg", "039.jpg")


def test_few_photos_are_no_chain(caplog):
    group_photos(frames([*walk(5), *others(5)]), GroupParams())
    assert "chain" not in caplog.text


def test_a_chain_that_no_limits_break_reports_it(caplog):
    one = walk(1)[0]
    group_photos(frames([one] * 12), GroupParams())
    assert "No lower limits break it: bring photos of other plants." in caplog.text


def test_what_lower_limits_cut_is_counted():
    photos = frames([*walk(40), *others(20)])
    tight = GroupParams(max_difference=0.0)
    grouped = group_photos(photos, tight)
    divided, _ = split_photos(grouped, empty_ledger(), KINDS, SplitParams())
    links = check_links(photos, divided, tight)
    assert links.across_splits > 0
    assert set(links.photos_across) <= set(SPLITS)
    assert (links.max_distance, links.max_difference) == (MAX_DISTANCE, MAX_DIFFERENCE)


def test_links_that_nobody_looked_for_are_not_counted():
    photos = frames(others(4))
    without = GroupParams(near_duplicates=False)
    divided = group_photos(photos, without).assign(split="train")
    links = check_links(photos, divided, without)
    assert links.looked_for is False
    assert links.across_splits is None


def test_groups_that_the_source_names_are_counted():
    photos = frames(others(5), group=["x", "x", "y", None, None])
    grouped = group_photos(photos, GroupParams())
    divided = grouped.assign(split=["train", "test", "test", "train", "train"])
    links = check_links(photos, divided, GroupParams())
    assert (links.kept, links.in_named_groups, links.named_groups_across) == (5, 3, 1)
