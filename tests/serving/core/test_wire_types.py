"""The page's TypeScript types are those of the models."""

import json
import re
from pathlib import Path

from cannabis_ml.serving.wire_types import FILE, wire_types

SCHEMA = Path(__file__).parents[3] / "docs" / "report.schema.json"


def test_types_of_the_page_are_those_of_the_models():
    assert FILE.read_text("utf-8") == wire_types(), "run: python -m cannabis_ml.serving.wire_types"


def test_every_field_of_the_report_schema_has_a_type():
    schema = json.loads(SCHEMA.read_text("utf-8"))
    text = wire_types()
    for name, model in schema["$defs"].items():
        body = re.search(rf"^export interface {name} {{\n(.*?)^}}", text, re.M | re.S)
        assert body, name
        fields = re.findall(r"^  (\w+)(\??):", body.group(1), re.M)
        assert {field for field, _ in fields} == set(model["properties"])
        # A report always has all of its fields.
        assert not [field for field, optional in fields if optional]
