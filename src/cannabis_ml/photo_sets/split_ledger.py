"""Which split every photo was ever put in, so that later runs put it there again."""

from __future__ import annotations

import pandas as pd

COLUMNS = ("photo_id", "split", "given_split", "division")
"""Photo, the split it is in, the one that its source gave, and the settings it was divided by."""


def empty_ledger() -> pd.DataFrame:
    """A ledger of no photo."""
    return pd.DataFrame({name: pd.Series(dtype="str") for name in COLUMNS})
