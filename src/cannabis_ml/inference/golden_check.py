"""Whether the model files of a bundle give the golden photos' answers on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cannabis_ml.inference.golden import (
    FileReport,
    GoldenAnswers,
    GoldenReport,
    compare,
    grey_levels_apart,
)
from cannabis_ml.inference.model_file import QUANTIZED
from cannabis_ml.inference.runtimes import runs

if TYPE_CHECKING:
    from cannabis_ml.inference.bundle import Bundle


def check_golden(bundle: Bundle, threads: int = 1, runtime: str | None = None) -> GoldenReport:
    """As `Bundle.check_golden`."""
    bundle.smallest_tier(runtime)
    answers, photos = bundle.golden(), bundle.golden_photos()
    found: dict[str, dict[str, FileReport]] = {tier: {} for tier in answers.tiers}
    skipped = []
    for tier, kinds in answers.tiers.items():
        rules = bundle.rules(tier)
        for kind, expected in kinds.items():
            is_quantized = kind == QUANTIZED
            if not runs(runtime, bundle.tier_file(tier, is_quantized).format):
                skipped.append(expected.file)
                continue
            opened = bundle.predictor(tier, is_quantized, threads, runtime)
            outputs = opened.outputs(photos, batch_size=1)
            found[tier][kind] = compare(expected, outputs, rules, opened.runtime)
    inputs = {size: _grey_levels(bundle, answers, size) for size in answers.inputs}
    reports = [report for kinds in found.values() for report in kinds.values()]
    return GoldenReport(
        passed=all(r.passed for r in reports) and all(d <= 1 for d in inputs.values()),
        photos=len(photos),
        inputs=inputs,
        tiers=found,
        not_checked=skipped,
    )


def _grey_levels(bundle: Bundle, answers: GoldenAnswers, size: str) -> int:
    pairs = zip(answers.photos, answers.inputs[size], strict=True)
    return max(
        (grey_levels_apart(bundle.read(a), bundle.read(b), int(size)) for a, b in pairs),
        default=0,
    )
