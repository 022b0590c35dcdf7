"""Parameters of reading photos: `ingestion.index`.

Those of storing them, `ingestion.store`, are in `photo_sets/store_params.py`. Those of grouping,
splitting and the checks are beside the code: `ingestion.groups` in `photo_sets/groups.py`, `.split`
in `photo_sets/split_params.py`, `.defects` in `photos/checks/params.py` and `.set_checks` in
`photo_sets/checks/registry.py`.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class IndexParams(BaseModel):
    """How files are read."""

    model_config = ConfigDict(extra="forbid")

    workers: int | None = Field(default=None, gt=0, description="Threads; null: one per core")
