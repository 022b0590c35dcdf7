"""The search finds what comparing all with all finds; clusters hold what belongs together."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cannabis_ml._io.engine import Engine
from cannabis_ml.photo_sets import hash_pairs, near_duplicates
from cannabis_ml.photo_sets.hash_pairs import find_pairs
from cannabis_ml.photo_sets.near_duplicates import (
    MAX_DIFFERENCE,
    MAX_DISTANCE,
    Limits,
    chains,
    cluster,
    links_across,
    thumbnail_difference,
)
from cannabis_ml.photos.decode import decode
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
    monkeypatch.setattr(hash_pairs, "_plan", lambda *_: (blocks, k))
    monkeypatch.setattr(hash_pairs, "_CACHED", 100)  # so that runs cross the parts
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


def links_of(
    hashes: np.ndarray, seen: np.ndarray, max_distance: int, max_difference: float = MAX_DIFFERENCE
) -> list[tuple[int, int]]:
    """All pairs of photos within both limits, by comparing all with all."""
    return [
        (i, j)
        for i, j in combinations(range(len(hashes)), 2)
        if (int(hashes[i]) ^ int(hashes[j])).bit_count() <= max_distance
        and thumbnail_difference(seen[[i]], seen[[j]])[0] <= max_difference
    ]


def walked(n: int, step: int, seed: int = 0) -> np.ndarray:
    """Thumbnails that each differ a little from the one before."""
    steps = np.random.default_rng(seed).integers(-step, step + 1, (n, THUMBNAIL))
    return np.clip(128 + np.cumsum(steps, axis=0), 0, 255).astype(np.uint8)


def chain(n: int, bits: int) -> np.ndarray:
    """Hashes that each differ from the one before in `bits` other bits."""
    values = [0]
    for step in range(n - 1):
        values.append(flipped(values[-1], list(range(bits * step, bits * step + bits))))
    return np.array(values, np.uint64)


SEEN = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), min_size=1, max_size=30)


@pytest.mark.parametrize(("few", "side"), [(1 << 8, 1 << 10), (1, 3)])
@given(SEEN, st.integers(0, 12), st.sampled_from([0.0, 0.02, 0.045, 0.3]))
@settings(max_examples=60, deadline=None)
def test_no_link_leaves_a_cluster_and_none_is_missed(
    few: int, side: int, rows: list[tuple[int, int]], max_distance: int, max_difference: float
) -> None:
    """Clusters are the components of what comparing all with all links."""
    frames, hash_steps = walked(41, 12), chain(4, 4)
    hashes = hash_steps[[step for _, step in rows]]
    seen = frames[[frame for frame, _ in rows]]
    with pytest.MonkeyPatch.context() as patch:  # so that runs of one hash cross the blocks
        patch.setattr(near_duplicates, "_FEW", few)
        patch.setattr(near_duplicates, "_SIDE", side)
        labels = cluster(hashes, seen, Limits(max_distance, max_difference))
    leader = list(range(len(rows)))
    for i, j in links_of(hashes, seen, max_distance, max_difference):
        assert labels[i] == labels[j]
        old, new = leader[j], leader[i]
        leader = [new if one == old else one for one in leader]
    assert same_groups(labels, np.array(leader))


def test_links_beyond_what_is_kept_at_once_are_joined_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_LINKS_KEPT", 3)
    monkeypatch.setattr(near_duplicates, "_CHUNK", 1)
    assert cluster(chain(16, 4), np.repeat(thumbnails(1), 16, axis=0), Limits(4)).max() == 0


def test_many_frames_of_a_still_scene_stay_linear_in_memory() -> None:
    n = 4_000
    draw = np.random.default_rng(0)
    seen = np.clip(thumbnails(1) + draw.integers(-2, 3, (n, THUMBNAIL)), 0, 255).astype(np.uint8)
    tracemalloc.start()
    labels = cluster(np.full(n, 5, np.uint64), seen)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert labels.max() == 0
    assert peak < 200e6  # all links would take 128 MB per copy of them


@given(SEEN, st.integers(0, 12), st.lists(st.integers(-1, 3), min_size=30, max_size=30))
@settings(max_examples=60, deadline=None)
def test_links_across_are_those_of_brute_force(
    rows: list[tuple[int, int]], max_distance: int, parts: list[int]
) -> None:
    hashes = chain(4, 4)[[step for _, step in rows]]
    seen = walked(41, 12)[[frame for frame, _ in rows]]
    own = np.array(parts[: len(rows)])
    links = [
        (i, j)
        for i, j in links_of(hashes, seen, max_distance)
        if own[i] != own[j] and own[i] >= 0 and own[j] >= 0
    ]
    found = links_across(hashes, seen, own, Limits(max_distance))
    assert found.links == len(links)
    assert set(np.flatnonzero(found.crosses)) == {end for link in links for end in link}


def test_links_across_do_not_count_photos_without_a_hash() -> None:
    seen, valid = np.zeros((3, THUMBNAIL), np.uint8), np.array([True, False, True])
    found = links_across(np.zeros(3, np.uint64), seen, np.array([0, 1, 1]), valid=valid)
    assert found.links == 1
    assert found.crosses.tolist() == [True, False, True]


def test_a_chain_is_one_cluster() -> None:
    # Each photo is 4 bits from the next, so all are linked, and the ends are unrelated.
    assert cluster(chain(16, 4), np.repeat(thumbnails(1), 16, axis=0), Limits(4)).max() == 0


def test_a_chain_is_found_with_the_limit_that_breaks_it() -> None:
    # Two crowds around middles that 3 photos, 4 bits apart, tie together.
    left = [flipped(0, [bit]) for bit in range(8)]
    bridge = [flipped(0, list(range(20, 20 + n))) for n in (4, 8, 12, 16)]
    right = [flipped(bridge[-1], [bit]) for bit in range(8)]
    values = np.array([0, *left, *bridge, *right], np.uint64)
    seen = np.repeat(thumbnails(1), len(values), axis=0)
    labels = cluster(values, seen, Limits(5))
    (found,) = chains(values, seen, labels, most=10, limits=Limits(5))
    assert found.photos.tolist() == list(range(21))
    assert found.max_distance == 3
    assert found.max_difference is None  # all thumbnails are the same
    assert found.difference == 0
    assert chains(values, seen, labels, most=21, limits=Limits(5)) == []


def test_a_chain_of_thumbnails_is_found_with_the_limit_that_breaks_it() -> None:
    seen, same = walked(60, 12), np.zeros(60, np.uint64)
    (found,) = chains(same, seen, cluster(same, seen), most=30)
    assert found.max_distance is None  # one hash for all
    assert found.max_difference is not None
    for limit, is_small in ((0, True), (0.001, False)):
        sizes = Counter(
            cluster(same, seen, Limits(difference=found.max_difference + limit)).tolist()
        )
        assert (max(sizes.values()) <= 30) == is_small
    assert found.difference > MAX_DIFFERENCE


@given(hash_lists(), st.integers(0, 12), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_clusters_do_not_depend_on_the_order_of_photos(
    hashes: np.ndarray, max_distance: int, random: object
) -> None:
    seen = thumbnails(3)[hashes % np.uint64(3)]
    order = np.arange(len(hashes))
    random.shuffle(order)  # type: ignore[attr-defined]
    before = cluster(hashes, seen, Limits(max_distance))
    after = cluster(hashes[order], seen[order], Limits(max_distance))
    assert same_groups(before[order], after)


@given(hash_lists(), st.integers(0, 12))
@settings(max_examples=100, deadline=None)
def test_clusters_are_numbered_by_appearance(hashes: np.ndarray, max_distance: int) -> None:
    labels = cluster(hashes, thumbnails(2)[hashes % np.uint64(2)], Limits(max_distance))
    assert list(dict.fromkeys(labels.tolist())) == list(range(labels.max() + 1))


def test_thumbnail_difference_ignores_brightness_and_contrast() -> None:
    seen = thumbnails(1) // 2 + 30
    other = np.rint(seen * 1.3 + 12).astype(np.uint8)
    assert thumbnail_difference(seen, seen)[0] == pytest.approx(0, abs=1e-6)
    assert thumbnail_difference(seen, other)[0] < 1e-3
    assert thumbnail_difference(seen, 255 - seen)[0] == pytest.approx(2, abs=0.01)


def test_thumbnail_difference_is_the_same_by_every_route() -> None:
    """A pair on the limit is linked or not, whatever it is compared along with."""
    seen = walked(200, 12)
    left, right = (ends.ravel() for ends in np.indices((200, 200)))
    one = thumbnail_difference(seen[left], seen[right])
    nodes = near_duplicates._Nodes(np.zeros(200, np.uint64), seen)
    at = slice(0, 200)
    for limit in one[::997]:
        expected = {
            (i, j)
            for i, j, near in zip(left, right, one <= float(limit), strict=True)
            if near and i < j
        }
        links = np.concatenate(list(nodes._links_between(at, at, float(limit))))
        assert {tuple(link) for link in links.tolist()} == expected


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


def test_parts_must_match_the_hashes() -> None:
    for parts in (np.zeros(2, int), np.zeros(3)):
        with pytest.raises(ValueError, match="parts"):
            links_across(np.zeros(3, np.uint64), thumbnails(3), parts)


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


def test_a_cluster_finds_the_same_links(dask_cluster: Callable[[], Any]) -> None:
    rng = np.random.default_rng(3)
    hashes = rng.integers(0, 2**64, 3000, dtype=np.uint64)
    hashes[2000:] = hashes[:1000] ^ (np.uint64(1) << rng.integers(0, 64, 1000, dtype=np.uint64))
    seen = thumbnails(3000)
    seen[2000:2900] = seen[:900]
    parts = rng.integers(0, 3, 3000)
    with dask_cluster() as nodes:
        nodes.add_worker()
        engine = Engine(dask=nodes.address)
        clusters = cluster(hashes, seen, engine=engine)
        crossing = links_across(hashes, seen, parts, engine=engine)
    assert clusters.tolist() == cluster(hashes, seen).tolist()
    assert len(set(clusters.tolist())) == 2100
    alone = links_across(hashes, seen, parts)
    assert crossing.links == alone.links > 0
    assert crossing.crosses.tolist() == alone.crosses.tolist()
