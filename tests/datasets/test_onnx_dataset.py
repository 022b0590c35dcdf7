import onnx
import pytest
from kedro.io import DatasetError, Version
from onnx import TensorProto, helper

from cannabis_ml.datasets.onnx import OnnxDataset

OLDER, NEWER = "2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z"


def small_model(about="Blüte"):
    """Adds a weight to what it is given."""
    shape = ["n", 3]
    graph = helper.make_graph(
        [helper.make_node("Add", ["photos", "weight"], ["type"])],
        "small",
        [helper.make_tensor_value_info("photos", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("type", TensorProto.FLOAT, shape)],
        [helper.make_tensor("weight", TensorProto.FLOAT, [3], [0.25, -1.5, 3e-8])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {"about": about})
    return model


@pytest.fixture
def dataset(tmp_path):
    return OnnxDataset(filepath=str(tmp_path / "deep" / "model.onnx"))


@pytest.fixture
def saved(dataset):
    dataset.save(small_model())
    return dataset


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "model.onnx"


def test_round_trip(dataset):
    assert not dataset.exists()
    dataset.save(small_model())
    assert dataset.exists()
    assert dataset.load() == small_model()
    onnx.checker.check_model(dataset.load())


def test_file_is_what_other_tools_read(saved, path):
    assert onnx.load(path) == small_model()


def test_saving_again_replaces(saved, path):
    saved.save(small_model("another"))
    assert saved.load() == small_model("another")
    assert [p.name for p in path.parent.iterdir()] == ["model.onnx"]


def test_versions(path):
    def at(version):
        return OnnxDataset(filepath=str(path), version=version)

    assert not at(Version(None, None)).exists()
    for when in (OLDER, NEWER):
        at(Version(None, when)).save(small_model(when))
        assert (path / when / "model.onnx").is_file()
    assert at(Version(None, None)).exists()
    assert at(Version(None, None)).load() == small_model(NEWER)
    assert at(Version(OLDER, None)).load() == small_model(OLDER)


def test_a_version_is_never_overwritten(path):
    version = Version(None, OLDER)
    OnnxDataset(filepath=str(path), version=version).save(small_model("first"))
    with pytest.raises(DatasetError, match="must not exist"):
        OnnxDataset(filepath=str(path), version=version).save(small_model("second"))
    assert OnnxDataset(filepath=str(path), version=version).load() == small_model("first")


def test_missing_file_is_named(dataset):
    with pytest.raises(DatasetError, match=r"model\.onnx"):
        dataset.load()


@pytest.mark.parametrize("damage", ["cut", "half", "photo", "text", "pointer"])
def test_damaged_file_is_named(saved, path, damage):
    whole = path.read_bytes()
    damaged = {
        "cut": whole[:-3],
        "half": whole[: len(whole) // 2],
        "photo": b"\xff\xd8\xff\xe0" + bytes(range(100)),
        "text": b"hello there, no model",
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
    }[damage]
    path.write_bytes(damaged)
    with pytest.raises(DatasetError, match=r"deep/model\.onnx is not an ONNX model"):
        saved.load()


def test_empty_file_is_named(saved, path):
    path.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"deep/model\.onnx is not a whole ONNX model: 0 bytes"):
        saved.load()


class Unwritable:
    def SerializeToString(self):  # noqa: N802
        raise ValueError("too large for protobuf")


def test_failed_save_leaves_the_older_file_and_nothing_else(saved, path):
    with pytest.raises(DatasetError, match="too large"):
        saved.save(Unwritable())
    assert [p.name for p in path.parent.iterdir()] == ["model.onnx"]
    assert saved.load() == small_model()


def test_save_that_breaks_off_leaves_the_older_file(saved, path, monkeypatch):
    def full(aside, data):
        with aside.open("wb") as file:
            file.write(data[:10])
        raise OSError("No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(DatasetError, match="No space left"):
        saved.save(small_model("another"))
    assert [p.name for p in path.parent.iterdir()] == ["model.onnx"]
    assert saved.load() == small_model()


def test_metadata_is_kept_for_plugins(path):
    metadata = {"mlflow": {"artifact": "model"}}
    assert OnnxDataset(filepath=str(path), metadata=metadata).metadata == metadata
