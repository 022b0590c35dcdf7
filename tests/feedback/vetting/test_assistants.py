"""What language models suggest is worth what people make of it."""

from datetime import UTC, datetime

import numpy as np
import pytest

from cannabis_ml.feedback.assistants import assistant_id
from cannabis_ml.feedback.opinions import Opinion, opinions_table
from cannabis_ml.feedback.vetting import VettingParams, vet_opinions
from cannabis_ml.taxonomy import Taxonomy

CLASSES = ["plant", "flower", "hash", "trim"]
TAXONOMY = Taxonomy.model_validate({"heads": [{"name": "kind", "classes": CLASSES}]})


AT = datetime(2026, 5, 1, tzinfo=UTC)
MODEL = assistant_id("m")


def season(right, reviewed, seed=0):
    """Suggestions for 200 photos, `right` of them; two people, right in 95%, judge some.

    They have seen the suggestion: who agrees confirms it.
    """

    random = np.random.default_rng(seed)
    truth = random.integers(0, 4, 200)

    def guess(place, share):
        others = (truth[place] + random.integers(1, 4)) % 4
        return CLASSES[truth[place] if random.random() < share else others]

    opinions = []
    for place in range(200):
        shared = {"photo_id": f"{place:064x}", "head": "kind", "at": AT}
        suggestion = guess(place, right)
        opinions.append(
            Opinion(
                opinion_id=f"m{place}",
                person=MODEL,
                annotator="model",
                verdict="corrected",
                label=suggestion,
                confidence=0.9,
                seen_answer=False,
                **shared,
            )
        )
        if place < reviewed:
            person = ("ada", "ben")[place % 2]
            label = guess(place, 0.95)
            opinions.append(
                Opinion(
                    opinion_id=f"{person}{place}",
                    person=person,
                    verdict="confirmed" if label == suggestion else "corrected",
                    label=label,
                    **shared,
                )
            )
    return opinions_table(opinions), truth


def vetted(right, reviewed):
    table, truth = season(right, reviewed)
    return vet_opinions(table, TAXONOMY, VettingParams()), truth


def weight(right, reviewed):
    people = vetted(right, reviewed)[0].people.set_index("person")
    return people.loc[MODEL, "weight"]


def test_the_more_people_review_the_farther_a_poor_and_a_good_assistant_part():
    start = weight(0.95, 0)
    assert weight(0.3, 0) == pytest.approx(start)  # nobody knows yet
    good = [weight(0.95, reviewed) for reviewed in (10, 40, 160)]
    poor = [weight(0.3, reviewed) for reviewed in (10, 40, 160)]
    assert start < good[1] < good[2]
    assert start > poor[1] > poor[2]
    assert good[2] > 0.85
    assert poor[2] < 0.2


def test_a_poor_assistant_costs_no_labels_and_a_good_one_helps():
    counts = []
    for right in (0.3, 0.95):
        found, truth = vetted(right, 160)
        accepted = found.photos[found.photos["status"] == "accepted"]
        places = accepted["photo_id"].map(lambda name: int(name, 16))
        assert places.max() < 160  # those that nobody reviewed are no labels
        named = np.array(CLASSES)[truth[places]]
        assert (accepted["label"].to_numpy() == named).mean() > 0.9
        people = found.people.set_index("person")
        assert people.loc[["ada", "ben"], "weight"].min() > 0.5
        assert not people.loc[["ada", "ben"], "quarantined"].any()
        counts.append(len(accepted))
    assert counts[0] >= 40  # what may rest on each of two people alone
    assert counts[1] > 130


def test_a_very_poor_assistant_is_quarantined():
    found, _ = vetted(0.1, 160)
    one = found.people.set_index("person").loc[MODEL]
    assert one["quarantined"]
    assert one["weight"] == 0
