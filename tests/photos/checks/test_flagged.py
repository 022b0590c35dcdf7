"""What a person may want to look at is flagged, and what merely looks unusual is not."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

# ------------------------------------------------------------------ blurred


def texture(side):
    """Blobs a hundredth of the photo in size."""
    rng = np.random.default_rng(0)
    cells = Image.fromarray(rng.integers(0, 256, (100, 100, 3), dtype=np.uint8))
    return cells.resize((side, side), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("side", [256, 700, 2048])
def test_blur_of_a_twentieth_of_the_photo(side, told, encode):
    sharp = texture(side)
    assert "blurred" not in told(encode(sharp, quality=92))
    assert "blurred" in told(encode(sharp.filter(ImageFilter.GaussianBlur(side / 40)), quality=92))


def test_blur_threshold(told, encode):
    data = encode(texture(256))
    assert "blurred" in told(data, blurred_below=1e6)
    assert "blurred" not in told(data, blurred_below=0)


def test_few_false_alarms(told, real_photos):
    """At most 1 in 100, of photos that people published as good."""
    photos = sorted(real_photos.glob("plantdoc_256/t*/*/*"))[::10]
    flagged = [path for path in photos if "blurred" in told(path.read_bytes())]
    assert len(flagged) <= len(photos) / 100


# ------------------------------------------------------------------ dark


def scaled(image, top):
    return Image.fromarray((np.asarray(image) * (top / 255)).astype(np.uint8))


def test_dark_photo(told, draw, encode):
    assert "dark" in told(encode(scaled(draw(1, 256, 256), 40)))
    assert "dark" not in told(encode(draw(1, 256, 256)))


def test_bright_subject_on_black(told, draw, encode):
    image = Image.new("RGB", (256, 256))
    image.paste(Image.new("RGB", (64, 64), (120, 200, 90)), (96, 96))  # a sixteenth of it
    assert "dark" not in told(encode(image))


def test_darkness_threshold(told, encode):
    data = encode(Image.new("RGB", (64, 64), (70, 70, 70)), "PNG")
    assert "dark" not in told(data, dark_below=70)
    assert "dark" in told(data, dark_below=71)


# ------------------------------------------------------------------ burnt_out


@pytest.mark.parametrize(("side", "is_burnt"), [(60, True), (90, False), (200, False)])
def test_subject_on_white(side, is_burnt, told, draw, encode):
    image = Image.new("RGB", (256, 256), "white")  # 60 x 60 of it is 5%, 90 x 90 12%
    image.paste(draw(1, side, side), (20, 20))
    assert ("burnt_out" in told(encode(image, "PNG"), "x.png")) == is_burnt


def test_white_alone(told, encode):
    found = told(encode(Image.new("RGB", (64, 64), (251, 252, 250)), "PNG"), "x.png")
    assert set(found) == {"burnt_out", "almost_uniform", "blurred"}
    assert found["burnt_out"].startswith("100%")


# ------------------------------------------------------------------ almost_uniform


def test_noise_on_a_wall(told, encode):
    noise = np.random.default_rng(0).normal(120, 4, (128, 128, 3)).clip(0, 255).astype(np.uint8)
    assert "almost_uniform" in told(encode(Image.fromarray(noise), "PNG"))


def test_color_alone_may_vary(told, encode):
    """Red and green of the same luma."""
    image = Image.new("RGB", (64, 64), (153, 0, 0))
    image.paste((0, 78, 0), (0, 0, 32, 64))
    assert "almost_uniform" not in told(encode(image, "PNG"))


def test_uniformity_threshold(told, draw, encode):
    data = encode(draw())
    assert "almost_uniform" in told(data, almost_uniform_below=255)
    assert "almost_uniform" not in told(data, almost_uniform_below=0)
