"""What the page needs of a bundle besides its model files, as JSON.

First comes what the smallest tier answers with, later the rest.
"""

from __future__ import annotations

import base64
import functools
import gzip
import json
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.golden import GoldenAnswers
from cannabis_ml.inference.manifest import MANIFEST, FileRef, TierFile, TierFiles
from cannabis_ml.serving.page.files import PageFile

FORMAT = "tflite"
"""Of the model files that the page runs."""


class PackedBundle(BaseModel):
    """Small files of a bundle."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(description="SHA-256 of the manifest")
    tiers: list[str] = Field(description="Tiers that run in a browser, smallest first")
    texts: dict[str, str] = Field(description="By path, what is UTF-8")
    files: dict[str, str] = Field(description="By path, what is not, as base64")


def files_for_pages(bundle: Bundle) -> dict[str, TierFile]:
    """The model files that a browser runs, by tier, smallest first."""
    found = {tier: _for_pages(files) for tier, files in bundle.manifest.tiers.items()}
    return {tier: file for tier, file in found.items() if file.format == FORMAT}


def _for_pages(files: TierFiles) -> TierFile:
    return files.page or files.all[files.ships]


def pack(bundle: Bundle) -> PackedBundle:
    """What the smallest tier answers with, the golden photos, and what is of the whole bundle.

    Raises:
        BundleError: If a file was changed meanwhile.
    """
    manifest = bundle.manifest
    for_pages = files_for_pages(bundle)
    answers = _golden(bundle, for_pages)
    texts = {
        MANIFEST: json.dumps(manifest.model_dump(mode="json"), ensure_ascii=False),
        manifest.golden.file: json.dumps(answers.model_dump(), ensure_ascii=False),
    }
    first = list(for_pages)[:1]
    return _packed(
        bundle,
        [*_rules(bundle, first), manifest.model_card.file, *_named(manifest.routing)],
        [*answers.photos, *_binary(bundle, first, answers)],
        texts,
    )


def pack_tier(bundle: Bundle, tier: str) -> PackedBundle:
    """What another tier answers with.

    Args:
        bundle: The bundle.
        tier: Runs in a browser.

    Raises:
        BundleError: If a file was changed meanwhile.
    """
    answers = _golden(bundle, files_for_pages(bundle))
    return _packed(bundle, _rules(bundle, [tier]), _binary(bundle, [tier], answers), {})


@functools.lru_cache(maxsize=8)
def packed_file(bundle: Bundle, tier: str | None = None) -> PageFile:
    """What `pack`, or `pack_tier`, gives, as it is sent."""
    packed = pack(bundle) if tier is None else pack_tier(bundle, tier)
    data = packed.model_dump_json().encode()
    return PageFile("application/json", data, {"gzip": gzip.compress(data, mtime=0)})


@functools.lru_cache(maxsize=4)
def model_file(bundle: Bundle, name: str) -> PageFile:
    """A model file as it is sent; in memory once, however many slow phones fetch it.

    Args:
        bundle: The bundle.
        name: Of the file.
    """
    return PageFile("application/octet-stream", bundle.read(name))


def _packed(
    bundle: Bundle, texts: Iterable[str], files: Iterable[str], given: dict[str, str]
) -> PackedBundle:
    return PackedBundle(
        id=bundle.manifest.content_sha256,
        tiers=list(files_for_pages(bundle)),
        texts={**given, **{name: bundle.read(name).decode() for name in texts}},
        files={name: base64.b64encode(bundle.read(name)).decode() for name in files},
    )


def _named(ref: FileRef | None) -> list[str]:
    return [] if ref is None else [ref.file]


def _rules(bundle: Bundle, tiers: Iterable[str]) -> list[str]:
    return [name for tier in tiers for name in _named(bundle.manifest.tiers[tier].reliability)]


def _binary(bundle: Bundle, tiers: Iterable[str], answers: GoldenAnswers) -> list[str]:
    """Unknown scores and golden inputs of tiers."""
    found: list[str] = []
    for tier in tiers:
        files = bundle.manifest.tiers[tier]
        found += [*_named(files.unknown), *answers.inputs[str(_for_pages(files).image_size)]]
    return found


def _golden(bundle: Bundle, for_pages: dict[str, TierFile]) -> GoldenAnswers:
    """The golden answers of what runs in a browser."""
    answers = bundle.golden()
    sizes = {str(file.image_size) for file in for_pages.values()}
    return answers.model_copy(
        update={
            "inputs": {size: names for size, names in answers.inputs.items() if size in sizes},
            "tiers": {
                tier: {
                    kind: expected
                    for kind, expected in answers.tiers[tier].items()
                    if expected.file == file.file
                }
                for tier, file in for_pages.items()
            },
        }
    )
