"""Inks are noted, RGB is not."""


def test_cmyk(told, draw, encode):
    assert set(told(encode(draw().convert("CMYK")))) == {"cmyk"}
    assert "cmyk" not in told(encode())
