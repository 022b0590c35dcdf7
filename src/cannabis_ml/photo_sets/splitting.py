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

import logging

import pandas as pd

from cannabis_ml.errors import SourceError
from cannabis_ml.photo_sets.checks import twin_of_test
from cannabis_ml.photo_sets.new_groups import least_learnt, split_shares, with_new_groups
from cannabis_ml.photo_sets.split_ledger import COLUMNS, next_ingestion
from cannabis_ml.photo_sets.split_params import SplitParams
from cannabis_ml.splits import HELD_OUT, SPLITS, Split
from cannabis_ml.taxonomy import Taxonomy

logger = logging.getLogger(__name__)

TWIN = twin_of_test.DEFECT.name


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
    wanted = _joined_splits(sound, own, split_shares(split, sound["given_split"]))
    wanted = with_new_groups(sound, wanted, taxonomy, split)
    twins = twin_of_test.find(sound.assign(split=wanted)).dropna()
    photos["split"] = wanted.reindex(photos.index).astype("str")
    photos.loc[twins.index, "defect"] = TWIN
    photos.loc[twins.index, "detail"] = twins
    photos.loc[twins.index, "split"] = None
    kept = photos[photos["defect"].isna()]
    counts = kept["split"].value_counts()
    logger.info("Split: %s", ", ".join(f"{name} {counts.get(name, 0):,}" for name in SPLITS))
    if len(twins):
        logger.warning(
            "%s photos are near-duplicates of held-out photos, or share their group: set aside",
            f"{len(twins):,}",
        )
    shared = twin_of_test.shared(photos[photos["defect"].isna() | photos["defect"].eq(TWIN)])
    if shared:
        logger.warning("%s\n%s", twin_of_test.shared_sentence(shared), twin_of_test.REMEDY)
    _check_splits(kept, taxonomy, shared)
    return photos, _extended(split_ledger_before, kept, split)


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
    joined = least_learnt(own, sound["group"])
    # Given as train, it may not become a test photo where the source gives those.
    is_train = (sound["given_split"] == Split.TRAIN).fillna(False)
    stays = is_train & joined.notna() & ~joined.isin(list(shares[Split.TRAIN]))
    return own.where(own.notna(), joined.mask(stays, Split.TRAIN))


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
