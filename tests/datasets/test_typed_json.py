import math

import pytest
from kedro.io import DatasetError, Version

from cannabis_ml.datasets.typed_json import TypedJSONDataset
from cannabis_ml.evaluation.scores import HierarchyScores, WrongAttribute
from cannabis_ml.inference.decision import DecisionRule

RULE = DecisionRule(thresholds={"Blüte": {"A+": 0.25}})


def dataset(path, of=DecisionRule, **given):
    return TypedJSONDataset(filepath=path, model=f"{of.__module__}.{of.__name__}", **given)


def test_round_trip_keeps_names_as_they_are(tmp_path):
    entry = dataset(tmp_path / "deep" / "rule.json")
    assert not entry.exists()
    entry.save(RULE)
    assert entry.exists()
    assert entry.load() == RULE
    assert "Blüte" in (tmp_path / "deep" / "rule.json").read_text(encoding="utf-8")


def test_versions(tmp_path):
    path = tmp_path / "rule.json"
    dataset(path, version=Version(None, "2026-01-01T00.00.00.000Z")).save(RULE)
    assert dataset(path, version=Version(None, None)).load() == RULE


def test_names_that_python_keeps_for_itself(tmp_path):
    worst = WrongAttribute(name="dot", error=0.5, support=3, missed=None, falsely_claimed=0.5)
    entry = dataset(tmp_path / "worst.json", WrongAttribute)
    entry.save(worst)
    assert '"class": "dot"' in (tmp_path / "worst.json").read_text()
    assert entry.load() == worst


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_comes_back(tmp_path, value):
    names = HierarchyScores.model_fields
    known = {"parent": "crop", "n": 1, "groups": 1, "joint_accuracy": value}
    scores = HierarchyScores(**dict.fromkeys(names) | known)
    entry = dataset(tmp_path / "scores.json", HierarchyScores)
    entry.save(scores)
    assert repr(entry.load().joint_accuracy) == repr(value)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"threshold": {}}', '{"thresholds": 3}'])
def test_file_that_holds_something_else_is_named(tmp_path, text):
    path = tmp_path / "rule.json"
    path.write_text(text)
    with pytest.raises(DatasetError, match=r"rule\.json does not hold a DecisionRule"):
        dataset(path).load()


def test_another_model_is_not_saved(tmp_path):
    entry = dataset(tmp_path / "scores.json", HierarchyScores)
    with pytest.raises(DatasetError, match="DecisionRule is not a cannabis_ml"):
        entry.save(RULE)
    assert not list(tmp_path.iterdir())
