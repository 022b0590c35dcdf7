"""Everything that a client needs, in one folder or one `.zip`.

    bundle.json             what is in it: see `BundleManifest`
    tiers/tier1.float.tflite, tiers/tier1.dynamic_int8.tflite, …
    reliability/tier1.json  confidence bands, prediction sets and back-off: see `Reliability`
    unknown/tier1.npz       score of photos unlike any in training: see `UnknownScore`
    routing.json            which tier's answer is accepted: see `RoutingRule`
    golden/answers.json     what every client must answer: see `inference.golden`
    golden/rights.json      under which licences these photos are: see `inference.golden_rights`
    golden/photos/00.png, golden/inputs/224/00.png, …
    README.md               the model card, in the format of the Hugging Face hub

Every file is listed with its SHA-256, and `bundle.json` with one of itself: what was cut short,
damaged or exchanged is noticed before any of it is used. Hashes do not show who made a bundle.
`inference.bundle_writer` writes one.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cannabis_ml.errors import BundleError
from cannabis_ml.inference.answer import Answer
from cannabis_ml.inference.archive import Archive
from cannabis_ml.inference.bundle_files import BundleFiles
from cannabis_ml.inference.bundle_reading import AGAIN
from cannabis_ml.inference.golden import GoldenReport
from cannabis_ml.inference.heat_map import HeatMapKind
from cannabis_ml.inference.language import DEFAULT_LANGUAGE
from cannabis_ml.inference.manifest import MANIFEST, BundleManifest
from cannabis_ml.inference.model_file import FileKind
from cannabis_ml.inference.predictor import PhotoLike, Predictor, open_verified
from cannabis_ml.inference.report import Report
from cannabis_ml.inference.reporter import Reporter
from cannabis_ml.inference.runtimes import runs

if TYPE_CHECKING:
    from cannabis_ml.inference.router import RoutedTier, Router


class Bundle(BundleFiles):
    """A bundle whose every file was found as it was written.

        bundle = Bundle.open("bundle.zip")
        print(bundle.predict("photo.jpg")["product_type"].decided)

    Attributes:
        path: The folder or `.zip`.
        manifest: What is in it.
    """

    def __init__(self, archive: Archive, manifest: BundleManifest) -> None:
        super().__init__(archive, manifest)
        self._opened: dict[tuple[str, bool | None, str | None, int], Predictor] = {}
        self._reporters: dict[str, Reporter] = {}
        self._lock = threading.Lock()

    @classmethod
    def from_hub(cls, repo: str, version: str = "latest", *, cache: Path | None = None) -> Self:
        """Load a published version from the Hugging Face hub, and check every file.

            bundle = Bundle.from_hub("OWNER/NAME", version="1.2.0")

        The commit that a version stands for is asked once and noted in the hub's cache; from then
        on neither the network nor a token is needed.

        Args:
            repo: Id on the hub.
            version: Such as `1.2.0`; `latest` is the highest, which is asked for every time; a
                commit, 40 hex digits, is taken as it is.
            cache: Folder to keep files in; None takes the hub's own (HF_HOME).

        Raises:
            HubError: If the hub does not give it, or its client is not installed.
            BundleError: If what came is not the bundle that was published.
        """
        from cannabis_ml.inference.hub import fetch_bundle

        return fetch_bundle(repo, version, cls.open, cache)[0]

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

    def report(
        self,
        photo: PhotoLike,
        *,
        tier: str | None = None,
        language: str = DEFAULT_LANGUAGE,
        heat_map: bool | HeatMapKind = False,
    ) -> Report:
        """Answer for one photo, and report how far to trust the answer.

        The model is opened at the first call, and kept. For another file than the one that ships,
        another runtime or other levels: `Reporter(bundle.predictor(…), bundle.rules(tier), …)`.

        Args:
            photo: As for `predict`.
            tier: As for `predict`.
            language: Of its texts, `en` or `es`.
            heat_map: Whether to draw what the answers rest on, see `inference.heat_map`; True takes
                `occlusion`.

        Raises:
            ConfigError: If reports have no texts in the language.
            PhotoError: As `predict`.
            UnreadableError: As `predict`.
            OSError: As `predict`.
            BundleError: As `predictor` and `reliability`.
            ExportError: As `predictor`.
        """
        tier = tier or self.smallest_tier()
        with self._lock:
            if tier not in self._reporters:
                self._reporters[tier] = Reporter(self.predictor(tier), self.rules(tier))
            reporter = self._reporters[tier]
        kind: HeatMapKind | None = "occlusion" if heat_map is True else heat_map or None
        return reporter.report(photo, language=language, heat_map=kind)

    def smallest_tier(self, runtime: str | None = None, quantized: bool | None = None) -> str:
        """The first of the tiers whose file a runtime runs.

        Args:
            runtime: As for `predictor`; None stands for any.
            quantized: As for `predictor`.

        Raises:
            BundleError: If it runs none of them.
            ExportError: If the runtime is unknown.
        """
        for tier in self.tiers:
            if runs(runtime, self.tier_file(tier, quantized).format):
                return tier
        raise BundleError(f"{self.path} has no tier whose file {runtime} runs.")

    def predictor(
        self,
        tier: str,
        quantized: bool | None = None,
        threads: int = 0,
        runtime: str | None = None,
        *,
        kind: FileKind | None = None,
    ) -> Predictor:
        """Open a model file, see `open_model`.

        Args:
            tier: Name of the tier, such as `tier1`.
            quantized: Which of its files; None takes the one that ships.
            threads: CPU threads of one answer; 0 takes what the machine offers.
            runtime: `litert`, `tensorflow` or `onnxruntime`; None takes the first that runs the
                file's format and is installed.
            kind: Names the file in place of `quantized`; `page` is the one for web pages.

        Raises:
            BundleError: If the bundle has no such tier or file, or it is not one of this bundle.
            ExportError: If the runtime cannot open it, or is not installed.
        """
        entry = self.tier_file(tier, quantized, kind=kind)
        opened = open_verified(self.model_file(tier, quantized, kind=kind), threads, runtime, tier)
        if opened.taxonomy.sha256 != self.manifest.taxonomy_sha256:
            raise BundleError(f"{entry.file} has another taxonomy than its bundle. {AGAIN}")
        if opened.image_size != entry.image_size:
            raise BundleError(f"{entry.file} has another image size than in {MANIFEST}. {AGAIN}")
        if opened.decision.rule != self.manifest.tiers[tier].decision:
            raise BundleError(f"{entry.file} has another decision rule than in {MANIFEST}. {AGAIN}")
        return opened

    def router(
        self,
        thresholds: Sequence[float] | None = None,
        *,
        remote: Mapping[str, str | RoutedTier] | None = None,
        workers: int = 1,
        threads: int = 0,
        runtime: str | None = None,
    ) -> Router:
        """A router over the tiers, see `inference.router`. Model files are opened now.

            routed = await bundle.router(remote={"tier3": "https://…"}).answer("photo.jpg")
            with BlockingRouter(bundle.router) as router:
                routed = router.answer("photo.jpg")

        Args:
            thresholds: On the calibrated probability of each tier but the last, which then accepts
                every answer, such as `routing.FIXED`; None takes the bundle's `routing`.
            remote: By name of a tier, the URL that answers for it (`TierAnswer.as_json`), or any
                other tier; others are answered on this machine.
            workers: Photos that each local tier answers at once, each with a model file of its own.
            threads: As for `predictor`.
            runtime: As for `predictor`.

        Raises:
            BundleError: If the bundle has no routing and no thresholds are given, or as
                `predictor`.
            ConfigError: If thresholds or remote tiers do not fit, or httpx is not installed.
            ExportError: As `predictor`.
        """
        from cannabis_ml.inference.bundle_router import RouterOptions, bundle_router, rule_of

        options = RouterOptions(dict(remote or {}), workers, threads, runtime)
        return bundle_router(self, rule_of(self, thresholds), options)

    def check_golden(self, threads: int = 1, runtime: str | None = None) -> GoldenReport:
        """Let every model file answer for the golden photos on this machine.

        Args:
            threads: CPU threads of one answer.
            runtime: As for `predictor`; files of formats that it does not run are not checked.

        Raises:
            BundleError: If the runtime runs none of the files.
            ExportError: If it cannot open a file, or is not installed.
        """
        from cannabis_ml.inference.golden_check import check_golden

        return check_golden(self, threads, runtime)
