"""The database under the store: SQLite or PostgreSQL, opened, brought up to date, written to."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine, Executable, Table, create_engine, event, inspect, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError

from cannabis_ml.errors import FeedbackError
from cannabis_ml.feedback.tables import HEAD_REVISION, metadata

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Result = TypeVar("Result")

LOCK_WAIT_S = 60
"""How long a writer waits for others. Each holds the lock for milliseconds."""

ATTEMPTS = 8

_MIGRATION_LOCK = 0x63616E6E
"""Any number that no other program of the same database takes for an advisory lock."""

_WRITES = "cannabis_ml_writes"


class Database:
    """Transactions on one database.

    Writers exclude each other on SQLite, and on PostgreSQL where they touch the same rows. Readers
    see the last committed state, wait for nobody, and nobody waits for them.

    Args:
        url: `sqlite:///path/to/feedback.db` or `postgresql://user:password@host/name`.

    Raises:
        FeedbackError: If it cannot be opened, or was made by a newer version.
    """

    def __init__(self, url: str | URL) -> None:
        self.engine = _engine(url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._writers = _writing(self.engine)
        self._queue = Path(f"{self.engine.url.database}-queue") if self.is_sqlite else None
        self._readers = (
            self.engine
            if self.is_sqlite
            else self.engine.execution_options(isolation_level="REPEATABLE READ")
        )
        self._lookups = (
            self.engine
            if self.is_sqlite
            else self.engine.execution_options(isolation_level="AUTOCOMMIT")
        )
        try:
            with _errors_of(self.engine.url):
                migrate(self.engine)
        except BaseException:
            self.engine.dispose()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view of all tables."""
        with _errors_of(self.engine.url), self._readers.begin() as connection:
            yield connection

    @contextmanager
    def looking_up(self) -> Iterator[Connection]:
        """Single statements, each of which sees the last committed state: saves round trips."""
        with _errors_of(self.engine.url), self._lookups.begin() as connection:
            yield connection

    def write(self, change: Callable[[Connection], Result]) -> Result:
        """Run a change in one transaction; again, if another writer was in the way.

        Args:
            change: Gets a connection, commits nothing itself, has no effect but on the database.
        """
        with _errors_of(self.engine.url):
            for attempt in range(ATTEMPTS):
                try:
                    with self._turn(), self._writers.begin() as connection:
                        return change(connection)
                except DBAPIError as error:
                    if attempt == ATTEMPTS - 1 or not _was_in_the_way(error):
                        raise
                # Not all at once again. No result hangs on it, so it needs no seed.
                time.sleep(random.uniform(0, 0.01 * 2**attempt))
        raise AssertionError("unreachable")

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for SQLite's other writers in the kernel's queue, which is fair.

        SQLite itself asks again after up to 100 ms of sleep, and who comes at the right moment goes
        first: of 16 bare writers on a slow disk, 6 got no turn within a minute. Without the queue
        (Windows) that is what happens.
        """
        if self._queue is None or fcntl is None:
            yield
            return
        with self._queue.open("ab") as file:  # closing it, or dying, ends the turn
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def insert(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        """An INSERT that does nothing where the row is there already."""
        return _insert(self.is_sqlite, table)

    def insert_numbered(self, table: Table) -> Executable:
        """As `insert`; gives the `id` of the new row, nothing where the row is there already."""
        return _insert_numbered(self.is_sqlite, table)

    def replace(self, table: Table, columns: tuple[str, ...]) -> sqlite.Insert | postgresql.Insert:
        """An INSERT that replaces some columns where the row is there already."""
        return _upsert(self.is_sqlite, table, columns)

    def lock_photo(self, connection: Connection, photo_id: str) -> None:
        """Exclude others that lock the same photo, until the end of the transaction.

        Whoever removes a file does so with this lock; on SQLite writers exclude each other anyway.
        """
        if not self.is_sqlite:
            key = int.from_bytes(bytes.fromhex(photo_id[:16]), "big", signed=True)
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})

    def scrub(self) -> None:
        """Overwrite what was deleted, as far as the database lets one: not in backups."""
        with _errors_of(self.engine.url):
            if self.is_sqlite:  # `secure_delete` has zeroed it in the log; now the file itself
                raw = self.engine.raw_connection()
                try:
                    raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
                finally:
                    raw.close()
                return
            with self.engine.connect() as connection:
                automatic = connection.execution_options(isolation_level="AUTOCOMMIT")
                automatic.exec_driver_sql(f"VACUUM {', '.join(metadata.tables)}")

    def close(self) -> None:
        self.engine.dispose()


@cache
def _inserts(is_sqlite: bool, table: Table) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if is_sqlite else postgresql.insert(table)


@cache
def _insert(is_sqlite: bool, table: Table) -> sqlite.Insert | postgresql.Insert:
    return _inserts(is_sqlite, table).on_conflict_do_nothing()


@cache
def _insert_numbered(is_sqlite: bool, table: Table) -> Executable:
    return _insert(is_sqlite, table).returning(table.c.id)


@cache
def _upsert(
    is_sqlite: bool, table: Table, columns: tuple[str, ...]
) -> sqlite.Insert | postgresql.Insert:
    insert = _inserts(is_sqlite, table)
    return insert.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={name: insert.excluded[name] for name in columns},
    )


def migrate(engine: Engine) -> None:
    """Bring the tables to this version, if they are not; one process at a time.

    Raises:
        FeedbackError: If they are of a newer version.
    """
    with engine.connect() as connection:
        if _revision(connection) == HEAD_REVISION:
            return
    with _writing(engine).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _MIGRATION_LOCK})
        _upgrade(connection)


def _writing(engine: Engine) -> Engine:
    """The same engine, whose transactions are begun to write."""
    return engine.execution_options(**{_WRITES: True})


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise FeedbackError(
            f"The store of feedback has revision {_revision(connection)}, which this version of"
            f" cannabis_ml does not know ({error}). Install the version that wrote it, or a newer"
            " one."
        ) from error


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _engine(url: str | URL) -> Engine:
    try:
        url = make_url(url)
    except ArgumentError as error:
        raise FeedbackError(
            "The store's URL is not one. Write sqlite:///path/to/feedback.db or"
            " postgresql://user:password@host/name."
        ) from error
    kind = url.get_backend_name()
    if kind == "sqlite":
        return _sqlite(url)
    if kind == "postgresql":
        return _postgresql(url.set(drivername="postgresql+psycopg"))
    raise FeedbackError(f"The store can be sqlite or postgresql, not {kind}.")


def _postgresql(url: URL) -> Engine:
    try:
        return create_engine(url, pool_pre_ping=True, pool_size=16, max_overflow=16)
    except ImportError as error:
        raise FeedbackError(
            f"PostgreSQL cannot be reached without psycopg ({error}): pip install"
            " 'cannabis_ml[feedback]'."
        ) from error


def _sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise FeedbackError("The store cannot be in memory: name a file, sqlite:///feedback.db.")
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": LOCK_WAIT_S})

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # BEGIN is ours
        _until_unlocked(connection, "PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")  # what was acknowledged survives power loss
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA secure_delete=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and then writes would fail where another wrote between.
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _until_unlocked(connection: sqlite3.Connection, statement: str) -> None:
    """SQLite does not wait where a change of the journal's mode meets another's lock."""
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _was_in_the_way(error: DBAPIError) -> bool:
    """Whether the same change may succeed when it is tried again."""
    if isinstance(error, IntegrityError):  # a row that another has just inserted or removed
        return True
    state = getattr(error.orig, "sqlstate", None)
    # Serialization failure and deadlock (PostgreSQL, appendix A); SQLite has no numbers here.
    return state in ("40001", "40P01") or "database is locked" in str(error.orig)


@contextmanager
def _errors_of(url: URL) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        # The lines below the first may hold values of rows.
        message = next(iter(str(cause).splitlines()), type(cause).__name__)[:300]
        where = url.render_as_string(hide_password=True)
        raise FeedbackError(f"The store of feedback at {where} failed: {message}") from error
