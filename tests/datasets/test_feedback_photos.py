import pandas as pd

from cannabis_ml.datasets.feedback_photos import FeedbackPhotosDataset
from cannabis_ml.photo_sets.feedback_source import empty_feedback_photos


def test_photos_of_feedback_are_shown_also_before_there_are_any(tmp_path):
    entry = FeedbackPhotosDataset(filepath=(tmp_path / "photos.parquet").as_posix())
    assert list(entry.load().columns) == list(empty_feedback_photos().columns)
    assert entry.preview()["columns"] == list(empty_feedback_photos().columns)
    assert entry.preview()["data"] == []
    entry.save(pd.DataFrame({"photo_id": ["a"]}))
    assert entry.preview()["data"] == [["a"]]
