"""TypeScript types of what the page reads and writes, written from the Pydantic models.

python -m cannabis_ml.serving.wire_types
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from cannabis_ml.inference.golden import GoldenAnswers, GoldenReport
from cannabis_ml.inference.language import Texts
from cannabis_ml.inference.manifest import SCHEMA_VERSION, BundleManifest
from cannabis_ml.inference.reliability import Reliability
from cannabis_ml.inference.report import ReportSettings
from cannabis_ml.inference.report_json import UnansweredPhoto
from cannabis_ml.inference.routing import FIXED, RoutingRule
from cannabis_ml.photos.checks.examined_file import WORKING_SIDE
from cannabis_ml.serving.schemas import RoutedReport

FILE = Path(__file__).parent / "page" / "source" / "core" / "wire.ts"

Mode = Literal["validation", "serialization"]

MODELS: tuple[tuple[type[BaseModel], Mode], ...] = (
    (RoutedReport, "serialization"),
    (UnansweredPhoto, "serialization"),
    (GoldenReport, "serialization"),
    (BundleManifest, "validation"),
    (Reliability, "validation"),
    (RoutingRule, "validation"),
    (GoldenAnswers, "validation"),
    (ReportSettings, "validation"),
    (Texts, "validation"),
)
"""What is read may lack what has a default; what is written may not."""

HEADER = """\
// Mirrors the Pydantic models of inference and serving. Written by
// `python -m cannabis_ml.serving.wire_types`; a test holds it against them. What fields mean stands
// there, and of reports in docs/report-json.md.
"""

CONSTANTS: Mapping[str, Any] = {
    "SCHEMA_VERSION": SCHEMA_VERSION,
    "REPORT_SETTINGS": ReportSettings().model_dump(),
    "FIXED_THRESHOLDS": FIXED,
    "WORKING_SIDE": WORKING_SIDE,
}
"""What is decided here and compared with there."""

_PLAIN = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "null": "null",
}
_NAME = re.compile(r"[A-Za-z_]\w*")


def wire_types() -> str:
    """The file, whole."""
    found: dict[str, str] = {}
    for model, mode in MODELS:
        schema = model.model_json_schema(mode=mode, by_alias=True)
        named = {**schema.get("$defs", {}), model.__name__: schema}
        for name, one in named.items():
            text = _declaration(name, one)
            if found.setdefault(name, text) != text:
                raise ValueError(f"{name} has two forms: give one of them another name.")
    values = [f"export const {name} = {json.dumps(v)};\n" for name, v in CONSTANTS.items()]
    return "\n".join([HEADER, *values, *(found[name] for name in sorted(found))])


def _declaration(name: str, schema: Mapping[str, Any]) -> str:
    if "properties" not in schema:
        return f"export type {name} = {_type(schema)};\n"
    return "\n".join([f"export interface {name} {{", *_fields(schema), "}", ""])


def _fields(schema: Mapping[str, Any]) -> Iterator[str]:
    required = schema.get("required", ())
    for name, field in schema["properties"].items():
        key = name if _NAME.fullmatch(name) else json.dumps(name)
        # The discriminator of a union is always there.
        optional = "" if name in required or "const" in field else "?"
        yield f"  {key}{optional}: {_type(field)};"


def _type(schema: Mapping[str, Any]) -> str:
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return " | ".join(dict.fromkeys(map(_type, choices)))
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "const" in schema or "enum" in schema:
        return " | ".join(map(json.dumps, schema.get("enum", [schema.get("const")])))
    return _of_kind(schema)


def _of_kind(schema: Mapping[str, Any]) -> str:
    kind = str(schema.get("type"))
    if kind == "array":
        inner = _type(schema["items"]) if "items" in schema else "unknown"
        return f"({inner})[]" if " | " in inner else f"{inner}[]"
    return _object(schema) if kind == "object" else _PLAIN[kind]


def _object(schema: Mapping[str, Any]) -> str:
    keys = schema.get("propertyNames", {})
    inner = _type(schema["additionalProperties"])
    if "$ref" in keys or "enum" in keys:
        return f"Partial<Record<{_type(keys)}, {inner}>>"
    return f"Record<string, {inner}>"


if __name__ == "__main__":
    FILE.write_text(wire_types(), "utf-8")
