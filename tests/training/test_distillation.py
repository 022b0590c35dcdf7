import json
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cannabis_ml.errors import TrainingError
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.training import distillation, train
from cannabis_ml.training.distillation import fit_student
from cannabis_ml.training.predict import predict
from cannabis_ml.training.schedule import (
    Distillation,
    Phase,
    Schedule,
    TrainingParams,
    TrainingPlan,
)
from cannabis_ml.training.training_data import TrainingData

TRAINING = TrainingParams(batch_size=8, ema_decay=0.5, augment=False)
PHASE = Phase(name="all", epochs=8, learning_rate=3e-3)


@pytest.fixture(scope="module")
def photo_set():
    """Every fourth photo is for the test, the one before it validates."""
    import importlib.util
    from pathlib import Path

    spec = importlib.util.spec_from_file_location("loop", Path(__file__).with_name("loop.py"))
    loop = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loop)
    splits = ["train", "train", "validation", "test"]
    whole = loop.draw_photo_set(complete=True).arrow
    return PhotoSet(whole.remove_columns("split").add_column("split", splits * 8))


@pytest.fixture(scope="module")
def model(backbone_file):
    return ModelParams(
        backbone="test_efficientnet",
        image_size=32,
        weights=[{"file": str(backbone_file)}],
        ensemble=1,
        dropout=0.0,
    )


def schedule(**given):
    return Schedule(phases=[PHASE], distillation=Distillation(**given))


@pytest.fixture(scope="module")
def teacher(photo_set, taxonomy):
    """One that always says the second class, whatever the label."""
    rows = photo_set.labels("photo_id", "split").to_dict("list")
    for head in taxonomy.heads:
        probs = np.full(len(head.classes), 0.02, np.float32)
        probs[1] = 1 - 0.02 * (len(probs) - 1)
        rows[head.name] = [probs] * len(photo_set)
    return pd.DataFrame(rows)


def test_student_learns_its_teachers_predictions(photo_set, taxonomy, model, teacher):
    checkpoint, _, _ = fit_student(
        TrainingData.of_split(photo_set, taxonomy).taught_by(teacher),
        TrainingPlan(model, TRAINING, schedule(weight=1.0, temperature=1.0)),
    )
    assert checkpoint.card.taught
    said = predict(checkpoint, photo_set, ["train"])
    assert (np.stack(said["colour"]).argmax(axis=1) == 1).mean() > 0.9


def test_order_of_the_teachers_table_does_not_matter(photo_set, taxonomy, model, teacher):
    found = [
        train.fit(
            TrainingData.of_split(photo_set, taxonomy).taught_by(table),
            TrainingPlan(model, TRAINING, schedule()),
        )[0]
        for table in (teacher, teacher.iloc[::-1])
    ]
    for name, array in found[0].state.items():
        np.testing.assert_array_equal(array, found[1].state[name], err_msg=name)


def test_teacher_without_weight_changes_nothing(photo_set, taxonomy, model, teacher):
    checkpoint, _ = train.fit(
        TrainingData.of_split(photo_set, taxonomy).taught_by(teacher),
        TrainingPlan(model, TRAINING, schedule(weight=0.0)),
    )
    alone, _ = train.fit(
        TrainingData.of_split(photo_set, taxonomy),
        TrainingPlan(model, TRAINING, schedule(weight=0.0)),
    )
    assert not checkpoint.card.taught
    for name, array in alone.state.items():
        np.testing.assert_array_equal(array, checkpoint.state[name], err_msg=name)


def test_gain_is_reported_against_the_same_training_without_teacher(
    photo_set, taxonomy, model, teacher, monkeypatch
):
    curves = []
    run = SimpleNamespace(active_run=object, log_metrics=lambda values, step: curves.extend(values))
    monkeypatch.setitem(sys.modules, "mlflow", run)
    wanted = schedule(compare_without_teacher=True)
    _, _, report = fit_student(
        TrainingData.of_split(photo_set, taxonomy).taught_by(teacher),
        TrainingPlan(model, TRAINING, wanted),
        log_as="tier1",
    )
    assert curves.count("tier1.train_loss") == PHASE.epochs
    assert curves.count("tier1.without_teacher.train_loss") == PHASE.epochs
    text = json.dumps(report.model_dump(mode="json"), allow_nan=False)
    assert type(report).model_validate_json(text) == report
    alone, _ = train.fit(
        TrainingData.of_split(photo_set, taxonomy), TrainingPlan(model, TRAINING, wanted)
    )
    answers = predict(alone, photo_set, ["test"])
    truth = photo_set.labels()
    expected = distillation.score(answers, truth, taxonomy)["colour"].accuracy
    values = report.heads["colour"]["accuracy"]
    assert values.without_teacher == expected
    assert values.gain == values.with_teacher - expected
    # A third of the photos is of the second class, or nearly so.
    shares = (truth[truth["split"] == "test"]["colour"] == "green").mean()
    assert values.teacher == shares


def test_without_comparison_no_gain_is_claimed(photo_set, taxonomy, model, teacher):
    _, _, report = fit_student(
        TrainingData.of_split(photo_set, taxonomy).taught_by(teacher),
        TrainingPlan(model, TRAINING, schedule()),
    )
    values = report.heads["shade"]["accuracy"]
    assert values.with_teacher is not None
    assert values.without_teacher is values.gain is None


def test_teacher_that_has_not_seen_a_photo_is_refused(photo_set, taxonomy, model, teacher):
    with pytest.raises(TrainingError, match="no prediction for 15 of 16 training photos"):
        train.fit(
            TrainingData.of_split(photo_set, taxonomy).taught_by(teacher.iloc[:1]),
            TrainingPlan(model, TRAINING, schedule()),
        )
