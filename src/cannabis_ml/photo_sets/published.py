"""Published photos: the content of `publication.json`, and the check of every row.

OWNER/NAME at a commit
README.md            the data card
publication.json     `PhotosPublication`
taxonomy.json        the heads and their classes
data/train-00000-HASH.parquet, …
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.photo_sets.photo_set import IMAGE

PUBLICATION = "publication.json"

GROUP, LICENCE, CREDIT = "group", "licence", "credit"
"""Columns beside the labels: photos that share a split, who may use a photo, and whom to name."""

RIGHTS = {"licence": LICENCE, "license": LICENCE, "rights_holder": CREDIT}
"""Columns of a source -> columns of published photos; of two that it has, the first."""

_SHA256 = r"^[0-9a-f]{64}$"


class PublishedSplit(BaseModel):
    """One split of published photos."""

    model_config = ConfigDict(frozen=True)  # a newer version may have more

    photos: int = Field(ge=0)
    rows_sha256: str = Field(pattern=_SHA256, description="As from `RowDigest`")


class PhotosPublication(BaseModel):
    """`publication.json` of published photos."""

    model_config = ConfigDict(frozen=True)

    kind: str = Field(default="photos", pattern="^photos$")
    version: str = Field(description="As it is tagged, such as 1.2.0")
    fingerprint: str = Field(pattern=_SHA256, description="Of the photo set that it was made of")
    taxonomy_sha256: str = Field(pattern=_SHA256)
    card_sha256: str = Field(pattern=_SHA256, description="Of README.md")
    licences: dict[str, int] = Field(description="Photos of each licence")
    group_column: str
    label_columns: list[str] = Field(description="One per head, or per class of a multilabel head")
    splits: dict[str, PublishedSplit]
    files: dict[str, str] = Field(description="SHA-256 of every Parquet file, by its path")

    def is_same(self, other: PhotosPublication) -> bool:
        """Whether both publish the same photos, labels and card, whatever their versions are."""
        fields = {"fingerprint", "taxonomy_sha256", "card_sha256", "licences", "label_columns"}
        return self.model_dump(include=fields) == other.model_dump(include=fields)


class RowDigest:
    """SHA-256 of rows in their order: every column, and the bytes of every photo as stored."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.rows = 0

    def add(self, row: Mapping[str, object], photo: bytes) -> None:
        """Take in one row.

        Args:
            row: Its columns; that of the photo is not looked at.
            photo: The file.
        """
        columns = {name: value for name, value in row.items() if name != IMAGE}
        text = json.dumps(columns, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        self._digest.update(hashlib.sha256(photo).digest())
        self._digest.update(text.encode("utf-8", "surrogatepass"))
        self.rows += 1

    def hexdigest(self) -> str:
        """64 hex digits."""
        return self._digest.hexdigest()
