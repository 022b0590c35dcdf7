"""Sample photos are drawn when they are first wanted."""

from pathlib import Path

import pandas as pd
from PIL import Image

from cannabis_ml.datasets.source_photos import SourcePhotosDataset


def test_photos_are_drawn_once(tmp_path, load):
    source = {"kind": "sample", "path": str(tmp_path), "count": 3, "seed": 1, "size": 32}
    dataset = SourcePhotosDataset(source=source | {"workers": 1})
    assert not dataset.exists()
    photos = dataset.load()
    assert len(photos) == 3
    assert all(Image.open(path).size for path in photos["path"])
    assert dataset.exists()
    times = [Path(path).stat().st_mtime_ns for path in photos["path"]]
    again = dataset.load()
    pd.testing.assert_frame_equal(photos, again)
    assert times == [Path(path).stat().st_mtime_ns for path in again["path"]]


def test_other_settings_and_renderers_get_other_folders(tmp_path, monkeypatch):
    from cannabis_ml.photo_sets.sources import sample

    def folder(**changed):
        source = {"kind": "sample", "path": str(tmp_path), "count": 3, "seed": 1, "size": 32}
        return SourcePhotosDataset(source=source | changed)._sources["sample"].folder

    folders = {folder(), folder(count=4), folder(seed=2), folder(size=64)}
    monkeypatch.setattr(sample, "renderer_version", lambda: "newer")
    assert len(folders | {folder()}) == 5
