import hashlib
import json

import numpy as np
import pytest
from kedro.io.core import DatasetError, Version
from safetensors.numpy import save_file

from cannabis_ml.datasets.checkpoint import CheckpointDataset, StartDataset
from cannabis_ml.errors import ConfigError
from cannabis_ml.inference.cards import NetworkCard
from cannabis_ml.networks.checkpoint import Checkpoint

TAXONOMY = {"heads": [{"name": "Blüte", "classes": ["a", "b"]}]}
CARD = NetworkCard.model_validate({"taxonomy": TAXONOMY, "image_size": 32, "backbone": "x"})


@pytest.fixture
def checkpoint():
    state = {
        "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "count": np.array(7, dtype=np.int64),
        "half": np.ones(2, dtype=np.float16),
    }
    return Checkpoint(state=state, card=CARD.model_copy(update={"mean": [0.5]}))


def test_round_trip(tmp_path, checkpoint):
    dataset = CheckpointDataset(filepath=tmp_path / "deep" / "model.safetensors")
    assert not dataset.exists()
    dataset.save(checkpoint)
    assert dataset.exists()
    loaded = dataset.load()
    assert loaded.card == checkpoint.card
    assert loaded.state.keys() == checkpoint.state.keys()
    for name, array in checkpoint.state.items():
        np.testing.assert_array_equal(loaded.state[name], array)
        assert loaded.state[name].dtype == array.dtype
        assert loaded.state[name].shape == array.shape


def test_versions(tmp_path, checkpoint):
    path = tmp_path / "model.safetensors"
    CheckpointDataset(filepath=path, version=Version(None, "2026-01-01T00.00.00.000Z")).save(
        checkpoint
    )
    assert (
        CheckpointDataset(filepath=path, version=Version(None, None)).load().card == checkpoint.card
    )


def test_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, checkpoint):
    dataset = CheckpointDataset(filepath=tmp_path / "model.safetensors")
    dataset.save(checkpoint)
    with pytest.raises(DatasetError):
        dataset.save(Checkpoint(state={"text": np.array(["a"])}, card=CARD))
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert dataset.load().card == checkpoint.card


@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_damaged_file_is_named(tmp_path, checkpoint, damage):
    path = tmp_path / "model.safetensors"
    dataset = CheckpointDataset(filepath=path)
    dataset.save(checkpoint)
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:-10], "empty": b"", "text": b"hello there, no tensors"}[damage])
    with pytest.raises(DatasetError, match="is not a safetensors file"):
        dataset.load()


def test_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": np.zeros(1)}, path, metadata={"format": "pt"})
    with pytest.raises(DatasetError, match="no 'cannabis_ml' card"):
        CheckpointDataset(filepath=path).load()


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"photo_set": "f" * 64}, "photo_set: Extra inputs are not permitted"),  # of 0.1.0
        ({"image_size": "large"}, "image_size: Input should be a valid integer"),
        ({"validation_loss": "nan"}, "validation_loss: Input should be a finite number"),
        ({"taxonomy": {"heads": []}}, "it has no heads"),
        ({"taxonomy_sha256": "0" * 64}, "taxonomy_sha256 is of another taxonomy"),
    ],
)
def test_a_card_that_makes_no_sense_is_reported(tmp_path, said, complaint):
    path = tmp_path / "model.safetensors"
    card = {**CARD.model_dump(), **said}
    save_file({"a": np.zeros(1)}, path, metadata={"cannabis_ml": json.dumps(card)})
    with pytest.raises(DatasetError, match=f"makes no sense: (?s:.*){complaint}(?s:.*)train again"):
        CheckpointDataset(filepath=path).load()


def test_hash_of_a_checkpoint_is_that_of_its_file(tmp_path, checkpoint):
    path = tmp_path / "model.safetensors"
    checkpoint.write(path)
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert Checkpoint.read(path).sha256 == checkpoint.sha256


def test_tier_starts_from_the_checkpoint_that_is_configured_for_it(tmp_path, checkpoint):
    path = tmp_path / "model.safetensors"
    checkpoint.write(path)
    start = StartDataset(tier="tier3", checkpoints={"tier3": str(path), "tier1": None})
    assert start.load().sha256 == checkpoint.sha256


@pytest.mark.parametrize("checkpoints", [None, {}, {"tier3": None}, {"tier1": "x.safetensors"}])
def test_tier_without_a_configured_checkpoint_starts_from_none(checkpoints):
    assert StartDataset(tier="tier3", checkpoints=checkpoints).load() is None


def test_configured_checkpoint_that_is_not_there_is_an_error(tmp_path):
    start = StartDataset(tier="tier3", checkpoints={"tier3": str(tmp_path / "none")})
    with pytest.raises(
        DatasetError, match=r"no checkpoint .*none to start tier3 from.*start\.tier3"
    ):
        start.load()


@pytest.mark.parametrize(
    ("checkpoints", "complaint"),
    [({"teir3": "x"}, "no tier 'teir3'"), ("x.safetensors", "holds a path per tier")],
)
def test_checkpoints_to_start_from_are_given_by_tier(checkpoints, complaint):
    with pytest.raises(ConfigError, match=complaint):
        StartDataset(tier="tier3", checkpoints=checkpoints)


def test_checkpoint_to_start_from_is_read_only():
    with pytest.raises(DatasetError, match="read-only"):
        StartDataset(tier="tier3").save(object())
