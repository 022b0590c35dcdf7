"""Class imbalance.

A network trained on imbalanced classes favours the large one: always predicting it is already
nearly right. An accuracy over all photos then hides that the small class is never predicted.
Balancing (weights or row indices) helps, and has to be chosen knowingly: hence a number and both
names.
"""

from __future__ import annotations

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.photo_sets.checks.finding import WITH, WITHOUT, Finding, kept, listed, questions
from cannabis_ml.taxonomy import Taxonomy


class ImbalanceParams(BaseModel):
    """When classes are out of balance."""

    model_config = ConfigDict(extra="forbid")

    max_ratio: float = Field(
        default=10.0,
        ge=1,
        description="Name heads whose largest class is above this many times"
        " the smallest; an attribute counts as two classes, with and without",
    )


def find(photos: pd.DataFrame, taxonomy: Taxonomy, params: ImbalanceParams) -> list[Finding]:
    """Compare the largest class of each head with its smallest.

    Classes without photos are left out: the ratio to them means nothing, and `absent_classes`
    names them.

    Args:
        photos: One row per photo; those with a `defect` do not count.
        taxonomy: The heads.
        params: The limit.

    Returns:
        At most one finding per head; for a multilabel head it names every attribute beyond the
        limit.
    """
    findings: list[Finding] = []
    beyond: dict[str, dict[str, pd.Series]] = {}
    for question in questions(kept(photos), taxonomy):
        counts = question.answers.value_counts()
        counts = counts[counts > 0]
        if len(counts) < 2 or counts.max() <= params.max_ratio * counts.min():
            continue
        if question.attribute is not None:
            beyond.setdefault(question.head, {})[question.attribute] = counts
        else:
            findings.append(_of_head(question.head, counts, params))
    findings += [_of_attributes(head, found, params) for head, found in beyond.items()]
    order = [head.name for head in taxonomy.heads]
    return sorted(findings, key=lambda finding: order.index(finding.head))


_ADVICE = (
    "Choose a balancing method for this head (weighted or effective_number keep every photo), and"
    " judge by macro F1 and balanced accuracy."
)


def _of_head(head: str, counts: pd.Series, params: ImbalanceParams) -> Finding:
    large, small = str(counts.idxmax()), str(counts.idxmin())
    most, least = int(counts.max()), int(counts.min())
    return Finding(
        check="imbalance",
        severity="warning",
        head=head,
        sentence=(
            f"The largest class of '{head}' has {_times(most / least)} the photos of the smallest:"
            f" '{large}' {most:,}, '{small}' {least:,}."
        ),
        advice=_ADVICE,
        classes=[large, small],
        numbers={
            "max_ratio": params.max_ratio,
            "ratio": round(most / least, 2),
            "photos": {large: most, small: least},
        },
    )


def _of_attributes(head: str, counts: dict[str, pd.Series], params: ImbalanceParams) -> Finding:
    ratios = {name: float(c.max() / c.min()) for name, c in counts.items()}
    names = sorted(ratios, key=lambda name: -ratios[name])
    named = [
        f"'{name}' ({counts[name].get(WITH, 0):,} with, {counts[name].get(WITHOUT, 0):,} without)"
        for name in names
    ]
    return Finding(
        check="imbalance",
        severity="warning",
        head=head,
        sentence=(
            f"{len(names):,} attribute{'' if len(names) == 1 else 's'} of '{head}' "
            f"{'has' if len(names) == 1 else 'have'} more than {_times(params.max_ratio)} as many"
            f" photos on one side as on the other: {listed(named)}."
        ),
        advice=_ADVICE,
        classes=names,
        numbers={
            "max_ratio": params.max_ratio,
            "ratio": {name: round(ratios[name], 2) for name in names},
            "photos": {name: {str(k): int(n) for k, n in counts[name].items()} for name in names},
        },
    )


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} times" if ratio >= 10 else f"{ratio:.1f} times"
