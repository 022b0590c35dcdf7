"""Where work on many photos is done: threads of this machine, or machines of a cluster."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Engine(BaseModel):
    """A cluster to map photos on; without an address, threads of this machine.

    Results are the same on every engine, in the same order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dask: str | None = Field(
        default=None,
        min_length=1,
        description="Address of a Dask scheduler, such as tcp://10.0.0.1:8786 (extra `cluster`)",
    )
    ray: str | None = Field(
        default=None,
        min_length=1,
        description="`auto` on a machine of a Ray cluster, or ray://HOST:10001 (extra `ray`)",
    )
    chunk: int = Field(
        default=32, gt=0, description="Photos that a worker of a cluster is handed at once"
    )

    @model_validator(mode="after")
    def _has_one_address(self) -> Self:
        if self.dask and self.ray:
            raise ValueError("engine names both a Dask and a Ray cluster: take one of them out")
        return self

    @property
    def is_cluster(self) -> bool:
        """Whether other machines do the work."""
        return bool(self.dask or self.ray)

    def for_items_of(self, photos: int) -> Engine:
        """The same engine, for items that hold several photos each."""
        return self.model_copy(update={"chunk": max(1, self.chunk // photos)})


THREADS = Engine()
"""Threads of this machine."""
