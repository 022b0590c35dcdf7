import io
import subprocess

import pytest
from rich.console import Console

from cannabis_ml.hooks import flatten, git_state, metrics_table
from cannabis_ml.tracking import mlflow_key


def test_nested_values_get_dotted_names():
    nested = {"a": {"b": 1, "c": {"d": [2, 3]}}, "e": None}
    assert dict(flatten(nested)) == {"a.b": 1, "a.c.d": [2, 3], "e": None}


@pytest.mark.parametrize(
    ("name", "spelled"), [("grade.A+", "grade.A plus"), ("Apple's (red)", "Apple_s _red_")]
)
def test_metric_names_are_spelled_as_mlflow_allows(name, spelled):
    assert mlflow_key(name) == spelled


def test_grades_that_differ_in_a_sign_stay_apart():
    assert mlflow_key("A+") != mlflow_key("A")


def test_table_names_every_head_and_shows_what_is_missing():
    heads = {
        "type": {"kind": "multiclass", "n": 10, "accuracy": 0.5, "macro_f1": 0.25},
        "look": {"kind": "multilabel", "n": 0, "accuracy": None, "macro_f1": None},
    }
    console = Console(width=120, file=io.StringIO())
    console.print(metrics_table("tier3", {"heads": heads}))
    text = console.file.getvalue()
    assert "type" in text
    assert "0.500" in text
    assert "look" in text
    assert "–" in text


def test_git_state_tells_commit_and_uncommitted_changes(tmp_path):
    def git(*args):
        subprocess.run(["git", "-C", tmp_path, *args], check=True, capture_output=True)

    assert git_state(tmp_path)["git_commit"] == "unknown"
    git("init")
    git("-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "--allow-empty", "-m", "first")
    state = git_state(tmp_path)
    assert len(state["git_commit"]) == 40
    assert state["git_dirty"] == "false"
    (tmp_path / "new.txt").write_text("changed")
    assert git_state(tmp_path)["git_dirty"] == "true"
