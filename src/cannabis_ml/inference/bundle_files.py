"""The files of a bundle: models, rules and golden photos, each checked as it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import numpy as np

from cannabis_ml.errors import BundleError
from cannabis_ml.inference.archive import Archive, open_archive
from cannabis_ml.inference.bundle_reading import AGAIN, file_faults, read_manifest, validated
from cannabis_ml.inference.decision import Decision
from cannabis_ml.inference.golden import GoldenAnswers
from cannabis_ml.inference.golden_rights import RIGHTS, GoldenRights, PhotoRights
from cannabis_ml.inference.manifest import MANIFEST, BundleManifest, TierFile, TierFiles
from cannabis_ml.inference.model_file import FLOAT, PAGE, QUANTIZED, FileKind, ModelFile
from cannabis_ml.inference.reliability import Reliability, TierRules
from cannabis_ml.inference.routing import RoutingRule
from cannabis_ml.inference.unknown import UnknownScore
from cannabis_ml.photos.decode import decode
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.text import did_you_mean


class BundleFiles:
    """The files of a bundle, whose every file was found as it was written.

    Attributes:
        path: The folder or `.zip`.
        manifest: What is in it.
    """

    def __init__(self, archive: Archive, manifest: BundleManifest) -> None:
        self.path = archive.path
        self.manifest = manifest
        self._archive = archive

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Check a bundle, and open it. Nothing of it is unpacked or run.

        Args:
            path: The folder or the `.zip`.

        Raises:
            BundleError: If it is incomplete, altered or of an unknown schema; lists the files.
        """
        archive = open_archive(Path(path))
        manifest = read_manifest(archive)
        faults = file_faults(archive, manifest)
        if faults:
            listed = "\n  ".join(faults)
            raise BundleError(
                f"{archive.path} is not the bundle that was written:\n  {listed}\n{AGAIN}"
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

    def manifest_bytes(self) -> bytes:
        """`bundle.json` as it stands.

        Raises:
            BundleError: If it was changed since the bundle was opened.
        """
        if read_manifest(self._archive).content_sha256 != self.manifest.content_sha256:
            raise BundleError(f"{self.path / MANIFEST} was altered since the bundle was opened.")
        return self._archive.read(MANIFEST)

    def model_file(
        self, tier: str, quantized: bool | None = None, *, kind: FileKind | None = None
    ) -> ModelFile:
        """A model file, see `predictor`."""
        entry = self.tier_file(tier, quantized, kind=kind)
        return ModelFile(self.read(entry.file), entry.format, entry.quantization)

    def tier_file(
        self, tier: str, quantized: bool | None = None, *, kind: FileKind | None = None
    ) -> TierFile:
        """The manifest's entry for a model file.

        Args:
            tier: Name of the tier.
            quantized: As for `predictor`.
            kind: As for `predictor`.

        Raises:
            BundleError: If the bundle has no such tier or file.
        """
        files = self._tier(tier)
        if kind is None:
            kind = files.ships if quantized is None else QUANTIZED if quantized else FLOAT
        if kind not in files.all:
            raise BundleError(f"{tier} of {self.path} has no {_NONE_SUCH[kind]}")
        return files.all[kind]

    def reliability(self, tier: str) -> Reliability:
        """Bands, prediction sets and back-off of a tier; empty where nothing was fitted.

        Raises:
            BundleError: If the bundle has no such tier, or its file is of another taxonomy.
        """
        ref = self._tier(tier).reliability
        if ref is None:
            return Reliability()
        reliability = validated(Reliability, self.read(ref.file), self.path / ref.file)
        self._refuse(ref.file, reliability.faults(self.taxonomy))
        return reliability

    def unknown(self, tier: str) -> UnknownScore | None:
        """The unknown score of a tier; None where it has none.

        Raises:
            BundleError: As `reliability`.
        """
        ref = self._tier(tier).unknown
        if ref is None:
            return None
        data = self.read(ref.file)
        try:
            score = UnknownScore.from_bytes(data)
        except BundleError as error:
            raise BundleError(f"{self.path / ref.file}: {error} {AGAIN}") from error
        self._refuse(ref.file, score.faults(self.taxonomy))
        return score

    @property
    def routing(self) -> RoutingRule | None:
        """Which tier's answer is accepted; None where the bundle has no such rule.

        Raises:
            BundleError: If it is for other tiers or another taxonomy.
        """
        ref = self.manifest.routing
        if ref is None:
            return None
        rule = validated(RoutingRule, self.read(ref.file), self.path / ref.file)
        self._refuse(ref.file, rule.faults(self.taxonomy, self.tiers))
        return rule

    def rules(self, tier: str) -> TierRules:
        """All that is applied to the outputs of a tier's files.

        Raises:
            BundleError: As `reliability`.
        """
        decision = Decision(self.taxonomy, self._tier(tier).decision)
        return TierRules(decision, self.reliability(tier), self.unknown(tier))

    def golden_rights(self) -> list[PhotoRights] | None:
        """Licence of each golden photo and whom to name; None where the bundle does not tell."""
        if RIGHTS not in self.manifest.files:
            return None
        return validated(GoldenRights, self.read(RIGHTS), self.path / RIGHTS).photos

    def golden(self) -> GoldenAnswers:
        """What every client must answer.

        Raises:
            BundleError: If it is not in the form that is known here.
        """
        file = self.manifest.golden.file
        return validated(GoldenAnswers, self.read(file), self.path / file)

    def golden_photos(self) -> list[np.ndarray]:
        """Each uint8 RGB (height, width, 3), in the order of the answers."""
        return [decode(self.read(name)) for name in self.golden().photos]

    def _refuse(self, file: str, faults: Iterable[str]) -> None:
        listed = "; ".join(faults)
        if listed:
            raise BundleError(f"{self.path / file} does not fit its bundle: {listed}. {AGAIN}")

    def _tier(self, tier: str) -> TierFiles:
        if tier not in self.manifest.tiers:
            raise BundleError(
                f"{self.path} has no tier '{tier}'; it has {', '.join(self.tiers)}"
                f"{did_you_mean(tier, self.tiers)}."
            )
        return self.manifest.tiers[tier]

    def __repr__(self) -> str:
        return f"Bundle({self.manifest.name!r}, tiers {', '.join(self.tiers)}, at {self.path})"


_NONE_SUCH = {
    QUANTIZED: "quantized file: none was accurate enough. Take the float file.",
    PAGE: "file for web pages beside the one that ships. Set export.page of the tier, and export"
    " again, or take a tier that ships as TFLite.",
}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
