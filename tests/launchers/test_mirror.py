"""The copy of a job's data on storage that survives its machine."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from cannabis_ml.launchers import mirror
from cannabis_ml.launchers.mirror import LIST, PLACES, UNSTEADY, Mirror, copy_sound


@pytest.fixture
def places(tmp_path):
    data, there = tmp_path / "data", tmp_path / "there"
    data.mkdir()
    there.mkdir()
    return data, there


def write(data, **texts):
    for name, text in texts.items():
        path = data / "06_models" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def restored(there, data):
    """Files of a machine that has an empty disk."""
    shutil.rmtree(data)
    data.mkdir()
    Mirror(data, str(there)).restore()
    return {p.relative_to(data / "06_models").as_posix(): p.read_text() for p in files(data)}


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_new_machine_has_what_was_copied_last(places):
    data, there = places
    kept = Mirror(data, str(there))
    write(data, state="1", weights="a")
    kept.copy()
    write(data, state="2", more="b")
    (data / "06_models/weights").unlink()
    kept.copy()
    assert restored(there, data) == {"state": "2", "more": "b"}


def test_what_is_not_whole_is_not_restored(places, monkeypatch):
    """A machine that is lost in the middle of a copy leaves the copy before it."""
    data, there = places
    kept = Mirror(data, str(there))
    write(data, state="names weights 1", weights_1="a")
    kept.copy()
    write(data, state="names weights 2", weights_2="b")
    (data / "06_models/weights_1").unlink()
    copied = []

    def lost(path, to):
        if copied:
            raise KeyboardInterrupt
        copied.append(copy_sound(path, to))

    monkeypatch.setattr(mirror, "copy_sound", lost)
    with pytest.raises(KeyboardInterrupt):
        kept.copy()
    assert restored(there, data) == {"state": "names weights 1", "weights_1": "a"}


def test_a_list_that_came_before_its_files_is_not_believed(places):
    """As where a provider sends the files on in its own order."""
    data, there = places
    kept = Mirror(data, str(there))
    write(data, state="1")
    kept.copy()
    write(data, state="22")
    kept.copy()
    (newest,) = [path for path in files(there) if path.read_text() == "22"]
    newest.write_text("2")
    assert restored(there, data) == {"state": "1"}


def test_a_copy_during_which_a_file_changed_is_not_listed(places, monkeypatch):
    data, there = places
    kept = Mirror(data, str(there))
    write(data, state="1")
    kept.copy()
    listed = (there / LIST).read_bytes()

    def changing(path, to):
        copy_sound(path, to)
        write(data, state=path.read_text() + "x")

    monkeypatch.setattr(mirror, "copy_sound", changing)
    write(data, state="2")
    for _ in range(UNSTEADY):
        kept.copy()
        assert (there / LIST).read_bytes() == listed
    kept.copy()
    assert restored(there, data) == {"state": "2" + "x" * UNSTEADY}


def test_old_copies_are_removed_and_unchanged_files_are_copied_once(places, monkeypatch):
    data, there = places
    kept = Mirror(data, str(there))
    write(data, weights="a")
    copied = []
    monkeypatch.setattr(mirror, "copy_sound", lambda a, b: copied.append(a) or copy_sound(a, b))
    for i in range(9):
        write(data, state="x" * i)
        kept.copy()
    assert [path.name for path in copied].count("weights") == 1
    assert len(files(there)) <= 2 + 1 + len(PLACES)


def test_a_machine_that_goes_on_copies_what_is_new_alone(places, monkeypatch):
    data, there = places
    write(data, weights="a")
    Mirror(data, str(there)).copy()
    shutil.rmtree(data)
    data.mkdir()
    kept = Mirror(data, str(there))
    kept.restore()
    copied = []
    monkeypatch.setattr(mirror, "copy_sound", lambda a, b: copied.append(a) or copy_sound(a, b))
    write(data, state="1")
    kept.copy()
    assert [path.name for path in copied] == ["state"]
    assert restored(there, data) == {"weights": "a", "state": "1"}


def test_a_database_is_copied_with_its_committed_rows(places, tmp_path):
    data, there = places
    with closing(sqlite3.connect(data / "mlflow.db")) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE runs (name TEXT)")
        db.execute("INSERT INTO runs VALUES ('first')")
        db.commit()
        Mirror(data, str(there)).copy()
    new = tmp_path / "new"
    new.mkdir()
    Mirror(new, str(there)).restore()
    assert [path.name for path in files(new)] == ["mlflow.db"]
    with closing(sqlite3.connect(new / "mlflow.db")) as db:
        assert db.execute("SELECT name FROM runs").fetchall() == [("first",)]


def test_without_a_place_nothing_is_done(places):
    data, _ = places
    write(data, state="1")
    kept = Mirror(data, None)
    kept.restore()
    kept.copy()
    kept.copy_sometimes()
    assert len(files(data)) == 1
