"""The table of prices, and what a machine costs per hour by it."""

from __future__ import annotations

import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.launchers.backend import HourlyPrice, LaunchError
from cannabis_ml.launchers.job import Machine

Unit = Literal["machine-hour", "gpu-hour", "base-hour", "vcpu-hour", "gb-hour", "gb-month", "gb"]

FREE = frozenset({"local", "ssh"})
"""Backends whose machines are one's own."""


class Price(BaseModel):
    """One entry of `launcher_prices.yml`; its head explains the units."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: str
    what: str = Field(description="The provider's name of the thing")
    gpu: str | None = None
    gpus: int = Field(default=1, ge=1, description="In the machine that costs this per hour")
    spot: bool = False
    usd: float = Field(ge=0)
    unit: Unit
    date: datetime.date | Literal["undated"]
    source: str


class PriceTable(BaseModel):
    """`conf/*/launcher_prices.yml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prices: tuple[Price, ...] = ()

    def hourly(self, backend: str, machine: Machine) -> HourlyPrice | None:
        """What a machine costs per hour; None on one's own.

        A spot machine for which no price is listed is taken at the full price.

        Raises:
            LaunchError: The table has no price for it.
        """
        if backend in FREE:
            return None
        gpus = machine.gpus if machine.gpu else 1
        listed = [price for price in self.prices if price.backend == backend]
        fits = [
            price
            for price in listed
            if price.gpu == machine.gpu
            and price.spot <= machine.spot
            and (
                (price.unit == "machine-hour" and price.gpus >= gpus)
                or (price.unit == "gpu-hour" and machine.gpu is not None)
            )
        ]
        by_size = sorted(fits, key=lambda price: (not price.spot, price.gpus, price.usd))
        extras = {
            "base-hour": 1.0,
            "vcpu-hour": float(machine.cpus),
            "gb-hour": machine.memory_gb,
        }
        besides = [price for price in listed if price.unit in extras and price.gpu is None]
        if not by_size and not (machine.gpu is None and besides):
            have = sorted({price.gpu for price in listed if price.gpu})
            raise LaunchError(
                f"launcher_prices.yml has no price for {machine.gpu or 'a machine without GPU'} at"
                f" {backend} (it has {', '.join(have) or 'none'}): add an entry with date and"
                " source."
            )
        used: list[Price] = []
        usd = 0.0
        if by_size:
            first = by_size[0]
            used.append(first)
            usd += first.usd * (machine.gpus if first.unit == "gpu-hour" else 1)
        if not by_size or by_size[0].unit == "gpu-hour":
            used += besides
            usd += sum(price.usd * extras[price.unit] for price in besides)
        return HourlyPrice(
            usd=usd,
            what=" + ".join(price.what for price in used),
            source="; ".join(dict.fromkeys(f"{p.source} ({p.date})" for p in used)),
        )

    def per_gb_month(self, backend: str) -> float:
        """US dollars per GB stored for a month; 0 where none is listed."""
        return self._first(backend, "gb-month")

    def per_gb_home(self, backend: str) -> float:
        """US dollars per GB sent home; 0 where none is listed."""
        return self._first(backend, "gb")

    def _first(self, backend: str, unit: Unit) -> float:
        found = (p.usd for p in self.prices if p.backend == backend and p.unit == unit)
        return next(found, 0.0)
