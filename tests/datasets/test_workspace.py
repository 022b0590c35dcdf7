import pytest
from kedro.io import DatasetError

from cannabis_ml.datasets.workspace import WorkspaceDataset


def test_folder_is_made_on_first_load_and_keeps_what_is_in_it(tmp_path):
    workspace = WorkspaceDataset(filepath=str(tmp_path / "a/b"))
    assert not (tmp_path / "a").exists()
    (workspace.load() / "state").write_text("kept")
    assert (workspace.load() / "state").read_text() == "kept"


def test_folder_does_not_follow_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = WorkspaceDataset(filepath="here").load()
    assert folder == tmp_path / "here"


def test_nothing_can_be_saved_to_it(tmp_path):
    with pytest.raises(DatasetError, match="is a workspace"):
        WorkspaceDataset(filepath=str(tmp_path)).save(tmp_path)
