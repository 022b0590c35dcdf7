"""Photos with a colour table are noted."""


def test_palette(told, draw, encode):
    assert set(told(encode(draw().convert("P"), "PNG"), "x.png")) == {"palette"}
    assert set(told(encode(draw(), "GIF"), "x.gif")) == {"palette"}
    assert "palette" not in told(encode())
