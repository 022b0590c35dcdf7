"""One noun for many photos: rows of a split, pixels, labels, copies."""

import pickle

import datasets
import numpy as np
import pytest

from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import MISSING, Taxonomy

TAXONOMY = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "kind", "classes": ["leaf", "root"]},
            {"name": "look", "kind": "multilabel", "classes": ["red", "shiny"]},
        ]
    }
)
FEATURES = datasets.Features(
    {name: datasets.Value("string") for name in ("photo_id", "split", "kind")}
    | {"image": datasets.Image(), "look.red": datasets.Value("int8")}
)


def made(rows):
    names = ("photo_id", "image", "split", "kind", "look.red")
    table = [dict(zip(names, row, strict=True)) for row in rows]
    return PhotoSet(datasets.Dataset.from_list(table, features=FEATURES))


@pytest.fixture
def files(draw, encode):
    return [encode(draw(number, 12, 9), "PNG") for number in range(5)]


@pytest.fixture
def photos(files):
    """Five photos; the attribute `shiny` has no column."""
    images = [{"bytes": data, "path": None} for data in files]
    splits = ["test", "train", "calibration", "train", "validation"]
    kinds = ["leaf", "root", None, "leaf", "leaf"]
    return made(zip("abcde", images, splits, kinds, [1, 0, None, 1, 1], strict=True))


def test_rows_of_a_split_and_of_several(photos):
    assert photos.rows_of(Split.TRAIN).tolist() == [1, 3]
    assert photos.rows_of(Split.VALIDATION, Split.TEST).tolist() == [0, 4]
    assert photos.rows_of().tolist() == []
    assert photos.rows_of(*Split).tolist() == list(range(len(photos)))
    assert photos.rows_of(Split.TRAIN).dtype == np.int64


def test_pixels_and_stored_bytes_of_a_row(photos, files, draw):
    np.testing.assert_array_equal(photos.pixels(3), np.asarray(draw(3, 12, 9)))
    assert photos.stored(np.int64(2)) == files[2]


def test_labels_are_every_column_but_the_pixels(photos):
    table = photos.labels()
    assert set(table.columns) == {"photo_id", "split", "kind", "look.red"}
    assert table["photo_id"].tolist() == list("abcde")
    assert table["kind"].isna().tolist() == [False, False, True, False, False]
    assert list(photos.labels("split", "kind").columns) == ["split", "kind"]
    assert photos.labels_at(2) == {
        "photo_id": "c",
        "split": "calibration",
        "kind": None,
        "look.red": None,
    }


def test_labels_decode_no_photo():
    broken = {"bytes": b"not a photo at all", "path": None}
    photos = made([("x", broken, "test", "leaf", 1)])
    assert photos.labels()["kind"].tolist() == ["leaf"]
    assert photos.labels_at(0)["kind"] == "leaf"
    assert len(photos.fingerprint) == 64
    with pytest.raises(ValueError, match="not an image"):
        photos.pixels(0)


def test_encoded_labels_of_rows_and_of_all(photos):
    found = photos.encode(TAXONOMY)
    assert found["kind"].tolist() == [0, 1, MISSING, 0, 0]
    np.testing.assert_array_equal(found["look"][:, 0], [1, 0, np.nan, 1, 1])
    assert np.isnan(found["look"][:, 1]).all()  # there is no column for it
    some = photos.encode(TAXONOMY, np.array([3, 1, 1]))
    assert some["kind"].tolist() == [0, 1, 1]
    assert some["look"][:, 0].tolist() == [1, 0, 0]


def test_set_without_any_label_column_knows_nothing(photos):
    bare = PhotoSet(photos.arrow.remove_columns(["kind", "look.red"]))
    assert bare.encode(TAXONOMY)["kind"].tolist() == [MISSING] * 5


def test_copies_are_found_by_their_photo(photos):
    copies = PhotoSet(photos.arrow.select([1, 3, 1]))
    found = {name: rows.tolist() for name, rows in copies.rows_by_id().items()}
    assert found == {"b": [0, 2], "d": [1]}


def test_batches_hold_every_row_with_photos_as_stored(photos, files):
    rows = [row for batch in photos.batches() for row in batch.to_pylist()]
    assert [row["image"]["bytes"] for row in rows] == files
    assert [row["photo_id"] for row in rows] == list("abcde")


def test_a_worker_gets_paths_and_no_pixels(photos, tmp_path):
    photos.arrow.save_to_disk(str(tmp_path / "set"))
    stored = PhotoSet(datasets.load_from_disk(str(tmp_path / "set")))
    photo, fingerprint = stored.pixels(0), stored.fingerprint
    sent = pickle.dumps(stored)
    assert photos.stored(0) not in sent
    again = pickle.loads(sent)
    np.testing.assert_array_equal(again.pixels(0), photo)
    assert again.fingerprint == fingerprint
