"""Where photos come from: a small file per kind of source."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, TypeAdapter

from cannabis_ml.photo_sets.sources.base import SOURCE_COLUMNS, Source
from cannabis_ml.photo_sets.sources.folder import FolderSource
from cannabis_ml.photo_sets.sources.hub import HubSource
from cannabis_ml.photo_sets.sources.inaturalist import INaturalistSource
from cannabis_ml.photo_sets.sources.plantdoc import PlantDocSource
from cannabis_ml.photo_sets.sources.plantvillage import PlantVillageSource
from cannabis_ml.photo_sets.sources.sample import SampleSource
from cannabis_ml.photo_sets.sources.table import TableSource
from cannabis_ml.photo_sets.sources.unknown import UnknownSource

AnySource = Annotated[
    SampleSource
    | FolderSource
    | TableSource
    | HubSource
    | PlantVillageSource
    | PlantDocSource
    | INaturalistSource
    | UnknownSource,
    Field(discriminator="kind"),
]
"""One of the kinds of source, discriminated by `kind`."""

ONE_SOURCE: TypeAdapter[AnySource] = TypeAdapter(AnySource)
"""Validates `source:`."""

__all__ = ["ONE_SOURCE", "SOURCE_COLUMNS", "AnySource", "Source"]
