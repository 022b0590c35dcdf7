"""A short side below the limit."""

import pytest


@pytest.mark.parametrize(
    ("size", "is_small"), [((32, 32), False), ((31, 400), True), ((400, 31), True)]
)
def test_short_side_counts(size, is_small, told, draw, encode):
    assert ("too_small" in told(encode(draw(1, *size)))) == is_small


def test_limit_can_be_lifted(told, draw, encode):
    assert "too_small" not in told(encode(draw(1, 3, 3)), too_small_side=0)
