"""Opinions per second that the store takes in from many writers, against bare SQL.

    python tests/benchmarks/bench_feedback_store.py [--opinions 20000] [--writers 16] [--kills 40]
        [--rounds 4] [--folder /tmp]

Writers are processes; each sends a photo, an answer and an opinion at a time and goes on when it is
acknowledged. The other side writes the same two rows with the bare driver (sqlite3, psycopg), one
transaction for each, nothing checked, no photo: the least that an acknowledged opinion can cost.
Both wait for the disk at every commit. A third side sends 100 at a time with `add_all`, in one
transaction, and notes them together. Sides take turns; in every other round of ours, random
writers get a SIGKILL, and start again where they were acknowledged last. Printed are the rates (of
rounds without kills the median), their ratio, and in the end how many of all acknowledged opinions
are missing or there twice.

Wanted: none missing, none twice.
"""

from __future__ import annotations

import argparse
import io
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "feedback"))

import numpy as np
import postgresql
import writers
from machine import machine
from PIL import Image

from cannabis_ml.feedback.store import FeedbackStore
from cannabis_ml.feedback.taking import opinion_id_of

BATCH = 100
SIDES = ("bare", "ours", "ours, writers killed", "ours, 100 at a time")
TABLES = (
    """CREATE TABLE bare_submissions (id {serial}, person VARCHAR(128) NOT NULL,
    key VARCHAR(128) NOT NULL, photo_id VARCHAR(64) NOT NULL, at TIMESTAMP NOT NULL,
    bundle_id VARCHAR(128), tier VARCHAR(128), outputs TEXT, metadata TEXT,
    UNIQUE (person, key))""",
    """CREATE TABLE bare_opinions (id {serial}, submission_id INTEGER NOT NULL, head VARCHAR(200)
    NOT NULL, verdict VARCHAR(16) NOT NULL, label TEXT, at TIMESTAMP NOT NULL, answered TEXT)""",
)
SUBMISSION = """INSERT INTO bare_submissions
    (person, key, photo_id, at, bundle_id, tier, outputs, metadata)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id"""
OPINION = """INSERT INTO bare_opinions (submission_id, head, verdict, label, at, answered)
    VALUES (?, ?, ?, ?, ?, ?)"""


def main() -> None:
    """Measure both databases and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--opinions", type=int, default=20_000)
    parser.add_argument("--writers", type=int, default=16)
    parser.add_argument("--kills", type=int, default=40, help="in all")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--folder", help="where the databases lie; default: the temporary folder")
    options = parser.parse_args()
    print(machine(("sqlalchemy", "psycopg")))
    print(f"SQLite {sqlite3.sqlite_version}, PostgreSQL in {postgresql.programs()}")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "sqlite"
        path.mkdir()
        _measure("sqlite", f"sqlite:///{path}/feedback.db", path, options)
    with (
        tempfile.TemporaryDirectory(dir=options.folder) as folder,
        postgresql.server(durable=True, parent=options.folder) as url,
    ):
        _measure("postgresql", url("postgres"), Path(folder), options)


def _measure(name: str, url: str, folder: Path, options: argparse.Namespace) -> None:
    photos = _photos()
    where = (url, str(folder / "photos"))
    FeedbackStore(*where).close()
    bare_url = url if name == "postgresql" else str(folder / "bare.db")
    _make_bare(bare_url)
    each = options.opinions // options.writers // options.rounds
    rates: dict[str, list[float]] = {name: [] for name in SIDES}
    killed = 0
    for turn in range(options.rounds):
        numbers = range(turn * each, (turn + 1) * each)
        seconds, _ = writers.run(
            _write_bare, lambda w, n=numbers: (bare_url, w, n), options.writers
        )
        rates["bare"].append(each * options.writers / seconds)
        kills = options.kills * 2 // options.rounds if turn % 2 else 0
        seconds, dead = writers.run(
            writers.write,
            lambda w, n=numbers: (where, folder / f"{w}.acks", w, n, photos),
            options.writers,
            kills=kills,
            seed=turn,
            progress=_Progress(folder, options.writers, numbers),
        )
        rates["ours, writers killed" if kills else "ours"].append(each * options.writers / seconds)
        killed += dead
        later = range((options.rounds + turn) * each, (options.rounds + turn + 1) * each)
        seconds, _ = writers.run(
            _write_batches,
            lambda w, n=later: (where, folder / f"{w}.acks", w, n, photos),
            options.writers,
        )
        rates["ours, 100 at a time"].append(each * options.writers / seconds)
        print(f"{name} round {turn + 1}: " + _shown({k: v[-1:] for k, v in rates.items()}))
    print(f"{name}: {_shown(rates)}")
    bare = statistics.median(rates["bare"])
    for side in ("ours", "ours, 100 at a time"):
        print(f"{name}: {side} {statistics.median(rates[side]) / bare:.2f}x of bare SQL")
    print(f"{name}: {killed} writers killed; " + _lost(where, folder, options.writers))


class _Progress:
    """The share of a round that is acknowledged; looked up at most ten times a second."""

    def __init__(self, folder: Path, count: int, numbers: range) -> None:
        self._folder, self._count, self._total = folder, count, len(numbers) * count
        self._before = numbers.start * count
        self._known, self._next = 0.0, 0.0

    def __call__(self) -> float:
        if time.monotonic() >= self._next:
            done = len(writers.acknowledged(self._folder, self._count)) - self._before
            self._known, self._next = done / self._total, time.monotonic() + 0.1
        return self._known


def _lost(where: tuple[str, str], folder: Path, count: int) -> str:
    with FeedbackStore(*where) as store:
        table = store.opinions(history=True)
        numbers = store.photos()
        held = sum(bool(store.photo(i)) for i in numbers["photo_id"])
        submissions = store.summary().submissions
    acknowledged = writers.acknowledged(folder, count)
    ids = Counter(table["opinion_id"])
    missing = 0
    for key in acknowledged:
        person = writers.submission(*map(int, key[1:].split("-"))).person
        missing += opinion_id_of(person, key, "product") not in ids
    twice = sum(n - 1 for n in ids.values())
    return (
        f"{len(acknowledged):,} acknowledged, {submissions:,} submissions, {len(table):,} opinions,"
        f" {missing} missing, {twice} twice, {held} of {len(numbers)} photos whole"
    )


def _shown(rates: dict[str, list[float]]) -> str:
    medians = {name: statistics.median(each) for name, each in rates.items() if each}
    return ", ".join(f"{name} {rate:,.0f}/s" for name, rate in medians.items())


def _photos() -> list[bytes]:
    rng = np.random.default_rng(0)
    photos = []
    for _ in range(256):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        coarse.resize((48, 40)).save(buffer, "JPEG")
        photos.append(buffer.getvalue())
    return photos


def _connect(url: str) -> tuple[object, str]:
    """A connection, and how it writes a parameter."""
    if url.startswith("postgresql"):
        import psycopg

        return psycopg.connect(url), "%s"
    # SQLite's queue is not fair: with a minute some of 16 writers end as "database is locked".
    connection = sqlite3.connect(url, timeout=3600, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection, "?"


def _make_bare(url: str) -> None:
    connection, parameter = _connect(url)
    serial = "SERIAL PRIMARY KEY" if parameter == "%s" else "INTEGER PRIMARY KEY"
    for table in TABLES:
        connection.execute(table.format(serial=serial))
    connection.commit()
    connection.close()


def _write_batches(
    where: tuple[str, str], acks: Path, writer: int, numbers: Sequence[int], photos: list[bytes]
) -> None:
    with FeedbackStore(*where) as store, acks.open("a") as noted:
        for start in range(0, len(numbers), BATCH):
            batch = numbers[start : start + BATCH]
            store.add_all(
                (writers.submission(writer, n), photos[writers.photo_of(writer, n, photos)])
                for n in batch
            )
            noted.write("".join(f"{number} " for number in batch))
            noted.flush()


def _write_bare(url: str, writer: int, numbers: Sequence[int]) -> None:
    connection, parameter = _connect(url)
    insert_submission, insert_opinion = (s.replace("?", parameter) for s in (SUBMISSION, OPINION))
    outputs = json.dumps({"product": {"label": "extract", "confidence": 0.5}})
    for number in numbers:
        given, at = writers.submission(writer, number), "2026-05-01 12:00:00"
        if parameter == "?":
            connection.execute("BEGIN IMMEDIATE")
        row = (given.person, given.key, "a" * 64, at, "bundle-1", "tier1", outputs, "{}")
        (found,) = connection.execute(insert_submission, row).fetchone()
        opinion = (found, "product", "corrected", '"hash"', at, '"extract"')
        connection.execute(insert_opinion, opinion)
        connection.commit()
    connection.close()


if __name__ == "__main__":
    main()
