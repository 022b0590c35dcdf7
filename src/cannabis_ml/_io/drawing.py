"""Figures whose words stand as they are: every figure of the project is one of these.

Class names are anything: `$5-$10`, which Matplotlib takes for mathematics, or Chinese, for which
its own font has no letters.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from matplotlib import figure as _figure
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FuncFormatter

logger = logging.getLogger(__name__)

__all__ = ["Axes", "Figure"]

PREFERRED = (
    *("noto sans cjk sc", "noto sans", "noto", "source han sans"),
    *("microsoft", "pingfang", "hiragino", "arial"),
)
"""Beginnings of names of font families, in lower case, the first choice first: plain ones, made for
reading. Others serve too."""

PLACEHOLDERS = ("last resort", "lastresort", "adobe blank", "adobenotdef")
"""Fonts, in lower case, that have a box for every letter."""

SYMBOLS = "symbols"

PACKAGES = {
    **dict.fromkeys(("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"), "fonts-noto-cjk"),
    **dict.fromkeys(("FULLWIDTH", "HALFWIDTH", "IDEOGRAPHIC"), "fonts-noto-cjk"),
    SYMBOLS: "fonts-symbola",
}
"""What Debian and Ubuntu call fonts of a script, by the first word of its letters' names."""

_NAMED = {"CJK": "Chinese characters", SYMBOLS: SYMBOLS}

OTHER_SCRIPTS = "fonts-noto-core"

EXAMPLES = 5
"""Letters of a script that the warning shows."""


class Figure(_figure.Figure):
    """A Matplotlib figure that shows every text literally, in fonts that have its letters.

    Numbers along the axes, which Matplotlib writes itself, stay its own affair. Letters that no
    font of the machine has are boxes, and a warning names what to install.
    """

    def draw(self, renderer: Any) -> None:
        self._take_literally()
        super().draw(renderer)

    def get_tightbbox(self, *args: Any, **kwargs: Any) -> Any:
        self._take_literally()
        return super().get_tightbbox(*args, **kwargs)

    def _take_literally(self) -> None:
        not_ours = set(_written_by_matplotlib(self))
        # Set on each text, not in rcParams: those are shared by all threads.
        texts = [text for text in self.findobj(Text) if text not in not_ours and text.get_text()]
        lacking = {}
        for text in texts:
            text.set_parse_math(False)
            text.set_usetex(False)
            if letters := _letters(text.get_text()) - _own_letters(tuple(text.get_fontfamily())):
                lacking[text] = letters
        if not lacking:
            return
        families = fallback_families(frozenset().union(*lacking.values()))
        for text in lacking:
            text.set_fontfamily(list(dict.fromkeys([*text.get_fontfamily(), *families])))


def fallback_families(letters: frozenset[str]) -> list[str]:
    """Families that together have the letters, as far as fonts of this machine do; few of them.

    Warns, once for the same letters, of those that no font has.
    """
    families, missing = _families(letters)
    if missing:
        _warn_once(missing)
    return list(families)


@cache
def _families(letters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    known = list(font_manager.fontManager.ttflist)
    families, missing = _cover(letters, known)
    if missing:
        # Matplotlib's list is of the day when it was first imported on this machine.
        families, missing = _cover(letters, [*known, *_installed_since(known)])
    return tuple(families), frozenset(missing)


def _cover(
    letters: Iterable[str], fonts: Iterable[font_manager.FontEntry]
) -> tuple[list[str], set[str]]:
    """Take the family with the most letters, then the one with the most of the rest."""
    has: dict[str, set[str]] = {}
    for font in fonts:
        if not font.name.casefold().startswith(PLACEHOLDERS):
            shown = _has(font, letters)
            # Which of a family's faces is taken depends on the text: it has what all of them have.
            has[font.name] = has.get(font.name, shown) & shown
    families, missing = [], set(letters)
    while missing and has:
        best = min(has, key=lambda name: (-len(has[name] & missing), _preference(name), name))
        if not has[best] & missing:
            break
        families.append(best)
        missing -= has[best]
    return families, missing


def _preference(name: str) -> int:
    folded = name.casefold()
    return next((i for i, p in enumerate(PREFERRED) if folded.startswith(p)), len(PREFERRED))


def _installed_since(known: Iterable[font_manager.FontEntry]) -> list[font_manager.FontEntry]:
    manager = font_manager.fontManager
    files, before = {font.fname for font in known}, len(manager.ttflist)
    for path in sorted(set(font_manager.findSystemFonts()) - files):
        try:
            manager.addfont(path)
        except Exception as error:  # whatever lies among a system's fonts
            logger.debug("%s is not a font that Matplotlib can draw: %s", path, error)
    return manager.ttflist[before:]


def _has(font: font_manager.FontEntry, letters: Iterable[str]) -> set[str]:
    try:
        opened = FT2Font(font.fname, face_index=font.index)
    except (OSError, RuntimeError):  # listed, but removed since, or made of bitmaps
        return set()
    return {letter for letter in letters if opened.get_char_index(ord(letter))}


@cache
def _own_letters(families: tuple[str, ...]) -> frozenset[str]:
    """What a text can show in the families that it names."""
    files = {font_manager.findfont(FontProperties(family=[name])) for name in families}
    faces = (FT2Font(file.path, face_index=file.face_index) for file in files)
    return frozenset(chr(code) for face in faces for code in face.get_charmap())


def _letters(text: str) -> set[str]:
    """What of a text is drawn: no blanks, controls, joiners or choices between glyphs."""
    return {
        letter
        for letter in text
        if unicodedata.category(letter)[0] not in "CZ" and not "\ufe00" <= letter <= "\ufe0f"
    }


def _written_by_matplotlib(figure: _figure.Figure) -> Iterator[Text]:
    """Numbers along the axes, whose powers of ten are Matplotlib's own mathematics."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            yield axis.get_offset_text()
            # Not `get_ticklabels`, which works out all ticks anew.
            for formatter, ticks in (
                (axis.get_major_formatter(), axis.get_major_ticks()),
                (axis.get_minor_formatter(), axis.get_minor_ticks()),
            ):
                if not isinstance(formatter, FixedFormatter | FuncFormatter):
                    for tick in ticks:
                        yield from (tick.label1, tick.label2)


@cache
def _warn_once(missing: frozenset[str]) -> None:
    scripts: dict[str, list[str]] = {}
    for letter in sorted(missing):
        scripts.setdefault(_script(letter), []).append(letter)
    letters_by_script = ", ".join(
        f"{_NAMED.get(script, script.capitalize())} ({_few(letters)})"
        for script, letters in scripts.items()
    )
    packages = " ".join(sorted({PACKAGES.get(script, OTHER_SCRIPTS) for script in scripts}))
    logger.warning(
        "No font on this machine has the letters of %s: in figures they are boxes. Install fonts"
        " and run again: on Debian and Ubuntu `apt-get install %s`, elsewhere the Noto fonts of"
        " these scripts from https://fonts.google.com/noto",
        letters_by_script,
        packages,
    )


def _script(letter: str) -> str:
    """The writing system of a letter, which the names of letters begin with."""
    first = unicodedata.name(letter, "UNKNOWN").partition(" ")[0]
    return first if unicodedata.category(letter)[0] in "LM" else SYMBOLS


def _few(letters: list[str]) -> str:
    return " ".join(letters[:EXAMPLES]) + (" …" if len(letters) > EXAMPLES else "")
