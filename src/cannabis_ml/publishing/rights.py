"""What may be done with each photo of a set: its licence, and whom to name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from cannabis_ml.errors import PublishingError
from cannabis_ml.inference.golden_rights import UNKNOWN, PhotoRights
from cannabis_ml.photo_sets.published import CREDIT, LICENCE, RIGHTS
from cannabis_ml.publishing.licences import licence_id
from cannabis_ml.text import counted


@dataclass(frozen=True)
class Rights:
    """What may be done with each photo of a set.

    Attributes:
        table: A row per photo, by `photo_id`: `source`, `licence` (see `licence_id`) and `credit`,
            whom to name, missing where nobody is known.
    """

    table: pd.DataFrame

    @property
    def counts(self) -> dict[str, int]:
        """Photos of each licence, the most frequent first."""
        found = self.table[LICENCE].value_counts()
        return {str(name): int(n) for name, n in found.items()}

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Licence and source of every photo."""
        return zip(self.table[LICENCE].astype(str), self.table["source"].astype(str), strict=True)

    def records(self) -> list[PhotoRights]:
        """The rows, as bundles keep them."""
        return [
            PhotoRights(
                source=str(row["source"]),
                licence=str(row[LICENCE]),
                credit=None if pd.isna(row[CREDIT]) else str(row[CREDIT]),
            )
            for _, row in self.table.iterrows()
        ]

    def of(self, photo_ids: Sequence[str]) -> Rights:
        """The rights of some photos, in their order.

        Raises:
            PublishingError: If a photo is not in the table.
        """
        missing = sorted(set(photo_ids) - set(self.table.index))
        if missing:
            raise PublishingError(
                f"{counted(len(missing), 'photo')} of the photo set, such as {missing[0][:12]}, are"
                " not in the table of photos: they are of another run.\nRun the ingestion pipeline"
                " again: kedro run --pipeline=ingestion"
            )
        return Rights(self.table.loc[list(photo_ids)])


def rights_of(photos: pd.DataFrame, by_source: Mapping[str, str]) -> Rights:
    """What each photo's own licence is, else that of its source.

    Args:
        photos: `photo_id`, `source`, and where sources name them, those of `RIGHTS`.
        by_source: Source -> licence.
    """
    named = {column: _first(photos, column) for column in dict.fromkeys(RIGHTS.values())}
    own = named[LICENCE]
    licences = own.where(own.notna(), photos["source"].map(dict(by_source)))
    table = pd.DataFrame(
        {
            "source": photos["source"].astype("object"),
            LICENCE: [UNKNOWN if pd.isna(name) else licence_id(str(name)) for name in licences],
            CREDIT: named[CREDIT],
        }
    )
    return Rights(table.set_index(photos["photo_id"].astype("object")))


def _first(photos: pd.DataFrame, column: str) -> pd.Series:
    """The columns of a source that stand for a published one, merged."""
    found = pd.Series(None, index=photos.index, dtype="object")
    for name, published in RIGHTS.items():
        if published == column and name in photos:
            found = found.where(found.notna(), photos[name])
    return found
