"""What was asked and what it cost: on disk before anything is sent, for all processes and runs."""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cannabis_ml.assistant.cost import CapReachedError
from cannabis_ml.assistant.provider import RunStoppedError, Usage

FILE = "ledger.db"

WAIT_SECONDS = 30
"""For another process that writes."""

DAY = 86_400

Kind = Literal["command", "service"]
State = Literal["answered", "not billed", "may be billed"]

_TABLES = """
CREATE TABLE IF NOT EXISTS asked (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    kind TEXT NOT NULL,
    task TEXT NOT NULL,
    model TEXT NOT NULL,
    address TEXT NOT NULL,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    subject TEXT NOT NULL,
    at REAL NOT NULL,
    most_usd REAL NOT NULL,
    usd REAL,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'under way',
    batch INTEGER NOT NULL DEFAULT 0,
    logged INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS asked_by_key ON asked (key);
CREATE INDEX IF NOT EXISTS asked_by_time ON asked (kind, at);
CREATE UNIQUE INDEX IF NOT EXISTS batch_replies_once ON asked (name) WHERE batch;
"""


@dataclass(frozen=True)
class Asking:
    """One request that is about to be sent.

    Attributes:
        task: Name and version of its prompt.
        model: Name of the model.
        address: Where it goes.
        key: Of the question, in the cache.
        subject: What it is about, such as a photo's id.
        most_usd: Dollars that it costs at most.
    """

    task: str
    model: str
    address: str
    key: str
    subject: str
    most_usd: float


@dataclass(frozen=True)
class Doubt(Asking):
    """A request that was under way when its process was killed: nobody knows whether it is billed.

    Attributes:
        row: In the ledger.
        name: Under which it was sent.
        at: Seconds since 1970.
    """

    row: int
    name: str
    at: float


@dataclass(frozen=True)
class Spent:
    """What one run spent on one task with one model."""

    run: str
    kind: Kind
    task: str
    model: str
    address: str
    requests: int
    usd: float
    may_be_billed_usd: float
    usage: Usage


@dataclass(frozen=True)
class SharedCap:
    """What all processes of one kind may spend together.

    Attributes:
        most_usd: Dollars.
        days: Within so many days before now.
    """

    most_usd: float
    days: float


class Ledger:
    """A table of all requests in SQLite; processes of one machine and threads may share it.

    Args:
        folder: Of the answers; made where it is not there.
        kind: Who asks: a command, or a service.

    Raises:
        RunStoppedError: If it cannot be opened.
    """

    def __init__(self, folder: Path, kind: Kind) -> None:
        self.run, self.kind = uuid.uuid4().hex, kind
        self._file = folder / FILE
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                self._file, WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            with self._lock:
                # A killed process loses nothing by these; a loss of power may, the last lines.
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = NORMAL")
                self._db.executescript(_TABLES)
        except (OSError, sqlite3.Error) as error:
            raise RunStoppedError(f"{self._file} cannot be opened: {error}") from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def begin(self, asking: Asking, cap: SharedCap | None = None) -> tuple[int, str]:
        """Note a request before it is sent.

        Args:
            asking: The request.
            cap: Held over all processes of this kind, where given.

        Returns:
            Its row, and the name to send it under: the same for the same question as long as
            nothing definite came of it, so that a server that keeps replies by name bills once.

        Raises:
            CapReachedError: If it could exceed the cap; nothing is noted.
        """
        now = time.time()
        with self._writing() as db:
            if cap is not None:
                _hold(db, self.kind, cap, asking.most_usd, now)
            (count,) = db.execute(
                "SELECT count(*) FROM asked WHERE key = ? AND NOT batch"
                " AND state IN ('answered', 'not billed')",
                [asking.key],
            ).fetchone()
            name = f"{asking.key[:40]}-{count}"
            row = self._insert(db, asking, name, now)
        return row, name

    def settle(self, row: int, state: State, usd: float, usage: Usage | None = None) -> None:
        """Note what came of a request."""
        tokens = (0, 0) if usage is None else (usage.input_tokens, usage.output_tokens)
        with self._writing() as db:
            db.execute(
                "UPDATE asked SET state = ?, usd = ?, input_tokens = ?, output_tokens = ?"
                " WHERE id = ?",
                [state, usd, *tokens, row],
            )

    def add_of_batch(self, asking: Asking, mark: str, usd: float, usage: Usage) -> None:
        """Note a reply of a batch; twice is once.

        Args:
            asking: What was asked.
            mark: Of the batch.
            usd: Dollars that it cost.
            usage: Tokens.
        """
        with self._writing() as db:
            db.execute(
                "INSERT OR IGNORE INTO asked (run, kind, task, model, address, key, name, subject,"
                " at, most_usd, usd, input_tokens, output_tokens, state, batch)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'answered', 1)",
                [
                    *(self.run, self.kind, asking.task, asking.model, asking.address, asking.key),
                    *(f"{mark}:{asking.key}", asking.subject, time.time(), asking.most_usd, usd),
                    *(usage.input_tokens, usage.output_tokens),
                ],
            )

    def doubts(self) -> list[Doubt]:
        """Requests of earlier commands that are noted as under way, oldest first.

        They are those of killed processes where no other command runs.
        """
        with self._reading() as db:
            rows = db.execute(
                "SELECT task, model, address, key, subject, most_usd, id, name, at FROM asked"
                " WHERE state = 'under way' AND kind = 'command' AND run != ? ORDER BY id",
                [self.run],
            ).fetchall()
        return [Doubt(*row) for row in rows]

    def answers(self, key: str) -> int:
        """How many replies to a question asked by itself are noted."""
        with self._reading() as db:
            (count,) = db.execute(
                "SELECT count(*) FROM asked WHERE key = ? AND NOT batch AND state = 'answered'",
                [key],
            ).fetchone()
        return int(count)

    def give_up_on(self, seconds: float) -> None:
        """Take requests of a service that are under way for longer for possibly billed."""
        with self._writing() as db:
            db.execute(
                "UPDATE asked SET state = 'may be billed', usd = most_usd"
                " WHERE state = 'under way' AND kind = 'service' AND at < ?",
                [time.time() - seconds],
            )

    def unlogged(self) -> list[Spent]:
        """What was spent and is in no log yet, by run, task and model; what is under way is not."""
        return self._spent("NOT logged AND state != 'under way'")

    def all_spent(self) -> list[Spent]:
        """Everything that was ever spent, by run, task and model."""
        return self._spent("state != 'under way'")

    def _spent(self, which: str) -> list[Spent]:
        with self._reading() as db:
            rows = db.execute(
                "SELECT run, kind, task, model, address, count(*), sum(usd),"
                " sum(CASE state WHEN 'may be billed' THEN usd ELSE 0 END),"
                f" sum(input_tokens), sum(output_tokens) FROM asked WHERE {which}"
                " GROUP BY run, kind, task, model, address ORDER BY min(id)"
            ).fetchall()
        found = []
        for *fields, tokens_in, tokens_out in rows:
            run, kind, task, model, address, requests, usd, lost = fields
            usage = Usage(input_tokens=tokens_in, output_tokens=tokens_out)
            found.append(Spent(run, kind, task, model, address, requests, usd, lost, usage))
        return found

    def mark_logged(self, runs: list[str]) -> None:
        """Note that what these runs have spent until now is in a log."""
        with self._writing() as db:
            db.executemany(
                "UPDATE asked SET logged = 1 WHERE run = ? AND state != 'under way'",
                [[run] for run in runs],
            )

    def _insert(self, db: sqlite3.Connection, asking: Asking, name: str, now: float) -> int:
        done = db.execute(
            "INSERT INTO asked (run, kind, task, model, address, key, name, subject, at, most_usd)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                *(self.run, self.kind, asking.task, asking.model, asking.address, asking.key),
                *(name, asking.subject, now, asking.most_usd),
            ],
        )
        row = done.lastrowid
        assert row is not None
        return row

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._db
            except sqlite3.Error as error:
                raise RunStoppedError(f"{self._file} cannot be read: {error}") from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that no other process writes beside."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                raise RunStoppedError(f"{self._file} cannot be written: {error}") from error


def _hold(db: sqlite3.Connection, kind: str, cap: SharedCap, usd: float, now: float) -> None:
    """Refuse a request that could exceed a cap, with what is under way at its most.

    Raises:
        CapReachedError: If it could.
    """
    (spent,) = db.execute(
        "SELECT coalesce(sum(coalesce(usd, most_usd)), 0) FROM asked WHERE kind = ? AND at >= ?",
        [kind, now - cap.days * DAY],
    ).fetchone()
    if spent + usd > cap.most_usd + 1e-12:
        raise CapReachedError(
            f"${spent:.4f} is spent or under way within {cap.days:g} days, and another ${usd:.4f}"
            f" could exceed the cap of ${cap.most_usd:.2f} (assistant.budget.most_usd)"
        )
