import json

import pytest
from kedro.io import DatasetError, Version

from cannabis_ml.datasets.model_file import ModelFile, ModelFilesDataset

FILES = {
    "float": ModelFile(b"one", "tflite"),
    "quantized": ModelFile(b"other", "onnx", "dynamic_int8"),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "models"


@pytest.fixture
def saved(path):
    dataset = ModelFilesDataset(filepath=str(path))
    assert not dataset.exists()
    dataset.save(FILES)
    assert dataset.exists()
    return dataset


def test_round_trip(saved, path):
    assert saved.load() == FILES
    names = ["float.float.tflite", "index.json", "quantized.dynamic_int8.onnx"]
    assert sorted(p.name for p in path.iterdir()) == names


def test_saving_again_replaces_all(saved, path):
    saved.save({"float": FILES["float"]})
    assert list(saved.load()) == ["float"]
    assert [p.name for p in path.parent.iterdir()] == ["models"]


def test_a_failed_save_leaves_the_older_files(saved, path, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(DatasetError, match="No space"):
        saved.save({"float": ModelFile(b"newer", "onnx")})
    assert saved.load() == FILES
    assert [p.name for p in path.parent.iterdir()] == ["models"]


def test_versions_are_kept_beside_each_other(path):
    for day in ("01", "02"):
        version = Version(None, f"2026-01-{day}T00.00.00.000Z")
        ModelFilesDataset(filepath=str(path), version=version).save(
            {"float": ModelFile(day.encode(), "onnx")}
        )
    newest = ModelFilesDataset(filepath=str(path), version=Version(None, None))
    assert newest.load()["float"].data == b"02"


def test_an_altered_file_is_named(saved, path):
    (path / "float.float.tflite").write_bytes(b"onf")
    with pytest.raises(DatasetError, match=r"float\.float\.tflite .* not the file that was saved"):
        saved.load()


def test_a_missing_file_is_named(saved, path):
    (path / "float.float.tflite").unlink()
    with pytest.raises(DatasetError, match=r"float\.float\.tflite is missing"):
        saved.load()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": {"a": 1}}', '{"files": {"a": {}}}'])
def test_a_broken_index_is_named(saved, path, text):
    (path / "index.json").write_text(text)
    with pytest.raises(DatasetError, match=r"index\.json is not an index"):
        saved.load()


def test_an_index_may_not_name_files_elsewhere(saved, path, tmp_path):
    (tmp_path / "secret").write_bytes(b"one")
    index = json.loads((path / "index.json").read_text())
    index["files"]["float"]["file"] = "../../secret"
    (path / "index.json").write_text(json.dumps(index))
    with pytest.raises(DatasetError, match="not beside it"):
        saved.load()


@pytest.mark.parametrize("name", ["../float", "a.b", "", "a/b"])
def test_a_name_that_makes_no_file_name_is_refused(path, name):
    with pytest.raises(DatasetError, match="file's name"):
        ModelFilesDataset(filepath=str(path)).save({name: FILES["float"]})
    assert not path.exists()


def test_metadata_is_kept_for_plugins(path):
    assert ModelFilesDataset(filepath=str(path), metadata={"a": 1}).metadata == {"a": 1}
