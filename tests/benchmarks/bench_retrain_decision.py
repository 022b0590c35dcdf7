"""What fires the retrain decision: 200 quiet seasons, and the drop that each reason is for.

    python tests/benchmarks/bench_retrain_decision.py [--cache DIR] [--seasons 200]

Answers are stored outputs: a linear head learns half of PlantVillage's groups and answers the
photos of the other half, and those of the same classes in PlantDoc, which look otherwise. A season
draws 60 of the former a week, for 12 weeks, with replacement; people's labels are 97% right. The
decision is asked after each week, with its default limits, and nothing is trained: whatever fires
in a quiet season is a false alarm. `age` is not counted, as 30 days pass by design. `audit`: 15% of
the photos are drawn for audit. `volunteers`: nothing is drawn, and right answers are confirmed a
third as often as wrong ones are corrected.

`drift` fires where confidence has fallen by more than the limit and a permutation test shows it. In
quiet seasons the test is taken for passed: that saves hours, and counts rather too many alarms.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))

import crop_embeddings
from machine import machine

from cannabis_ml.evaluation.intervals import by_groups
from cannabis_ml.feedback.columns import EMBEDDING_COLUMNS
from cannabis_ml.feedback.drift import CONFIDENCE, DriftParams
from cannabis_ml.feedback.linear_head import fit_head, fit_projection
from cannabis_ml.feedback.opinions import opinions_table
from cannabis_ml.feedback.release_drift import release_drift
from cannabis_ml.feedback.retrain_decision import (
    REASONS,
    Evidence,
    RetrainParams,
    decide_retraining,
)
from cannabis_ml.feedback.snapshot import FeedbackSnapshot, empty_table
from cannabis_ml.feedback.training_record import Baseline, TrainingRecord
from cannabis_ml.taxonomy import Taxonomy

HEAD, WEEKS, ONSET, A_WEEK = "crop", 12, 6, 60
START = datetime(2026, 3, 2, tzinfo=UTC)
LARGEST_ERROR = 0.2
"""Quiet are only classes that the model is good at: above 30% the reason would be right."""


class Outputs:
    """Stored answers: of PlantVillage's photos, and of PlantDoc's of the same classes."""

    def __init__(self, cache):
        lab = crop_embeddings.load("plantvillage", cache)
        field = crop_embeddings.load("plantdoc", cache)
        projection = fit_projection(lab.embeddings)
        learn, rest = lab.divide(0, 0.5)
        head = fit_head(projection(lab.embeddings[learn]), lab.labels[learn], len(lab.names))
        names = np.array(lab.names, object)

        def answers(photos, rows):
            probs = head.probs(projection(photos.embeddings[rows]))
            truth = np.array(photos.names, object)[photos.labels[rows]]
            groups = photos.photos["group"].to_numpy(object)[rows]
            return (
                pd.DataFrame(
                    {"label": truth, "answered": names[probs.argmax(axis=1)], "person": groups}
                )
                .astype("str")
                .assign(
                    sure=probs.max(axis=1),
                    embedding=list(photos.embeddings[rows].astype(np.float32)),
                )
            )

        half = np.isin(lab.groups[rest], np.unique(lab.groups[rest])[::2])
        self.test, pool = answers(lab, rest[half]), answers(lab, rest[~half])
        wrong = (pool["label"] != pool["answered"]).groupby(pool["label"])
        good = wrong.mean().index[(wrong.mean() <= LARGEST_ERROR) & (wrong.size() >= 15)]
        self.pool = pool[pool["label"].isin(good)].reset_index(drop=True)
        self.test = self.test[self.test["label"].isin(good)].reset_index(drop=True)
        shifted = answers(field, np.arange(len(field.labels)))
        self.shifted = shifted[shifted["label"].isin(good)].reset_index(drop=True)
        self.reference = self.test[["sure", "embedding"]].rename(
            columns={"sure": CONFIDENCE + HEAD}
        )
        self.reference["group"] = self.test["person"]
        self.classes = [str(name) for name in good]
        right = (self.test["label"] == self.test["answered"]).to_numpy()
        low, _ = by_groups(right, self.test["person"].to_numpy())
        baseline = Baseline(accuracy=float(right.mean()), low=low, photos=len(right))
        self.record = TrainingRecord(
            at=START,
            taxonomy=Taxonomy.model_validate({"heads": [{"name": HEAD, "classes": lab.names}]}),
            baselines={"tier3": {HEAD: baseline}},
        )


def draw(outputs, week, seed, way, drop=None):
    """Answers of one week with people's labels, as `judged_answers` gives them."""
    random = np.random.default_rng([seed, week])
    count = 4 * A_WEEK if drop == "new_photos" and week >= ONSET else A_WEEK
    rows = outputs.pool.iloc[random.integers(len(outputs.pool), size=count)]
    if week >= ONSET and drop in ("accuracy", "drift"):
        mixed = outputs.shifted.iloc[random.integers(len(outputs.shifted), size=count)]
        rows = rows.where(
            np.tile(random.random(count)[:, None] < 0.6, (1, rows.shape[1])),
            mixed.set_index(rows.index),
        )
    if week >= ONSET and drop in ("class_error", "corrections"):
        name = outputs.shifted["label"].mode().iloc[0]
        of_class = outputs.shifted[outputs.shifted["label"] == name]
        many = 20 if drop == "class_error" else 100
        rows = pd.concat([rows, of_class.iloc[random.integers(len(of_class), size=many)]])
    table = rows.reset_index(drop=True)
    slips = random.random(len(table)) < 0.03
    table.loc[slips, "label"] = random.choice(outputs.classes, slips.sum())
    right = (table["label"] == table["answered"]).to_numpy(bool)
    told = (
        np.ones(len(table), bool)
        if way == "audit"
        else ~right | (random.random(len(table)) < 1 / 3)
    )
    hours = np.sort(random.uniform(0, 7 * 24, len(table)))
    table = table.assign(
        photo_id=[f"{seed}-{week}-{i}" for i in range(len(table))],
        head=HEAD,
        confidence=0.95,
        right=right,
        at=[START + timedelta(days=7 * (week - 1), hours=h) for h in hours],
        audit=(random.random(len(table)) < 0.15) if way == "audit" else False,
        tier="tier3",
        bundle_id="",
    )
    table["group"] = [f"p{random.integers(200)} {at:%Y-%m-%d}" for at in table["at"]]
    return table[told]


def drift_of(outputs, judged, now, params, *, quiet, unasked=False):
    """Tests of drift; see above for quiet seasons."""
    answers = judged.assign(
        answered_confidence=judged["sure"], person=judged["group"].str.split().str[0]
    )
    answers["at"] = answers["at"].astype("datetime64[us, UTC]")
    columns = ["photo_id", "person", "at", "bundle_id", "tier", "embedding"]
    embeddings = answers[columns] if not quiet else empty_table(EMBEDDING_COLUMNS)
    opinions = opinions_table([])
    if unasked:  # all answers came because somebody judged them
        opinions = judged[["photo_id"]].assign(annotator="person", audit=False)
    snapshot = FeedbackSnapshot(opinions, answers, embeddings=embeddings)
    reference = outputs.reference if not quiet else outputs.reference.drop(columns="embedding")
    tests = DriftParams(permutations=99, most_photos=30) if quiet else DriftParams()
    found = release_drift(snapshot, outputs.record, {"tier3": reference}, (params, tests), now)
    return [one.model_copy(update={"drifted": True}) for one in found] if quiet else found


def season(outputs, seed, way, drop=None):
    """Week in which each reason fired first."""
    params, parts, first = RetrainParams(), [], {}
    if drop not in (None, "new_photos"):  # a drop that brings photos is not to fire by their number
        params = RetrainParams(new_photos=10**6)
    for week in range(1, WEEKS + 1):
        parts.append(draw(outputs, week, seed, way, drop))
        judged = pd.concat(parts, ignore_index=True)
        photos = judged[["photo_id", "label"]].rename(columns={"label": HEAD})
        photos = photos.assign(path="", sent_as="")
        proposed = 12 * max(0, week - ONSET + 1) if drop == "new_class" else min(week, 5)
        proposals = pd.DataFrame(
            [{"head": HEAD, "name": "Rosin", "photos": proposed, "people": 1 + proposed // 3}]
        )
        now = START + timedelta(days=7 * week)
        drift = []
        if drop in (None, "drift") and week >= (1 if drop is None else ONSET):
            unasked = way == "volunteers"
            drift = drift_of(outputs, judged, now, params, quiet=drop is None, unasked=unasked)
        evidence = Evidence(judged, photos, proposals, outputs.record, drift=drift)
        decision = decide_retraining(evidence, params, now)
        for reason in decision.firing:
            first.setdefault(reason.name, week)
    return first


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--seasons", type=int, default=200)
    ways = ("audit", "volunteers")
    parser.add_argument("--ways", nargs="+", choices=ways, default=ways)
    parser.add_argument("--drops", nargs="*", choices=REASONS, default=REASONS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(machine(("numpy", "pandas", "scipy")))
    outputs = Outputs(options.cache)
    told = outputs.record.baselines["tier3"][HEAD]
    print(
        f"{len(outputs.classes)} classes, test accuracy {told.accuracy:.1%}; PlantDoc's photos:"
        f" {(outputs.shifted['label'] == outputs.shifted['answered']).mean():.1%}"
    )
    for way in options.ways:
        alarms = Counter()
        for seed in range(options.seasons):
            fired = set(season(outputs, seed, way)) - {"age"}
            alarms.update(fired or {"nothing"})
        found = ", ".join(f"{name} {n}" for name, n in alarms.most_common())
        print(f"{options.seasons} quiet seasons of {WEEKS} weeks, {way}: {found}", flush=True)
    print(
        f"\nfrom week {ONSET} on; 20 seasons each: how often it fired, median week, what else did"
    )
    for drop in options.drops:
        runs = [season(outputs, 1000 + seed, "audit", drop) for seed in range(20)]
        weeks = [run[drop] for run in runs if drop in run]
        early = sum(run.get(drop, 99) < (5 if drop == "age" else ONSET) for run in runs)
        others = Counter(name for run in runs for name in run if name not in (drop, "age"))
        print(
            f"{drop:12} {len(weeks):3}/20  week {np.median(weeks) if weeks else 0:4.1f}  too early"
            f" {early}; also {dict(others)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
