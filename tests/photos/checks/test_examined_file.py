"""What is measured of a photo, against numbers worked out by hand."""

import numpy as np
import pytest
from PIL import Image

from cannabis_ml.photos.checks.examined_file import WORKING_SIDE, examine_bytes, examine_file
from cannabis_ml.photos.checks.params import DefectParams


def examined(image, encode):
    return examine_bytes("x.png", encode(image, "PNG"), DefectParams())


def test_border_is_the_outer_twentieth(encode):
    image = Image.new("RGB", (100, 60), (10, 20, 30))
    image.paste((200, 200, 200), (5, 3, 95, 57))
    assert examined(image, encode).border == (10, 20, 30)


def test_brightness_is_mean_luma(encode):
    image = Image.new("RGB", (64, 64), (255, 0, 0))
    assert examined(image, encode).brightness == pytest.approx(0.299 * 255, abs=0.5)


def test_sharpness_is_the_variance_of_the_laplacian(encode):
    # Columns 0, 100, 0, 100, …: a pixel's neighbours left and right are the other value, so the
    # Laplacian is ±200 (at the edge too, where OpenCV mirrors): variance 200**2.
    columns = np.tile(np.array([0, 100], np.uint8), (64, 32))
    assert examined(Image.fromarray(columns).convert("RGB"), encode).sharpness == pytest.approx(
        40_000
    )


def test_large_photos_are_judged_at_the_working_size(draw, encode):
    small = examine_bytes("x.jpg", encode(draw(1, 2000, 1500)), DefectParams()).photo
    assert min(small.pixels.shape[:2]) == WORKING_SIDE
    assert (small.width, small.height) == (2000, 1500)


def test_what_cannot_be_opened_is_reported(tmp_path, monkeypatch, write_photo):
    path = write_photo(tmp_path / "x.jpg")
    monkeypatch.setattr(
        "pathlib.Path.read_bytes", lambda _: (_ for _ in ()).throw(PermissionError(13, "no"))
    )
    found = examine_file(str(path), DefectParams())
    assert found.failure.defect == "unreadable"
    assert found.bytes == path.stat().st_size
