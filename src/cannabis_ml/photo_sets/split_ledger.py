"""The split ledger: which split each photo was assigned to, so that later runs repeat it."""

from __future__ import annotations

import pandas as pd

COLUMNS = ("photo_id", "split", "given_split", "division", "ingestion")
"""Photo, the split it is in, the one that its source gave, the settings it was divided by, and the
number of the ingestion that entered it: 1 for the first."""


def empty_ledger() -> pd.DataFrame:
    """An empty ledger."""
    return pd.DataFrame({name: pd.Series(dtype="str") for name in COLUMNS})


def completed(ledger: pd.DataFrame) -> pd.DataFrame:
    """A ledger with every column; what was written without a number counts as the first."""
    if "ingestion" in ledger.columns:
        return ledger
    return ledger.assign(ingestion=pd.Series("1", index=ledger.index, dtype="str"))


def next_ingestion(ledger: pd.DataFrame) -> str:
    """The number of the ingestion that adds to a ledger."""
    return str(ledger["ingestion"].astype("int64").max() + 1) if len(ledger) else "1"


def ingestion_of(ledger: pd.DataFrame, photo_ids: pd.Series) -> pd.Series:
    """The number of the ingestion that first added each photo.

    Args:
        ledger: As the ingestion that added the last photos left it.
        photo_ids: Photos of the ledger.

    Returns:
        int64, with the index of `photo_ids`.
    """
    first = ledger.drop_duplicates("photo_id").set_index("photo_id")["ingestion"]
    return photo_ids.map(first.astype("int64")).astype("int64")
