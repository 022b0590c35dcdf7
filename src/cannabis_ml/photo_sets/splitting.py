"""Stratified group splits without leakage, stable when photos are added.

Three rules, in this order. A photo stays where it was put: its source's own validation,
calibration or test, else the one in the ledger of earlier runs. A new photo joins its group. New
groups are divided so that every split comes as close to its share of every class as groups allow
(see `stratify`), and so that no class is missing from a split that it has enough groups for; where
that leaves a choice, the hash of the group's name and the seed decides.

So no photo ever changes its split because others were added. What new photos can do is to show that
two earlier ones, in different splits, belong together: then the one in the split that is learnt
from is set aside (`twin_of_test`), and neither has moved.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cannabis_ml.errors import SourceError
from cannabis_ml.photo_sets.checks import twin_of_test
from cannabis_ml.photo_sets.checks.finding import questions
from cannabis_ml.photo_sets.split_ledger import COLUMNS, next_ingestion
from cannabis_ml.photo_sets.stratify import stratify
from cannabis_ml.splits import HELD_OUT, SPLITS, Split, split_rank
from cannabis_ml.taxonomy import Taxonomy

log = logging.getLogger(__name__)

TWIN = twin_of_test.DEFECT.name

NEEDED_FIRST = (Split.TRAIN, Split.TEST, Split.VALIDATION, Split.CALIBRATION)
"""A class of a single group is for training; of two, for testing too; and so on."""


class SplitParams(BaseModel):
    """How photos are divided."""

    model_config = ConfigDict(extra="forbid")

    seed: int = Field(default=42, ge=0, description="Another seed divides the photos anew")
    train: float = Field(default=0.7, gt=0, le=1, description="Share that models learn from")
    validation: float = Field(default=0.1, ge=0, lt=1, description="Share that picks the epoch")
    calibration: float = Field(
        default=0.1, ge=0, lt=1, description="Share that calibrates and quantises"
    )
    test: float = Field(default=0.1, ge=0, lt=1, description="Share that only the report sees")

    @property
    def fractions(self) -> dict[str, float]:
        return {str(split): getattr(self, split) for split in SPLITS}

    @model_validator(mode="after")
    def _sums_to_one(self) -> SplitParams:
        total = sum(self.fractions.values())
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ValueError(
                f"the fractions of train, validation, calibration and test add up to {total:g},"
                " not to 1"
            )
        return self


def split_photos(
    grouped_photos: pd.DataFrame,
    split_ledger_before: pd.DataFrame,
    taxonomy: Taxonomy,
    split: SplitParams,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Put every group of sound photos into one split.

    Splits that the source gives are respected: validation, calibration and test stay what they
    are, and train is divided among train and those of the others that the source does not give.
    A photo whose group is in a split less learnt from than the one it has to stay in is set aside.

    Args:
        grouped_photos: One row per photo found; sound ones with `group`.
        split_ledger_before: Where earlier runs put photos; of use only where they had the same
            seed and fractions.
        taxonomy: The heads to learn.
        split: Fractions and seed.

    Returns:
        The photos with `split`, and `defect` and `detail` for twins; and the ledger with the new
        photos added. Both depend on the photos and the ledger, not on their order.

    Raises:
        SourceError: If train, validation or test would be empty, or train would show fewer than
            two classes of a head.
    """
    photos = grouped_photos.copy()
    sound = photos[photos["defect"].isna()]
    own = _own_splits(sound, split_ledger_before, split)
    wanted = _joined_splits(sound, own, _shares(split, sound["given_split"]))
    wanted = _new_splits(sound, wanted, taxonomy, split)
    twins = twin_of_test.find(sound.assign(split=wanted)).dropna()
    photos["split"] = wanted.reindex(photos.index).astype("str")
    photos.loc[twins.index, "defect"] = TWIN
    photos.loc[twins.index, "detail"] = twins
    photos.loc[twins.index, "split"] = None
    kept = photos[photos["defect"].isna()]
    counts = kept["split"].value_counts()
    log.info("Split: %s", ", ".join(f"{name} {counts.get(name, 0):,}" for name in SPLITS))
    if len(twins):
        log.warning(
            "%s photos are near-duplicates of held-out photos, or share their group: set aside",
            f"{len(twins):,}",
        )
    shared = twin_of_test.shared(photos[photos["defect"].isna() | photos["defect"].eq(TWIN)])
    if shared:
        log.warning("%s\n%s", twin_of_test.shared_sentence(shared), twin_of_test.REMEDY)
    _check_splits(kept, taxonomy, shared)
    return photos, _extended(split_ledger_before, kept, split)


# ------------------------------------------------------------------ who has a split already


def _division(split: SplitParams) -> str:
    """Name the settings that the ledger's rows hold for."""
    return " ".join(f"{name}={value:g}" for name, value in split.model_dump().items())


def _own_splits(sound: pd.DataFrame, ledger: pd.DataFrame, split: SplitParams) -> pd.Series:
    """The split that each photo has to stay in, missing where it has none yet."""
    of_division = ledger[ledger["division"] == _division(split)]
    last = of_division.drop_duplicates("photo_id", keep="last").set_index("photo_id")
    before = last.reindex(sound["photo_id"]).set_index(sound.index)
    given = sound["given_split"]
    # Where a source now gives a photo another split, that one counts.
    is_unchanged = given.fillna("") == before["given_split"].fillna("")
    own = before["split"].where(is_unchanged)
    return own.mask(given.isin(HELD_OUT), given).astype("str")


def _joined_splits(
    sound: pd.DataFrame, own: pd.Series, shares: dict[str | None, dict[str, float]]
) -> pd.Series:
    """`own`, and for other photos of these groups the split that they join."""
    joined = _least_learnt(own, sound["group"])
    # Given as train, it may not become a test photo where the source gives those.
    is_train = (sound["given_split"] == Split.TRAIN).fillna(False)
    stays = is_train & joined.notna() & ~joined.isin(list(shares[Split.TRAIN]))
    return own.where(own.notna(), joined.mask(stays, Split.TRAIN))


def _least_learnt(splits: pd.Series, groups: pd.Series) -> pd.Series:
    """Of the splits that a group is in, the one that is least learnt from, for each photo."""
    names = [*sorted(SPLITS, key=split_rank), None]
    ranks = splits.map(split_rank).astype(int)
    return ranks.groupby(groups).transform("min").map(lambda rank: names[rank]).astype("str")


def _shares(split: SplitParams, given: pd.Series) -> dict[str | None, dict[str, float]]:
    """What new groups are divided among: those given as train, and those not given at all."""
    names = set(given.dropna())
    for_train = [s for s in SPLITS if s == Split.TRAIN or s not in names]
    return {Split.TRAIN: _normal(split, for_train), None: _normal(split, SPLITS)}


def _normal(split: SplitParams, names: Iterable[str]) -> dict[str, float]:
    shares = {name: split.fractions[name] for name in names if split.fractions[name] > 0}
    return {name: share / sum(shares.values()) for name, share in shares.items()}


# ------------------------------------------------------------------ who has none yet


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


def _new_splits(
    sound: pd.DataFrame, wanted: pd.Series, taxonomy: Taxonomy, split: SplitParams
) -> pd.Series:
    """`wanted`, with a split for each group that has none."""
    is_new = wanted.isna()
    if not is_new.any():
        return wanted
    shares = _shares(split, sound["given_split"])
    given_as_train = set(sound.loc[sound["given_split"] == Split.TRAIN, "group"])
    names = sorted(sound.loc[is_new, "group"].unique())
    may = [shares[Split.TRAIN if name in given_as_train else None] for name in names]
    shown = _shown(sound, taxonomy)
    stays = _least_learnt(wanted, sound["group"]) == wanted  # others will be set aside as twins
    parts = _stratified(sound, wanted.where(stays), names, may, shown, split, shares)
    groups = {
        name: _Group(name, choice, NEEDED_FIRST[part])
        for name, choice, part in zip(names, may, parts, strict=True)
    }
    _fill_gaps(sound, wanted.where(stays), groups, shown, split)
    of_group = sound["group"].map({name: group.split for name, group in groups.items()})
    return wanted.where(~is_new, of_group).astype("str")


def _stratified(
    sound: pd.DataFrame,
    settled: pd.Series,
    names: list[str],
    may: list[dict[str, float]],
    shown: _Shown,
    split: SplitParams,
    shares: dict[str | None, dict[str, float]],
) -> list[int]:
    """The split of each new group, as its place in `NEEDED_FIRST`."""
    from scipy.sparse import coo_array  # comes with scikit-learn

    group = pd.Categorical(sound["group"], categories=names).codes.astype(int)
    rows, classes = shown.rows, shown.classes
    is_new = group[rows] >= 0
    ends = group[rows[is_new]], classes[is_new]
    counts = coo_array(
        (np.ones(is_new.sum(), int), ends), shape=(len(names), shown.numbers)
    ).tocsr()
    # What the source holds out is beside the fractions: the rest is divided by them.
    place = pd.Categorical(settled, categories=NEEDED_FIRST).codes.astype(int)
    is_counted = (~sound["given_split"].isin(HELD_OUT)).to_numpy() & ((place >= 0) | (group >= 0))
    is_train = (sound["given_split"] == Split.TRAIN).fillna(False).to_numpy(bool)
    new_as_train = np.array([choice is shares[Split.TRAIN] for choice in may])
    is_train = np.where(group >= 0, new_as_train[group], is_train)
    there = np.zeros((shown.numbers, len(NEEDED_FIRST)), int)
    is_there = (is_counted & (place >= 0))[rows]
    np.add.at(there, (classes[is_there], place[rows[is_there]]), 1)
    targets = np.zeros(there.shape)
    for pool, members in ((Split.TRAIN, is_train), (None, ~is_train)):
        of_pool = (is_counted & members)[rows]
        fractions = [shares[pool].get(name, 0.0) for name in NEEDED_FIRST]
        targets += np.bincount(classes[of_pool], minlength=shown.numbers)[:, None] * fractions
    allowed = np.array([[name in choice for name in NEEDED_FIRST] for choice in may])
    position = [_position(name, split.seed) for name in names]
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


# ------------------------------------------------------------------ afterwards


def _extended(ledger: pd.DataFrame, kept: pd.DataFrame, split: SplitParams) -> pd.DataFrame:
    """The ledger with a row for each photo that it does not know, or knows otherwise."""
    number = next_ingestion(ledger)
    rows = kept.assign(division=_division(split), ingestion=number)[list(COLUMNS)].astype("str")
    last = ledger.drop_duplicates(["photo_id", "division"], keep="last")
    both = pd.concat([last, rows], ignore_index=True)
    is_known = both.duplicated(["photo_id", "split", "given_split", "division"], keep="first")
    added = both[~is_known].iloc[len(last) :].sort_values("photo_id", kind="stable")
    return pd.concat([ledger, added], ignore_index=True).astype("str")


def _check_splits(
    photos: pd.DataFrame, taxonomy: Taxonomy, shared: dict[str, tuple[int, int]]
) -> None:
    counts = photos["split"].value_counts()
    faults = [
        f"no photo falls into {name}"
        for name in (Split.TRAIN, Split.VALIDATION, Split.TEST)
        if name not in counts
    ]
    has_label = photos[taxonomy.columns].notna().any(axis=1)
    faults += [
        f"no photo in {name} has a label"
        for name in (Split.VALIDATION, Split.TEST)
        if name in counts and has_label.any() and not (has_label & (photos["split"] == name)).any()
    ]
    train = photos[photos["split"] == Split.TRAIN]
    for head in taxonomy.heads:
        is_labelled = photos[head.columns].notna().any(axis=None)
        if head.kind != "multilabel" and Split.TRAIN in counts and is_labelled:
            seen = sorted(train[head.name].dropna().unique())
            if len(seen) < 2:
                only = f"only '{seen[0]}'" if seen else "no class"
                faults.append(f"train shows {only} of the head '{head.name}'")
    if faults:
        sizes = photos["group"].value_counts()
        largest = (
            f"; the largest holds {sizes.iloc[0]:,}" if len(sizes) and sizes.iloc[0] > 1 else ""
        )
        remedy = (
            f"{twin_of_test.shared_sentence(shared)}\n{twin_of_test.REMEDY}"
            if shared
            else "Bring more photos, or change the fractions or the seed under ingestion.split in"
            " parameters_ingestion.yml."
        )
        raise SourceError(
            f"The {len(photos):,} photos ({len(sizes):,} groups{largest}) cannot be divided for"
            f" training: {'; '.join(faults)}.\n{remedy}"
        )
