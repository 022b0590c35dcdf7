"""Texts for people, one file per language."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

import cannabis_ml.inference
from cannabis_ml.errors import ConfigError
from cannabis_ml.inference.language import DEFAULT_LANGUAGE, Texts, languages, texts_in
from cannabis_ml.inference.photo_faults import CHECKS

ROOM = Path(cannabis_ml.inference.__file__).parent
OTHERS = [language for language in languages() if language != DEFAULT_LANGUAGE]


def test_english_and_spanish_are_there():
    assert {"en", "es"} <= set(languages())


@pytest.mark.parametrize("language", OTHERS)
def test_every_language_has_the_same_texts(language):
    assert list(texts_in(language).texts) == list(texts_in(DEFAULT_LANGUAGE).texts)


@pytest.mark.parametrize("language", OTHERS)
def test_every_language_fills_in_the_same(language):
    ours, theirs = texts_in(DEFAULT_LANGUAGE), texts_in(language)
    assert {k: theirs.placeholders(k) for k in theirs.texts} == {
        k: ours.placeholders(k) for k in ours.texts
    }


@pytest.mark.parametrize("language", languages())
def test_every_form_of_a_plural_fills_in_the_same(language):
    texts = texts_in(language)
    for key, text in texts.texts.items():
        for form in text.values() if isinstance(text, dict) else ():
            assert set(re.findall(r"{(\w+)}", form)) == texts.placeholders(key), (key, form)


@pytest.mark.parametrize("language", languages())
def test_every_check_of_a_photo_has_a_text(language):
    told = {key for key in texts_in(language).texts if key.startswith("photo.")}
    assert told == {f"photo.{check.name}" for check in CHECKS}


def test_one_and_many():
    english, spanish = texts_in("en"), texts_in("es")
    given = {"level": "75%", "attributes": "x"}

    def said(texts, count):
        return texts("attributes.doubtful", count=count, **given)

    assert said(english, 1).startswith("Check 1 attribute yourself")
    assert said(english, 0).startswith("Check 0 attributes yourself")
    assert said(english, 2000).startswith("Check 2,000 attributes yourself")
    assert said(spanish, 1).startswith("Revise a simple vista 1 atributo con")
    assert said(spanish, 0).startswith("Revise a simple vista 0 atributos con")
    assert said(spanish, 2000).startswith("Revise a simple vista 2000 atributos con")
    assert said(spanish, 1_000_000).startswith(
        "Revise a simple vista 1\u00a0000\u00a0000 de atributos"
    )


def test_numbers_are_written_as_the_language_writes_them():
    english, spanish = texts_in("en"), texts_in("es")
    assert (english.number(1.75), spanish.number(1.75)) == ("1.8", "1,8")
    assert (english.integer(9999), spanish.integer(9999)) == ("9,999", "9999")
    assert (english.integer(12345), spanish.integer(12345)) == ("12,345", "12\u00a0345")
    assert (english.share(0.82), spanish.share(0.82)) == ("82%", "82\u00a0%")


@pytest.mark.parametrize(
    ("share", "nearest", "down"),
    [
        (0, "0%", "0%"),
        (0.001, "<1%", "<1%"),
        (0.29, "29%", "29%"),
        (0.746, "75%", "74%"),
        (0.9, "90%", "90%"),
        (0.996, ">99%", "99%"),
        (1, "100%", "100%"),
    ],
)
def test_shares_are_rounded_but_never_to_none_or_all(share, nearest, down):
    english = texts_in("en")
    assert (english.share(share), english.share(share, down=True)) == (nearest, down)


@pytest.mark.parametrize("tag", ["es", "ES", "es-MX", "es_ES.UTF-8", "es.UTF-8"])
def test_a_region_takes_its_language(tag):
    assert texts_in(tag) == texts_in("es")


def test_a_language_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="no texts in 'klingon', only in en, es"):
        texts_in("klingon")


def test_a_plural_without_one_of_its_forms_is_refused():
    given = texts_in("en").model_dump()
    given["texts"] = {"photos": {"other": "{count} photos"}}
    with pytest.raises(
        ValidationError, match="'photos' has the plural forms other, not one, other"
    ):
        Texts.model_validate(given)


def test_a_value_that_is_missing_is_an_error():
    with pytest.raises(KeyError):
        texts_in("en")("heat_map.none")
