import logging
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from cannabis_ml._io import drawing
from cannabis_ml._io.drawing import Figure

NO_FONT = "\U00010486"
"""A letter of Osmanya, an alphabet that few fonts have."""


def pixels(figure):
    figure.set_dpi(60)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba()).copy()


def written(text, **properties):
    figure = Figure(figsize=(4, 1))
    figure.text(0.1, 0.4, text, **properties)
    return pixels(figure)


def in_every_place(word):
    """A figure that has the word wherever a figure can have one."""
    figure = Figure(figsize=(4, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], label=word)
    axes.set(title=word, xlabel=word, ylabel=word)
    axes.set_xticks([0, 1], [word, word])
    axes.set_yticks([0.5], [word], minor=True)
    axes.text(0, 0, word)
    axes.annotate(word, (0.5, 0.5))
    figure.suptitle(word)
    figure.supxlabel(word)
    figure.legend(*axes.get_legend_handles_labels())
    axes.legend()
    return figure


@pytest.fixture
def fonts(tmp_path, monkeypatch):
    """Makes and installs fonts while a test runs; Matplotlib's list does not have them yet."""
    manager = font_manager.fontManager
    monkeypatch.setattr(manager, "ttflist", list(manager.ttflist))
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: map(str, tmp_path.glob("*.ttf")))
    for cached in (drawing._families, drawing._own_letters, drawing._warn_once):
        cached.cache_clear()
    manager._findfont_cached.cache_clear()

    def install(family, letters):
        pen = TTGlyphPen(None)
        for point in ((0, 0), (0, 700), (500, 700)):
            (pen.lineTo if pen.points else pen.moveTo)(point)
        pen.closePath()
        triangle = pen.glyph()
        names = [".notdef", *(f"u{ord(letter):05X}" for letter in letters)]
        font = FontBuilder(1000, isTTF=True)
        font.setupGlyphOrder(names)
        font.setupCharacterMap({ord(x): n for x, n in zip(letters, names[1:], strict=True)})
        font.setupGlyf(dict.fromkeys(names, triangle))
        font.setupHorizontalMetrics(dict.fromkeys(names, (600, 0)))
        font.setupHorizontalHeader(ascent=800, descent=-200)
        font.setupNameTable({"familyName": family, "styleName": "Regular"})
        font.setupOS2()
        font.setupPost()
        font.save(Path(tmp_path) / f"{family}.ttf")

    return install


@pytest.mark.parametrize("name", ["$", "$$", "$5-$10", "$5_$10", r"\$", r"$\frac$", "a$^2$", "%{}"])
def test_words_stand_as_they_are_wherever_they_are(name):
    figure = in_every_place(name)
    pixels(figure)
    words = [text for text in figure.findobj(Text) if text.get_text() == name]
    assert len(words) >= 12
    assert not [word for word in words if word.get_parse_math() or word.get_usetex()]


def test_what_a_person_has_set_for_mathematics_does_not_matter(monkeypatch):
    import matplotlib

    expected = written("$5-$10")
    monkeypatch.setitem(matplotlib.rcParams, "text.usetex", True)
    np.testing.assert_array_equal(written("$5-$10"), expected)


def test_dollars_are_drawn():
    for other in ("5-10", "$5-10", "5-$10"):
        assert (written("$5-$10") != written(other)).any()


def test_numbers_on_a_logarithmic_axis_stay_powers_of_ten():
    figure = Figure()
    axes = figure.subplots()
    axes.plot([1e-7, 1], [0, 1])
    axes.set_xscale("log")
    pixels(figure)
    labels = [label for label in axes.get_xticklabels() if label.get_text()]
    assert labels
    assert all(label.get_parse_math() for label in labels)


def test_letters_come_from_fonts_that_have_them(fonts):
    fonts("Test Script", NO_FONT + "\u4e2d")
    figure = in_every_place(f"a {NO_FONT}")
    pixels(figure)
    words = [text for text in figure.findobj(Text) if NO_FONT in text.get_text()]
    assert all(word.get_fontfamily()[-1] == "Test Script" for word in words)
    # The glyph is a filled triangle, the box of a missing one is hollow.
    assert (written(NO_FONT) < 250).any()


def test_as_few_fonts_as_possible_are_mixed(fonts):
    fonts("A", "\U00010486")
    fonts("B", "\U00010486\U00010487\U00010488")
    fonts("C", "\U00010489")
    assert drawing.fallback_families(frozenset("\U00010486\U00010488\U00010489")) == ["B", "C"]


def test_a_font_of_boxes_has_no_letters(fonts, caplog):
    fonts("Last Resort Of Mine", NO_FONT)
    assert drawing.fallback_families(frozenset(NO_FONT)) == []
    assert "Osmanya" in caplog.text


def test_what_cannot_be_drawn_is_reported_once_with_what_to_install(fonts, caplog):
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        with pytest.warns(UserWarning, match="missing from font"):
            written(f"{NO_FONT} \u4e2d \u0915")
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert "Osmanya" in told[0]
    assert "apt-get install fonts-noto-cjk fonts-noto-core`" in told[0]


def test_blanks_and_joiners_need_no_font(fonts, caplog):
    fonts("Test Script", NO_FONT)
    written(f"a\u00a0b\u200d\n{NO_FONT}\ufe0f")
    assert not caplog.records


def test_broken_fonts_do_no_harm(fonts, tmp_path):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    fonts("Test Script", NO_FONT)
    assert drawing.fallback_families(frozenset(NO_FONT)) == ["Test Script"]
