"""Splits for new groups: every split gets its share of every class, and no class is missing."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from cannabis_ml.photo_sets.checks.finding import questions
from cannabis_ml.photo_sets.split_params import SplitParams
from cannabis_ml.photo_sets.stratify import stratify
from cannabis_ml.splits import HELD_OUT, SPLITS, Split, split_rank
from cannabis_ml.taxonomy import Taxonomy

NEEDED_FIRST = (Split.TRAIN, Split.TEST, Split.VALIDATION, Split.CALIBRATION)
"""A class of a single group is for training; of two, for testing too; and so on."""


def split_shares(split: SplitParams, given: pd.Series) -> dict[str | None, dict[str, float]]:
    """What new groups are divided among: those given as train, and those not given at all."""
    names = set(given.dropna())
    for_train = [s for s in SPLITS if s == Split.TRAIN or s not in names]
    return {Split.TRAIN: _normal(split, for_train), None: _normal(split, SPLITS)}


def _normal(split: SplitParams, names: Iterable[str]) -> dict[str, float]:
    shares = {name: split.fractions[name] for name in names if split.fractions[name] > 0}
    return {name: share / sum(shares.values()) for name, share in shares.items()}


def least_learnt(splits: pd.Series, groups: pd.Series) -> pd.Series:
    """Of the splits that a group is in, the one that is least learnt from, for each photo."""
    names = [*sorted(SPLITS, key=split_rank), None]
    ranks = splits.map(split_rank).astype(int)
    return ranks.groupby(groups).transform("min").map(lambda rank: names[rank]).astype("str")


@dataclass
class _Group:
    """A group that is being put into a split.

    Attributes:
        name: As in the photos.
        may: The splits that it may be put in.
        split: The one it is in now.
        classes: What its photos show, by number.
    """

    name: str
    may: dict[str, float]
    split: str
    classes: set[int] = field(default_factory=set)


class _NewGroups(NamedTuple):
    """Groups without a split.

    Attributes:
        names: As in the photos, in order.
        given_as_train: Whether the source gives photos of each as train.
        shares: As from `split_shares`.
    """

    names: list[str]
    given_as_train: list[bool]
    shares: dict[str | None, dict[str, float]]

    @property
    def may(self) -> list[dict[str, float]]:
        """The splits that each may be put in, with their shares."""
        return [self.shares[Split.TRAIN if given else None] for given in self.given_as_train]


def with_new_groups(
    sound: pd.DataFrame, wanted: pd.Series, taxonomy: Taxonomy, split: SplitParams
) -> pd.Series:
    """Give a split to each group that has none.

    Args:
        sound: Sound photos with `group`, `given_split` and label columns.
        wanted: The split of each photo, missing where its group has none yet.
        taxonomy: The heads to learn.
        split: Fractions and seed.

    Returns:
        A split for every photo.
    """
    is_new = wanted.isna()
    if not is_new.any():
        return wanted
    shares = split_shares(split, sound["given_split"])
    given_as_train = set(sound.loc[sound["given_split"] == Split.TRAIN, "group"])
    names = sorted(sound.loc[is_new, "group"].unique())
    new = _NewGroups(names, [name in given_as_train for name in names], shares)
    shown = _shown(sound, taxonomy)
    stays = least_learnt(wanted, sound["group"]) == wanted  # others will be set aside as twins
    parts = _stratified(sound, wanted.where(stays), new, shown, split.seed)
    groups = {
        name: _Group(name, choice, NEEDED_FIRST[part])
        for name, choice, part in zip(names, new.may, parts, strict=True)
    }
    _fill_gaps(sound, wanted.where(stays), groups, shown, split)
    of_group = sound["group"].map({name: group.split for name, group in groups.items()})
    return wanted.where(~is_new, of_group).astype("str")


def _stratified(
    sound: pd.DataFrame,
    settled: pd.Series,
    new: _NewGroups,
    shown: _Shown,
    seed: int,
) -> list[int]:
    """The split of each new group, as its place in `NEEDED_FIRST`."""
    from scipy.sparse import coo_array  # comes with scikit-learn

    group = pd.Categorical(sound["group"], categories=new.names).codes.astype(int)
    rows, classes = shown.rows, shown.classes
    is_new = group[rows] >= 0
    ends = group[rows[is_new]], classes[is_new]
    counts = coo_array(
        (np.ones(is_new.sum(), int), ends), shape=(len(new.names), shown.numbers)
    ).tocsr()
    # What the source holds out is beside the fractions: the rest is divided by them.
    place = pd.Categorical(settled, categories=NEEDED_FIRST).codes.astype(int)
    is_counted = (~sound["given_split"].isin(HELD_OUT)).to_numpy() & ((place >= 0) | (group >= 0))
    is_train = (sound["given_split"] == Split.TRAIN).fillna(False).to_numpy(bool)
    is_train = np.where(group >= 0, np.array(new.given_as_train)[group], is_train)
    there = np.zeros((shown.numbers, len(NEEDED_FIRST)), int)
    is_there = (is_counted & (place >= 0))[rows]
    np.add.at(there, (classes[is_there], place[rows[is_there]]), 1)
    targets = np.zeros(there.shape)
    for pool, members in ((Split.TRAIN, is_train), (None, ~is_train)):
        of_pool = (is_counted & members)[rows]
        fractions = [new.shares[pool].get(name, 0.0) for name in NEEDED_FIRST]
        targets += np.bincount(classes[of_pool], minlength=shown.numbers)[:, None] * fractions
    allowed = np.array([[name in choice for name in NEEDED_FIRST] for choice in new.may])
    position = [_position(name, seed) for name in new.names]
    rank = np.argsort(np.argsort(position, kind="stable"))
    return stratify(counts, allowed, there, targets, rank).tolist()


def _position(group: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _fill_gaps(
    sound: pd.DataFrame,
    settled_in: pd.Series,
    groups: dict[str, _Group],
    shown: _Shown,
    split: SplitParams,
) -> None:
    """Move new groups so that classes with enough groups are in every split.

    A class with n groups is due in the first n of `NEEDED_FIRST`. A group leaves only a split where
    each of its classes has another one or is not due, so no move opens a gap elsewhere.
    """
    labelled = pd.DataFrame({"class": shown.classes, "row": shown.rows})
    labelled = labelled[labelled["class"] < shown.numbers - 1]  # the last is not a class
    labelled["group"] = sound["group"].to_numpy()[labelled["row"]]
    labelled["split"] = settled_in.to_numpy(object)[labelled["row"]]
    members: dict[int, list[_Group]] = {}
    present: dict[int, Counter[str]] = {}
    for key, rows in labelled.groupby("class"):
        number = int(str(key))
        settled = rows.dropna(subset="split").drop_duplicates(["group", "split"])
        present[number] = Counter(settled["split"])
        members[number] = [groups[g] for g in sorted(rows["group"].unique()) if g in groups]
        for group in members[number]:
            group.classes.add(number)
            present[number][group.split] += 1
    used: list[str] = [
        s for s in NEEDED_FIRST if split.fractions[s] > 0 or s in set(sound["given_split"])
    ]
    due = {key: used[: counts.total()] for key, counts in present.items()}
    for key in sorted(members, key=lambda key: (present[key].total(), key)):
        for needy in due[key]:
            if present[key][needy] == 0:
                _move_one(members[key], needy, present, due, split)


def _move_one(
    members: list[_Group],
    needy: str,
    present: dict[int, Counter[str]],
    due: dict[int, list[str]],
    split: SplitParams,
) -> None:
    """Move the group that its split needs least, if any can leave it."""

    def can_leave(group: _Group) -> bool:
        return needy in group.may and all(
            present[key][group.split] > 1 or group.split not in due[key] for key in group.classes
        )

    def surplus(group: _Group) -> tuple[float, float]:
        counts = sum((present[key] for key in group.classes), Counter())
        share = split.fractions[group.split] or 1.0
        return -counts[group.split] / share, _position(group.name, split.seed)

    candidates = sorted(filter(can_leave, members), key=surplus)
    if candidates:
        group = candidates[0]
        for key in group.classes:
            present[key][group.split] -= 1
            present[key][needy] += 1
        group.split = needy


class _Shown(NamedTuple):
    """What photos show: one entry per photo and class.

    Attributes:
        rows: int (M,), places of photos.
        classes: int (M,), numbers of classes, in taxonomy order; an attribute is two, shown and
            lacking. The last number is not of a class: every photo has it.
        numbers: How many there are.
    """

    rows: np.ndarray
    classes: np.ndarray
    numbers: int


def _shown(photos: pd.DataFrame, taxonomy: Taxonomy) -> _Shown:
    rows, classes, count = [], [], 0
    for question in questions(photos, taxonomy):
        codes = pd.Categorical(question.answers, categories=question.classes).codes.astype(int)
        known = np.flatnonzero(codes >= 0)
        rows.append(known)
        classes.append(count + codes[known])
        count += len(question.classes)
    rows.append(np.arange(len(photos)))
    classes.append(np.full(len(photos), count))
    return _Shown(np.concatenate(rows), np.concatenate(classes), count + 1)
