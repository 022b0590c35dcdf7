"""What the routes answer, typed; the OpenAPI document is made of it."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.inference.answer import Answer
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.report_json import PhotoReport, photo_report
from cannabis_ml.inference.router import Routed


class ClassProbability(BaseModel):
    """A class and how probable it is."""

    name: str = Field(description="Of the class", examples=["dry_flower"])
    probability: float = Field(ge=0, le=1, description="Calibrated where the head is")


class Classification(BaseModel):
    """Classes and probabilities of a photo, nothing else."""

    bundle: str = Field(description="Which bundle answered")
    tier: str = Field(description="Which of its tiers", examples=["tier3"])
    heads: dict[str, list[ClassProbability]] = Field(
        description="By head, every class, the most probable first"
    )


class RoutedReport(BaseModel):
    """A report on its way through the tiers."""

    bundle: str = Field(description="Which bundle answered")
    tier: str = Field(description="Which of its tiers", examples=["tier1"])
    accepted: bool = Field(description="Whether it is good enough by the bundle's thresholds")
    final: bool = Field(description="Whether no better one will come")
    score: float = Field(description="Routing score, higher is surer")
    missing: dict[str, str] = Field(
        description="Tiers that should have been asked and could not answer, with the reason"
    )
    report: PhotoReport


class TierInfo(BaseModel):
    """A tier of the bundle."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(examples=["tier1"])
    format: Literal["onnx", "tflite"]
    quantization: str = Field(description="Of the file that answers", examples=["mixed"])
    image_size: int = Field(description="Side of the square that the model sees, in pixels")
    bytes: int = Field(description="Of the file that answers")


class BundleInfo(BaseModel):
    """What answers."""

    id: str = Field(description="SHA-256 of the manifest")
    name: str
    created: str = Field(description="ISO 8601")
    heads: dict[str, list[str]] = Field(description="By head, its classes")
    tiers: list[TierInfo] = Field(description="The smallest first")
    model_card: str = Field(description="Markdown with a YAML head")


class Health(BaseModel):
    """How the service is."""

    status: Literal["ok"] = "ok"
    bundle: str = Field(description="Which bundle answers: the champion")
    challenger: str | None = Field(
        default=None, description="Which bundle is on trial beside it; null: none"
    )


def health(champion: Bundle, challenger: Bundle | None) -> Health:
    """Name the bundles that answer."""
    rival = None if challenger is None else challenger.manifest.content_sha256
    return Health(bundle=champion.manifest.content_sha256, challenger=rival)


def bundle_info(bundle: Bundle) -> BundleInfo:
    """Describe a bundle."""
    shipped = {name: files.all[files.ships] for name, files in bundle.manifest.tiers.items()}
    return BundleInfo(
        id=bundle.manifest.content_sha256,
        name=bundle.manifest.name,
        created=bundle.manifest.created,
        heads={head.name: head.class_names for head in bundle.taxonomy.heads},
        tiers=[
            TierInfo(
                name=name,
                format=file.format,
                quantization=file.quantization,
                image_size=file.image_size,
                bytes=file.bytes,
            )
            for name, file in shipped.items()
        ],
        model_card=bundle.model_card,
    )


def classification_json(answer: Answer, bundle: Bundle) -> str:
    """Classes and probabilities of an answer, as a `Classification`.

    Text at once: a model for each class took a third of what the service adds to an answer.
    """
    heads = {
        name: [{"name": found, "probability": prob} for found, prob in head.top(len(head.classes))]
        for name, head in answer.items()
    }
    content = {"bundle": bundle.manifest.content_sha256, "tier": answer.tier or "", "heads": heads}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def routed_report(routed: Routed, bundle: Bundle) -> RoutedReport:
    """A routed answer, whose answer is a report."""
    return RoutedReport(
        bundle=bundle.manifest.content_sha256,
        tier=routed.tier,
        accepted=routed.accepted,
        final=routed.final,
        score=routed.score,
        missing=dict(routed.missing),
        report=photo_report(routed.answer),
    )
