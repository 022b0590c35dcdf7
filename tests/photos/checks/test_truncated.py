"""A photo that ends too early, wherever it was cut."""

import pytest


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_cut_files(kind, share, told, draw, encode):
    data = encode(draw(1, 640, 480), kind)
    assert set(told(data[: int(len(data) * share)])) == {"truncated"}


def test_every_end_of_a_jpeg_is_missed(told, draw, encode):
    data = encode(draw(1, 64, 48), progressive=False)
    for end in range(len(data) - 40, len(data)):
        assert set(told(data[:end])) == {"truncated"}


def test_download_into_reserved_space(told, draw, encode):
    data = encode(draw(1, 640, 480))
    half = data[: len(data) // 2]
    assert set(told(half + bytes(len(data) - len(half)))) == {"truncated"}


def test_preview_has_an_end_of_its_own(told, draw, encode):
    """An EXIF thumbnail is a whole JPEG within the file."""
    preview = b"Exif\0\0" + encode(draw(2, 32, 24))
    data = encode(draw(1, 640, 480))
    segment = b"\xff\xe1" + (len(preview) + 2).to_bytes(2, "big") + preview
    whole = data[:2] + segment + data[2:]
    assert told(whole) == {}
    half = whole[: len(whole) // 2]
    assert set(told(half + bytes(9999))) == {"truncated"}


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_what_cameras_append_does_no_harm(options, told, draw, encode):
    data = encode(draw(1, 640, 480), **options)
    assert told(data) == {}
    assert told(data + b"MotionPhoto" + bytes(5000)) == {}
