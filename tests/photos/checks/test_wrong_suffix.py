"""The name may say what it likes; what the bytes say counts, and the difference is noted."""

import pytest


@pytest.mark.parametrize(
    ("kind", "path", "is_wrong"),
    [
        ("PNG", "x.jpg", True),
        ("JPEG", "x.png", True),
        ("WEBP", "x.jpeg", True),
        ("JPEG", "x", True),
        ("JPEG", "x.JPG", False),
        ("JPEG", "a.b/x.jfif", False),
        ("TIFF", "x.tif", False),
        ("JPEG2000", "x.jp2", False),
    ],
)
def test_names(kind, path, is_wrong, told, encode):
    assert ("wrong_suffix" in told(encode(kind=kind), path)) == is_wrong
