"""Photos that may be transparent are noted, however they say so."""


def test_alpha(told, draw, encode):
    image = draw().convert("RGBA")
    image.putalpha(draw(1).convert("L"))
    assert set(told(encode(image, "PNG"), "x.png")) == {"alpha"}
    assert set(told(encode(image, "WEBP"), "x.webp")) == {"alpha"}
    see_through = encode(draw().convert("P"), "PNG", transparency=0)
    assert set(told(see_through, "x.png")) == {"palette", "alpha"}
    assert "alpha" not in told(encode(kind="PNG"), "x.png")
