"""The form of reports for machines is documented, and stays."""

import json
from pathlib import Path

import jsonschema
import pytest

from cannabis_ml.inference import Bundle
from cannabis_ml.inference.report_json import REPORT_SCHEMA_VERSION, PhotoReport, UnansweredPhoto
from cannabis_ml.inference.report_schema import MODELS, json_schema, schema_text, with_tables

DOCS = Path(__file__).parents[2] / "docs"
AGAIN = "run: python -m cannabis_ml.inference.report_schema docs"

FIELDS_OF_VERSION_1 = {
    "PhotoReport": "schema_version photo language tier runtime summary photo_faults unknown heads"
    " heat_map missing notes",
    "HeadJSON": "kind answer best_guess backed_off is_calibrated confidence raw_confidence band"
    " alternatives possible attributes recommendation or_better within_one aleatoric epistemic"
    " probs",
    "RecommendationJSON": "level text",
    "BandJSON": "low high level photos text",
    "AlternativeJSON": "class probability",
    "PossibleJSON": "classes coverage text",
    "AttributeJSON": "name state probability raw_probability confidence band level",
    "PhotoFaultJSON": "name text",
    "UnknownJSON": "is_unknown score threshold text",
    "HeatMapJSON": "file text",
    "UnansweredPhoto": "schema_version photo error",
}


@pytest.fixture(scope="module")
def validator():
    jsonschema.Draft202012Validator.check_schema(json_schema())
    return jsonschema.Draft202012Validator(json_schema())


@pytest.fixture(scope="module")
def bundle(written):
    return Bundle.open(written)


def test_the_schema_in_the_documentation_is_that_of_the_code():
    assert (DOCS / "report.schema.json").read_text("utf-8") == schema_text(), AGAIN


def test_the_tables_in_the_documentation_are_those_of_the_code():
    page = (DOCS / "report-json.md").read_text("utf-8")
    assert with_tables(page) == page, AGAIN


def test_no_field_of_a_version_goes():
    assert REPORT_SCHEMA_VERSION == 1
    for model in MODELS:
        fields = model.model_json_schema(mode="serialization", by_alias=True)
        gone = set(FIELDS_OF_VERSION_1[model.__name__].split()) - set(fields["properties"])
        assert not gone, f"{model.__name__} lost {gone}: raise REPORT_SCHEMA_VERSION"
        assert set(fields["required"]) | {"schema_version"} >= set(
            FIELDS_OF_VERSION_1[model.__name__].split()
        )


@pytest.mark.parametrize("language", ["en", "es"])
@pytest.mark.parametrize("tier", ["tier1", "tier2"])
def test_what_is_printed_keeps_to_the_schema(bundle, photos, validator, tier, language):
    for photo in photos(3):
        line = json.dumps(bundle.report(photo, tier=tier, language=language).as_json("a.jpg"))
        validator.validate(json.loads(line))
        again = PhotoReport.model_validate_json(line)
        assert json.loads(again.model_dump_json(by_alias=True)) == json.loads(line)


def test_a_photo_without_answer_keeps_to_the_schema(validator):
    validator.validate(UnansweredPhoto(photo="a.jpg", error="truncated").model_dump())


def test_the_schema_refuses_what_lacks_a_field(bundle, photos, validator):
    found = bundle.report(photos(1)[0]).as_json("a.jpg")
    del found["heads"]["grade"]["confidence"]
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(found)


def test_readers_pass_over_fields_that_came_later(bundle, photos, validator):
    found = {**bundle.report(photos(1)[0]).as_json("a.jpg"), "later": 1}
    validator.validate(found)
    assert PhotoReport.model_validate(found).photo == "a.jpg"


def test_raw_and_calibrated_confidence_are_those_of_the_answer(bundle, photos):
    found = bundle.report(photos(1)[0]).as_json()["heads"]["kind.of thing"]
    assert found["confidence"] == found["probs"][found["best_guess"]]
