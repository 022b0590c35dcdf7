import json
import logging
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from cannabis_ml.datasets.photo_set import photo_set_fingerprint
from cannabis_ml.errors import TrainingError
from cannabis_ml.models import train
from cannabis_ml.models.metrics import score
from cannabis_ml.models.params import ModelParams, TrainingParams
from cannabis_ml.models.weights import create_backbone
from cannabis_ml.taxonomy import Taxonomy

MODEL = ModelParams(backbone="test_efficientnet", image_size=32, weights=["random"])
TRAINING = TrainingParams(epochs=2, batch_size=8, learning_rate=2e-3, head_multiplier=1)


@pytest.fixture(scope="module")
def trained(photo_set, taxonomy):
    return train.fit(photo_set, taxonomy, MODEL, TRAINING)


def test_history_has_a_row_per_epoch(trained, taxonomy):
    _, history = trained
    assert history["epoch"].tolist() == [1, 2]
    metrics = [f"validation_{h.name}_{m}" for h in taxonomy.heads for m in ("loss", "accuracy")]
    assert set(history) == {
        "epoch",
        "train_loss",
        "validation_loss",
        "learning_rate",
        "seconds",
        *metrics,
    }
    assert np.isfinite(history.to_numpy(dtype=float)).all()
    assert history["learning_rate"].iloc[-1] < TRAINING.learning_rate


def test_card_tells_what_the_checkpoint_is(trained, photo_set, taxonomy):
    checkpoint, history = trained
    card = json.loads(json.dumps(checkpoint.card, allow_nan=False))
    assert card == checkpoint.card
    assert Taxonomy.model_validate(card["taxonomy"]).sha256 == card["taxonomy_sha256"]
    assert card["weights"]["source"] == "random"
    assert card["photo_set"] == photo_set_fingerprint(photo_set)
    best = history.loc[history["validation_loss"].idxmin()]
    assert card["best_epoch"] == best["epoch"]
    assert card["validation_loss"] == best["validation_loss"]


def test_checkpoint_is_that_of_the_best_epoch(trained, photo_set, taxonomy):
    checkpoint, history = trained
    predictions = train.predict(checkpoint, photo_set, ["validation"])
    found = score(predictions, photo_set.remove_columns("image").to_pandas(), taxonomy)
    best = history.loc[history["validation_loss"].idxmin()]
    for head in taxonomy.heads:
        expected = best[f"validation_{head.name}_accuracy"]
        assert found[head.name]["accuracy"] == pytest.approx(expected)


def test_predictions_table(trained, photo_set, taxonomy, tmp_path):
    checkpoint, _ = trained
    table = train.predict(checkpoint, photo_set, batch_size=5)
    assert list(table) == ["photo_id", "split", "colour", "shade", "marks"]
    assert table["photo_id"].tolist() == photo_set["photo_id"][:]
    path = tmp_path / "predictions.parquet"
    table.to_parquet(path)
    again = pd.read_parquet(path)
    for head in taxonomy.heads:
        assert again[head.name][0].dtype == np.float32
        np.testing.assert_array_equal(np.stack(again[head.name]), np.stack(table[head.name]))
    some = train.predict(checkpoint, photo_set, ["validation"], batch_size=5)
    assert set(some["split"]) == {"validation"}
    assert len(some) == 8
    assert len(train.predict(checkpoint, photo_set, ["test"])) == 0


def test_same_seed_same_weights_whatever_the_workers(trained, photo_set, taxonomy):
    first, _ = trained
    torch.rand(3)  # what happened before does not matter
    helped = TRAINING.model_copy(update={"workers": 2})
    second, _ = train.fit(photo_set, taxonomy, MODEL, helped)
    other, _ = train.fit(photo_set, taxonomy, MODEL, TRAINING.model_copy(update={"seed": 1}))
    for name, array in first.state.items():
        np.testing.assert_array_equal(array, second.state[name], err_msg=name)
    assert any(not np.array_equal(a, other.state[n]) for n, a in first.state.items())


def test_frozen_layers_end_as_they_began(photo_set, taxonomy, tmp_path):
    path = tmp_path / "start.pth"
    start = create_backbone("test_efficientnet", 32).state_dict()
    torch.save(start, path)
    model = ModelParams(backbone="test_efficientnet", image_size=32, weights=[{"file": str(path)}])
    training = TRAINING.model_copy(update={"frozen_layers": 2})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        checkpoint, _ = train.fit(photo_set, taxonomy, model, training)
    for name, tensor in start.items():
        same = np.array_equal(checkpoint.state[f"backbone.{name}"], tensor.numpy())
        # Frozen are weights and BatchNorm statistics alike; everything above has learnt.
        assert same == name.startswith(("conv_stem", "bn1", "blocks.0.")), name


def test_training_leaves_the_process_and_the_folder_as_they_were(
    photo_set, taxonomy, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    state = torch.random.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        train.fit(photo_set, taxonomy, MODEL, TRAINING.model_copy(update={"epochs": 1}))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()
    assert list(tmp_path.iterdir()) == []
    said = capfd.readouterr()
    for chatter in ("GPU available", "litlogger", "Tip", "workers"):
        assert chatter not in said.out + said.err


def test_each_epoch_is_told_in_a_line(photo_set, taxonomy, caplog):
    with caplog.at_level(logging.INFO, logger="cannabis_ml"):
        train.fit(photo_set, taxonomy, MODEL, TRAINING)
    lines = [r.getMessage() for r in caplog.records if r.getMessage().startswith("epoch ")]
    assert len(lines) == 2
    assert lines[1].startswith("epoch 2/2: loss ")
    assert "colour" in lines[1]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_empty_split_is_an_error(photo_set, taxonomy, split):
    left = photo_set.filter(lambda row: row["split"] != split)
    with pytest.raises(TrainingError, match=f"no photo in the {split} split"):
        train.fit(left, taxonomy, MODEL, TRAINING)


def test_split_without_labels_is_an_error(photo_set, taxonomy):
    bare = photo_set.map(
        lambda row: dict.fromkeys(taxonomy.columns) if row["split"] == "train" else {}
    )
    with pytest.raises(TrainingError, match="None of the 24 photos of the train split"):
        train.fit(bare, taxonomy, MODEL, TRAINING)


def test_training_stops_when_validation_no_longer_improves(photo_set, taxonomy, monkeypatch):
    monkeypatch.setattr("cannabis_ml.models.module.warmup_cosine", lambda step, steps, warmup: 0.0)
    still = TRAINING.model_copy(update={"epochs": 9, "patience": 1})
    frozen = MODEL.model_copy(update={"backbone": "test_vit", "image_size": 160})
    _, history = train.fit(photo_set.select(range(8)), taxonomy, frozen, still)
    assert len(history) == 2


def _fake_mlflow(active: bool, fails: bool = False):
    logged = []

    def log_metrics(values, step):
        if fails:
            raise OSError("disk full")
        logged.append((step, values))

    run = object() if active else None
    return SimpleNamespace(active_run=lambda: run, log_metrics=log_metrics, logged=logged)


def test_epochs_go_live_to_an_active_run(monkeypatch):
    mlflow = _fake_mlflow(active=True)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    train._log_live({"epoch": 3, "train_loss": 0.5})
    assert mlflow.logged == [(3, {"train_loss": 0.5})]


def test_without_an_active_run_nothing_is_logged(monkeypatch):
    mlflow = _fake_mlflow(active=False)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    train._log_live({"epoch": 3, "train_loss": 0.5})
    assert mlflow.logged == []


def test_tracking_that_fails_does_not_stop_training(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "mlflow", _fake_mlflow(active=True, fails=True))
    train._log_live({"epoch": 3, "train_loss": 0.5})
    assert "did not take the metrics of epoch 3" in caplog.text


def test_rows_of_another_photo_set_are_refused(photo_set, taxonomy):
    test_row = list(photo_set["split"]).index("test") if "test" in photo_set["split"] else 10**6
    rows = pd.DataFrame({"row": [test_row], "weight": [1.0]})
    with pytest.raises(TrainingError, match="1 of 1 rows of balanced_rows are no training photos"):
        train.fit(photo_set, taxonomy, MODEL, TRAINING, balanced_rows=rows)
