"""The schema of `bundle.json`, which every client can rely on."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cannabis_ml.inference.decision import DecisionRule
from cannabis_ml.inference.model_file import Format
from cannabis_ml.taxonomy import Taxonomy

SCHEMA_VERSION: Literal[4] = 4
"""The schema that is written and read. Since 3 the model files end with their SHA-256, see
`inference.seal`; since 4 a tier may have `reliability`, `unknown` and a `page` file, a bundle
`routing`, and golden answers hold what follows from the outputs."""
MANIFEST = "bundle.json"
MODEL_CARD = "README.md"
ROUTING = "routing.json"

SHA256 = r"^[0-9a-f]{64}$"
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
# Names that Windows keeps for devices, whatever their suffix.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def is_plain_name(name: str) -> bool:
    """Whether a name stays below the bundle on every system: no `..`, no root, no device."""
    return len(name) <= 200 and all(
        _SEGMENT.fullmatch(part) and not part.endswith(".") and not _DEVICES.fullmatch(part)
        for part in name.split("/")
    )


def reliability_file(tier: str) -> str:
    """Where a tier's `Reliability` lies in a bundle."""
    return f"reliability/{tier}.json"


def unknown_file(tier: str) -> str:
    """Where a tier's `UnknownScore` lies in a bundle."""
    return f"unknown/{tier}.npz"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileRef(_Strict):
    """A file of the bundle."""

    file: str = Field(description="Path below the bundle, with forward slashes")
    sha256: str = Field(pattern=SHA256)


class TierFile(FileRef):
    """A model file of a tier."""

    bytes: int = Field(gt=0)
    format: Format
    quantization: str = Field(description="float, or the name of the quantization")
    image_size: int = Field(gt=0, description="Side S of the square that the model sees")


class TierFiles(_Strict):
    """The model files of a tier."""

    float: TierFile
    quantized: TierFile | None = None
    page: TierFile | None = Field(
        default=None,
        description="TFLite for web pages, of a tier whose other files have another format",
    )
    ships: Literal["float", "quantized"] = Field(description="Which one clients take")
    decision: DecisionRule = Field(description="The decision rule of both files")
    reliability: FileRef | None = Field(
        default=None, description="Confidence bands, prediction sets and back-off: `Reliability`"
    )
    unknown: FileRef | None = Field(default=None, description="The unknown score: `UnknownScore`")

    @model_validator(mode="after")
    def _check(self) -> TierFiles:
        if self.ships == "quantized" and self.quantized is None:
            raise ValueError("ships the quantized file, but there is none")
        if self.page is not None and self.page.format != "tflite":
            raise ValueError(f"the file for web pages is {self.page.format}, not tflite")
        return self

    @property
    def all(self) -> dict[str, TierFile]:
        """By kind, `float` first."""
        kinds = {"float": self.float, "quantized": self.quantized, "page": self.page}
        return {kind: file for kind, file in kinds.items() if file is not None}

    @property
    def refs(self) -> list[FileRef]:
        """All references to files."""
        rules = [ref for ref in (self.reliability, self.unknown) if ref is not None]
        return [*self.all.values(), *rules]


class BundleManifest(_Strict):
    """`bundle.json`.

    `content_sha256` is the SHA-256 of the object without it, as JSON in UTF-8 with sorted keys and
    no spaces.
    """

    schema_version: Literal[4] = SCHEMA_VERSION
    name: str
    created: str = Field(description="When, ISO 8601")
    taxonomy: Taxonomy
    taxonomy_sha256: str = Field(pattern=SHA256)
    tiers: dict[str, TierFiles] = Field(min_length=1)
    golden: FileRef = Field(description="Photos with the answers that every client must reproduce")
    model_card: FileRef = Field(description="In the format of the Hugging Face hub")
    routing: FileRef | None = Field(
        default=None, description="Which tier's answer is accepted: `RoutingRule`"
    )
    run: str | None = Field(default=None, description="MLflow run that trained it")
    photo_set_fingerprint: str | None = None
    files: dict[str, str] = Field(description="SHA-256 of every file but this one, by path")
    content_sha256: str = Field(default="", description="See above")

    @field_validator("created")
    @classmethod
    def _is_a_date(cls, value: str) -> str:
        datetime.fromisoformat(value)
        return value

    @model_validator(mode="after")
    def _check(self) -> BundleManifest:
        faults = [f"'{name}' is not a plain path" for name in self.files if not is_plain_name(name)]
        faults += [
            f"{name} has no SHA-256"
            for name, hashed in self.files.items()
            if not re.match(SHA256, hashed)
        ]
        for ref in self.refs:
            if self.files.get(ref.file) != ref.sha256:
                faults.append(f"{ref.file} is not among `files` with the same SHA-256")
        if MANIFEST in self.files:
            faults.append(f"{MANIFEST} lists itself")
        faults += [
            f"{name}: {fault}"
            for name, tier in self.tiers.items()
            for fault in tier.decision.faults(self.taxonomy)
        ]
        if self.taxonomy.sha256 != self.taxonomy_sha256:
            faults.append("the taxonomy has another hash than `taxonomy_sha256`")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def refs(self) -> list[FileRef]:
        """All references to files."""
        of_tiers = [ref for tier in self.tiers.values() for ref in tier.refs]
        routing = [] if self.routing is None else [self.routing]
        return [*of_tiers, *routing, self.golden, self.model_card]

    def sealed(self) -> BundleManifest:
        """With `content_sha256` filled in."""
        return self.model_copy(update={"content_sha256": content_hash(self.model_dump())})


def content_hash(manifest: dict[str, object]) -> str:
    """What `content_sha256` must be."""
    bare = {key: value for key, value in manifest.items() if key != "content_sha256"}
    text = json.dumps(
        bare, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
