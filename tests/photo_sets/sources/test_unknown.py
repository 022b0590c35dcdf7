from pathlib import Path

from cannabis_ml.datasets.source_photos import SourcePhotosDataset


def test_photos_are_drawn_on_first_use_with_their_kind(tmp_path):
    source = {"kind": "unknown", "path": str(tmp_path), "count": 7, "seed": 1, "size": 32}
    dataset = SourcePhotosDataset(source=source)
    assert not dataset.exists()
    photos = dataset.load()
    assert dataset.exists()
    assert len(photos) == 7
    assert photos["kind"].nunique() == 6
    assert set(photos["source"]) == {"unknown"}
    times = [Path(path).stat().st_mtime_ns for path in photos["path"]]
    assert times == [Path(path).stat().st_mtime_ns for path in dataset.load()["path"]]
    other = SourcePhotosDataset(source=source | {"seed": 2})
    assert not other.exists()
