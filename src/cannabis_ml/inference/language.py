"""Texts for people, one file per language: `texts/{language}.json` beside this module.

How to add a language: `docs/how-to/add-a-language.md`.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from pathlib import PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from cannabis_ml.errors import ConfigError
from cannabis_ml.inference.cards import faults_of
from cannabis_ml.text import did_you_mean

DEFAULT_LANGUAGE = "en"

ROUNDING = 1e-5
"""0.7 as float32 is 69.9999988 percent."""

PluralRule = Literal["other", "one_other", "one_many_other"]
"""Which plural forms a language has, by the names of Unicode CLDR. The name lists the forms."""

_PLURALS: Mapping[PluralRule, Callable[[int], str]] = {
    "other": lambda count: "other",  # Japanese, Chinese
    "one_other": lambda count: "one" if count == 1 else "other",  # English, German
    # Spanish, Italian: "un millón de fotos". (French and Portuguese count 0 as one.)
    "one_many_other": lambda count: (
        "one" if count == 1 else "many" if count and count % 1_000_000 == 0 else "other"
    ),
}


class Texts(BaseModel):
    """The texts of one language, and how it writes numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    plural: PluralRule
    percent: str
    decimal: str
    thousands: str
    grouped_from: int
    texts: dict[str, str | dict[str, str]]

    @model_validator(mode="after")
    def _check(self) -> Texts:
        forms = set(self.plural.split("_"))
        for key, text in self.texts.items():
            if not isinstance(text, str) and set(text) != forms:
                raise ValueError(
                    f"'{key}' has the plural forms {', '.join(sorted(text))}, not"
                    f" {', '.join(sorted(forms))}"
                )
        return self

    def __call__(self, key: str, **values: object) -> str:
        """One text with its placeholders filled.

        Args:
            key: Its name in the file.
            **values: By placeholder. Integers are written as the language does; `count` decides on
                the plural form.

        Raises:
            KeyError: If the language lacks the text, or a placeholder has no value.
        """
        text = self.texts[key]
        if not isinstance(text, str):
            count = values["count"]
            if not isinstance(count, int):
                raise TypeError(f"{count!r} cannot be counted")
            text = text[_PLURALS[self.plural](count)]
        shown = {
            name: self.integer(value) if isinstance(value, int) else value
            for name, value in values.items()
        }
        return text.format_map(shown)

    def integer(self, number: int) -> str:
        """`57`, `12,345`."""
        if abs(number) < self.grouped_from:
            return str(number)
        return f"{number:,}".replace(",", self.thousands)

    def number(self, value: float, digits: int = 1) -> str:
        """`1.8`."""
        return f"{value:.{digits}f}".replace(".", self.decimal)

    def share(self, value: float, *, down: bool = False) -> str:
        """A share in [0, 1] in percent: `82%`, `<1%`, `>99%`; 0% and 100% only where exact.

        Args:
            value: The share.
            down: Round down, so that a confidence that is below a level does not look as high.
        """
        percent = 100 * value
        rounded = math.floor(percent + ROUNDING) if down else round(percent)
        if rounded == 0 and value > 0:
            number = "<1"
        elif rounded == 100 and value < 1:
            number = ">99"
        else:
            number = str(rounded)
        return self.percent.format(number=number)

    def placeholders(self, key: str) -> set[str]:
        """Names in braces of a text, of all its plural forms together."""
        text = self.texts[key]
        forms = [text] if isinstance(text, str) else text.values()
        return {name for form in forms for _, name, _, _ in string.Formatter().parse(form) if name}


def languages() -> list[str]:
    """Tags of the languages that there are texts in."""
    files = resources.files(__package__).joinpath("texts").iterdir()
    return sorted(PurePosixPath(file.name).stem for file in files if file.name.endswith(".json"))


def tag_of(language: str) -> str:
    """Of a language with a region or an encoding, such as `es_MX.UTF-8`, the language: `es`."""
    return language.replace("_", "-").partition("-")[0].partition(".")[0].lower()


def texts_in(language: str) -> Texts:
    """The texts of one language.

    Args:
        language: `en`, `es`; of `es-MX` or `es_ES.UTF-8` the language is taken.

    Raises:
        ConfigError: If there are none in it, or the file is damaged.
    """
    tag = tag_of(language)
    if tag not in languages():
        raise ConfigError(
            f"Reports have no texts in '{language}', only in {', '.join(languages())}"
            f"{did_you_mean(language, languages())}."
        )
    return _read(tag)


@cache
def _read(tag: str) -> Texts:
    file = resources.files(__package__).joinpath("texts", f"{tag}.json")
    try:
        return Texts.model_validate_json(file.read_text("utf-8"))
    except ValidationError as error:
        raise ConfigError(
            f"inference/texts/{tag}.json is not a file of texts: {faults_of(error)}."
        ) from error
