"""Classes that people propose, counted."""

from __future__ import annotations

import pandas as pd

from cannabis_ml.feedback.vetting.params import ProposalParams
from cannabis_ml.text import at_a_glance


def count_proposals(
    judged: pd.DataFrame, people: pd.DataFrame, photos: pd.DataFrame, params: ProposalParams
) -> pd.DataFrame:
    """Count the classes that people propose; names of one look count as one.

    Args:
        judged: From `judge_opinions`; quarantined and superseded opinions do not count.
        people: From `judge_people`, for weights.
        photos: Vetted photos: where a class of the head was accepted after all, a proposal does
            not count.
        params: How many are enough.

    Returns:
        One row per head and name, those with most photos first: `head`, `name` (the most
        frequent spelling), `photos`, `people`, `weight` (sum over photos of the highest weight of
        a person who proposed it), `enough`, `photo_ids` (sorted list) and `reason`.
    """
    is_proposed = (judged["verdict"] == "proposed") & judged["status"].isin(
        ["counted", "no_choice"]
    )
    rows = judged[is_proposed & ~_settled(judged, photos)]
    rows = rows.assign(
        look=[at_a_glance(str(name)) for name in rows["label"]],
        skill=rows["person"].map(people.set_index("person")["weight"]).fillna(0.0),
    )
    found = []
    for (head, _), same in rows.groupby(["head", "look"], sort=True):
        ids = sorted(same["photo_id"].unique())
        enough = len(ids) >= params.photos and same["person"].nunique() >= params.people
        found.append(
            {
                "head": head,
                "name": same["label"].value_counts().sort_index(kind="stable").idxmax(),
                "photos": len(ids),
                "people": same["person"].nunique(),
                "weight": same.groupby("photo_id")["skill"].max().sum(),
                "enough": enough,
                "photo_ids": ids,
                "reason": f"{len(ids)} of {params.photos} photos, "
                f"{same['person'].nunique()} of {params.people} people",
            }
        )
    columns = ["head", "name", "photos", "people", "weight", "enough", "photo_ids", "reason"]
    table = pd.DataFrame(found, columns=columns).astype({"enough": bool})
    return table.sort_values(["photos", "head", "name"], ascending=[False, True, True]).reset_index(
        drop=True
    )


def _settled(judged: pd.DataFrame, photos: pd.DataFrame) -> pd.Series:
    accepted = photos[(photos["status"] == "accepted") & photos["label"].map(_is_class)]
    settled = pd.MultiIndex.from_frame(accepted[["photo_id", "head"]])
    return pd.Series(pd.MultiIndex.from_frame(judged[["photo_id", "head"]]).isin(settled))


def _is_class(label: object) -> bool:
    """Attributes may be accepted beside one that is proposed."""
    return isinstance(label, str)
