"""Vetting a simulated crowd: consensus against crowd-kit and cleanlab, grades, a spammer, speed.

Every method sees the same opinions. Nine in ten people are right in 9 of 10 answers, one in ten is
contrary (wrong in 9 of 10), and a spammer, who answers at random, sends 30% of everything (25% and
20% where photos have 4 and 5 opinions: nobody has two on one photo). What is not installed is left
out:

    pip install crowd-kit cleanlab "scikit-learn<1.7"   # crowd-kit brings transformers: an own venv
    python tests/benchmarks/bench_vetting.py [--seeds 5] [--photos 1000] [--only consensus]
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pandas as pd
from machine import alternate, machine

from cannabis_ml.feedback.opinions import COLUMNS
from cannabis_ml.feedback.vetting import VettingParams, vet_opinions
from cannabis_ml.feedback.vetting.archetypes import one_coin, ordered_probit
from cannabis_ml.feedback.vetting.consensus import Prior, find_consensus
from cannabis_ml.feedback.vetting.crowd import Votes
from cannabis_ml.feedback.vetting.params import ConsensusParams
from cannabis_ml.taxonomy import Head, Taxonomy

HAS_CROWDKIT = importlib.util.find_spec("crowdkit") is not None
HAS_CLEANLAB = importlib.util.find_spec("cleanlab") is not None

CLASSES = 5
PEOPLE = 30
SPAMMER = PEOPLE


def classes_and_model(random, photos):
    """True classes of unequal frequency, and calibrated probabilities of a model right in 80%."""
    shares = np.arange(CLASSES, 0, -1) / np.arange(CLASSES, 0, -1).sum()
    truth = random.choice(CLASSES, photos, p=shares)
    seen = random.normal(0, 1, (photos, CLASSES))
    seen[np.arange(photos), truth] += 2.2
    scores = np.exp(2.2 * seen) * shares  # Bayes' rule for these numbers
    return truth, scores / scores.sum(axis=1, keepdims=True)


def who_answers(random, each, spam=0.3):
    """People of one photo's opinions, in random order.

    A share `spam` of all is the spammer's, as far as that is possible with one opinion per photo:
    of 4 opinions a quarter, of 5 a fifth.
    """
    who = random.choice(PEOPLE, each, replace=False)
    if random.random() < spam * each:
        who[random.integers(each)] = SPAMMER
    return who


def nominal_crowd(seed, photos, each, spammer_right=1 / CLASSES):
    """True classes, the model's probabilities, and rows (photo, person, class)."""
    random = np.random.default_rng(seed)
    truth, model = classes_and_model(random, photos)
    rows = []
    for photo in range(photos):
        for person in who_answers(random, each):
            other = (truth[photo] + random.integers(1, CLASSES)) % CLASSES
            right = 0.1 if person < PEOPLE // 10 else 0.9
            right = spammer_right if person == SPAMMER else right
            rows.append((photo, person, truth[photo] if random.random() < right else other))
    return truth, model, np.array(rows)


def graded_crowd(seed, photos, each):
    """Grades cut out of a continuous quality, which people see with noise and cut in their own way.

    This is not the model that ours assumes: a photo near a cut is hard for everybody.
    """
    random = np.random.default_rng(seed)
    cuts = np.array([-0.8, -0.2, 0.4, 1.0])
    quality = random.normal(0, 1, photos)
    truth = np.searchsorted(cuts, quality)
    noise = random.uniform(0.15, 0.6, PEOPLE)
    own = cuts + random.normal(0, 0.25, (PEOPLE, 1)) + random.normal(0, 0.1, (PEOPLE, len(cuts)))
    rows = []
    for photo in range(photos):
        for person in who_answers(random, each):
            if person == SPAMMER:
                label = random.integers(CLASSES)
            else:
                seen = quality[photo] + random.normal(0, noise[person])
                label = np.searchsorted(np.sort(own[person]), seen)
                label = CLASSES - 1 - label if person < PEOPLE // 10 else label
            rows.append((photo, person, label))
    return truth, np.array(rows)


def ours(rows, photos, *, archetypes=None, model=None, ordinal=False, method="dawid_skene"):
    """Our labels and their probabilities."""
    columns = (rows[:, 0], rows[:, 1], rows[:, 2], np.ones(len(rows)))
    votes = Votes.sort(columns, (photos, PEOPLE + 1, CLASSES))
    prior = Prior.empty(photos, CLASSES)
    if model is not None:
        prior = Prior(model, prior.known, prior.question)
    found = find_consensus(
        votes, archetypes or one_coin(CLASSES), prior, ConsensusParams(method=method)
    )
    kind = "ordinal" if ordinal else "multiclass"
    label = Head(name="x", kind=kind, classes=[str(k) for k in range(CLASSES)]).answer(found.probs)
    return label, found.probs[np.arange(photos), label]


def theirs(rows, photos) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    """crowd-kit's methods by name."""
    if not HAS_CROWDKIT:
        return
    from crowdkit import aggregation

    table = pd.DataFrame(rows, columns=["task", "worker", "label"])
    methods = {
        "crowd-kit majority": aggregation.MajorityVote,
        "crowd-kit Wawa": aggregation.Wawa,
        "crowd-kit one-coin": lambda: aggregation.OneCoinDawidSkene(n_iter=100),
        "crowd-kit Dawid-Skene": lambda: aggregation.DawidSkene(n_iter=100),
        "crowd-kit GLAD": lambda: aggregation.GLAD(n_iter=20),
        "crowd-kit MACE": lambda: aggregation.MACE(n_restarts=5, n_iter=50, random_state=0),
    }
    for name, make in methods.items():
        yield name, lambda make=make: make().fit_predict(table).reindex(range(photos)).to_numpy()


def crowdlab(rows, model):
    """cleanlab's consensus, which takes the model's probabilities as well."""
    from cleanlab.multiannotator import get_label_quality_multiannotator

    wide = pd.DataFrame(rows, columns=["task", "worker", "label"])
    wide = wide.pivot(index="task", columns="worker", values="label").to_numpy(np.float64)
    found = get_label_quality_multiannotator(wide, model, verbose=False)["label_quality"]
    return found["consensus_label"].to_numpy()


def consensus_scores(seed, photos, each, slow):
    truth, model, rows = nominal_crowd(seed, photos, each)
    sharper = model**2 / (model**2).sum(axis=1, keepdims=True)
    scores = {"the model alone": np.mean(model.argmax(axis=1) == truth)}
    for name, run in theirs(rows, photos):
        if slow or name not in ("crowd-kit GLAD", "crowd-kit MACE"):
            scores[name] = np.mean(run() == truth)
    if HAS_CLEANLAB and each > 1:  # it takes photos with several opinions only
        scores["cleanlab CROWDLAB, with model"] = np.mean(crowdlab(rows, model) == truth)
        scores["cleanlab CROWDLAB, overconfident model"] = np.mean(crowdlab(rows, sharper) == truth)
    for method in ("majority", "one_coin", "dawid_skene"):
        label, _ = ours(rows, photos, method=method)
        scores[f"ours, {method}"] = np.mean(label == truth)
    label, probability = ours(rows, photos)
    scores["  its own estimate"] = probability.mean()
    label, probability = ours(rows, photos, model=model)
    scores["ours, with model"] = np.mean(label == truth)
    scores["  its own estimate, with model"] = probability.mean()
    label, probability = ours(rows, photos, model=sharper)
    scores["ours, overconfident model"] = np.mean(label == truth)
    scores["  its own estimate, overconfident"] = probability.mean()
    return scores


def grade_scores(seed, photos, each, slow):
    truth, rows = graded_crowd(seed, photos, each)
    labels = {
        name: run()
        for name, run in theirs(rows, photos)
        if name in ("crowd-kit majority", "crowd-kit one-coin", "crowd-kit Dawid-Skene")
    }
    labels["ours, nominal"], _ = ours(rows, photos)
    labels["ours, ordinal"], _ = ours(
        rows, photos, archetypes=ordered_probit(CLASSES), ordinal=True
    )
    accuracy = {f"{name}: right": np.mean(label == truth) for name, label in labels.items()}
    error = {f"{name}: grades off": np.abs(label - truth).mean() for name, label in labels.items()}
    return accuracy | error


def table_of(rows, names, model):
    """Rows as a table of opinions; people saw the answer and confirm it or correct it."""
    random = np.random.default_rng(0)
    table = pd.DataFrame(rows, columns=["photo", "person", "class"])
    best = model.argmax(axis=1)[table["photo"]]
    labels = np.array(names, dtype=object)
    at = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(
        np.sort(random.uniform(0, 28 * 24 * 60, len(table))), unit="min"
    )
    return pd.DataFrame(
        {
            "opinion_id": [f"{i:08}" for i in range(len(table))],
            "photo_id": [f"{i:064x}" for i in table["photo"]],
            "person": [f"p{i:02}" for i in table["person"]],
            "annotator": "person",
            "head": "kind",
            "verdict": np.where(best == table["class"], "confirmed", "corrected"),
            "label": labels[table["class"]],
            "confidence": np.nan,
            "seen_answer": True,
            "at": at,
            "bundle_id": "b",
            "tier": "tier1",
            "answered": labels[best],
            "answered_confidence": model.max(axis=1)[table["photo"]],
            "audit": False,
            "gold": False,
        }
    )[list(COLUMNS)]


def spammer_scores(seed, photos, each, slow):
    """What enters training with and without the spammer, who sends 30%."""
    names = [f"class_{k}" for k in range(CLASSES)]
    taxonomy = Taxonomy(heads=[{"name": "kind", "classes": names}])
    truth, model, rows = nominal_crowd(seed, photos, each)
    _, _, stealthy = nominal_crowd(seed, photos, each, spammer_right=0.6)
    scores = {}
    for who, kept in (
        ("without the spammer", rows[rows[:, 1] != SPAMMER]),
        ("with the spammer", rows),
        ("with one who is right in 6 of 10", stealthy),
    ):
        table = table_of(kept, names, model)
        last = table.drop_duplicates("photo_id", keep="last")
        right = last["label"].map(names.index) == truth[last["photo_id"].map(lambda p: int(p, 16))]
        scores[f"naive trust, {who}: wrong labels"] = 1 - right.mean()
        vetted = vet_opinions(table, taxonomy, VettingParams())
        good = vetted.photos[vetted.photos["status"] == "accepted"]
        right = good["label"].map(names.index) == truth[good["photo_id"].map(lambda p: int(p, 16))]
        scores[f"vetted, {who}: wrong labels"] = 1 - right.mean()
        scores[f"vetted, {who}: photos accepted"] = len(good) / table["photo_id"].nunique()
        people = vetted.people[vetted.people["quarantined"]]["person"].tolist()
        spammer = [SPAMMER] if (kept[:, 1] == SPAMMER).any() else []
        bad = [f"p{i:02}" for i in [*range(PEOPLE // 10), *spammer]]
        scores[f"vetted, {who}: of contrary and spammer quarantined"] = np.mean(
            [p in people for p in bad]
        )
        scores[f"vetted, {who}: good people quarantined"] = len(set(people) - set(bad))
    return scores


def people_scores(seed, photos, each, slow):
    """How often the interval of a person's accuracy holds it."""
    names = [f"class_{k}" for k in range(CLASSES)]
    taxonomy = Taxonomy(heads=[{"name": "kind", "classes": names}])
    _, model, rows = nominal_crowd(seed, photos, each)
    people = vet_opinions(table_of(rows, names, model), taxonomy, VettingParams()).people
    number = people["person"].str[1:].astype(int)
    truth = np.select([number == SPAMMER, number < PEOPLE // 10], [1 / CLASSES, 0.1], 0.9)
    people["kind"] = np.select(
        [number == SPAMMER, number < PEOPLE // 10], ["spammer", "contrary"], "good"
    )
    people["interval holds"] = (people["low"] <= truth) & (truth <= people["high"])
    people["accuracy off by"] = people["accuracy"] - truth
    means = people.groupby("kind")[["interval holds", "accuracy off by"]].mean()
    return {f"{kind}: {what}": means.loc[kind, what] for kind in means.index for what in means}


def speed(opinions=20_000):
    names = [f"class_{k}" for k in range(CLASSES)]
    taxonomy = Taxonomy(heads=[{"name": "kind", "classes": names}])
    photos = opinions // 3
    _, model, rows = nominal_crowd(0, photos, 3)
    table = table_of(rows, names, model)
    sides = {"vet_opinions": lambda: vet_opinions(table, taxonomy, VettingParams())}
    sides["  of it the consensus"] = lambda: ours(rows, photos, model=model)
    compared = ("crowd-kit one-coin", "crowd-kit Dawid-Skene")
    sides |= {name: run for name, run in theirs(rows, photos) if name in compared}
    if HAS_CLEANLAB:
        sides["cleanlab CROWDLAB"] = lambda: crowdlab(rows, model)
    print(f"\nSeconds for {len(rows):,} opinions on {photos:,} photos, 3 runs in turns")
    for name, seconds in alternate(sides, 3).items():
        print(f"{name:34}{seconds:8.2f}")


PARTS = {
    "consensus": (consensus_scores, "Share of right labels, by opinions per photo"),
    "grades": (grade_scores, "Graded labels, by opinions per photo"),
    "people": (people_scores, "Accuracy of people, by opinions per photo"),
    "spammer": (spammer_scores, "A spammer who sends 30%, by opinions per photo"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--only", choices=[*PARTS, "speed"])
    parser.add_argument("--slow", action="store_true", help="GLAD and MACE too")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(machine(("numpy", "scipy", "pandas", "crowd-kit", "cleanlab")))
    for name, (score, title) in PARTS.items():
        if options.only in (None, name):
            start = time.perf_counter()
            found = {
                each: pd.DataFrame(
                    [score(s, options.photos, each, options.slow) for s in range(options.seeds)]
                ).mean()
                for each in (1, 2, 3, 4, 5)
            }
            print(f"\n{title} ({options.photos:,} photos, mean of {options.seeds} crowds)")
            print(pd.DataFrame(found).round(3).to_string())
            print(f"{time.perf_counter() - start:.0f} s")
    if options.only in (None, "speed"):
        speed()


if __name__ == "__main__":
    main()
