"""Heads trained on cached features are the heads trained through the frozen backbone."""

import numpy as np
import pytest
import torch

from cannabis_ml._io.engine import Engine
from cannabis_ml.networks.backbones import create_backbone
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.networks.network import Architecture, HierarchicalNet
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.training import features, train
from cannabis_ml.training.data import Photos
from cannabis_ml.training.features import cached_features, compute_features, weights_hash
from cannabis_ml.training.predict import predict
from cannabis_ml.training.schedule import Schedule, TrainingParams, TrainingPlan
from cannabis_ml.training.training_data import TrainingData

PLAIN = TrainingParams(batch_size=8, augment=False)


@pytest.fixture
def network(taxonomy):
    torch.manual_seed(0)
    return HierarchicalNet(
        create_backbone("test_efficientnet", 64), taxonomy, Architecture(image_size=64)
    )


@pytest.fixture
def photos(photo_set, taxonomy):
    return Photos(TrainingData(photo_set, taxonomy, np.arange(2, 20)), 64)


def test_features_are_those_of_evaluation(network, photos):
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = compute_features(network, photos, PLAIN)
    assert network.training
    for name, tensor in network.state_dict().items():  # BatchNorm saw nothing
        assert torch.equal(tensor, before[name])
    network.eval()
    with torch.no_grad():
        photo = photos[-1, 7].photos[None]
        np.testing.assert_allclose(found[7], network.embed(photo)[0], rtol=1e-4, atol=1e-6)


def test_features_are_computed_once(network, photos, tmp_path, monkeypatch):
    first = cached_features(network, photos, PLAIN, tmp_path)
    monkeypatch.setattr(features, "compute_features", None)
    again = cached_features(network, photos, PLAIN, tmp_path)
    np.testing.assert_array_equal(first, again)
    # Heads do not matter.
    torch.nn.init.ones_(network.heads[0][0][1].weight)
    cached_features(network, photos, PLAIN, tmp_path)


def test_other_photos_rows_sizes_or_weights_are_other_features(
    network, photos, photo_set, taxonomy, tmp_path
):
    def entries():
        return len(list((tmp_path / "features").iterdir()))

    cached_features(network, photos, PLAIN, tmp_path)
    others = PhotoSet(photo_set.arrow.select(range(30)))
    cached_features(
        network, Photos(TrainingData(others, taxonomy, photos.rows), 64), PLAIN, tmp_path
    )
    assert entries() == 2
    cached_features(
        network,
        Photos(TrainingData(photo_set, taxonomy, np.arange(3)), 64),
        PLAIN,
        tmp_path,
    )
    assert entries() == 3
    network.image_size = 32
    cached_features(network, photos, PLAIN, tmp_path)
    assert entries() == 4
    network.backbone.bn1.running_mean += 1
    cached_features(network, photos, PLAIN, tmp_path)
    assert entries() == 5
    network.mirrored = True
    cached_features(network, photos, PLAIN, tmp_path)
    assert entries() == 6


def test_normalisation_is_part_of_the_weights(network):
    before = weights_hash(network)
    network.std += 1
    assert weights_hash(network) != before


def test_computing_that_breaks_off_leaves_nothing(network, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "compute_features", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cached_features(network, photos, PLAIN, tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_training_on_them_equals_training_through_the_frozen_backbone(
    photo_set, taxonomy, backbone_file, tmp_path
):
    model = ModelParams(
        backbone="test_efficientnet",
        image_size=32,
        weights=[{"file": str(backbone_file)}],
        dropout=0.3,
        ensemble=2,
    )
    schedule = Schedule.model_validate(
        {
            "phases": [
                {"name": "heads", "epochs": 3, "learning_rate": 3e-3, "train": "heads"},
                {"name": "top", "epochs": 1, "learning_rate": 1e-3, "train": {"last_blocks": 1}},
            ]
        }
    )
    cached, told = train.fit(
        TrainingData.of_split(photo_set, taxonomy), TrainingPlan(model, PLAIN, schedule), tmp_path
    )
    assert len(list((tmp_path / "features").iterdir())) == 2
    through = PLAIN.model_copy(update={"cache_features": False})
    whole, history = train.fit(
        TrainingData.of_split(photo_set, taxonomy), TrainingPlan(model, through, schedule)
    )
    for name, array in cached.state.items():
        np.testing.assert_allclose(array, whole.state[name], rtol=1e-3, atol=1e-5, err_msg=name)
    columns = [c for c in history.columns if c not in ("phase", "seconds")]
    np.testing.assert_allclose(told[columns], history[columns], rtol=1e-4)
    assert photo_set.fingerprint == cached.card.photo_set_fingerprint


def test_workers_of_a_cluster_make_the_same_features_and_predictions(network, photos, dask_cluster):
    rows = np.array([5, 3, 5, 9, 11, 2, 7, 8, 6])
    twice = Photos(TrainingData(photos.photo_set, network.taxonomy, rows), 64)
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    checkpoint = Checkpoint(state=state, card=network.card("test_efficientnet"))
    with dask_cluster() as cluster:
        cluster.add_worker()
        engine = Engine(dask=cluster.address)
        found = compute_features(network, twice, PLAIN, engine)
        predicted = predict(checkpoint, photos.photo_set, training=PLAIN, engine=engine)
    assert network.training
    np.testing.assert_allclose(found, compute_features(network, twice, PLAIN), rtol=1e-5, atol=1e-6)
    expected = predict(checkpoint, photos.photo_set, training=PLAIN)
    assert list(predicted) == list(expected)
    for name in ("colour", "shade.logits", "marks", "embedding"):
        np.testing.assert_allclose(
            np.stack(predicted[name]), np.stack(expected[name]), rtol=1e-5, atol=1e-6
        )
