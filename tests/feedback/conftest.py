"""Stores on SQLite and PostgreSQL alike."""

import importlib.util
import itertools
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from cannabis_ml.feedback.database import Database
from cannabis_ml.feedback.store import FeedbackStore
from cannabis_ml.feedback.submission import read_submission
from cannabis_ml.feedback.tables import metadata

_spec = importlib.util.spec_from_file_location(
    "postgresql", Path(__file__).with_name("postgresql.py")
)
postgresql = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(postgresql)

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgresql_server():
    """Make a database on a private server: `url = postgresql_server("name")`."""
    if postgresql.programs() is None:
        reason = postgresql.install()
        if reason:
            pytest.skip(reason)
    with postgresql.server() as url:

        def create(name):
            with postgresql.engine(url("postgres")).connect() as connection:
                connection.execute(text(f"CREATE DATABASE {name}"))
            return url(name)

        yield create


@pytest.fixture(scope="session")
def shared_postgresql(postgresql_server):
    """URL of a database with tables, and a function that empties them: faster than a new one."""
    url = postgresql_server("shared")
    Database(url).close()
    names = ", ".join(table.name for table in metadata.sorted_tables)

    def empty():
        with postgresql.engine(url).connect() as connection:
            connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))

    return url, empty


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory):
    path = tmp_path_factory.mktemp("empty") / "feedback.db"
    Database(f"sqlite:///{path}").close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """URL of a database with empty tables."""
    if request.param == "sqlite":
        path = tmp_path / "feedback.db"
        shutil.copy(request.getfixturevalue("empty_sqlite"), path)
        return f"sqlite:///{path}"
    shared, empty = request.getfixturevalue("shared_postgresql")
    empty()
    return shared


@pytest.fixture
def store(url, tmp_path):
    """An empty store on either database, whose clock stands at `NOW`."""
    with FeedbackStore(url, str(tmp_path / "photos"), clock=lambda: NOW) as opened:
        yield opened


@pytest.fixture(scope="session")
def submit():
    """Make a submission: `submit(person="ann", opinions=[…])`; a key of its own each time."""

    def submit(**changes):
        given = {
            "key": f"key-{next(_numbers)}",
            "person": "ann",
            "at": NOW.isoformat(),
            "consent": True,
            "answered": {
                "bundle_id": "bundle-1",
                "tier": "tier1",
                "decision": "accepted",
                "heads": {
                    "product": {"label": "hash", "confidence": 0.9, "probs": {"hash": 0.9}},
                    "grade": {"label": "A", "confidence": 0.6},
                },
            },
            "opinions": [correction()],
        }
        return read_submission(given | changes)

    return submit


def correction(head="product", label="trim", **changes):
    return {"head": head, "verdict": "corrected", "label": label} | changes
