import json

import numpy as np
import pytest
from kedro.io.core import DatasetError, Version
from safetensors.numpy import save_file

from cannabis_ml.datasets.checkpoint import CheckpointDataset
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


def test_file_of_another_kind_is_told_apart(tmp_path):
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
def test_a_card_that_makes_no_sense_is_told(tmp_path, said, complaint):
    path = tmp_path / "model.safetensors"
    card = {**CARD.model_dump(), **said}
    save_file({"a": np.zeros(1)}, path, metadata={"cannabis_ml": json.dumps(card)})
    with pytest.raises(DatasetError, match=f"makes no sense: (?s:.*){complaint}(?s:.*)train again"):
        CheckpointDataset(filepath=path).load()
