import logging
import sys
import warnings
from types import SimpleNamespace

import datasets
import numpy as np
import pandas as pd
import pytest
import torch

from cannabis_ml.errors import TrainingError
from cannabis_ml.evaluation.metrics import score
from cannabis_ml.inference.cards import NetworkCard
from cannabis_ml.networks.params import ModelParams, WeightSource
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.training import callbacks, train
from cannabis_ml.training.predict import predict
from cannabis_ml.training.schedule import Phase, Schedule, TrainingParams, TrainingPlan
from cannabis_ml.training.training_data import TrainingData

# Members begin alike: from far apart, a few epochs on so few photos are not enough to learn.
MODEL = ModelParams(backbone="test_efficientnet", image_size=32, weights=["random"], spread=0.1)
TRAINING = TrainingParams(batch_size=8, head_multiplier=1)


def epochs(count):
    return Schedule(phases=[Phase(name="all", epochs=count, learning_rate=2e-3)])


SCHEDULE = epochs(2)


@pytest.fixture(scope="module")
def trained(photo_set, taxonomy):
    return train.fit(
        TrainingData.of_split(photo_set, taxonomy), TrainingPlan(MODEL, TRAINING, SCHEDULE)
    )


def test_history_has_a_row_per_epoch(trained, taxonomy):
    _, history = trained
    assert history["epoch"].tolist() == [1, 2]
    metrics = [f"validation_{h.name}_{m}" for h in taxonomy.heads for m in ("loss", "accuracy")]
    assert set(history) == {
        "epoch",
        "phase",
        "train_loss",
        "validation_loss",
        "learning_rate",
        "seconds",
        *metrics,
    }
    assert np.isfinite(history.drop(columns="phase").to_numpy(dtype=float)).all()
    assert history["phase"].tolist() == ["all", "all"]
    assert history["learning_rate"].iloc[-1] < SCHEDULE.phases[0].learning_rate


def test_card_describes_the_checkpoint(trained, photo_set, taxonomy):
    checkpoint, history = trained
    card = checkpoint.card
    assert NetworkCard.model_validate_json(card.model_dump_json()) == card
    assert card.taxonomy.sha256 == card.taxonomy_sha256 == taxonomy.sha256
    assert card.weights["source"] == "random"
    assert card.photo_set_fingerprint == photo_set.fingerprint
    best = history.loc[history["validation_loss"].idxmin()]
    assert card.best_epoch == best["epoch"]
    assert card.validation_loss == best["validation_loss"]


def test_checkpoint_is_that_of_the_best_epoch(trained, photo_set, taxonomy):
    checkpoint, history = trained
    predictions = predict(checkpoint, photo_set, ["validation"])
    found = score(predictions, photo_set.labels(), taxonomy)
    best = history.loc[history["validation_loss"].idxmin()]
    for head in taxonomy.heads:
        expected = best[f"validation_{head.name}_accuracy"]
        assert found[head.name].accuracy == pytest.approx(expected)


def test_predictions_table(trained, photo_set, taxonomy, tmp_path):
    checkpoint, _ = trained
    table = predict(checkpoint, photo_set, training=TrainingParams(batch_size=5))
    heads = ["colour", "shade", "marks"]
    columns = [c for h in heads for c in (h, f"{h}.logits", f"{h}.aleatoric", f"{h}.epistemic")]
    labels = [f"{h}.label" for h in heads]
    assert list(table) == ["photo_id", "split", *labels, *columns, "embedding"]
    assert table["colour.label"].tolist() == photo_set.arrow["colour"][:]
    first = photo_set.labels_at(0)
    assert table["marks.label"][0].tolist() == [first["marks.line"], first["marks.dot"]]
    members, features = checkpoint.card.ensemble, 256
    assert [len(table[f"{h}.logits"][0]) for h in heads] == [3 * members, 3 * members, 2 * members]
    assert len(table["embedding"][0]) == features
    assert (table["colour.epistemic"] >= 0).all()
    assert (table["colour.aleatoric"] > 0).all()
    assert table["photo_id"].tolist() == photo_set.arrow["photo_id"][:]
    path = tmp_path / "predictions.parquet"
    table.to_parquet(path)
    again = pd.read_parquet(path)
    for name in [*heads, "colour.logits", "embedding"]:
        assert again[name][0].dtype == np.float32
        np.testing.assert_array_equal(np.stack(again[name]), np.stack(table[name]))
    some = predict(checkpoint, photo_set, ["validation"], training=TrainingParams(batch_size=5))
    assert set(some["split"]) == {"validation"}
    assert len(some) == 8
    assert len(predict(checkpoint, photo_set, ["test"])) == 0


def test_same_seed_same_weights_whatever_the_workers(trained, photo_set, taxonomy):
    first, _ = trained
    torch.rand(3)  # what happened before does not matter
    helped = TRAINING.model_copy(update={"workers": 2})
    second, _ = train.fit(
        TrainingData.of_split(photo_set, taxonomy), TrainingPlan(MODEL, helped, SCHEDULE)
    )
    other, _ = train.fit(
        TrainingData.of_split(photo_set, taxonomy),
        TrainingPlan(MODEL, TRAINING.model_copy(update={"seed": 1}), SCHEDULE),
    )
    for name, array in first.state.items():
        np.testing.assert_array_equal(array, second.state[name], err_msg=name)
    assert any(not np.array_equal(a, other.state[n]) for n, a in first.state.items())


@pytest.fixture
def pretrained(backbone_file):
    return MODEL.model_copy(update={"weights": [WeightSource(kind="file", path=backbone_file)]})


@pytest.mark.parametrize("cached", [True, False])
def test_frozen_layers_end_as_they_began(photo_set, taxonomy, pretrained, backbone_file, cached):
    start = torch.load(backbone_file, weights_only=True)
    schedule = Schedule.model_validate(
        {
            "phases": [
                {"name": "heads", "epochs": 1, "learning_rate": 1e-9, "train": "heads"},
                {"name": "top", "epochs": 6, "learning_rate": 2e-3, "train": {"last_blocks": 4}},
            ]
        }
    )
    training = TRAINING.model_copy(update={"cache_features": cached, "ema_decay": 0.5})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        checkpoint, _ = train.fit(
            TrainingData.of_split(photo_set, taxonomy), TrainingPlan(pretrained, training, schedule)
        )
    assert checkpoint.card.best_epoch > 1
    for name, tensor in start.items():
        same = np.array_equal(checkpoint.state[f"backbone.{name}"], tensor.numpy())
        # Frozen are weights and BatchNorm statistics alike; everything above has learnt.
        assert same == name.startswith(("conv_stem", "bn1", "blocks.0.")), name


def test_random_weights_all_learn_from_the_start(photo_set, taxonomy):
    schedule = Schedule(phases=[Phase(name="heads", epochs=1, learning_rate=2e-3, train="heads")])
    checkpoint, _ = train.fit(
        TrainingData.of_split(photo_set, taxonomy), TrainingPlan(MODEL, TRAINING, schedule)
    )
    statistics = checkpoint.state["backbone.bn1.num_batches_tracked"]
    assert statistics == 3


def test_own_checkpoint_comes_before_pretrained_weights(
    trained, photo_set, taxonomy, pretrained, caplog
):
    before, _ = trained
    schedule = Schedule(phases=[Phase(name="heads", epochs=1, learning_rate=1e-9, train="heads")])
    checkpoint, _ = train.fit(
        TrainingData.of_split(photo_set, taxonomy),
        TrainingPlan(pretrained, TRAINING, schedule, start=before),
    )
    assert checkpoint.card.weights["source"] == "checkpoint"
    assert checkpoint.card.weights["sha256"] == before.sha256
    assert "RANDOM WEIGHTS" not in caplog.text
    for name, array in before.state.items():
        np.testing.assert_allclose(checkpoint.state[name], array, atol=1e-6, err_msg=name)


def test_heads_that_ask_something_else_start_fresh(trained, photo_set, taxonomy, caplog):
    heads = taxonomy.model_dump()["heads"]
    heads[1]["classes"].append({"name": "black"})  # a threshold has no meaning without its grades
    heads[0]["kind"] = "ordinal"
    grown = Taxonomy.model_validate({"heads": heads[::-1]})
    schedule = Schedule(phases=[Phase(name="x", epochs=1, learning_rate=1e-9)])
    with caplog.at_level(logging.INFO, logger="cannabis_ml"):
        checkpoint, _ = train.fit(
            TrainingData.of_split(photo_set, grown),
            TrainingPlan(MODEL, TRAINING, schedule, start=trained[0]),
        )
    assert "Heads ['shade', 'colour'] start from random weights" in caplog.text
    theirs = trained[0].state
    np.testing.assert_allclose(
        checkpoint.state["heads.0.0.1.weight"], theirs["heads.2.0.1.weight"], atol=1e-6
    )


def test_checkpoint_of_another_backbone_is_refused(trained, photo_set, taxonomy):
    model = MODEL.model_copy(update={"backbone": "test_vit", "image_size": 160})
    with pytest.raises(TrainingError, match="holds 'test_efficientnet', the model to train is"):
        train.fit(
            TrainingData.of_split(photo_set, taxonomy),
            TrainingPlan(model, TRAINING, start=trained[0]),
        )


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_mixed_precision_trains_and_keeps_weights_whole(photo_set, taxonomy, precision):
    training = TRAINING.model_copy(update={"precision": precision})
    checkpoint, history = train.fit(
        TrainingData.of_split(photo_set, taxonomy), TrainingPlan(MODEL, training, epochs(1))
    )
    assert np.isfinite(history["train_loss"]).all()
    floats = {a.dtype for a in checkpoint.state.values() if a.dtype.kind == "f"}
    assert floats == {np.dtype(np.float32)}


def test_one_training_photo_is_enough(photo_set, taxonomy):
    alone = PhotoSet(photo_set.arrow.select([4, 3, 7]))
    model = MODEL.model_copy(update={"image_size": 64})
    _, history = train.fit(
        TrainingData.of_split(alone, taxonomy), TrainingPlan(model, TRAINING, epochs(1))
    )
    assert np.isfinite(history["train_loss"]).all()
    with pytest.raises(TrainingError, match="a step had a single photo"):
        train.fit(
            TrainingData.of_split(alone, taxonomy), TrainingPlan(MODEL, TRAINING, epochs(1))
        )  # a map of 1 × 1 at 32 px


def test_learning_from_photos_and_mixtures_gets_better(photo_set, taxonomy, pretrained):
    training = TRAINING.model_copy(update={"mixup": 0.2, "cutmix": 1.0, "ema_decay": 0.5})
    _, history = train.fit(
        TrainingData.of_split(photo_set, taxonomy), TrainingPlan(pretrained, training, epochs(12))
    )
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]
    assert history["validation_loss"].min() < history["validation_loss"].iloc[0]


def test_rare_classes_weigh_more_where_asked(photo_set, taxonomy):
    """Of 3 red and 1 green photo: 4 / (2 × 3) and 4 / (2 × 1); blue does not occur."""
    targets = {"colour": np.array([0, 0, 1, 0, -1])}
    training = TRAINING.model_copy(update={"class_weights": "inverse_frequency"})
    only = Taxonomy.model_validate({"heads": taxonomy.model_dump()["heads"][:1]})
    data = TrainingData.of_split(photo_set, only)
    weights = train._class_weights(targets, data, training)
    assert weights["colour"].tolist() == pytest.approx([2 / 3, 2, 0])
    assert train._class_weights(targets, data, TRAINING) is None
    train.fit(TrainingData.of_split(photo_set, taxonomy), TrainingPlan(MODEL, training, epochs(1)))


@pytest.mark.parametrize("strategy", ["weighted", "effective_number"])
def test_balancing_and_class_weights_together_make_up_once(strategy):
    """12 red, 3 green, of which balancing knows; 10 thick, 5 thin, of which it does not."""
    colour, shape = np.repeat([0, 1], [12, 3]), np.tile([0, 1, 0], 5)
    heads = [
        {"name": "colour", "classes": ["red", "green"]},
        {"name": "shape", "classes": ["thick", "thin"]},
    ]
    two = Taxonomy.model_validate({"heads": heads})
    n = np.array([12, 3])
    by_class = {"weighted": 15 / (2 * n), "effective_number": 1 / (1 - 0.9**n)}[strategy]
    rows = by_class[colour]
    photos = datasets.Dataset.from_dict({"photo_id": [str(i) for i in range(15)]})
    data = TrainingData(PhotoSet(photos), two, np.arange(15), rows)
    training = TRAINING.model_copy(update={"class_weights": "inverse_frequency"})
    weights = train._class_weights({"colour": colour, "shape": shape}, data, training)
    for name, truth in (("colour", colour), ("shape", shape)):
        weighed = np.bincount(truth, weights=rows * weights[name].numpy()[truth])
        assert weighed == pytest.approx([rows.sum() / 2] * 2)  # alike, and no more than before
    if strategy == "weighted":  # colours weigh alike already
        assert weights["colour"].tolist() == pytest.approx([1, 1])


def test_batch_that_processes_cannot_share_is_refused(photo_set, taxonomy):
    training = TRAINING.model_copy(update={"devices": 3})
    with pytest.raises(TrainingError, match="8 photos cannot be shared evenly by 3"):
        train.fit(TrainingData.of_split(photo_set, taxonomy), TrainingPlan(MODEL, training))


def test_training_leaves_the_process_and_the_folder_as_they_were(
    photo_set, taxonomy, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    state = torch.random.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        train.fit(
            TrainingData.of_split(photo_set, taxonomy), TrainingPlan(MODEL, TRAINING, epochs(1))
        )
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()
    assert list(tmp_path.iterdir()) == []
    said = capfd.readouterr()
    for chatter in ("GPU available", "litlogger", "Tip", "workers"):
        assert chatter not in said.out + said.err


def test_each_epoch_is_logged_in_a_line(photo_set, taxonomy, caplog):
    with caplog.at_level(logging.INFO, logger="cannabis_ml"):
        train.fit(
            TrainingData.of_split(photo_set, taxonomy), TrainingPlan(MODEL, TRAINING, SCHEDULE)
        )
    lines = [r.getMessage() for r in caplog.records if r.getMessage().startswith("epoch ")]
    assert len(lines) == 2
    assert lines[1].startswith("epoch 2/2 (all): loss ")
    assert "colour" in lines[1]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_empty_split_is_an_error(photo_set, taxonomy, split):
    left = PhotoSet(photo_set.arrow.filter(lambda row: row["split"] != split))
    with pytest.raises(TrainingError, match=f"no photo in the {split} split"):
        train.fit(TrainingData.of_split(left, taxonomy), TrainingPlan(MODEL, TRAINING))


def test_split_without_labels_is_an_error(photo_set, taxonomy):
    bare = photo_set.arrow.map(
        lambda row: dict.fromkeys(taxonomy.columns) if row["split"] == "train" else {}
    )
    with pytest.raises(TrainingError, match="None of the 24 photos of the train split"):
        train.fit(TrainingData.of_split(PhotoSet(bare), taxonomy), TrainingPlan(MODEL, TRAINING))


def test_a_backbone_of_one_size_has_no_phase_at_another(photo_set, taxonomy):
    model = MODEL.model_copy(update={"backbone": "test_vit", "image_size": 160})
    phase = Phase(name="small", epochs=1, learning_rate=1e-3, image_size=96)
    plan = TrainingPlan(model, TRAINING, Schedule(phases=[phase]))
    with pytest.raises(TrainingError, match=r"test_vit .* phase 'small' cannot train at 96 px"):
        train.fit(TrainingData.of_split(photo_set, taxonomy), plan)


def test_phases_train_at_their_own_size(photo_set, taxonomy):
    small = Phase(name="small", epochs=1, learning_rate=1e-3, image_size=40)
    last = Phase(name="last", epochs=1, learning_rate=1e-3)
    data = TrainingData.of_split(photo_set, taxonomy)
    plans = [
        TrainingPlan(MODEL, TRAINING, Schedule(phases=[first, last]))
        for first in (small, small.model_copy(update={"image_size": None}))
    ]
    (checkpoint, history), (_, plain) = (train.fit(data, plan) for plan in plans)
    assert checkpoint.card.image_size == MODEL.image_size
    assert history["train_loss"][0] != plain["train_loss"][0]


def test_training_stops_when_validation_no_longer_improves(photo_set, taxonomy, monkeypatch):
    monkeypatch.setattr(
        "cannabis_ml.training.module.warmup_cosine", lambda step, steps, warmup: 0.0
    )
    still = TRAINING.model_copy(update={"patience": 1})
    frozen = MODEL.model_copy(update={"backbone": "test_vit", "image_size": 160})
    few = PhotoSet(photo_set.arrow.select(range(8)))
    _, history = train.fit(
        TrainingData.of_split(few, taxonomy), TrainingPlan(frozen, still, epochs(9))
    )
    assert len(history) == 2
    # Only the last phase may be cut short.
    schedule = Schedule(phases=[*epochs(4).phases, Phase(name="last", epochs=9, learning_rate=1)])
    _, history = train.fit(
        TrainingData.of_split(few, taxonomy), TrainingPlan(frozen, still, schedule)
    )
    assert history["phase"].tolist() == ["all"] * 4 + ["last"] * 2


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
    callbacks.log_live({"epoch": 3, "phase": "all", "train_loss": 0.5})
    assert mlflow.logged == [(3, {"train_loss": 0.5})]


def test_curves_of_several_trainings_do_not_mix(monkeypatch):
    mlflow = _fake_mlflow(active=True)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    callbacks.log_live({"epoch": 3, "phase": "all", "train_loss": 0.5}, "tier2")
    assert mlflow.logged == [(3, {"tier2.train_loss": 0.5})]


def test_without_an_active_run_nothing_is_logged(monkeypatch):
    mlflow = _fake_mlflow(active=False)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    callbacks.log_live({"epoch": 3, "train_loss": 0.5})
    assert mlflow.logged == []


def test_tracking_that_fails_does_not_stop_training(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "mlflow", _fake_mlflow(active=True, fails=True))
    callbacks.log_live({"epoch": 3, "train_loss": 0.5})
    assert "did not take the metrics of epoch 3" in caplog.text


def test_rows_of_another_photo_set_are_refused(photo_set, taxonomy):
    held_out = int(photo_set.rows_of(Split.VALIDATION)[0])
    rows = pd.DataFrame({"row": [held_out], "weight": [1.0]})
    with pytest.raises(TrainingError, match="1 of 1 rows of balanced_rows are not training"):
        train.fit(TrainingData.balanced(photo_set, taxonomy, rows), TrainingPlan(MODEL, TRAINING))


def test_few_photos_are_shown_until_a_phase_has_its_steps(photo_set, taxonomy):
    phase = Phase(name="all", epochs=1, learning_rate=1e-4, fewest_steps=10)
    training = TRAINING.model_copy(update={"batch_size": 8, "patience": 9})
    plan = TrainingPlan(MODEL, training, Schedule(phases=[phase]))
    data = TrainingData.of_split(photo_set, taxonomy)
    assert len(data) == 24
    _, history = train.fit(data, plan)
    assert list(history["epoch"]) == [1, 2, 3, 4]  # of 3 steps
