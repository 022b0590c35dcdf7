import numpy as np
import pytest

from cannabis_ml.errors import ExportError
from cannabis_ml.pipelines.export import nodes
from cannabis_ml.pipelines.export.params import ExportParams
from cannabis_ml.taxonomy import Taxonomy


class FakeTier:
    """Answers with what it is given instead of a model."""

    def __init__(self, answers):
        self.answers = answers
        heads = [
            {"name": name, "kind": "multilabel" if name == "look" else "multiclass"}
            | {"classes": [f"c{k}" for k in range(probs.shape[1])]}
            for name, probs in answers.items()
        ]
        self.taxonomy = Taxonomy.model_validate({"heads": heads})

    def predict(self, photos):
        return self.answers


@pytest.fixture
def photo_set():
    import datasets
    from PIL import Image

    image = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    rows = {"image": [image] * 3, "split": ["test", "train", "test"]}
    features = datasets.Features({"image": datasets.Image(), "split": datasets.Value("string")})
    return datasets.Dataset.from_dict(rows, features=features)


@pytest.fixture
def compare(monkeypatch, photo_set):
    """Run `check_parity` with given answers of the model and of PyTorch."""
    import cannabis_ml.inference.onnx_tier
    import cannabis_ml.models.onnx_export

    def run(ours, torchs):
        monkeypatch.setattr(cannabis_ml.inference.onnx_tier, "OnnxTier", FakeTier)
        monkeypatch.setattr(
            cannabis_ml.models.onnx_export, "torch_answers", lambda checkpoint, photos: torchs
        )
        return nodes.check_parity(ours, "checkpoint", photo_set, ExportParams(max_difference=1e-3))

    return run


def test_only_test_photos_are_compared(compare):
    same = {"type": np.array([[0.2, 0.8], [0.9, 0.1]])}
    _, report = compare(same, same)
    assert report["photos"] == 2


def test_report_gives_largest_difference_and_share_of_same_answers(compare):
    ours = {"type": np.array([[0.5004, 0.4996], [0.9, 0.1]])}
    torchs = {"type": np.array([[0.4999, 0.5001], [0.9, 0.1]])}
    _, report = compare(ours, torchs)
    assert report["heads"]["type"]["largest_difference"] == pytest.approx(5e-4)
    assert report["heads"]["type"]["same_answer"] == 0.5


@pytest.mark.parametrize("wrong", [0.0011, float("nan")])
def test_model_that_answers_otherwise_is_refused(compare, wrong):
    torchs = {"type": np.array([[0.2, 0.8], [0.9, 0.1]]), "look": np.array([[0.3], [0.3]])}
    ours = {**torchs, "look": torchs["look"] + wrong}
    with pytest.raises(ExportError, match="'look' by") as told:
        compare(ours, torchs)
    assert "'type'" not in str(told.value)
