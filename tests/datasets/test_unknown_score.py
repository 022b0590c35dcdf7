import numpy as np
import pytest
from kedro.io import DatasetError

from cannabis_ml.datasets.unknown_score import UnknownScoreDataset
from cannabis_ml.inference.unknown import UnknownScore

SCORE = UnknownScore(
    "knn",
    "kind",
    {"bank": np.eye(4, dtype=np.float32)},
    {"k": 2.0},
    threshold=0.5,
    kept=0.9,
    groups=40,
)


def test_a_score_comes_back_as_it_was(tmp_path):
    dataset = UnknownScoreDataset(filepath=str(tmp_path / "score.npz"))
    dataset.save(SCORE)
    found = dataset.load()
    assert found.to_bytes() == SCORE.to_bytes()
    assert (found.threshold, found.kept, found.groups) == (0.5, 0.9, 40)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "score.npz"
    UnknownScoreDataset(filepath=str(path)).save(SCORE)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DatasetError, match="cannot be read"):
        UnknownScoreDataset(filepath=str(path)).load()
