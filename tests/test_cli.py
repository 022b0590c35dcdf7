import logging
import signal
import sqlite3
from contextlib import closing

import pytest
from click.testing import CliRunner
from kedro.io import DatasetError

from cannabis_ml import cli
from cannabis_ml.cli import readable_cause
from cannabis_ml.errors import SourceError

RUN_AND_WAIT = """
import sys, time
import mlflow
from cannabis_ml import cli

def run(**options):
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    opened = mlflow.start_run()
    for _ in range(3):  # as kedro-mlflow does at every node where `nested` is true
        mlflow.start_run(opened.info.run_id, nested=True)
    if sys.argv[2] == "fail":
        raise ValueError("a bug")
    print("running", flush=True)
    time.sleep(60)

cli.kedro_run.callback = run
cli.cli(["run"])
"""


def status_in(folder):
    with closing(sqlite3.connect(folder / "mlflow.db")) as db:
        return [status for (status,) in db.execute("SELECT status FROM runs")]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_an_interrupted_run_is_killed_in_mlflow(processes, name, tmp_path):
    process = processes.start(["-c", RUN_AND_WAIT, "-", "wait"], cwd=tmp_path)
    process.wait_for("running")
    process.send_signal(getattr(signal, name))
    assert process.wait().returncode != 0
    assert status_in(tmp_path) == ["KILLED"]


def test_a_run_that_ends_in_an_error_is_failed_in_mlflow(processes, tmp_path):
    assert processes.run(["-c", RUN_AND_WAIT, "-", "fail"], cwd=tmp_path).returncode == 1
    assert status_in(tmp_path) == ["FAILED"]


def test_nohup_is_respected(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    other = signal.getsignal(signal.SIGTERM)
    try:
        cli._end_on_signals()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.signal(signal.SIGTERM, other)


@pytest.fixture
def failing_run(monkeypatch):
    """`kedro run` whose runner says something and raises: `failing_run(said, error)`."""

    def failing_run(said, error, *options):
        def run(**_):
            logging.getLogger("kedro.runner.sequential_runner").warning(said)
            raise error

        monkeypatch.setattr(cli.kedro_run, "callback", run)
        monkeypatch.setattr(cli, "_end_on_signals", lambda: None)
        return CliRunner().invoke(cli.cli, ["run", *options])

    yield failing_run
    for name in cli.RUNNERS:
        logging.getLogger(f"kedro.runner.{name}").filters.clear()
    for name in ("kedro.pipeline.node", "kedro.validation.parameter_validator"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_an_error_is_one_message(failing_run, caplog):
    said = "No nodes ran. Repeat the previous command to attempt a new run."
    result = failing_run(said, SourceError("no photos there"))
    assert result.exit_code == 1
    assert result.stderr.count("Error: no photos there") == 1
    assert "Repeat" not in result.output
    assert not caplog.records


def test_where_to_go_on_stands_after_the_error(failing_run, caplog):
    said = 'There are 3 nodes that have not run.\nYou can …:\n  --from-nodes "train,[x]"'
    result = failing_run(said, SourceError("no photos there"))
    assert not caplog.records
    error, hint, _ = result.stderr.strip().splitlines()
    assert error == "Error: no photos there"
    assert hint.endswith('repeat the command with --from-nodes "train,[x]"')


def test_verbose_hides_nothing(failing_run, caplog):
    said = "No nodes ran. Repeat the previous command to attempt a new run."
    result = failing_run(said, SourceError("no photos there"), "--verbose")
    assert isinstance(result.exception, SourceError)
    assert [record.getMessage() for record in caplog.records] == [said]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["job_feature%2Fx", "a%20b", "a?b #é"])
def test_any_path_of_the_project_will_do(name, copy_project, kedro, tmp_path):
    project = copy_project(tmp_path / name)
    node = "--nodes=ingestion.add_feedback,ingestion.resolve_taxonomy"
    kedro(project, "run", "--env=test", node)
    database = project / "data/09_tracking/mlflow.db"
    with closing(sqlite3.connect(database)) as db:
        runs = db.execute("SELECT run_uuid, status FROM runs").fetchall()
    assert [status for _, status in runs] == ["FINISHED"]
    artifacts = project / f"data/09_tracking/artifacts/{runs[0][0]}/artifacts"
    assert (artifacts / "ingestion/taxonomy.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def raised(error, cause=None):
    try:
        raise error from cause
    except Exception as caught:
        return caught


def test_readable_error_is_found_below_kedros_own():
    ours = SourceError("no photos")
    assert readable_cause(raised(RuntimeError("wrapped"), raised(OSError("deep"), ours))) is ours


def test_other_errors_keep_their_traceback():
    assert readable_cause(raised(ValueError("a bug"), raised(KeyError("x")))) is None


def test_a_full_disk_is_readable_whatever_was_being_written():
    full = raised(OSError(28, "No space left on device"))
    kedros = DatasetError(
        "x: Failed while saving: JSONDataset(filepath='/data/x.json').\n[Errno 28]"
    )
    told = str(readable_cause(raised(kedros, full)))
    assert told.startswith("There is no room for /data/x.json: No space left on device.")


def test_messages_of_data_sets_are_readable():
    told = DatasetError("holds no photo set: run the ingestion pipeline.")
    assert readable_cause(raised(told)) is told


def test_what_kedro_wraps_is_a_bug_until_proven_otherwise():
    assert readable_cause(raised(DatasetError("Failed while loading"), KeyError("x"))) is None
