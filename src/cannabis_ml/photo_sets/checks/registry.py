"""The checks that need more than one photo.

To add one, write its file and name it here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from pydantic import BaseModel, ConfigDict

from cannabis_ml.photo_sets import near_duplicates
from cannabis_ml.photo_sets.checks import (
    absent_classes,
    conflicting_duplicate,
    exact_duplicate,
    few_groups,
    imbalance,
    lookalike_classes,
    rare_classes,
    shortcuts,
    twin_of_test,
    uneven_splits,
    unlabelled_splits,
)
from cannabis_ml.photo_sets.checks.absent_classes import AbsentClassesParams
from cannabis_ml.photo_sets.checks.finding import Finding
from cannabis_ml.photo_sets.checks.imbalance import ImbalanceParams
from cannabis_ml.photo_sets.checks.rare_classes import RareClassesParams
from cannabis_ml.photo_sets.checks.shortcuts import Predictability, ShortcutsParams
from cannabis_ml.photo_sets.checks.uneven_splits import UnevenSplitsParams
from cannabis_ml.photos.checks import CHECKS
from cannabis_ml.photos.checks.check import Defect, Kind
from cannabis_ml.taxonomy import Taxonomy

DEFECTS = (
    exact_duplicate.DEFECT,
    conflicting_duplicate.DEFECT,
    twin_of_test.DEFECT,
    near_duplicates.DEFECT,
)
"""Defects that a photo has beside others. What finds them joins and divides photos as well."""

_KNOWN: dict[tuple[Kind, str], Defect] = {
    (defect.kind, defect.name): defect for defect in (*CHECKS, *DEFECTS)
}


def described(kind: Kind, name: str) -> Defect:
    """What is known of a defect; one that no check here finds is described by its name alone."""
    if (kind, name) in _KNOWN:
        return _KNOWN[kind, name]
    return Defect(
        name=name,
        kind=kind,
        title=name.replace("_", " ").capitalize(),
        about="",
        advice="Glance at the examples" if kind == "flagged" else "",
    )


class SetCheckParams(BaseModel):
    """The parameters of the checks below that have any, under the name of each."""

    model_config = ConfigDict(extra="forbid")

    absent_classes: AbsentClassesParams = AbsentClassesParams()
    rare_classes: RareClassesParams = RareClassesParams()
    imbalance: ImbalanceParams = ImbalanceParams()
    uneven_splits: UnevenSplitsParams = UnevenSplitsParams()
    shortcuts: ShortcutsParams = ShortcutsParams()


@dataclass(frozen=True)
class SetFindings:
    """What the checks found in a set of photos.

    Attributes:
        findings: What is wrong with it, check by check.
        measured: How well file and background predict each label, remarkable or not.
        unchecked: Classes with too few groups to be measured, as from `few_groups.unchecked`.
    """

    findings: list[Finding]
    measured: list[Predictability]
    unchecked: list[dict[str, object]]


def check_set(
    photos: pd.DataFrame,
    taxonomy: Taxonomy,
    fractions: Mapping[str, float],
    params: SetCheckParams,
) -> SetFindings:
    """Run every check of a set of photos.

    Args:
        photos: One row per photo found, with all that is known of it; those with a `defect` count
            only where a check needs them.
        taxonomy: The heads.
        fractions: Split -> share of the photos asked for.
        params: The thresholds.
    """
    measured = shortcuts.measure(photos, taxonomy, params.shortcuts)
    findings = [
        *absent_classes.find(photos, taxonomy, params.absent_classes),
        *lookalike_classes.find(photos, taxonomy),
        *unlabelled_splits.find(photos, taxonomy),
        *rare_classes.find(photos, taxonomy, params.rare_classes),
        *imbalance.find(photos, taxonomy, params.imbalance),
        *uneven_splits.find(photos, taxonomy, fractions, params.uneven_splits),
        *shortcuts.findings_from(measured, params.shortcuts),
        *few_groups.find(photos, taxonomy, params.shortcuts),
    ]
    return SetFindings(findings, measured, few_groups.unchecked(photos, taxonomy, params.shortcuts))
