"""Whether the model files of a bundle give the golden photos' answers on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from cannabis_ml.inference.golden import (
    FileReport,
    GoldenAnswers,
    GoldenReport,
    compare,
    gray_levels_apart,
)
from cannabis_ml.inference.model_file import FileKind
from cannabis_ml.inference.runtimes import runs

if TYPE_CHECKING:
    from cannabis_ml.inference.bundle import Bundle
    from cannabis_ml.inference.predictor import Predictor


def check_golden(bundle: Bundle, threads: int = 1, runtime: str | None = None) -> GoldenReport:
    """As `Bundle.check_golden`."""
    bundle.smallest_tier(runtime)

    def opened(tier: str, kind: FileKind) -> Predictor | None:
        if not runs(runtime, bundle.tier_file(tier, kind=kind).format):
            return None
        return bundle.predictor(tier, threads=threads, runtime=runtime, kind=kind)

    return _checked(bundle, opened)


def check_opened(bundle: Bundle, opened: Mapping[str, Predictor]) -> GoldenReport:
    """Let models that are open already answer for the golden photos.

    Args:
        bundle: Of the models.
        opened: By tier, the file that ships; other files are listed as not checked.
    """
    ships = {tier: files.ships for tier, files in bundle.manifest.tiers.items()}
    return _checked(
        bundle, lambda tier, kind: opened.get(tier) if kind == ships.get(tier) else None
    )


def _checked(bundle: Bundle, opened: Callable[[str, FileKind], Predictor | None]) -> GoldenReport:
    """Ask every file that `opened` gives for its tier and kind; None is not checked."""
    answers, photos = bundle.golden(), bundle.golden_photos()
    reports_by_tier: dict[str, dict[str, FileReport]] = {tier: {} for tier in answers.tiers}
    skipped = []
    for tier, kinds in answers.tiers.items():
        rules = bundle.rules(tier)
        for kind, expected in kinds.items():
            predictor = opened(tier, kind)
            if predictor is None:
                skipped.append(expected.file)
                continue
            outputs = predictor.outputs(photos, batch_size=1)
            reports_by_tier[tier][kind] = compare(expected, outputs, rules, predictor.runtime)
    inputs = {size: _gray_levels(bundle, answers, size) for size in answers.inputs}
    reports = [report for kinds in reports_by_tier.values() for report in kinds.values()]
    return GoldenReport(
        passed=all(r.passed for r in reports) and all(d <= 1 for d in inputs.values()),
        photos=len(photos),
        inputs=inputs,
        tiers=reports_by_tier,
        not_checked=skipped,
    )


def _gray_levels(bundle: Bundle, answers: GoldenAnswers, size: str) -> int:
    pairs = zip(answers.photos, answers.inputs[size], strict=True)
    return max(
        (gray_levels_apart(bundle.read(a), bundle.read(b), int(size)) for a, b in pairs),
        default=0,
    )
