"""A season of feedback on real photos: what no retraining, naive trust and this project reach.

    python tests/benchmarks/bench_season.py [--cache DIR] [--seeds 5] [--sources plantdoc]

Photos of PlantVillage and of PlantDoc arrive over 12 weeks; one class appears in week 5 only. 27
people are right 9 times in 10, 3 are contrary, and one more sends 30% of all opinions: always the
same class, always sure. "Training" is fitting a linear head to embeddings of a frozen
EfficientNet-Lite0. Held-out photos are judged each week. `none` never trains again; `naive` takes
the last opinion on each photo for its label and trains every week; `ours` vets, and trains when the
retrain decision fires, with its default limits.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))

import crop_embeddings
from machine import machine
from season_crowd import HEAD, LATE_WEEK, START, WEEKS, Crowd, week_of_opinions

from cannabis_ml.evaluation.intervals import by_groups
from cannabis_ml.feedback.judged import judged_answers, label_text
from cannabis_ml.feedback.linear_head import fit_head, fit_projection
from cannabis_ml.feedback.retrain_decision import Evidence, RetrainParams, decide_retraining
from cannabis_ml.feedback.training_photos import feedback_photos
from cannabis_ml.feedback.training_record import Baseline, TrainingRecord, labels_of_photos
from cannabis_ml.feedback.vetting import VettingParams, label_table, vet_opinions
from cannabis_ml.taxonomy import Taxonomy

WAYS = ("none", "naive", "ours")


class Season:
    """Photos of one season: a part to begin with, one that arrives, one that is held out."""

    def __init__(self, photos, components, seed):
        self.ids = photos.photos["photo_id"].to_numpy(object)
        self.truth = np.array(photos.names, object)[photos.labels]
        self.x, self.names, self.groups = components, photos.names, photos.groups
        learn, self.held_out = photos.divide(seed, 0.3)
        random = np.random.default_rng(seed)
        many = [k for k in range(len(photos.names)) if (photos.labels == k).sum() >= 70]
        self.late = photos.names[random.choice(many)]
        began = np.isin(
            photos.groups[learn],
            random.permutation(np.unique(photos.groups[learn]))[
                : len(np.unique(photos.groups[learn])) // 4
            ],
        )
        self.start = learn[began & (self.truth[learn] != self.late)]
        self.arriving = random.permutation(learn[~np.isin(learn, self.start)])
        late = self.truth[self.arriving] == self.late
        week = np.empty(len(self.arriving), int)
        week[~late] = 1 + np.arange((~late).sum()) * WEEKS // (~late).sum()
        week[late] = LATE_WEEK + np.arange(late.sum()) * (WEEKS + 1 - LATE_WEEK) // late.sum()
        self.week = week


class Learner:
    """A head, the classes that it has, and what it was fitted to."""

    def __init__(self, season):
        self.season, self.names = season, sorted(set(season.truth[season.start]))
        self.fit({})
        self.record = None

    def fit(self, labels):
        """Fit to the photos of the beginning, and to others under the labels given."""
        rows = {name: i for i, name in enumerate(self.season.ids)}
        more = np.array([rows[name] for name in labels], int)
        told = [*self.season.truth[self.season.start], *labels.values()]
        self.names = sorted({*self.names, *told})
        place = {name: k for k, name in enumerate(self.names)}
        x = self.season.x[np.concatenate([self.season.start, more])]
        self.head = fit_head(x, np.array([place[name] for name in told]), len(self.names))
        self.labels = labels

    def answers(self, rows):
        probs = self.head.probs(self.season.x[rows])
        return np.array(self.names, object)[probs.argmax(axis=1)], probs.max(axis=1)

    def accuracy(self, rows):
        return float((self.answers(rows)[0] == self.season.truth[rows]).mean())

    @property
    def taxonomy(self):
        return Taxonomy.model_validate({"heads": [{"name": HEAD, "classes": self.names}]})


def naive(learner, opinions):
    last = opinions.dropna(subset="label").drop_duplicates("photo_id", keep="last")
    learner.fit(dict(zip(last["photo_id"], last["label"], strict=True)))


def record_of(learner, photos, now, test):
    """As the bundle stage would write it; the test split is a quarter of the held-out photos."""
    right = learner.answers(test)[0] == learner.season.truth[test]
    low, _ = by_groups(right, learner.season.groups[test])
    baseline = Baseline(accuracy=float(right.mean()), low=low, photos=len(test))
    return TrainingRecord(
        at=now,
        taxonomy=learner.taxonomy,
        baselines={"tier3": {HEAD: baseline}},
        feedback=dict(labels_of_photos(photos)),
    )


def ours(learner, opinions, now, test):
    """Vet, decide, and train if there is a reason; returns the names of the reasons."""
    if learner.record is None:
        learner.record = record_of(
            learner, feedback_photos(pd.DataFrame({"photo_id": []}), {}, {}), START, test
        )
    vetted = vet_opinions(opinions, learner.taxonomy, VettingParams())
    texts = pd.Series([label_text(label) for label in vetted.photos["label"]], dtype="str")
    judged = judged_answers(vetted.photos.assign(label=texts), opinions)
    labels = label_table(vetted, learner.taxonomy)
    paths = {name: name for name in opinions["photo_id"]}
    photos = feedback_photos(labels, paths, {})
    evidence = Evidence(judged, photos, vetted.proposals, learner.record)
    decision = decide_retraining(evidence, RetrainParams(), now)
    fired = sorted({reason.name for reason in decision.firing})
    if not decision.retrain:
        return []
    added = vetted.proposals[vetted.proposals["enough"]]["name"].tolist()
    if added:  # the same opinions, now that the taxonomy has the class
        learner.names = sorted({*learner.names, *added})
        vetted = vet_opinions(opinions, learner.taxonomy, VettingParams())
        labels = label_table(vetted, learner.taxonomy)
        photos = feedback_photos(labels, paths, {})
    known = photos.dropna(subset=HEAD) if HEAD in photos else photos
    learner.fit(dict(zip(known["photo_id"], known[HEAD], strict=True)) if len(known) else {})
    learner.record = record_of(learner, photos, now, test)
    return fired


def run(photos, components, seed, crowd):
    season = Season(photos, components, seed)
    test = np.random.default_rng(seed).permutation(season.held_out)[: len(season.held_out) // 4]
    judged = np.setdiff1d(season.held_out, test)
    found = {}
    for way in WAYS:
        learner = Learner(season)
        opinions, curve, fired, seconds = None, [], {}, 0.0
        for week in range(1, WEEKS + 1):
            rows = season.arriving[season.week == week]
            answered, sure = learner.answers(rows)
            pairs = list(zip(season.ids[rows], season.truth[rows], strict=True))
            told = week_of_opinions(week, pairs, answered, sure, learner.names, crowd, seed)
            opinions = told if opinions is None else pd.concat([opinions, told], ignore_index=True)
            began = time.perf_counter()
            if way == "naive":
                naive(learner, opinions)
            elif way == "ours":
                reasons = ours(learner, opinions, START + timedelta(days=7 * week), test)
                if reasons:
                    fired[week] = reasons
            seconds += time.perf_counter() - began
            curve.append(learner.accuracy(judged))
        late = judged[season.truth[judged] == season.late]
        truth = dict(zip(season.ids, season.truth, strict=True))
        wrong = [truth[name] != label for name, label in learner.labels.items()]
        found[way] = {
            "curve": curve,
            "late": learner.accuracy(late),
            "wrong": float(np.mean(wrong)) if wrong else 0.0,
            "labels": len(wrong),
            "fired": fired,
            "seconds": seconds / WEEKS,
            "opinions": len(opinions),
        }
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--sources", nargs="+", choices=crop_embeddings.FOLDERS, default=[*crop_embeddings.FOLDERS]
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(machine(("numpy", "pandas", "scikit-learn")))
    for source in options.sources:
        photos = crop_embeddings.load(source, options.cache).of_classes(5)
        components = fit_projection(photos.embeddings)(photos.embeddings)
        for spammer in (0.3, 0.0):
            crowd = Crowd(spammer=spammer)
            runs = [run(photos, components, seed, crowd) for seed in range(options.seeds)]
            print(
                f"\n{source}, spammer {spammer:.0%}, {options.seeds} seeds, about"
                f" {np.mean([r['ours']['opinions'] for r in runs]):,.0f} opinions;"
                " held-out accuracy after week"
            )
            shown = (1, 3, 5, 6, 8, 10, 12)
            print(
                f"{'':8}"
                + "".join(f"{w:>7}" for w in shown)
                + f"{'new class':>11}{'wrong labels':>14}{'labels':>8}{'s/week':>8}"
            )
            for way in WAYS:
                curve = np.mean([r[way]["curve"] for r in runs], axis=0)
                told = [
                    np.mean([r[way][key] for r in runs])
                    for key in ("late", "wrong", "labels", "seconds")
                ]
                print(
                    f"{way:8}"
                    + "".join(f"{curve[w - 1]:7.3f}" for w in shown)
                    + f"{told[0]:11.3f}{told[1]:14.1%}{told[2]:8.0f}{told[3]:8.2f}"
                )
            for seed, r in enumerate(runs):
                weeks = "; ".join(
                    f"week {w}: {', '.join(names)}" for w, names in r["ours"]["fired"].items()
                )
                print(f"  seed {seed}: {weeks}", flush=True)


if __name__ == "__main__":
    main()
