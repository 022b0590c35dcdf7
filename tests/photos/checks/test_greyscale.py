"""Photos of one channel are noted."""

import pytest


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey(mode, told, draw, encode):
    assert "greyscale" in told(encode(draw().convert(mode), "PNG"), "x.png")


def test_colour(told, encode):
    assert "greyscale" not in told(encode())
