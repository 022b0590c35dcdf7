"""A dark photo is flagged, a bright subject on black is not."""

import numpy as np
from PIL import Image


def scaled(image, top):
    return Image.fromarray((np.asarray(image) * (top / 255)).astype(np.uint8))


def test_dark_photo(told, draw, encode):
    assert "dark" in told(encode(scaled(draw(1, 256, 256), 40)))
    assert "dark" not in told(encode(draw(1, 256, 256)))


def test_bright_subject_on_black(told, draw, encode):
    image = Image.new("RGB", (256, 256))
    image.paste(Image.new("RGB", (64, 64), (120, 200, 90)), (96, 96))  # a sixteenth of it
    assert "dark" not in told(encode(image))


def test_threshold(told, encode):
    data = encode(Image.new("RGB", (64, 64), (70, 70, 70)), "PNG")
    assert "dark" not in told(data, dark_below=70)
    assert "dark" in told(data, dark_below=71)
