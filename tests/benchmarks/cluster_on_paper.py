"""Hours, money, memory and network of the data stages for 1, 10 and 100 million photos, on paper.

    python tests/benchmarks/cluster_on_paper.py

Nothing is run: constants that were measured on this project are multiplied. The tables stand in
docs/cluster.md, and a test holds that page against this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log

PHOTOS = (1_000_000, 10_000_000, 100_000_000)

CORES = {1_000_000: 32, 10_000_000: 128, 100_000_000: 512}
"""Of the cluster's workers, by photos."""

OVERHEAD = 1.15
"""Of a cluster's workers over threads, in processor time: measured with one worker; two took 1.19
on a busy machine."""

CORE_HOUR = 0.05
"""Dollars: between Google's n1-standard-4 (0.2185 for 4 cores, read in October 2026) and Modal's
0.047 (May 2026)."""

MILLION_REQUESTS = 0.40
"""Dollars for a million GET or HEAD requests: Amazon S3, us-east-1, list price."""

REQUEST_SECONDS = 0.03
"""Until object storage answers; an assumption."""

DRIVER_BYTES_PER_SECOND = 1.25e9 * 0.8
"""Of a network of 10 Gbit/s, of which four fifths can be had."""

DRIVER_MEMORY = 64e9

NEAR_DUPLICATES = {100_000: 0.8, 1_000_000: 22.0, 10_000_000: 1008.0}
"""Seconds of one core for all pairs of similar hashes, by photos; the last from two of the 495
pieces of work that the search falls into."""

ROUNDS = 2
"""Searches for near-duplicates in a run: to group photos, and to check the division."""


@dataclass(frozen=True)
class Stage:
    """What a photo costs in one stage. Photos have 1024 x 768 pixels unless said otherwise.

    Attributes:
        name: Of the stage.
        worker: Milliseconds of a worker's core.
        driver: Milliseconds of the machine that runs the pipeline, which uses one core.
        scheduler: Milliseconds of the scheduler, which uses another.
        read: Kilobytes that workers read from object storage.
        out: Kilobytes from the driver to workers.
        back: Kilobytes from workers to the driver.
        requests: Of object storage.
        memory: Bytes that the driver holds.
    """

    name: str
    worker: float
    driver: float
    scheduler: float = 0.0
    read: float = 0.0
    out: float = 0.0
    back: float = 0.0
    requests: int = 0
    memory: float = 0.0


STAGES = (
    Stage("index", 4.7, 0.13, 0.07, read=226, out=0.06, back=0.5, requests=2, memory=2 * 700),
    Stage("near-duplicates", 0.0, 0.0, memory=233 + 192 + 40),
    Stage("store", 6.2, 0.32, 0.07, read=226, out=0.3, back=36, requests=1, memory=700),
    Stage("augment", 0.7 * 5 * 1.21, 0.7 * 0.68, 0.07, out=0.7 * 36, back=0.7 * 5 * 21.8),
    Stage("embed", 12.6, 0.27, 0.07, out=36, back=5.3, memory=5200),
)
"""Worker and driver were measured in processor time, on an AMD EPYC that others kept busy; the
scheduler is what was left after what it takes when idle. `augment`: five copies of the 70% that are
training photos. `embed`: EfficientNet-Lite0 at 160 pixels on a processor; a GPU does without the
cluster."""


@dataclass(frozen=True)
class Row:
    """A stage for so many photos: hours, and which of its parts take them."""

    stage: Stage
    photos: int
    cores: int

    @property
    def parts(self) -> dict[str, float]:
        """Hours that the stage would take if only this part had to be waited for."""
        if self.stage.name == "near-duplicates":
            seconds = ROUNDS * pair_seconds(self.photos) * OVERHEAD
            return {"workers": seconds / min(self.cores, choices(self.photos)) / 3600}
        one = self.stage
        sent = (one.out + one.back) * 1e3 / DRIVER_BYTES_PER_SECOND
        return {
            "workers": self.photos * one.worker * OVERHEAD / 1e3 / self.cores / 3600,
            "driver": self.photos * one.driver / 1e3 / 3600,
            "scheduler": self.photos * one.scheduler / 1e3 / 3600,
            "driver's network": self.photos * sent / 3600,
        }

    @property
    def hours(self) -> float:
        """They work at the same time: the slowest decides."""
        return max(self.parts.values())

    @property
    def limit(self) -> str:
        """The part that is waited for."""
        return max(self.parts, key=lambda name: self.parts[name])

    @property
    def dollars(self) -> float:
        """Cores of all workers while the stage runs, and requests."""
        requests = self.photos * self.stage.requests / 1e6 * MILLION_REQUESTS
        return self.cores * self.hours * CORE_HOUR + requests

    @property
    def memory(self) -> float:
        """Bytes on the driver."""
        return self.photos * self.stage.memory

    @property
    def network(self) -> tuple[float, float]:
        """Bytes from object storage, and between the driver and the workers."""
        one = self.stage
        if one.name == "near-duplicates":
            return 0.0, ROUNDS * 8.0 * self.photos * min(self.cores, choices(self.photos))
        return self.photos * one.read * 1e3, self.photos * (one.out + one.back) * 1e3


def pair_seconds(photos: int) -> float:
    """Measured, or by the power of the two largest sizes that were."""
    if photos in NEAR_DUPLICATES:
        return NEAR_DUPLICATES[photos]
    (n, less), (m, more) = sorted(NEAR_DUPLICATES.items())[-2:]
    return more * (photos / m) ** (log(more / less) / log(m / n))


def choices(photos: int) -> int:
    """Pieces of work that the search falls into."""
    return {100_000: 45, 1_000_000: 165}.get(photos, 495)


def table(photos: int) -> str:
    """Markdown of all stages for so many photos."""
    rows = [Row(stage, photos, CORES[photos]) for stage in STAGES]
    lines = [
        f"**{photos // 1_000_000} million photos, {CORES[photos]} cores**",
        "",
        "| stage | hours | waits for | $ | driver's memory | from storage | driver's network |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        stored, sent = row.network
        breaks = " **breaks**" if row.memory > DRIVER_MEMORY else ""
        lines.append(
            f"| {row.stage.name} | {_number(row.hours)} | {row.limit} | {_number(row.dollars)} |"
            f" {_bytes(row.memory)}{breaks} | {_bytes(stored)} | {_bytes(sent)} |"
        )
    hours, dollars = sum(r.hours for r in rows), sum(r.dollars for r in rows)
    lines.append(f"| together | {_number(hours)} | | {_number(dollars)} | | | |")
    return "\n".join(lines)


def feeding() -> str:
    """Markdown of how many cores of workers one driver can feed, and what threads hide waiting."""
    lines = [
        "| stage | worker, ms | driver, ms | cores that one driver feeds | threads per core |",
        "|---|---|---|---|---|",
    ]
    for one in STAGES:
        if one.worker:
            fed = one.worker * OVERHEAD / max(one.driver, one.scheduler)
            threads = 1 + one.requests * REQUEST_SECONDS * 1e3 / one.worker
            lines.append(
                f"| {one.name} | {one.worker:.1f} | {one.driver:.2f} | {fed:.0f} |"
                f" {ceil(threads)} |"
            )
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _bytes(value: float) -> str:
    if not value:
        return "–"
    unit, name = (1e12, "TB") if value >= 1e12 else (1e9, "GB")
    return f"{_number(value / unit)} {name}"


def tables() -> list[str]:
    """All tables of the page, in order."""
    return [feeding(), *map(table, PHOTOS)]


if __name__ == "__main__":
    print("\n\n".join(tables()))
