"""Everything that a client needs, in one folder or one `.zip`.

    bundle.json             what is in it: see `BundleManifest`
    tiers/tier1.float.tflite, tiers/tier1.dynamic_int8.tflite, …
    golden/answers.json     what every client must answer: see `inference.golden`
    golden/photos/00.png, golden/inputs/224/00.png, …
    README.md               the model card, in the format of the Hugging Face hub

Every file is listed with its SHA-256, and `bundle.json` with one of itself: what was cut short,
damaged or exchanged is noticed before any of it is used. Hashes do not say who made a bundle.
"""

from __future__ import annotations

import hashlib
import json
import threading
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from cannabis_ml._io.files import written_aside
from cannabis_ml.errors import BundleError, TaxonomyError
from cannabis_ml.inference import golden
from cannabis_ml.inference.answer import Answer
from cannabis_ml.inference.archive import Archive, open_archive
from cannabis_ml.inference.cards import faults_of
from cannabis_ml.inference.decision import DecisionRule
from cannabis_ml.inference.golden import (
    ExpectedAnswers,
    FileReport,
    GoldenAnswers,
    GoldenReport,
)
from cannabis_ml.inference.manifest import (
    MANIFEST,
    SCHEMA_VERSION,
    BundleManifest,
    FileRef,
    TierFile,
    TierFiles,
    content_hash,
)
from cannabis_ml.inference.model_file import FLOAT, QUANTIZED, ModelFile, shipped
from cannabis_ml.inference.predictor import PhotoLike, Predictor, open_model, open_verified
from cannabis_ml.inference.runtimes import runs
from cannabis_ml.photos.decode import decode
from cannabis_ml.taxonomy import Taxonomy, did_you_mean

MODEL_CARD = "README.md"

_AGAIN = "Get the bundle again from where it came, or make it anew: `kedro run --pipeline=bundle`."
_MOST_MANIFEST = 16 << 20

Schema = TypeVar("Schema", bound=BaseModel)


@dataclass(frozen=True)
class BundleContents:
    """What a bundle is made of.

    Attributes:
        name: What it is called.
        created: When, ISO 8601.
        taxonomy: What its models say of a photo.
        tiers: By tier, its model files: `float`, and `quantized` where there is one.
        photos: Golden photos, each uint8 RGB (height, width, 3), upright.
        model_card: Markdown with a YAML head, as the Hugging Face hub wants it.
        run: MLflow run that trained the models.
        photo_set_fingerprint: Of the photos that they were trained on.
        calibration: Calibrators and thresholds; JSON-able.
    """

    name: str
    created: str
    taxonomy: Taxonomy
    tiers: Mapping[str, Mapping[str, ModelFile]]
    photos: Sequence[np.ndarray]
    model_card: str
    run: str | None = None
    photo_set_fingerprint: str | None = None
    calibration: dict[str, Any] | None = None


class Bundle:
    """A bundle whose every file was found as it was written.

        bundle = Bundle.open("bundle.zip")
        print(bundle.predict("photo.jpg")["product_type"].decided)

    Attributes:
        path: The folder or `.zip`.
        manifest: What is in it.
    """

    def __init__(self, archive: Archive, manifest: BundleManifest) -> None:
        self.path = archive.path
        self.manifest = manifest
        self._archive = archive
        self._opened: dict[tuple[Any, ...], Predictor] = {}
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path | str) -> Bundle:
        """Check a bundle, and open it. Nothing of it is unpacked or run.

        Args:
            path: The folder or the `.zip`.

        Raises:
            BundleError: If it is incomplete, altered or of an unknown schema; lists the files.
        """
        archive = open_archive(Path(path))
        manifest = _read_manifest(archive)
        faults = _faults(archive, manifest)
        if faults:
            listed = "\n  ".join(faults)
            raise BundleError(
                f"{archive.path} is not the bundle that was written:\n  {listed}\n{_AGAIN}"
            )
        return cls(archive, manifest)

    @property
    def taxonomy(self) -> Taxonomy:
        return self.manifest.taxonomy

    @property
    def tiers(self) -> list[str]:
        """Names of the tiers, smallest first, as the manifest lists them."""
        return list(self.manifest.tiers)

    @property
    def model_card(self) -> str:
        """Markdown with a YAML head."""
        return self.read(self.manifest.model_card.file).decode()

    def read(self, name: str) -> bytes:
        """A file of the bundle, checked again as it is read.

        Raises:
            BundleError: If there is none of that name, or it was changed meanwhile.
        """
        if name not in self.manifest.files:
            raise BundleError(
                f"{self.path} has no file {name}{did_you_mean(name, self.manifest.files)}."
            )
        data = self._archive.read(name)
        if _sha256(data) != self.manifest.files[name]:
            raise BundleError(f"{self.path / name} was altered since the bundle was opened.")
        return data

    def model_file(self, tier: str, quantized: bool | None = None) -> ModelFile:
        """A model file, see `predictor`."""
        entry = self._entry(tier, quantized)
        return ModelFile(self.read(entry.file), entry.format, entry.quantization)

    def predict(
        self,
        photo: PhotoLike,
        tier: str | None = None,
        *,
        quantized: bool | None = None,
        runtime: str | None = None,
        threads: int = 0,
    ) -> Answer:
        """Answer for one photo. The model is opened at the first call, and kept.

        Args:
            photo: A path, the bytes of a file, a Pillow image, or an array, uint8 RGB
                (height, width, 3), upright.
            tier: Name of the tier; None takes the smallest that the runtime runs.
            quantized: As for `predictor`.
            runtime: As for `predictor`.
            threads: As for `predictor`.

        Returns:
            Per head the probabilities and the decision, and which tier answered.

        Raises:
            PhotoError: If something else than a photo is given.
            UnreadableError: If the file or the image gives no photo.
            OSError: If the file cannot be read.
            BundleError: As `predictor`.
            ExportError: As `predictor`.
        """
        tier = tier or self.smallest_tier(runtime, quantized)
        key = (tier, quantized, runtime, threads)
        with self._lock:
            if key not in self._opened:
                self._opened[key] = self.predictor(tier, quantized, threads, runtime)
            predictor = self._opened[key]
        return predictor.predict(photo)

    def smallest_tier(self, runtime: str | None = None, quantized: bool | None = None) -> str:
        """The first of the tiers whose file a runtime runs.

        Args:
            runtime: As for `predictor`; None stands for any.
            quantized: As for `predictor`.

        Raises:
            BundleError: If it runs none of them.
            ExportError: If there is no runtime of this name.
        """
        for tier in self.tiers:
            if runs(runtime, self._entry(tier, quantized).format):
                return tier
        raise BundleError(f"{self.path} has no tier whose file {runtime} runs.")

    def predictor(
        self,
        tier: str,
        quantized: bool | None = None,
        threads: int = 0,
        runtime: str | None = None,
    ) -> Predictor:
        """Open a model file, see `open_model`.

        Args:
            tier: Name of the tier, such as `tier1`.
            quantized: Which of its files; None takes the one that ships.
            threads: CPU threads of one answer; 0 takes what the machine offers.
            runtime: `litert`, `tensorflow` or `onnxruntime`; None takes the first that runs the
                file's format and is installed.

        Raises:
            BundleError: If there is no such tier or file, or it is not one of this bundle.
            ExportError: If the runtime cannot open it, or is not installed.
        """
        entry = self._entry(tier, quantized)
        opened = open_verified(self.model_file(tier, quantized), threads, runtime, tier)
        if opened.taxonomy.sha256 != self.manifest.taxonomy_sha256:
            raise BundleError(f"{entry.file} has another taxonomy than its bundle. {_AGAIN}")
        if opened.image_size != entry.image_size:
            raise BundleError(f"{entry.file} has another image size than {MANIFEST} says. {_AGAIN}")
        if opened.decision.rule != self.manifest.tiers[tier].decision:
            raise BundleError(f"{entry.file} decides otherwise than {MANIFEST} says. {_AGAIN}")
        return opened

    def golden(self) -> GoldenAnswers:
        """What every client must answer.

        Raises:
            BundleError: If it is not in the form that is known here.
        """
        file = self.manifest.golden.file
        return _validated(GoldenAnswers, self.read(file), self.path / file)

    def golden_photos(self) -> list[np.ndarray]:
        """Each uint8 RGB (height, width, 3), in the order of the answers."""
        return [decode(self.read(name)) for name in self.golden().photos]

    def check_golden(self, threads: int = 1, runtime: str | None = None) -> GoldenReport:
        """Let every model file answer for the golden photos on this machine.

        Args:
            threads: CPU threads of one answer.
            runtime: As for `predictor`; files of formats that it does not run are not checked.

        Raises:
            BundleError: If the runtime runs none of the files.
            ExportError: If it cannot open a file, or is not installed.
        """
        self.smallest_tier(runtime)
        answers, photos = self.golden(), self.golden_photos()
        inputs = {size: self._grey_levels(answers, size) for size in answers.inputs}
        tiers = {
            name: {
                kind: self._compared(name, kind, expected, photos, threads, runtime)
                for kind, expected in kinds.items()
                if runs(runtime, self._entry(name, kind == QUANTIZED).format)
            }
            for name, kinds in answers.tiers.items()
        }
        skipped = [
            expected.file
            for name, kinds in answers.tiers.items()
            for kind, expected in kinds.items()
            if kind not in tiers[name]
        ]
        reports = [report for kinds in tiers.values() for report in kinds.values()]
        passed = all(r.passed for r in reports) and all(d <= 1 for d in inputs.values())
        return GoldenReport(
            passed=passed, photos=len(photos), inputs=inputs, tiers=tiers, not_checked=skipped
        )

    def _compared(
        self,
        tier: str,
        kind: str,
        expected: ExpectedAnswers,
        photos: list[np.ndarray],
        threads: int,
        runtime: str | None,
    ) -> FileReport:
        opened = self.predictor(tier, kind == QUANTIZED, threads, runtime)
        outputs = opened.outputs(photos, batch_size=1)
        return golden.compare(expected, outputs, opened.decision, opened.runtime)

    def _grey_levels(self, answers: GoldenAnswers, size: str) -> int:
        pairs = zip(answers.photos, answers.inputs[size], strict=True)
        return max(
            (golden.grey_levels_apart(self.read(a), self.read(b), int(size)) for a, b in pairs),
            default=0,
        )

    def _entry(self, tier: str, quantized: bool | None) -> TierFile:
        if tier not in self.manifest.tiers:
            raise BundleError(
                f"{self.path} has no tier '{tier}'; it has {', '.join(self.tiers)}"
                f"{did_you_mean(tier, self.tiers)}."
            )
        files = self.manifest.tiers[tier]
        kind = files.ships if quantized is None else QUANTIZED if quantized else FLOAT
        if kind not in files.all:
            raise BundleError(
                f"{tier} of {self.path} has no quantized file: none was accurate enough. Take the"
                " float file."
            )
        return files.all[kind]

    def __repr__(self) -> str:
        return f"Bundle({self.manifest.name!r}, tiers {', '.join(self.tiers)}, at {self.path})"


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


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class _Part:
    """A model file with what the bundle says of it."""

    model: ModelFile
    entry: TierFile
    answers: ExpectedAnswers
    decision: DecisionRule


def _assembled(contents: BundleContents) -> tuple[BundleManifest, dict[str, bytes]]:
    """The manifest, and every file by name, the manifest first."""
    if not contents.tiers:
        raise BundleError("A bundle needs at least one tier.")
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
    )
    files = {
        MODEL_CARD: contents.model_card.encode(),
        golden.ANSWERS: golden.as_json(answers),
        **pictures,
        **{part.entry.file: part.model.data for part in parts},
    }
    manifest = _manifest(contents, tiers, {name: _sha256(files[name]) for name in sorted(files)})
    text = json.dumps(manifest.model_dump(), indent=2, ensure_ascii=False, allow_nan=False)
    return manifest, {MANIFEST: f"{text}\n".encode(), **{n: files[n] for n in manifest.files}}


def _parts(tier: str, kinds: Mapping[str, ModelFile], contents: BundleContents) -> dict[str, _Part]:
    if FLOAT not in kinds or not set(kinds) <= {FLOAT, QUANTIZED}:
        raise BundleError(
            f"{tier} has the files {', '.join(kinds) or 'none'}; it needs '{FLOAT}', and may have"
            f" '{QUANTIZED}'."
        )
    if len({model.quantization for model in kinds.values()}) < len(kinds):
        raise BundleError(f"The files of {tier} have the same quantization: one is not quantized.")
    parts = {kind: _part(tier, given, contents) for kind, given in kinds.items()}
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
    answers = golden.expected_answers(opened, contents.photos, name, given.quantization)
    return _Part(given, entry, answers, opened.decision.rule)


def _manifest(
    contents: BundleContents, tiers: Mapping[str, Mapping[str, _Part]], hashes: dict[str, str]
) -> BundleManifest:
    try:
        return BundleManifest(
            name=contents.name,
            created=contents.created,
            taxonomy=contents.taxonomy,
            taxonomy_sha256=contents.taxonomy.sha256,
            tiers={tier: _tier_files(kinds) for tier, kinds in tiers.items()},
            golden=FileRef(file=golden.ANSWERS, sha256=hashes[golden.ANSWERS]),
            model_card=FileRef(file=MODEL_CARD, sha256=hashes[MODEL_CARD]),
            calibration=contents.calibration,
            run=contents.run,
            photo_set_fingerprint=contents.photo_set_fingerprint,
            files=hashes,
        ).sealed()
    except (ValueError, TypeError) as error:  # pydantic's, or JSON's of the calibration
        said = faults_of(error) if isinstance(error, ValidationError) else error
        raise BundleError(f"The bundle cannot be written: {said}.") from error


def _tier_files(kinds: Mapping[str, _Part]) -> TierFiles:
    entries = {kind: part.entry for kind, part in kinds.items()}
    return TierFiles.model_validate(
        {**entries, "ships": shipped(kinds), "decision": kinds[FLOAT].decision}
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


def _read_manifest(archive: Archive) -> BundleManifest:
    path = archive.path
    if MANIFEST not in archive.sizes:
        raise BundleError(f"{path} is not a bundle: it has no {MANIFEST}. {_AGAIN}")
    if archive.sizes[MANIFEST] > _MOST_MANIFEST:
        raise BundleError(f"{path / MANIFEST} has {archive.sizes[MANIFEST]:,} bytes. {_AGAIN}")
    text = archive.read(MANIFEST)
    try:
        said = json.loads(text)
        checksum = content_hash(said) if isinstance(said, dict) else None
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path / MANIFEST} is no JSON ({error}). {_AGAIN}") from error
    version = said.get("schema_version") if isinstance(said, dict) else None
    if type(version) is not int or version != SCHEMA_VERSION:
        raise BundleError(
            f"{path / MANIFEST} has schema_version {version!r:.40}; known here is {SCHEMA_VERSION}."
            " Update cannabis_ml to read a newer bundle; make an older one anew."
        )
    if said.get("content_sha256") != checksum:
        raise BundleError(f"{path / MANIFEST} was altered: its checksum differs. {_AGAIN}")
    return _validated(BundleManifest, text, path / MANIFEST)


def _faults(archive: Archive, manifest: BundleManifest) -> list[str]:
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


def _validated(schema: type[Schema], text: bytes, path: Path) -> Schema:
    try:
        return schema.model_validate_json(text)
    except (ValidationError, TaxonomyError) as error:
        said = faults_of(error) if isinstance(error, ValidationError) else error
        raise BundleError(f"{path} says what cannot be: {said}. {_AGAIN}") from error
