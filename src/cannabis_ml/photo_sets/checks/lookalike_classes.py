"""Classes whose names look the same: `Apple` and `apple`, `leaf spot` and `leaf_spot`.

Nearly always they are one class that two people or two programs spelt differently, and a model is
asked to separate what is the same. They may differ on purpose, so nothing is merged.
"""

from __future__ import annotations

import pandas as pd

from cannabis_ml.photo_sets.checks.finding import Finding, class_counts, listed
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.text import counted, lookalikes


def find(photos: pd.DataFrame, taxonomy: Taxonomy) -> list[Finding]:
    """Name the classes that differ only in case, blanks, underscores or what is not seen.

    Args:
        photos: One row per photo.
        taxonomy: The heads.

    Returns:
        At most one finding per head.
    """
    counts = class_counts(photos, taxonomy)
    findings = []
    for head in taxonomy.heads:
        alike = lookalikes(head.class_names)
        if alike:
            of_head = counts[head.name]
            named = [
                " and ".join(f"'{name}' ({counted(of_head[name], 'photo')})" for name in names)
                for names in alike
            ]
            findings.append(
                Finding(
                    check="lookalike_classes",
                    severity="warning",
                    head=head.name,
                    sentence=f"Classes of '{head.name}' whose names look the same:"
                    f" {listed(named)}.",
                    advice="If they are one class, map one name to the other under the source's"
                    " label_map; else give them names that differ visibly.",
                    classes=[name for names in alike for name in names],
                    numbers={"names": alike},
                )
            )
    return findings
