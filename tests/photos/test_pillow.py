"""Decoding leaves Pillow and the warnings of the program that we are part of as they were."""

import io
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from cannabis_ml.photos.decode import decode, has_photo_header, read_header
from cannabis_ml.photos.pillow import FORMATS, open_image, without_warnings

BROKEN_EXIF = b"Exif\0\0II*\0\x08\0\0\0\xff\0\x01\0"
"""Says that 255 entries follow."""


@pytest.fixture
def warned_of(encode, draw):
    """A photo that Pillow warns of, and that decodes all the same."""
    return encode(draw(), exif=BROKEN_EXIF)


def test_import_changes_nothing_of_the_program():
    code = """
import warnings
import cv2, numpy  # NumPy adds filters of its own
from PIL import Image
before = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
import cannabis_ml.photos.decode, cannabis_ml.inference
assert before == (Image.MAX_IMAGE_PIXELS, list(warnings.filters))
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pillow_warns_of_the_photo_that_these_tests_use(warned_of):
    with pytest.warns(UserWarning, match="EXIF"), Image.open(io.BytesIO(warned_of)) as image:
        image.getexif()


@pytest.mark.parametrize("read", [decode, read_header])
def test_photos_decode_where_warnings_are_errors(read, warned_of):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        read(warned_of)
        assert list(warnings.filters) == before
        with pytest.raises(UserWarning):
            Image.open(io.BytesIO(warned_of)).getexif()


def test_limit_of_the_program_is_neither_asked_nor_changed(draw, encode, tmp_path, monkeypatch):
    data = encode(draw(width=48, height=40))
    (tmp_path / "photo.jpg").write_bytes(data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    assert decode(data).shape == (40, 48, 3)
    assert has_photo_header(tmp_path / "photo.jpg")
    assert Image.MAX_IMAGE_PIXELS == 500
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(data))


def test_threads_that_decode_at_once_leave_the_filters_as_they_were(warned_of):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        with ThreadPoolExecutor(8) as pool:
            photos = list(pool.map(decode, [warned_of] * 200))
        assert list(warnings.filters) == before
    assert all(np.array_equal(photo, photos[0]) for photo in photos)


def test_filter_stays_until_the_last_thread_is_out_and_others_outlast_it():
    inside, leave = threading.Event(), threading.Event()

    def decode_for_long():
        with without_warnings():
            inside.set()
            leave.wait()

    with warnings.catch_warnings():
        before = list(warnings.filters)
        thread = threading.Thread(target=decode_for_long)
        thread.start()
        inside.wait()
        with without_warnings():
            assert len(warnings.filters) == len(before) + 1
        assert len(warnings.filters) == len(before) + 1
        warnings.filterwarnings("ignore", message="added by the program meanwhile")
        leave.set()
        thread.join()
        assert list(warnings.filters)[1:] == before
        assert warnings.filters[0][1].pattern == "added by the program meanwhile"


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_opens_as_pillow_opens_it(kind, draw, encode):
    data = encode(draw(), kind)
    with open_image(io.BytesIO(data)) as ours, Image.open(io.BytesIO(data)) as theirs:
        assert (ours.format, ours.mode, ours.size) == (theirs.format, theirs.mode, theirs.size)
        assert ours.format == kind


@pytest.mark.parametrize("data", [b"", b"text", b"%!PS-Adobe-3.0 EPSF-3.0", b"\xff\xd8\xff"])
def test_what_is_not_one_of_the_formats_is_refused(data):
    with pytest.raises(Image.UnidentifiedImageError):
        open_image(io.BytesIO(data))
