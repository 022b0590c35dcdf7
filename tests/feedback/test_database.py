"""The database is opened, made, brought up to date, or refused with what to do."""

import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from setuptools import find_packages
from sqlalchemy import text

from cannabis_ml.errors import FeedbackError
from cannabis_ml.feedback import migrations
from cannabis_ml.feedback.database import Database
from cannabis_ml.feedback.store import FeedbackStore
from cannabis_ml.feedback.tables import HEAD_REVISION, metadata


@pytest.fixture
def new_url(request, tmp_path):
    """URL of a database without tables, by `request.param`."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/deep/folder/feedback.db"
    name = "".join(c if c.isalnum() else "_" for c in request.node.name.lower())[:60]
    return request.getfixturevalue("postgresql_server")(name)


both = pytest.mark.parametrize("new_url", ["sqlite", "postgresql"], indirect=True)


@both
def test_the_migrations_make_the_tables_that_the_code_knows(new_url):
    database = Database(new_url)
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    database.close()


@both
def test_many_may_open_a_new_database_at_once(new_url):
    opened, errors = [], []

    def open_it():
        try:
            opened.append(Database(new_url))
        except FeedbackError as error:
            errors.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for database in opened:
        database.close()


@both
def test_a_store_of_a_newer_version_is_refused_untouched(new_url):
    database = Database(new_url)
    database.write(lambda c: c.execute(text("UPDATE alembic_version SET version_num = 'later'")))
    with pytest.raises(FeedbackError, match="has revision later, which this version"):
        Database(new_url)
    with database.reading() as connection:
        assert (
            connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "later"
        )
    database.close()


def test_the_newest_migration_is_the_one_that_the_code_knows():
    config = Config()
    config.set_main_option("script_location", migrations.__path__[0])
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD_REVISION]


def test_the_migrations_are_part_of_the_package():
    assert "cannabis_ml.feedback.migrations.versions" in find_packages("src")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqlite://", "cannot be in memory"),
        ("sqlite:///:memory:", "cannot be in memory"),
        ("mysql://a:secret@b/c", "sqlite or postgresql, not mysql"),
        ("nonsense", "is not one"),
        ("postgresql://ann:secret@127.0.0.1:1/feedback?connect_timeout=2", "failed: "),
    ],
)
def test_what_cannot_be_opened_is_named_without_its_password(url, reason):
    with pytest.raises(FeedbackError, match=reason) as caught:
        FeedbackStore(url, "photos")
    assert "secret" not in str(caught.value)


def test_postgresql_needs_a_place_for_photos(postgresql_server):
    with pytest.raises(FeedbackError, match="place of the photos must be given"):
        FeedbackStore(postgresql_server("no_place"))


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "feedback.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(FeedbackError, match="file is not a database"):
        FeedbackStore(f"sqlite:///{tmp_path}/feedback.db")
