"""`cannabis_ml retrain-due`: exit codes that a scheduler can act on."""

from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from kedro.framework.session import KedroSession
from kedro.io import DataCatalog, MemoryDataset

from cannabis_ml.cli import NOT_DUE, cli
from cannabis_ml.datasets.typed_json import TypedJSONDataset
from cannabis_ml.feedback.retrain_decision import Reason, RetrainDecision


def decision(due):
    reason = Reason(name="age", fires=due, text="The last training is 31 days old.", limit=30)
    now = datetime(2026, 4, 1, tzinfo=UTC)
    return RetrainDecision(
        retrain=due, decided_at=now, last_training=None, new_photos=3, reasons=[reason]
    )


@pytest.fixture
def ask(monkeypatch):
    """Run the command on a catalog that holds a data set under the decision's name."""

    def ask(dataset):
        @contextmanager
        def create(env=None):
            catalog = DataCatalog({"retrain_decision": dataset})
            context = SimpleNamespace(catalog=catalog)
            yield SimpleNamespace(load_context=lambda: context)

        monkeypatch.setattr(KedroSession, "create", create)
        return CliRunner().invoke(cli, ["retrain-due"])

    return ask


@pytest.mark.parametrize(("due", "code", "sign"), [(True, 0, "!"), (False, NOT_DUE, "-")])
def test_the_exit_code_is_the_decision_to_train(ask, due, code, sign):
    done = ask(MemoryDataset(decision(due)))
    assert done.exit_code == code
    assert f"{sign} The last training is 31 days old." in done.output


def test_no_decision_is_an_error_with_the_command_to_run(ask, tmp_path):
    model = "cannabis_ml.feedback.retrain_decision.RetrainDecision"
    done = ask(TypedJSONDataset(filepath=str(tmp_path / "none.json"), model=model))
    assert done.exit_code == 1
    assert "kedro run --pipeline=feedback" in done.output
