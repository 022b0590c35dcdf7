"""What is no image, whatever it is called."""

import pytest


@pytest.mark.parametrize(
    "data", [b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7"]
)
def test_other_files(data, told):
    assert set(told(data)) == {"not_an_image"}


def test_photo_under_a_wrong_name_is_one(told, encode):
    assert "not_an_image" not in told(encode(), "photo.txt")
