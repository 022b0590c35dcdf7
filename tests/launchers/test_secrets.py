"""Secrets: read by name, written nowhere."""

import logging
import traceback

import pytest
from pydantic import SecretStr

from cannabis_ml.launchers.backend import JobState, LaunchError
from cannabis_ml.launchers.job import Job
from cannabis_ml.launchers.launching import follow, start
from cannabis_ml.launchers.records import Progress, Records
from cannabis_ml.launchers.secrets import read_secrets
from cannabis_ml.launchers.settings import LauncherSettings

SECRET = "wsprfl-8c1f0b62d4"
JOB = Job(name="x", backend="local", command=("run",), secrets=("PLANT_TOKEN",))


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.delenv("PLANT_TOKEN", raising=False)
    (tmp_path / "conf/local").mkdir(parents=True)
    return tmp_path


def write(project, text):
    (project / "conf/local/credentials.yml").write_text(text)


def test_a_secret_comes_from_the_file_or_from_the_environment_first(project, monkeypatch):
    write(project, f"launcher:\n  PLANT_TOKEN: {SECRET}\n  OTHER: 12\n")
    found = read_secrets(["PLANT_TOKEN", "OTHER"], project)
    assert found["PLANT_TOKEN"].get_secret_value() == SECRET
    assert found["OTHER"].get_secret_value() == "12"
    assert SECRET not in f"{found}"
    monkeypatch.setenv("PLANT_TOKEN", "of the environment")
    assert read_secrets(["PLANT_TOKEN"], project)["PLANT_TOKEN"].get_secret_value() == (
        "of the environment"
    )


def test_a_missing_one_is_named_with_where_it_belongs(project):
    with pytest.raises(LaunchError, match=r"No value for PLANT_TOKEN: .*conf/local/credentials"):
        read_secrets(["PLANT_TOKEN"], project)


def test_a_file_that_is_not_yaml_is_not_quoted(project):
    write(project, f"launcher:\n  PLANT_TOKEN: '{SECRET}\n :")
    with pytest.raises(LaunchError, match="is not YAML") as caught:
        read_secrets(["PLANT_TOKEN"], project)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_secret_below_environment_is_not_quoted_by_the_error():
    with pytest.raises(LaunchError, match=r"launcher\.yml: environment\.A B") as caught:
        LauncherSettings.read({"environment": {"A B": [SECRET]}})
    assert SECRET not in "".join(traceback.format_exception(caught.value, chain=False))


class Careless:
    """A provider whose library puts the secret into its error, and whose job prints it."""

    name = "local"

    def submit(self, job, package, secrets):
        raise RuntimeError(f"401 for Bearer {secrets['PLANT_TOKEN'].get_secret_value()}")

    def logs(self, remote, seen):
        yield from [f"token={SECRET}", "done"][seen:]

    def state(self, remote):
        return JobState(phase="succeeded")


@pytest.fixture
def record(tmp_path):
    return Records(tmp_path / "launches").create(JOB, Progress())


def written(folder):
    return b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())


def test_no_traceback_and_no_record_has_a_secret(record, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("cannabis_ml.launchers.launching.pack", lambda *_: "")
    secrets = {"PLANT_TOKEN": SecretStr(SECRET)}
    caplog.set_level(logging.DEBUG)
    with pytest.raises(LaunchError, match=r"401 for Bearer \[PLANT_TOKEN\]") as caught:
        start(record, tmp_path, Careless(), secrets)
    shown = "".join(
        traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    )
    assert SECRET not in shown.replace(f"SECRET = {SECRET!r}", "")
    assert record.progress.state.phase == "failed"
    assert SECRET.encode() not in written(tmp_path)
    assert SECRET not in caplog.text


def test_a_secret_that_a_job_prints_is_not_kept(record, tmp_path):
    record.update(remote="x")
    shown = []
    follow(record, Careless(), shown.append, {"PLANT_TOKEN": SecretStr(SECRET)})
    assert shown == ["token=[PLANT_TOKEN]", "done"]
    assert SECRET.encode() not in written(tmp_path)
