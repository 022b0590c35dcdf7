"""Writing a bundle: a folder and a `.zip` of the same files, read back before they are in place."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ValidationError

from cannabis_ml._io.files import written_aside
from cannabis_ml.errors import BundleError
from cannabis_ml.inference import golden
from cannabis_ml.inference.archive import open_archive
from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.inference.cards import faults_of
from cannabis_ml.inference.decision import DecisionRule
from cannabis_ml.inference.golden import ExpectedAnswers, GoldenAnswers
from cannabis_ml.inference.golden_rights import RIGHTS, GoldenRights, PhotoRights
from cannabis_ml.inference.manifest import (
    MANIFEST,
    MODEL_CARD,
    ROUTING,
    BundleManifest,
    FileRef,
    TierFile,
    TierFiles,
    reliability_file,
    unknown_file,
)
from cannabis_ml.inference.model_file import (
    FILE_KINDS,
    FLOAT,
    PAGE,
    QUANTIZED,
    FileKind,
    ModelFile,
    shipped,
)
from cannabis_ml.inference.predictor import open_model
from cannabis_ml.inference.reliability import Reliability, TierRules
from cannabis_ml.inference.routing import RoutingRule
from cannabis_ml.inference.unknown import UnknownScore
from cannabis_ml.taxonomy import Taxonomy


@dataclass(frozen=True)
class BundleContents:
    """What a bundle is made of.

    Attributes:
        name: What it is called.
        created: When, ISO 8601.
        taxonomy: Heads and classes that its models decide on.
        tiers: By tier, its model files: `float`, and `quantized` and `page` where there are such.
        photos: Golden photos, each uint8 RGB (height, width, 3), upright.
        model_card: Markdown with a YAML head, as the Hugging Face hub wants it.
        run: MLflow run that trained the models.
        photo_set_fingerprint: Of the photos that they were trained on.
        reliability: By tier, how far its answers can be trusted; may lack tiers.
        unknown: By tier, its unknown score; may lack tiers.
        routing: Which tier's answer is accepted; None: the bundle cannot route.
        golden_labels: By head, what people labelled each golden photo as, None where nobody did.
        golden_rights: Of each golden photo; empty where they are not known.
    """

    name: str
    created: str
    taxonomy: Taxonomy
    tiers: Mapping[str, Mapping[str, ModelFile]]
    photos: Sequence[np.ndarray]
    model_card: str
    run: str | None = None
    photo_set_fingerprint: str | None = None
    reliability: Mapping[str, Reliability] = field(default_factory=dict)
    unknown: Mapping[str, UnknownScore] = field(default_factory=dict)
    routing: RoutingRule | None = None
    golden_labels: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    golden_rights: Sequence[PhotoRights] = ()


def write_bundle(folder: Path, contents: BundleContents) -> Bundle:
    """Write a bundle as a folder, and as a `.zip` of the same name beside it.

    Both are put in place once they are complete and were read back; an error leaves what was there
    before. The same contents give the same bytes.

    Args:
        folder: Where it belongs; an older bundle there is replaced.
        contents: What it is made of.

    Returns:
        The bundle in the folder.

    Raises:
        BundleError: If the contents do not fit together.
    """
    manifest, files = _assembled(contents)
    packed = folder.with_name(f"{folder.name}.zip")
    with written_aside(folder) as aside, written_aside(packed) as zip_aside:
        _write_folder(aside, files)
        _write_zip(zip_aside, files)
        Bundle.open(aside)
        Bundle.open(zip_aside)
    return Bundle(open_archive(folder), manifest)


@dataclass(frozen=True)
class _Part:
    """A model file with its entry, golden answers and decision rule."""

    model: ModelFile
    entry: TierFile
    answers: ExpectedAnswers
    decision: DecisionRule


def _assembled(contents: BundleContents) -> tuple[BundleManifest, dict[str, bytes]]:
    """The manifest, and every file by name, the manifest first."""
    _check(contents)
    tiers = {tier: _parts(tier, kinds, contents) for tier, kinds in contents.tiers.items()}
    parts = [part for kinds in tiers.values() for part in kinds.values()]
    sizes = [part.entry.image_size for part in parts]
    pictures, photos, inputs = golden.golden_files(contents.photos, sizes)
    answers = GoldenAnswers(
        photos=photos,
        inputs=inputs,
        tiers={
            t: {kind: part.answers for kind, part in kinds.items()} for t, kinds in tiers.items()
        },
        labels={name: list(labels) for name, labels in contents.golden_labels.items()},
    )
    files = {
        MODEL_CARD: contents.model_card.encode(),
        golden.ANSWERS: golden.as_json(answers),
        **pictures,
        **_rights_file(contents),
        **_rule_files(contents),
        **{part.entry.file: part.model.data for part in parts},
    }
    hashes = {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}
    manifest = _manifest(contents, tiers, hashes)
    text = json.dumps(manifest.model_dump(), indent=2, ensure_ascii=False, allow_nan=False)
    return manifest, {MANIFEST: f"{text}\n".encode(), **{n: files[n] for n in manifest.files}}


def _check(contents: BundleContents) -> None:
    if not contents.tiers:
        raise BundleError("A bundle needs at least one tier.")
    faults = [
        f"{what} of '{tier}', which is not a tier"
        for what, tiers in (("reliability", contents.reliability), ("unknown", contents.unknown))
        for tier in tiers
        if tier not in contents.tiers
    ]
    for tier, reliability in contents.reliability.items():
        faults += [f"{tier}: {fault}" for fault in reliability.faults(contents.taxonomy)]
    for tier, score in contents.unknown.items():
        faults += [f"{tier}: {fault}" for fault in score.faults(contents.taxonomy)]
    if contents.routing is not None:
        faults += contents.routing.faults(contents.taxonomy, list(contents.tiers))
    if faults:
        raise BundleError(f"The bundle cannot be written: {'; '.join(faults)}.")


def _rights_file(contents: BundleContents) -> dict[str, bytes]:
    rights = list(contents.golden_rights)
    if not rights:
        return {}
    if len(rights) != len(contents.photos):
        raise BundleError(
            f"{len(contents.photos)} golden photos have {len(rights)} records of whose they are."
        )
    return {RIGHTS: _as_json(GoldenRights(photos=rights))}


def _rule_files(contents: BundleContents) -> dict[str, bytes]:
    """What is applied to outputs, by name of the file."""
    files = {
        reliability_file(tier): _as_json(reliability)
        for tier, reliability in contents.reliability.items()
        if not reliability.is_empty
    }
    files |= {unknown_file(tier): score.to_bytes() for tier, score in contents.unknown.items()}
    if contents.routing is not None:
        files[ROUTING] = _as_json(contents.routing)
    return files


def _as_json(record: BaseModel) -> bytes:
    return f"{record.model_dump_json(indent=2)}\n".encode()


def _parts(
    tier: str, kinds: Mapping[str, ModelFile], contents: BundleContents
) -> dict[FileKind, _Part]:
    if FLOAT not in kinds or not set(kinds) <= set(FILE_KINDS):
        raise BundleError(
            f"{tier} has the files {', '.join(kinds) or 'none'}; it needs '{FLOAT}', and may have"
            f" '{QUANTIZED}' and '{PAGE}'."
        )
    if QUANTIZED in kinds and kinds[QUANTIZED].quantization == kinds[FLOAT].quantization:
        raise BundleError(f"The files of {tier} have the same quantization: one is not quantized.")
    if PAGE in kinds and kinds[PAGE].format in {
        kinds[kind].format for kind in kinds if kind != PAGE
    }:
        raise BundleError(
            f"{tier} has a file for web pages of the same format as its others,"
            f" {kinds[PAGE].format}: pages run those."
        )
    parts = {kind: _part(tier, kinds[kind], contents) for kind in FILE_KINDS if kind in kinds}
    if any(part.decision != parts[FLOAT].decision for part in parts.values()):
        raise BundleError(f"The files of {tier} have different decisions: they were scored apart.")
    return parts


def _part(tier: str, given: ModelFile, contents: BundleContents) -> _Part:
    name = f"tiers/{tier}.{given.quantization}.{given.suffix}"
    opened = open_model(given, threads=1)
    if opened.taxonomy.sha256 != contents.taxonomy.sha256:
        raise BundleError(f"{name} was trained for another taxonomy than the bundle's.")
    entry = TierFile(
        file=name,
        sha256=given.sha256,
        bytes=len(given.data),
        format=given.format,
        quantization=given.quantization,
        image_size=opened.image_size,
    )
    rules = TierRules(
        opened.decision, contents.reliability.get(tier, Reliability()), contents.unknown.get(tier)
    )
    answers = golden.expected_answers(opened, contents.photos, name, given.quantization, rules)
    return _Part(given, entry, answers, opened.decision.rule)


def _manifest(
    contents: BundleContents, tiers: Mapping[str, Mapping[FileKind, _Part]], hashes: dict[str, str]
) -> BundleManifest:
    def ref(name: str) -> FileRef | None:
        return FileRef(file=name, sha256=hashes[name]) if name in hashes else None

    try:
        return BundleManifest(
            name=contents.name,
            created=contents.created,
            taxonomy=contents.taxonomy,
            taxonomy_sha256=contents.taxonomy.sha256,
            tiers={
                tier: _tier_files(kinds, ref(reliability_file(tier)), ref(unknown_file(tier)))
                for tier, kinds in tiers.items()
            },
            golden=FileRef(file=golden.ANSWERS, sha256=hashes[golden.ANSWERS]),
            model_card=FileRef(file=MODEL_CARD, sha256=hashes[MODEL_CARD]),
            routing=ref(ROUTING),
            run=contents.run,
            photo_set_fingerprint=contents.photo_set_fingerprint,
            files=hashes,
        ).sealed()
    except ValidationError as error:
        raise BundleError(f"The bundle cannot be written: {faults_of(error)}.") from error


def _tier_files(
    kinds: Mapping[FileKind, _Part], reliability: FileRef | None, unknown: FileRef | None
) -> TierFiles:
    quantized, page = kinds.get(QUANTIZED), kinds.get(PAGE)
    return TierFiles(
        float=kinds[FLOAT].entry,
        quantized=quantized and quantized.entry,
        page=page and page.entry,
        ships=shipped(kinds),
        decision=kinds[FLOAT].decision,
        reliability=reliability,
        unknown=unknown,
    )


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _write_zip(path: Path, files: Mapping[str, bytes]) -> None:
    """Stored, not compressed: models do not shrink, and nothing has to be unpacked to be read."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, data)
