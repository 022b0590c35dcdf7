"""The documentation of reports for machines, written from the models of `report_json`.

python -m cannabis_ml.inference.report_schema docs
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from cannabis_ml.inference import report_json
from cannabis_ml.inference.report_json import PhotoReport, UnansweredPhoto

SCHEMA = "report.schema.json"
PAGE = "report-json.md"
BEGIN, END = "<!-- begin: written by report_schema -->", "<!-- end -->"

MODELS: tuple[type[BaseModel], ...] = (
    PhotoReport,
    report_json.HeadJSON,
    report_json.RecommendationJSON,
    report_json.BandJSON,
    report_json.AlternativeJSON,
    report_json.PossibleJSON,
    report_json.AttributeJSON,
    report_json.PhotoFaultJSON,
    report_json.UnknownJSON,
    report_json.HeatMapJSON,
    UnansweredPhoto,
)


def json_schema() -> dict[str, object]:
    """JSON Schema (2020-12) of a line of the output."""
    line: TypeAdapter[PhotoReport | UnansweredPhoto] = TypeAdapter(PhotoReport | UnansweredPhoto)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of python -m cannabis_ml.inference --json",
        **line.json_schema(mode="serialization", by_alias=True),
    }


def tables() -> str:
    """Markdown: a heading and a table of fields per model."""
    return "\n\n".join(_table(model) for model in MODELS)


def schema_text() -> str:
    """The schema as it stands in its file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def with_tables(page: str) -> str:
    """A page with the tables between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


def write(docs: Path) -> None:
    """Write the schema and the tables into the folder of the documentation."""
    (docs / SCHEMA).write_text(schema_text(), "utf-8")
    page = docs / PAGE
    page.write_text(with_tables(page.read_text("utf-8")), "utf-8")


def _table(model: type[BaseModel]) -> str:
    schema = model.model_json_schema(mode="serialization", by_alias=True)
    rows = [
        f"| `{name}` | {_type(field)} | {field.get('description', '')} |"
        for name, field in schema["properties"].items()
    ]
    heading = [f"### {model.__name__}", "", schema["description"], ""]
    return "\n".join([*heading, "| Field | Type | Meaning |", "|---|---|---|", *rows])


def _type(field: dict[str, Any]) -> str:
    """A type as people write it: `number or null`, `list of string`."""
    if "anyOf" in field:
        return " or ".join(_type(one) for one in field["anyOf"])
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    inner = {"array": ("list", "items"), "object": ("object", "additionalProperties")}
    if field["type"] in inner:
        name, key = inner[field["type"]]
        return f"{name} of {_type(field[key])}"
    return str(field["type"])


if __name__ == "__main__":
    write(Path(sys.argv[1]))
