"""Reading the files of a bundle: what is missing, altered or not what it must be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from cannabis_ml.errors import BundleError, TaxonomyError
from cannabis_ml.inference.archive import Archive, open_archive
from cannabis_ml.inference.cards import faults_of
from cannabis_ml.inference.manifest import MANIFEST, SCHEMA_VERSION, BundleManifest, content_hash

AGAIN = "Get the bundle again from where it came, or make it anew: `kedro run --pipeline=bundle`."
_MOST_MANIFEST = 16 << 20

Schema = TypeVar("Schema", bound=BaseModel)


def read_manifest(archive: Archive) -> BundleManifest:
    """`bundle.json`, checked.

    Raises:
        BundleError: If there is none, or it is altered, damaged or of an unknown schema.
    """
    path = archive.path
    if MANIFEST not in archive.sizes:
        raise BundleError(f"{path} is not a bundle: it has no {MANIFEST}. {AGAIN}")
    if archive.sizes[MANIFEST] > _MOST_MANIFEST:
        raise BundleError(f"{path / MANIFEST} has {archive.sizes[MANIFEST]:,} bytes. {AGAIN}")
    text = archive.read(MANIFEST)
    try:
        content = json.loads(text)
        checksum = content_hash(content) if isinstance(content, dict) else None
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path / MANIFEST} is not JSON ({error}). {AGAIN}") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if type(version) is not int or version != SCHEMA_VERSION:
        raise BundleError(
            f"{path / MANIFEST} has schema_version {version!r:.40}; known here is {SCHEMA_VERSION}."
            " Update cannabis_ml to read a newer bundle; make an older one anew."
        )
    if content.get("content_sha256") != checksum:
        raise BundleError(f"{path / MANIFEST} was altered: its checksum differs. {AGAIN}")
    return validated(BundleManifest, text, path / MANIFEST)


def file_faults(archive: Archive, manifest: BundleManifest) -> list[str]:
    """What is missing, too much or altered; hashes everything that is there."""
    sizes = {
        file.file: file.bytes for tier in manifest.tiers.values() for file in tier.all.values()
    }
    faults = []
    for name, expected in manifest.files.items():
        if name not in archive.sizes:
            faults.append(f"{name} is missing")
        elif archive.sizes[name] != sizes.get(name, archive.sizes[name]):
            faults.append(
                f"{name} was altered: {archive.sizes[name]:,} bytes instead of {sizes[name]:,}"
            )
        elif archive.sha256(name) != expected:
            faults.append(f"{name} was altered: its SHA-256 differs")
    unknown = sorted(set(archive.sizes) - set(manifest.files) - {MANIFEST})
    return faults + [f"{name} was added" for name in unknown]


def damaged_files(folder: Path) -> list[str]:
    """Files that a bundle lists and that are there with another content.

    Raises:
        BundleError: If the manifest itself is missing or damaged.
    """
    archive = open_archive(folder)
    listed = read_manifest(archive).files
    there = [name for name in listed if name in archive.sizes]
    return [name for name in there if archive.sha256(name) != listed[name]]


def validated(schema: type[Schema], text: bytes, path: Path) -> Schema:
    """JSON of a bundle as what it must be.

    Raises:
        BundleError: If it is something else.
    """
    try:
        return schema.model_validate_json(text)
    except (ValidationError, TaxonomyError) as error:
        faults = faults_of(error) if isinstance(error, ValidationError) else error
        raise BundleError(f"{path} is not a valid {schema.__name__}: {faults}. {AGAIN}") from error
