from datetime import UTC, datetime, timedelta

import pytest

from cannabis_ml.feedback.opinions import Opinion, opinions_table
from cannabis_ml.taxonomy import Taxonomy

START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def taxonomy():
    return Taxonomy(
        heads=[
            {"name": "kind", "classes": ["plant", "flower", "hash"]},
            {"name": "grade", "kind": "ordinal", "classes": ["A+", "A", "B", "C", "F"]},
            {"name": "look", "kind": "multilabel", "classes": ["seeds", "mould"]},
            {
                "name": "part",
                "classes": ["leaf", "bud"],
                "parent": "kind",
                "allowed": {"plant": ["leaf", "bud"], "flower": ["bud"]},
            },
        ]
    )


@pytest.fixture(scope="session")
def opinions():
    """A table of opinions from rows `(person, photo, label)`, and what else differs from a
    correction of an answer that nobody knows."""

    def table(*rows, **fields):
        found = []
        for number, (person, photo, label, *own) in enumerate(rows):
            given = {"head": "kind", "verdict": "corrected", "seen_answer": False, **fields}
            given |= own[0] if own else {}
            given.setdefault("at", START + timedelta(hours=number))
            found.append(
                Opinion(
                    opinion_id=f"{number:06}", photo_id=photo, person=person, label=label, **given
                )
            )
        return opinions_table(found)

    return table
