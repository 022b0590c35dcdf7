"""The search finds what comparing all with all finds; clusters hold what belongs together."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cannabis_ml.photos import near_duplicates
from cannabis_ml.photos.decode import decode
from cannabis_ml.photos.near_duplicates import (
    MAX_DISTANCE,
    SPREAD,
    cluster,
    find_pairs,
    thumbnail_difference,
)
from cannabis_ml.photos.phash import fingerprint

THUMBNAIL = 192


def brute_force(hashes: np.ndarray, max_distance: int) -> set[tuple[int, int]]:
    """Pairs as documented: equal hashes with their first, and firsts among each other."""
    first: dict[int, int] = {}
    for i, value in enumerate(hashes.tolist()):
        first.setdefault(value, i)
    pairs = {(first[v], i) for i, v in enumerate(hashes.tolist()) if first[v] != i}
    for (a, i), (b, j) in combinations(first.items(), 2):
        if (a ^ b).bit_count() <= max_distance:
            pairs.add((min(i, j), max(i, j)))
    return pairs


def flipped(value: int, bits: list[int]) -> int:
    for bit in bits:
        value ^= 1 << bit
    return value


def thumbnails(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, THUMBNAIL), dtype=np.uint8)


def same_groups(left: np.ndarray, right: np.ndarray) -> bool:
    both = set(zip(left.tolist(), right.tolist(), strict=True))
    return len(both) == len(set(left.tolist())) == len(set(right.tolist()))


@st.composite
def hash_lists(draw: st.DrawFn) -> np.ndarray:
    """Hashes with many near each other, skewed bits and repeats."""
    seeds = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5))
    spots = st.lists(st.integers(0, 63), max_size=14)
    around = draw(st.lists(st.tuples(st.sampled_from(seeds), spots), max_size=30))
    return np.array(seeds + [flipped(value, bits) for value, bits in around], np.uint64)


@given(hash_lists(), st.integers(0, 64))
@settings(max_examples=150, deadline=None)
def test_pairs_are_those_of_brute_force(hashes: np.ndarray, max_distance: int) -> None:
    pairs = find_pairs(hashes, max_distance)
    assert pairs.dtype == np.int64
    assert pairs.shape == (len(pairs), 2)
    assert len({tuple(p) for p in pairs.tolist()}) == len(pairs)
    assert {tuple(p) for p in pairs.tolist()} == brute_force(hashes, max_distance)


@pytest.mark.parametrize("k", [0, 1, 2, 3])
@pytest.mark.parametrize("max_distance", [1, 4, 8])
def test_every_plan_finds_the_same(
    k: int, max_distance: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(k)
    hashes = draw.integers(0, 2**64, 300, dtype=np.uint64)
    near = hashes[draw.integers(0, 300, 300)]
    for _ in range(6):
        near ^= np.uint64(1) << draw.integers(0, 64, 300, dtype=np.uint64)
    hashes = np.concatenate([hashes, near])
    count = max_distance + k
    blocks = [np.arange(64)[b::count] for b in range(count)]
    monkeypatch.setattr(near_duplicates, "_plan", lambda *_: (blocks, k))
    monkeypatch.setattr(near_duplicates, "_CACHED", 100)  # so that runs cross the parts
    found = {tuple(p) for p in find_pairs(hashes, max_distance).tolist()}
    assert found == brute_force(hashes, max_distance)


def test_pairs_are_in_ascending_order() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**10, 500).astype(np.uint64)
    pairs = find_pairs(hashes, 2)
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert pairs.tolist() == sorted(pairs.tolist())


@pytest.mark.parametrize("n", [0, 1])
def test_few_hashes_have_no_pairs(n: int) -> None:
    assert find_pairs(np.zeros(n, np.uint64), 8).shape == (0, 2)
    assert cluster(np.zeros(n, np.uint64), thumbnails(n)).tolist() == list(range(n))


def test_planted_pairs_are_found_among_many() -> None:
    draw = np.random.default_rng(1)
    hashes = draw.integers(0, 2**64, 100_000, dtype=np.uint64)
    planted = [(i, 99_999 - i) for i in range(500)]
    for i, j in planted:
        bits = draw.choice(64, i % (MAX_DISTANCE + 1), replace=False).tolist()
        hashes[j] = flipped(int(hashes[i]), bits)
    assert set(planted) <= {tuple(p) for p in find_pairs(hashes, MAX_DISTANCE).tolist()}


def test_identical_hashes_stay_linear_in_memory() -> None:
    n = 50_000
    hashes = np.full(n, 0x0123456789ABCDEF, np.uint64)
    tracemalloc.start()
    pairs = find_pairs(hashes, MAX_DISTANCE)
    labels = cluster(hashes, np.repeat(thumbnails(1), n, axis=0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pairs[:, 0].max() == 0
    assert pairs[:, 1].tolist() == list(range(1, n))
    assert labels.max() == 0
    assert peak < 200e6  # all pairs would take 20 GB


def test_one_hash_with_many_thumbnails_stays_linear_in_memory() -> None:
    n = 10_000
    tracemalloc.start()
    labels = cluster(np.full(n, 5, np.uint64), thumbnails(n))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert labels.tolist() == list(range(n))
    assert peak < 200e6


def test_copies_are_a_cluster_and_others_are_not() -> None:
    hashes = np.array([7, 1 << 40, 7 ^ 0b1000, 2**64 - 1], np.uint64)
    seen = thumbnails(4)
    seen[2] = np.clip(seen[0].astype(int) + 1, 0, 255)
    assert cluster(hashes, seen).tolist() == [0, 1, 0, 2]


def test_an_alike_hash_with_another_thumbnail_is_no_near_duplicate() -> None:
    assert cluster(np.array([7, 7, 6], np.uint64), thumbnails(3)).tolist() == [0, 1, 2]


def test_equal_hashes_are_compared_beyond_the_first() -> None:
    seen = thumbnails(3)
    seen[2] = seen[1]
    assert cluster(np.zeros(3, np.uint64), seen).tolist() == [0, 1, 1]


def test_photos_without_a_hash_are_alone() -> None:
    valid = np.array([True, False, False, True, False])
    seen = np.zeros((5, THUMBNAIL), np.uint8)
    labels = cluster(np.zeros(5, np.uint64), seen, valid=valid)
    assert labels.tolist() == [0, 1, 2, 0, 3]


def test_a_chain_does_not_swallow_the_set() -> None:
    # Each photo is 4 bits from the next, so all are linked, and the ends are unrelated.
    hashes = [0]
    for step in range(15):
        hashes.append(flipped(hashes[-1], list(range(4 * step, 4 * step + 4))))
    values = np.array(hashes, np.uint64)
    labels = cluster(values, np.repeat(thumbnails(1), 16, axis=0), max_distance=4)
    assert len(set(labels.tolist())) > 1
    for label in set(labels.tolist()):
        members = values[labels == label].tolist()
        widest = max((a ^ b).bit_count() for a in members for b in members)
        assert widest <= 2 * SPREAD * 4


def test_a_bridge_does_not_join_two_crowds() -> None:
    left = [flipped(0, [bit]) for bit in range(8)]
    bridge = [flipped(0, list(range(20, 20 + n))) for n in (4, 8, 12, 16, 20)]
    right = [flipped(bridge[-1], [bit]) for bit in range(8)]
    values = np.array([0, *left, *bridge, *right], np.uint64)
    seen = np.repeat(thumbnails(1), len(values), axis=0)
    labels = cluster(values, seen, max_distance=4)
    crowd, other = set(labels[:9].tolist()), set(labels[-8:].tolist())
    assert len(crowd) == len(other) == 1
    assert crowd != other


@given(hash_lists(), st.integers(0, 12), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_clusters_do_not_depend_on_the_order_of_photos(
    hashes: np.ndarray, max_distance: int, random: object
) -> None:
    seen = thumbnails(3)[hashes % np.uint64(3)]
    order = np.arange(len(hashes))
    random.shuffle(order)  # type: ignore[attr-defined]
    before = cluster(hashes, seen, max_distance)
    after = cluster(hashes[order], seen[order], max_distance)
    assert same_groups(before[order], after)


@given(hash_lists(), st.integers(0, 12))
@settings(max_examples=100, deadline=None)
def test_clusters_are_numbered_by_appearance_and_join_only_what_is_linked(
    hashes: np.ndarray, max_distance: int
) -> None:
    seen = thumbnails(2)[hashes % np.uint64(2)]
    labels = cluster(hashes, seen, max_distance)
    assert list(dict.fromkeys(labels.tolist())) == list(range(labels.max() + 1))
    for label, size in Counter(labels.tolist()).items():
        members = np.flatnonzero(labels == label)
        assert len({seen[m].tobytes() for m in members}) == 1
        if size > 1:  # each has another member within reach
            apart = np.bitwise_count(hashes[members][:, None] ^ hashes[members])
            np.fill_diagonal(apart, 64)
            assert (apart.min(axis=1) <= SPREAD * max_distance).all()


def test_thumbnail_difference_ignores_brightness_and_contrast() -> None:
    seen = thumbnails(1) // 2 + 30
    other = np.rint(seen * 1.3 + 12).astype(np.uint8)
    assert thumbnail_difference(seen, seen)[0] == pytest.approx(0, abs=1e-6)
    assert thumbnail_difference(seen, other)[0] < 1e-3
    assert thumbnail_difference(seen, 255 - seen)[0] == pytest.approx(2, abs=0.01)


def test_thumbnail_difference_is_one_minus_correlation() -> None:
    left, right = thumbnails(20, 1), thumbnails(20, 2)
    expected = [1 - np.corrcoef(a, b)[0, 1] for a, b in zip(left, right, strict=True)]
    np.testing.assert_allclose(thumbnail_difference(left, right), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("hashes", "max_distance"),
    [
        (np.zeros(3, np.int64), 8),
        (np.zeros((3, 1), np.uint64), 8),
        (np.zeros(3, np.uint64), -1),
        (np.zeros(3, np.uint64), 65),
    ],
)
def test_wrong_arguments_are_refused(hashes: np.ndarray, max_distance: int) -> None:
    with pytest.raises(ValueError, match=r"Hashes|max_distance"):
        find_pairs(hashes, max_distance)


def test_signatures_must_match_the_hashes() -> None:
    with pytest.raises(ValueError, match="Signatures"):
        cluster(np.zeros(3, np.uint64), thumbnails(2))


def test_fingerprints_travel_through_a_table(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    photos = [draw.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(3)]
    photos = [np.repeat(np.repeat(p[:8, :8], 8, axis=0), 8, axis=1) for p in photos]
    photos += [photos[1], np.full((64, 64, 3), 9, np.uint8)]
    table = pd.DataFrame([fingerprint(p) for p in photos]).astype({"phash": "UInt64"})
    table.to_parquet(tmp_path / "table.parquet")
    table = pd.read_parquet(tmp_path / "table.parquet")
    labels = cluster(
        table["phash"].to_numpy(np.uint64, na_value=0),
        np.frombuffer(b"".join(table["thumbnail"]), np.uint8).reshape(len(table), -1),
        valid=table["phash"].notna().to_numpy(),
    )
    assert labels.tolist() == [0, 1, 2, 1, 3]


def test_plain_backgrounds_do_not_make_clusters_of_real_photos(
    real_photos: Path,
) -> None:
    files = sorted((real_photos / "plantvillage_subset").glob("*/*"))[::3]
    prints = [fingerprint(decode(file.read_bytes())) for file in files]
    labels = cluster(
        np.array([p.phash or 0 for p in prints], np.uint64),
        np.frombuffer(b"".join(p.thumbnail for p in prints), np.uint8).reshape(len(files), -1),
        valid=np.array([p.phash is not None for p in prints]),
    )
    assert max(Counter(labels.tolist()).values()) <= 3
    assert len(set(labels.tolist())) > 0.99 * len(files)
