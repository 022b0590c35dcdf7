"""Quiet seasons raise next to no alarm, asked again and again; a real drop is found in most."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from cannabis_ml.feedback.retrain_decision import Evidence, RetrainParams, decide_retraining
from cannabis_ml.feedback.training_record import Baseline, TrainingRecord
from cannabis_ml.taxonomy import Taxonomy

START = datetime(2026, 3, 1, tzinfo=UTC)
CLASSES = [f"class {k}" for k in range(8)]
TAXONOMY = Taxonomy.model_validate({"heads": [{"name": "product", "classes": CLASSES}]})
RECORD = TrainingRecord(
    at=START,
    taxonomy=TAXONOMY,
    baselines={"tier1": {"product": Baseline(accuracy=0.85, low=0.82, photos=600)}},
)
NOTHING = pd.DataFrame(columns=["head", "name", "photos", "people"])


def alarms(seed, accuracy, audit):
    """Rates that fired in one season of 12 weeks, 60 photos each, asked in weeks 3, 6, 9 and 12.

    `accuracy` gives that of a day. Without audit, right answers are confirmed a third as often as
    wrong ones are corrected.
    """
    random = np.random.default_rng(seed)
    days = np.sort(random.uniform(0, 84, 720))
    labels = random.choice(CLASSES, 720)
    right = random.random(720) < np.array([accuracy(day) for day in days])
    told = np.ones(720, bool) if audit else ~right | (random.random(720) < 1 / 3)
    judged = pd.DataFrame(
        {
            "photo_id": [str(i) for i in range(720)],
            "head": "product",
            "label": labels,
            "answered": np.where(right, labels, "another"),
            "right": right,
            "at": [START + timedelta(days=day) for day in days],
            "audit": (random.random(720) < 0.3) if audit else False,
            "tier": "tier1",
            "bundle_id": "",
            "group": [f"{random.integers(40)} {day:.0f}" for day in days],
        }
    )[told]
    photos = pd.DataFrame({"photo_id": ["0"], "path": ["/a"], "sent_as": [""], "product": ["x"]})
    fired = set()
    for week in (3, 6, 9, 12):
        now = START + timedelta(weeks=week)
        evidence = Evidence(judged[judged["at"] < now], photos, NOTHING, RECORD)
        decision = decide_retraining(evidence, RetrainParams(), now)
        fired |= {one.name for one in decision.firing} & {"accuracy", "class_error"}
    return fired


def test_seasons_without_a_drop_are_quiet():
    """Asked four times each, with a limit on each of eight classes."""
    found = [alarms(seed, lambda _: 0.85, audit=True) for seed in range(25)]
    assert sum(map(bool, found)) <= 1


def test_people_who_rarely_confirm_are_no_drop_of_accuracy():
    found = [alarms(seed, lambda _: 0.85, audit=False) for seed in range(25)]
    assert sum("accuracy" in one for one in found) <= 1


def test_a_drop_of_twenty_points_is_found_in_most_seasons():
    found = [alarms(seed, lambda day: 0.85 if day < 35 else 0.65, audit=True) for seed in range(15)]
    assert sum("accuracy" in one for one in found) >= 12
