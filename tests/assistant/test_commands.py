"""`cannabis_ml assistant …` in a project, against a server of each protocol."""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from filelock import FileLock
from model_server import example_of
from small_photos import photo

from cannabis_ml.assistant.ledger import Asking, Ledger
from cannabis_ml.assistant.provider import Usage
from cannabis_ml.assistant.treatments import read_treatments
from cannabis_ml.cli_assistant import assistant
from cannabis_ml.cli_assistant.project import Project
from cannabis_ml.feedback.store import FeedbackStore
from cannabis_ml.inference.bundle_writer import write_bundle
from cannabis_ml.photo_sets.photo_set import PhotoStream

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path, tracking):
    """The project's configuration in a folder of its own, without keys."""
    folder = tmp_path / "project"
    shutil.copytree(PROJECT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
    (folder / "conf" / "local").mkdir()
    shutil.copy(PROJECT / "pyproject.toml", folder)
    (folder / "src").symlink_to(PROJECT / "src")
    (folder / "data/09_tracking").mkdir(parents=True)
    shutil.copy(tracking, folder / "data/09_tracking")
    return folder


@pytest.fixture
def configure(project):
    """Write parameters of the assistant to conf/local."""

    def configure(server, **changes):
        given = {
            "model": {"provider": server.provider, "name": "m", "base_url": server.url},
            "photo": {"longest_side": 96},
            "pace": {"per_minute": 1000000, "first_wait": 0, "poll": 0.001},
            "prices": {"models": {"m": {"input": 100, "output": 100}}},
        }
        text = yaml.safe_dump({"assistant": given | changes})
        (project / "conf/local/parameters_assistant.yml").write_text(text)

    return configure


@pytest.fixture
def run(processes, project):
    """Run a command: its exit code and what it printed."""

    def run(*arguments):
        keys = dict.fromkeys(("ANTHROPIC_API_KEY", "OPENAI_API_KEY"), "secret")
        environment = dict(os.environ) | keys
        command = ["-m", "cannabis_ml", "assistant", *map(str, arguments)]
        return processes.run(command, cwd=project, env=environment)

    return run


def metrics_of(project):
    """Of the last run in MLflow."""
    with closing(sqlite3.connect(project / "data/09_tracking/mlflow.db")) as db:
        (run,) = db.execute("SELECT run_uuid FROM runs ORDER BY start_time DESC LIMIT 1").fetchone()
        rows = db.execute("SELECT key, value FROM latest_metrics WHERE run_uuid = ?", [run])
        return dict(rows.fetchall())


def usd_by_run(project):
    """Of all runs in MLflow, by name."""
    with closing(sqlite3.connect(project / "data/09_tracking/mlflow.db")) as db:
        rows = db.execute(
            "SELECT name, value FROM runs JOIN latest_metrics USING (run_uuid) WHERE key = ?",
            ["assistant.usd"],
        )
        return dict(rows.fetchall())


def test_labels_are_suggested_paid_for_and_put_up(server, run, configure, project, folder):
    configure(server, budget={"batch_from": 3})
    photos = folder(4)
    done = run("suggest-labels", photos, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 questions to m at" in done.stdout
    assert "4 suggestions wait for review" in done.stdout
    assert sorted(server.billed.values()) == [1] * 4
    assert len(server.batches) == 1
    with FeedbackStore(f"sqlite:///{project}/data/01_raw/feedback/feedback.db") as store:
        assert len(store.photos()) == 4
        assert set(store.opinions()["annotator"]) == {"model"}
        assert store.waiting("ada", 1, 10)[0] == 4
    logged = metrics_of(project)
    assert logged["assistant.usd"] == pytest.approx(4 * 1100 * 100 / 1e6 / 2)
    assert logged["assistant.input_tokens"] == 4000
    again = run("suggest-labels", photos, "--yes")
    assert "Nothing to ask (4 are answered already)" in again.stdout
    logged = metrics_of(project)
    assert logged["assistant.usd"] == 0
    assert logged["assistant.usd_of_all_replies"] == pytest.approx(4 * 1100 * 100 / 1e6 / 2)


def test_what_a_killed_run_and_a_service_paid_reaches_mlflow(
    anthropic_server, run, configure, project, folder
):
    configure(anthropic_server)
    answers = project / "data/07_model_output/assistant"
    usage = Usage(input_tokens=10, output_tokens=2)
    killed, service = Ledger(answers, "command"), Ledger(answers, "service")
    asking = Asking("suggest_labels.v1", "m", "http://there", "k" * 64, "a photo", 0.5)
    row, _ = killed.begin(asking)
    killed.settle(row, "answered", 0.25, usage)
    killed.begin(replace(asking, key="j" * 64, subject="another"))
    done = run("suggest-labels", folder(1), "--yes")
    assert done.returncode == 0, done.stderr
    assert "killed with 1 question under way: up to $0.5000 may be billed" in done.stderr
    assert "under way: another" in done.stderr
    logged = usd_by_run(project)
    assert logged["assistant suggest_labels"] == pytest.approx(1100 * 100 / 1e6)
    assert logged["assistant suggest_labels (killed)"] == 0.75
    row, _ = service.begin(replace(asking, task="explain.v1"))
    service.settle(row, "answered", 0.3, usage)
    done = run("costs")
    assert "explain.v1 by m (service): 1 request, $0.3000" in done.stdout, done.stderr
    assert "1 run added to MLflow" in done.stdout
    assert usd_by_run(project)["assistant explain (service)"] == 0.3
    again = run("costs", "--folder", answers)
    assert "0 runs added to MLflow" in again.stdout
    assert len(usd_by_run(project)) == 3


def test_nothing_is_sent_that_is_not_confirmed(anthropic_server, run, configure, folder):
    configure(anthropic_server)
    done = run("suggest-labels", folder(2))  # nobody answers
    assert done.returncode == 1
    assert "Send them?" in done.stdout
    assert not anthropic_server.asked


def test_what_fails_is_listed_and_the_exit_status_says_so(anthropic_server, run, configure, folder):
    anthropic_server.answer = lambda asked: "no" if asked.number < 2 else example_of(asked.schema)
    configure(anthropic_server, pace={"concurrency": 1, "per_minute": 1000000})
    done = run("suggest-labels", folder(2), "--yes")
    assert done.returncode == 1
    assert "1 answered (0 paid for before), 1 failed, 0 not asked" in done.stdout
    assert "000.jpg: the answer is not valid" in done.stderr


@pytest.fixture
def bundles(onnx_contents, tmp_path):
    """Two bundles that answer some photos differently, in the order old, new."""
    weights = next(
        cell.cell_contents
        for cell in onnx_contents.__closure__
        if hasattr(cell.cell_contents, "WEIGHTS")
    ).WEIGHTS
    other = {name: -values for name, values in weights.items()}
    write_bundle(tmp_path / "old", onnx_contents(tiers=("tier1",), name="old"))
    write_bundle(tmp_path / "new", onnx_contents(tiers=("tier1",), name="new", weights=other))
    return tmp_path / "old", tmp_path / "new"


def test_answers_are_checked_and_flagged(
    anthropic_server, run, configure, project, folder, bundles
):
    anthropic_server.answer = lambda asked: example_of(asked.schema) | {"verdict": "uncertain"}
    configure(anthropic_server)
    done = run("check-predictions", bundles[0], folder(3), "--yes")
    assert done.returncode == 0, done.stderr
    assert "0 agree, 0 disagree, 3 uncertain" in done.stdout
    reports = project / "data/07_model_output/assistant/reports"
    assert len((reports / "check_predictions.csv").read_text().splitlines()) == 4
    with FeedbackStore(f"sqlite:///{project}/data/01_raw/feedback/feedback.db") as store:
        assert store.waiting("ada", 1, 10)[0] == 3


def test_flips_of_two_bundles_are_judged(
    anthropic_server, run, configure, project, folder, bundles
):
    anthropic_server.answer = lambda asked: {"choice": "first", "confidence": 1, "reason": "so"}
    configure(anthropic_server)
    done = run("judge-flips", *bundles, folder(6), "--yes")
    assert done.returncode == 0, done.stderr
    assert "The first answer was chosen in 100%" in done.stdout
    written = project / "data/07_model_output/assistant/reports/judge_flips.json"
    report = json.loads(written.read_text())
    assert report["flips"] > 0
    assert report["inconsistent"] == report["flips"]
    same = run("judge-flips", bundles[0], bundles[0], folder(3), "--yes")
    assert "alike on all photos" in same.stdout


def test_an_answer_is_explained(server, run, configure, folder, bundles):
    server.answer = lambda asked: {"text": "Es una hoja verde. Se ve en el centro."}
    configure(server)
    photo = sorted(folder(1).iterdir())[0]
    done = run("explain", bundles[0], photo, "--language", "es", "--yes")
    assert done.returncode == 0, done.stderr
    assert "Es una hoja verde. Se ve en el centro." in done.stdout
    (asked,) = server.asked
    assert '"es"' in asked.system
    assert "confidence" in asked.text


@pytest.fixture
def trained(project, onnx_contents, monkeypatch):
    """A photo set with labels of a bundle's first head, and that bundle, in the project."""
    monkeypatch.chdir(project)
    contents = onnx_contents()
    taxonomy = contents.taxonomy
    text = yaml.safe_dump({"taxonomy": taxonomy.model_dump(mode="json", exclude={"names"})})
    (project / "conf/local/parameters_taxonomy.yml").write_text(text)
    head = taxonomy.heads[0]
    rows = pd.DataFrame(
        {
            "photo_id": [f"{n:064x}" for n in range(12)],
            "path": "",
            "group": [f"g{n}" for n in range(12)],
            "split": ["train"] * 6 + ["test"] * 6,
            head.name: [head.class_names[n % 3] for n in range(12)],
        }
    )
    opened = Project(None)
    opened.entry("photo_set").save(PhotoStream(rows, lambda row: photo(int(row["photo_id"], 16))))
    opened.entry("bundle").save(contents)
    listed = rows.iloc[[2, 0]][["photo_id", "path"]].assign(label="x", suggested="y")
    opened.entry("label_errors").save(listed.assign(suggested_prob=0.9, reason="so"))
    seen = {"label": ["red"] * 4 + ["green"] * 4, "answered": ["red"] * 7 + ["green"]}
    opened.entry("photos_seen").save(pd.DataFrame(seen))
    return head


@pytest.mark.parametrize(("which", "asked"), [("sample", 6), ("errors", 2), ("worst", 4)])
def test_labels_are_reviewed(anthropic_server, run, configure, project, trained, which, asked):
    first = trained.class_names[0]
    configure(anthropic_server, review={"worst_classes": 2})
    done = run("review-labels", "--on", which, "--yes")
    assert done.returncode == 0, done.stderr
    assert len(anthropic_server.asked) == asked
    table = pd.read_csv(project / "data/07_model_output/assistant/reports/review_labels.csv")
    assert len(table) == asked
    assert (table["suggested"] == first).all()
    assert ((table["label"] == first) == (table["verdict"] == "right")).all()
    wrong = int((table["verdict"] == "wrong").sum())
    with FeedbackStore(f"sqlite:///{project}/data/01_raw/feedback/feedback.db") as store:
        assert store.waiting("ada", 1, 10)[0] == wrong


def test_suggestions_are_measured_beside_the_tiers(server, run, configure, project, trained):
    configure(server)
    done = run("eval", "--yes")
    assert done.returncode == 0, done.stderr
    written = project / "data/07_model_output/assistant/reports/assistant_eval.json"
    report = json.loads(written.read_text())
    assert report["photos"] == 6
    assert report["usd_per_photo"] == pytest.approx(1100 * 100 / 1e6)
    scores = report["heads"][trained.name]
    assert set(scores) == {"assistant", "tier1", "tier2"}
    own = scores["assistant"]
    assert (own["photos"], own["accuracy"]) == (6, pytest.approx(1 / 3))
    assert own["mean_confidence"] == 0.9
    assert own["calibration_error"] > 0.4
    assert set(own["agreement"]) == {"tier1", "tier2"}
    assert f"{trained.name}:" in done.stdout
    logged = metrics_of(project)
    assert logged[f"assistant_eval.{trained.name}.assistant.accuracy"] == pytest.approx(1 / 3)


COMMANDS = [
    ("suggest-labels", "."),
    ("review-labels",),
    ("check-predictions", ".", "."),
    ("judge-flips", ".", ".", "."),
    ("explain", ".", "pyproject.toml"),
    ("eval",),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_without_a_key_it_says_in_one_sentence_what_to_set(project, monkeypatch, command):
    monkeypatch.chdir(project)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    done = CliRunner().invoke(assistant, command)
    assert done.exit_code == 1
    assert done.stderr == (
        "Error: The assistant is off: set the environment variable ANTHROPIC_API_KEY to your key"
        " for anthropic's 'claude-haiku-5-5', or assistant.model.base_url to a server of your"
        " own.\n"
    )


@pytest.mark.parametrize(("env", "rules"), [("base", 2), ("crops", 17)])
def test_rules_of_the_projects_own_tables_name_classes_that_are_there(
    project, monkeypatch, env, rules
):
    monkeypatch.chdir(project)
    opened = Project(env)
    found = read_treatments(opened.treatments(), opened.taxonomy()).root
    assert len(found) == rules
    assert all("http" in one.source or "ASTM" in one.source for one in found.values())


IMPORTED = """
import sys
from kedro.framework.project import configure_project, pipelines
configure_project("cannabis_ml")
dict(pipelines)
import cannabis_ml.cli, cannabis_ml.hooks
loaded = {name.partition(".")[0] for name in sys.modules}
print(sorted(loaded & {"anthropic", "openai", "genai_prices"}))
"""


def test_no_pipeline_and_no_command_loads_an_sdk_before_it_is_asked(processes, project):
    done = processes.run(["-c", IMPORTED], cwd=project)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_two_runs_do_not_pay_at_the_same_time(anthropic_server, run, configure, project, folder):
    configure(anthropic_server)
    answers = project / "data/07_model_output/assistant"
    answers.mkdir(parents=True)
    with FileLock(answers / "run.lock"):
        done = run("suggest-labels", folder(2), "--yes")
    assert done.returncode == 1
    assert "Another run of the assistant is under way" in done.stderr
    assert not anthropic_server.asked
