"""Every command on both protocols, and what goes wrong in each: the real SDKs, in this process."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from anthropic_server import AnthropicServer
from click.testing import CliRunner
from model_server import Fault, example_of
from openai_server import OpenAIServer
from small_photos import photo

from cannabis_ml.assistant.ledger import Ledger
from cannabis_ml.cli_assistant import assistant
from cannabis_ml.cli_assistant.project import Project
from cannabis_ml.inference.bundle_writer import write_bundle
from cannabis_ml.photo_sets.photo_set import PhotoStream

PROJECT = Path(__file__).parents[2]
SERVERS = {"anthropic": AnthropicServer, "openai": OpenAIServer}
MOST_TOKENS = 300
EACH = (1000 + 100) * 100 / 1e6
BOUND = (1000 + MOST_TOKENS) * 100 / 1e6


def answer(asked):
    """The least answer; of two sentences where it is an explanation."""
    found = example_of(asked.schema)
    return found | {"text": "It is a leaf. It looks green."} if "text" in found else found


@pytest.fixture(scope="module")
def place(tmp_path_factory, onnx_contents, folder, tracking):
    """A project with a photo set, a bundle and another one that answers otherwise."""
    root = tmp_path_factory.mktemp("every_command")
    shutil.copytree(PROJECT / "conf", root / "conf", ignore=shutil.ignore_patterns("local"))
    (root / "conf/local").mkdir()
    shutil.copy(PROJECT / "pyproject.toml", root)
    (root / "src").symlink_to(PROJECT / "src")
    (root / "data/09_tracking").mkdir(parents=True)
    shutil.copy(tracking, root / "data/09_tracking")
    contents = onnx_contents(tiers=("tier1",), name="old")
    taxonomy = contents.taxonomy
    text = yaml.safe_dump({"taxonomy": taxonomy.model_dump(mode="json", exclude={"names"})})
    (root / "conf/local/parameters_taxonomy.yml").write_text(text)
    weights = next(
        cell.cell_contents
        for cell in onnx_contents.__closure__
        if hasattr(cell.cell_contents, "WEIGHTS")
    ).WEIGHTS
    other = {name: -values for name, values in weights.items()}
    write_bundle(root / "old", contents)
    write_bundle(root / "new", onnx_contents(tiers=("tier1",), name="new", weights=other))
    head = taxonomy.heads[0]
    rows = pd.DataFrame(
        {
            "photo_id": [f"{n:064x}" for n in range(8)],
            "path": "",
            "group": [f"g{n}" for n in range(8)],
            "split": ["train"] * 4 + ["test"] * 4,
            head.name: [head.class_names[n % 3] for n in range(8)],
        }
    )
    before = Path.cwd()
    os.chdir(root)
    try:
        opened = Project(None)
        stream = PhotoStream(rows, lambda row: photo(int(row["photo_id"], 16)))
        opened.entry("photo_set").save(stream)
        opened.entry("bundle").save(contents)
    finally:
        os.chdir(before)
    photos = folder(4)
    first = str(sorted(photos.iterdir())[0])
    old, new = str(root / "old"), str(root / "new")
    commands = {
        "suggest-labels": [str(photos)],
        "review-labels": ["--on", "sample"],
        "check-predictions": [old, str(photos)],
        "judge-flips": [old, new, str(photos)],
        "explain": [old, first],
        "eval": [],
    }
    return SimpleNamespace(root=root, commands=commands)


@pytest.fixture(scope="module", params=["anthropic", "openai"])
def server(request):
    opened = SERVERS[request.param](answer)
    opened.provider = request.param
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def projects(place, server):
    """The project read once for questions one by one, and once for batches."""

    def read(batch_from):
        given = {
            "model": {"provider": server.provider, "name": "m", "base_url": server.url},
            "photo": {"longest_side": 64},
            "pace": {
                **{"per_minute": 1000000, "first_wait": 0, "longest_wait": 0, "poll": 0.001},
                **{"concurrency": 1, "attempts": 9, "timeout": 2},
            },
            "budget": {"batch_from": batch_from},
            "prices": {"models": {"m": {"input": 100, "output": 100}}},
            **{name: {"most_tokens": MOST_TOKENS} for name in ("suggest", "review", "explain")},
        }
        text = yaml.safe_dump({"assistant": given})
        (place.root / "conf/local/parameters_assistant.yml").write_text(text)
        os.chdir(place.root)
        project = Project(None)
        assert project.params.budget.batch_from == batch_from
        return project

    before = Path.cwd()
    try:
        yield {batch_from: read(batch_from) for batch_from in (1, 1000)}
    finally:
        os.chdir(before)


@pytest.fixture
def run(place, projects, server, monkeypatch):
    """Run a command with no answers kept: its status, what it printed, and what it cost."""
    import mlflow

    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "secret")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.setenv(name, "")  # put back afterwards, whatever commands set
        monkeypatch.delenv(name)
    monkeypatch.chdir(place.root)
    monkeypatch.setattr(mlflow.tracking.fluent, "_active_experiment_id", None)
    server.billed.clear()
    server.asked.clear()
    server.batches.clear()

    def run(command, batch_from=1000):
        answers = place.root / "data/07_model_output/assistant"
        shutil.rmtree(answers, ignore_errors=True)
        arguments = [*place.commands[command], "--yes"]
        called = assistant.commands[command]
        done = CliRunner().invoke(called, arguments, obj=projects[batch_from])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        ledger = Ledger(answers, "command")
        assert not ledger.unlogged()  # all of it is in MLflow
        spent = sum(one.usd for one in ledger.all_spent())
        return SimpleNamespace(status=done.exit_code, text=done.output, spent=spent)

    yield run
    mlflow.set_tracking_uri(None)


COMMANDS = (
    *("suggest-labels", "review-labels", "check-predictions"),
    *("judge-flips", "explain", "eval"),
)
every_command = pytest.mark.parametrize("command", COMMANDS)


@every_command
def test_it_gets_over_errors_that_pass(server, run, command):
    """429, 500, 529, a time-out, two truncated replies, and invalid JSON: then all is answered."""
    busy = [Fault(status, headers={"retry-after": "0"}) for status in (429, 500, 529)]
    lost = [Fault(how=how) for how in ("hang", "cut", "short")]
    troubles = [*busy, *lost, '{"label": ']
    server.answer = lambda asked: troubles.pop(0) if troubles else answer(asked)
    done = run(command)
    assert done.status == 0, done.text
    assert not troubles
    paid = len(server.asked) - len(busy) - len(lost)  # one of them was invalid
    assert done.spent == pytest.approx(paid * EACH + len(lost) * BOUND)
    assert f", ${done.spent:.4f}." in done.text


@every_command
def test_it_lists_what_is_refused_or_invalid_and_ends_where_the_key_is_refused(
    server, run, command
):
    """Invalid JSON twice, 400, 413, and 401, one question each: nothing is asked after that."""
    invalid = ["no JSON", "[]"]
    refused = [Fault(400, "not understood"), Fault(413, "too large"), Fault(401, "bad key")]
    given = [*invalid, *refused]
    # One that asks a single question is run for each of them.
    runs = [invalid, *([one] for one in refused)] if command == "explain" else [given]
    text, spent = "", 0.0
    for one in runs:
        troubles = list(one)
        server.answer = lambda asked, left=troubles: left.pop(0)
        done = run(command)
        assert done.status == 1
        assert not troubles
        text, spent = text + done.text, spent + done.spent
    assert len(server.asked) == len(given)
    for why in ("the answer is not valid", "status 400", "not understood", "status 413"):
        assert why in text
    assert "Stopped: m cannot be asked (status 401)" in text
    assert spent == pytest.approx(len(invalid) * EACH)


@every_command
def test_in_a_batch_half_is_paid_and_what_it_does_not_answer_is_asked_by_itself(
    server, run, command
):
    server.answer = lambda asked: Fault(500) if asked.number == 0 else answer(asked)
    done = run(command, batch_from=1)
    assert done.status == 0, done.text
    assert len(server.batches) == 1
    assert set(server.billed.values()) == {1}
    assert done.spent == pytest.approx((len(server.billed) - 1) * EACH / 2 + EACH)
