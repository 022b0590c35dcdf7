import io
import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kedro.io import DataCatalog, DatasetError, MemoryDataset, Version
from kedro_datasets.json import JSONDataset
from rich.console import Console

from cannabis_ml._io.metric_names import mlflow_key, mlflow_keys
from cannabis_ml.errors import ExportError
from cannabis_ml.evaluation.scores import Evaluation, MulticlassScores, MultilabelScores
from cannabis_ml.hooks import UnfinishedHook, WritersHook, flatten, git_state, metrics_table


def test_nested_values_get_dotted_names():
    nested = {"a": {"b": 1, "c": {"d": [2, 3]}}, "e": None}
    assert dict(flatten(nested)) == {"a.b": 1, "a.c.d": [2, 3], "e": None}


def test_no_name_of_a_metric_ends_in_a_dot():
    """Shares by tier have an empty name for photos that no tier answered."""
    shares = {"test": {"answered": {"tier1": 0.9, "": 0.1}}, "": {"": 1.0}}
    names = dict(flatten(shares))
    assert list(names) == ["test.answered.tier1", "test.answered.(none)", "(none).(none)"]
    keys = [f"routing.{key}" for key in names]
    assert list(mlflow_keys(keys).values())[1] == "routing.test.answered._none_"


@pytest.mark.parametrize(
    ("name", "spelled"), [("grade.A+", "grade.A plus"), ("Apple's (red)", "Apple_s _red_")]
)
def test_metric_names_are_spelled_as_mlflow_allows(name, spelled):
    assert mlflow_key(name) == spelled


def test_grades_that_differ_in_a_sign_stay_apart():
    assert mlflow_key("A+") != mlflow_key("A")


ODD_NAMES = [
    "..",
    ".",
    "/",
    "//",
    "a//b",
    "a/",
    "/a",
    "../a",
    "a/../b",
    "..a",
    "पत्ता",
    "?",
    "x" * 400,
    "",
    "\udce9",
]


def is_taken_by_mlflow(name):
    from mlflow.utils.validation import _validate_metric_name

    _validate_metric_name(name)
    return len(name) <= 250


@pytest.mark.parametrize("name", ODD_NAMES)
def test_every_name_can_be_logged(name):
    assert is_taken_by_mlflow(mlflow_key(name) or "_")
    assert is_taken_by_mlflow(mlflow_key(f"tier1.test.{name}.f1"))


@given(st.lists(st.text(max_size=300).map(lambda name: f"test.{name}"), max_size=20, unique=True))
def test_no_two_names_are_logged_as_one(names):
    keys = mlflow_keys(names)
    assert list(keys) == names
    assert len({key.casefold() for key in keys.values()}) == len(names)
    assert all(map(is_taken_by_mlflow, keys.values()))


def test_a_name_that_needs_no_change_keeps_it():
    keys = mlflow_keys(["A?", "A_", "A plus", "A+", "b"])
    assert (keys["A_"], keys["A plus"], keys["b"]) == ("A_", "A plus", "b")
    assert keys["A?"].startswith("A_ ")
    assert keys["A+"].startswith("A plus ")
    assert keys == mlflow_keys(["A?", "A_", "A plus", "A+", "b"])
    assert mlflow_keys(["A+"]) == {"A+": "A plus"}


def test_table_names_every_head_and_shows_what_is_missing():
    of_type = {"n": 10, "groups": 7, "accuracy": 0.5, "macro_f1": 0.25}
    of_look = {"n": 0, "groups": 0, "accuracy": None, "macro_f1": None}
    heads = {
        "type": MulticlassScores.model_construct(**of_type),
        "look": MultilabelScores.model_construct(**of_look, mean_average_precision=None),
    }
    console = Console(width=120, file=io.StringIO())
    console.print(metrics_table("tier3", Evaluation.model_construct(heads=heads)))
    text = console.file.getvalue()
    assert "type" in text
    assert "0.500" in text
    assert re.search(r"10 .* 7 ", text)
    assert "look" in text
    assert "–" in text


def test_git_state_has_commit_and_uncommitted_changes(tmp_path):
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


def test_a_run_that_cannot_write_its_files_ends_before_it_begins(monkeypatch):
    from cannabis_ml.exporting import writers
    from cannabis_ml.pipelines import export, training

    parameters = {
        f"params:tier{n}.export": {"format": kind, "quantizations": []}
        for n, kind in ((1, "tflite"), (2, "onnx"), (3, "onnx"))
    }
    catalog = DataCatalog({name: MemoryDataset(value) for name, value in parameters.items()})
    hook = WritersHook()
    hook.before_pipeline_run(export.create_pipeline(), catalog)
    found = writers.importlib.util.find_spec
    monkeypatch.setattr(
        writers.importlib.util, "find_spec", lambda n: None if n == "litert_torch" else found(n)
    )
    with pytest.raises(ExportError, match=r"litert_torch not installed; pip install .*tflite"):
        hook.before_pipeline_run(export.create_pipeline(), catalog)
    hook.before_pipeline_run(training.create_pipeline(), catalog)


@pytest.mark.parametrize("versioned", [True, False])
def test_half_a_report_is_not_the_newest_version(versioned, tmp_path):
    def report(version):
        save = Version(None, version) if versioned else None
        return JSONDataset(filepath=str(tmp_path / "report.json"), version=save)

    hook = UnfinishedHook()
    report("1").save({"whole": True})
    catalog = DataCatalog({"other": MemoryDataset(1), "report": report("2")})
    hook.before_dataset_saved("other")
    hook.after_dataset_saved()
    hook.on_pipeline_error(catalog)  # a node's own error: nothing was being saved
    hook.before_dataset_saved("report")
    with pytest.raises(DatasetError):
        catalog.save("report", {"cut": object()})
    hook.on_pipeline_error(catalog)
    if versioned:
        assert report("3").load() == {"whole": True}
        assert [path.name for path in (tmp_path / "report.json").iterdir()] == ["1"]
    else:
        assert (tmp_path / "report.json").exists()
