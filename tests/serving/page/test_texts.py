"""The page's texts are there in every language, and none is left over."""

import json
import re
from pathlib import Path

import pytest

from cannabis_ml.inference.language import languages
from cannabis_ml.serving.page.files import BUILT

SOURCE = BUILT.parent / "source"
TEXTS = SOURCE / "app" / "texts"


def texts(tag):
    return json.loads((TEXTS / f"{tag}.json").read_text("utf-8"))


def test_the_page_has_the_languages_of_reports():
    assert {path.stem for path in TEXTS.glob("*.json")} == set(languages())


@pytest.mark.parametrize("tag", sorted({path.stem for path in TEXTS.glob("*.json")} - {"en"}))
def test_languages_have_the_same_texts_with_the_same_values(tag):
    english, other = texts("en"), texts(tag)
    assert list(other) == list(english)
    for key, text in english.items():
        assert sorted(re.findall(r"{\w+}", other[key])) == sorted(re.findall(r"{\w+}", text)), key


def test_every_text_is_used():
    code = "\n".join(path.read_text("utf-8") for path in Path(SOURCE / "app").rglob("*.ts"))
    computed = ("kind.", "level.")
    unused = [key for key in texts("en") if f'"{key}"' not in code and not key.startswith(computed)]
    assert unused == []
