"""Drawn photos of nothing that the taxonomy knows."""

import csv

import numpy as np
import pytest

from cannabis_ml.photos.decode import decode
from cannabis_ml.sample_photos.unknown_photos import KINDS, draw_unknown, write_unknown_photos


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_a_photo_of_the_size_that_was_asked_for(kind):
    for index in range(8):
        pixels = draw_unknown(kind, index, 42, 64)
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3
        assert 64 <= max(pixels.shape) <= 80
        assert pixels.std() > 3  # something is on it


@pytest.mark.parametrize("kind", KINDS)
def test_a_photo_depends_on_its_arguments_alone(kind):
    first = draw_unknown(kind, 3, 42, 48)
    draw_unknown(kind, 4, 42, 48)
    np.testing.assert_array_equal(first, draw_unknown(kind, 3, 42, 48))
    for other in (draw_unknown(kind, 4, 42, 48), draw_unknown(kind, 3, 43, 48)):
        assert other.shape != first.shape or (other != first).any()


def test_kinds_take_turns_and_the_table_lists_every_photo(tmp_path):
    folder = write_unknown_photos(tmp_path / "unknown", 8, seed=1, size=32)
    with (folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == [*KINDS, *KINDS[:2]]
    for row in rows:
        assert decode((folder / row["path"]).read_bytes()).ndim == 3
    again = write_unknown_photos(tmp_path / "again", 8, seed=1, size=32)
    for row in rows:
        assert (folder / row["path"]).read_bytes() == (again / row["path"]).read_bytes()


def test_an_error_leaves_nothing_behind(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("cannabis_ml.sample_photos.unknown_photos.draw_unknown", broken)
    with pytest.raises(OSError, match="No space"):
        write_unknown_photos(tmp_path / "unknown", 2, seed=1, size=32)
    assert list(tmp_path.iterdir()) == []
