"""A photo that is nearly all white is flagged, a subject on white is not."""

import pytest
from PIL import Image


@pytest.mark.parametrize(("side", "is_burnt"), [(60, True), (90, False), (200, False)])
def test_subject_on_white(side, is_burnt, told, draw, encode):
    image = Image.new("RGB", (256, 256), "white")  # 60 x 60 of it is 5%, 90 x 90 12%
    image.paste(draw(1, side, side), (20, 20))
    assert ("burnt_out" in told(encode(image, "PNG"), "x.png")) == is_burnt


def test_white_alone(told, encode):
    found = told(encode(Image.new("RGB", (64, 64), (251, 252, 250)), "PNG"), "x.png")
    assert set(found) == {"burnt_out", "almost_uniform", "blurred"}
    assert found["burnt_out"].startswith("100%")
