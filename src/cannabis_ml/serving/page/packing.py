"""What the page needs of a bundle besides its model files, as one JSON object."""

from __future__ import annotations

import base64
import functools
import gzip
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.golden import GoldenAnswers
from cannabis_ml.inference.manifest import MANIFEST
from cannabis_ml.serving.page.files import PageFile

ON_THE_DEVICE = "tflite"
"""Format of the model files that the page runs."""


class PackedBundle(BaseModel):
    """The bundle's small files."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(description="SHA-256 of the manifest")
    texts: dict[str, str] = Field(
        description="By path: the manifest and the model card; of tiers that run in a browser the"
        " rules and the golden answers"
    )
    files: dict[str, str] = Field(
        description="By path, base64: golden photos; of tiers that run in a browser their inputs"
        " and unknown scores"
    )


def runs_on_the_device(bundle: Bundle) -> dict[str, str]:
    """By tier whose shipped file a browser runs, the path of that file."""
    shipped = {tier: files.all[files.ships] for tier, files in bundle.manifest.tiers.items()}
    return {tier: file.file for tier, file in shipped.items() if file.format == ON_THE_DEVICE}


def pack(bundle: Bundle) -> PackedBundle:
    """Read the small files of a bundle.

    Raises:
        BundleError: If one was changed meanwhile.
    """
    manifest = bundle.manifest
    tiers = [manifest.tiers[tier] for tier in runs_on_the_device(bundle)]
    rules = [files.reliability for files in tiers]
    unknown = [files.unknown for files in tiers]
    answers, pictures = _golden(bundle)
    texts = {
        MANIFEST: json.dumps(manifest.model_dump(mode="json"), ensure_ascii=False),
        manifest.golden.file: answers,
    }
    for ref in (manifest.model_card, manifest.routing, *rules):
        if ref is not None:
            texts[ref.file] = bundle.read(ref.file).decode()
    binary = [*pictures, *(ref.file for ref in unknown if ref is not None)]
    return PackedBundle(
        id=manifest.content_sha256,
        texts=texts,
        files={name: base64.b64encode(bundle.read(name)).decode() for name in binary},
    )


def _golden(bundle: Bundle) -> tuple[str, list[str]]:
    """The golden answers of what runs in a browser, and the pictures that belong to them."""
    answers: GoldenAnswers = bundle.golden()
    runs = runs_on_the_device(bundle)
    kept: dict[str, dict[str, Any]] = {
        tier: {
            kind: expected.model_dump()
            for kind, expected in answers.tiers[tier].items()
            if expected.file == file
        }
        for tier, file in runs.items()
    }
    sizes = {str(each["image_size"]) for kinds in kept.values() for each in kinds.values()}
    inputs = {size: names for size, names in answers.inputs.items() if size in sizes}
    told = {"about": answers.about, "photos": answers.photos, "inputs": inputs, "tiers": kept}
    pictures = [*answers.photos, *(name for names in inputs.values() for name in names)]
    return json.dumps(told, ensure_ascii=False), pictures


@functools.lru_cache(maxsize=4)
def packed_file(bundle: Bundle) -> PageFile:
    """A packed bundle as it is sent."""
    data = pack(bundle).model_dump_json().encode()
    return PageFile("application/json", data, {"gzip": gzip.compress(data, mtime=0)})
