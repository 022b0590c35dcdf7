"""What limits the quality grade of the sample photos: the photos, the labels, or the head?

    python tests/benchmarks/bench_quality_grade.py [--test 1000] [--most 6400] [--cache DIR]

The sample photos are drawn, so that as many as one likes can be had, with the true grade of each.
Judged on the same drawn photos, none of whose lots is in training:

- the grade that is most likely given the product type and the true attributes, which the drawer
  knows: what can be told without seeing the fading, the ragged edge, the specks;
- a head on features of the frozen backbone, learned from 400 photos and more: ordinal as in the
  default taxonomy (CORAL: one score, K - 1 thresholds), or multiclass (K scores), each with the
  strength that 5 folds of its training photos choose.

A curve that still rises with photos says that these are the limit; two heads apart, the head; a
plateau below 100%, what a photo shows.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from cannabis_ml.networks.building import build_network
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.photos.resize import center_crop_resize
from cannabis_ml.sample_photos import draw_photo
from cannabis_ml.sample_photos.lots import ATTRIBUTES, GRADES, PRODUCT_TYPES, lot_of
from cannabis_ml.taxonomy import Taxonomy

WORLD, OTHER_WORLD = 101, 202
"""Seeds of the photos that are learned from, and of those that are judged."""

SIDES = (160, 256)
STRENGTHS = (0.003, 0.03, 0.3)


def main() -> None:
    """Draw, embed, learn, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--most", type=int, default=6400)
    parser.add_argument("--cache", type=Path, help="keeps features between calls")
    args = parser.parse_args()
    print(machine())
    truth, judged = (lots(number, world) for number, world in worlds(args))
    names, groups = truth["grade"], truth["group"]
    answers = most_likely_grade(judged)
    print(f"product type and true attributes known: {scored(answers, judged['grade'])}")
    for side in SIDES:
        learned, test = (features(n, world, side, args.cache) for n, world in worlds(args))
        count = 400
        while count <= args.most:
            for kind, fit in (("ordinal", Ordinal), ("multiclass", Multiclass)):
                at = slice(0, count)
                model = chosen(fit, learned[at], names[at], groups[at])
                found = scored(model.predict(test), judged["grade"])
                print(f"{side} px, {count:5d} photos, {kind:10s}: {found}", flush=True)
            count *= 2


def worlds(args: argparse.Namespace) -> tuple[tuple[int, int], tuple[int, int]]:
    """Number and seed of the photos to learn from, and of those to judge."""
    return (args.most, WORLD), (args.test, OTHER_WORLD)


def lots(number: int, world: int) -> dict[str, np.ndarray]:
    """True grade (0 is the best), group, type and attributes of each photo."""
    found = [lot_of(index, world) for index in range(number)]
    return {
        "grade": np.array([list(GRADES).index(lot.grade) for lot in found]),
        "group": np.array([lot.first for lot in found]),
        "type": np.array([list(PRODUCT_TYPES).index(lot.product_type) for lot in found]),
        "attributes": np.array([[name in lot for name in ATTRIBUTES] for lot in found]),
    }


def most_likely_grade(judged: dict[str, np.ndarray], drawn: int = 200_000) -> np.ndarray:
    """The grade that most lots of the same type and attributes have, among many that are drawn."""
    many = lots(drawn, 7)
    weights = 1 << np.arange(len(ATTRIBUTES))
    votes: dict[tuple[int, int], np.ndarray] = {}
    for kind, code, grade in zip(
        many["type"], many["attributes"] @ weights, many["grade"], strict=True
    ):
        votes.setdefault((kind, code), np.zeros(len(GRADES)))[grade] += 1
    codes = judged["attributes"] @ weights
    none = np.array(list(GRADES.values()))
    return np.array(
        [votes.get(key, none).argmax() for key in zip(judged["type"], codes, strict=True)]
    )


def scored(answers: np.ndarray, truth: np.ndarray) -> str:
    """Accuracy, within one grade, and quadratic weighted kappa (Cohen 1968)."""
    from sklearn.metrics import cohen_kappa_score

    kappa = cohen_kappa_score(truth, answers, weights="quadratic")
    near = (np.abs(answers - truth) <= 1).mean()
    right = (answers == truth).mean()
    return f"accuracy {right:.1%}, within one grade {near:.1%}, QWK {kappa:.2f}"


def features(number: int, world: int, side: int, cache: Path | None) -> np.ndarray:
    """Of the frozen backbone, float32 (number, F)."""
    path = None if cache is None else cache / f"grades-{world}-{number}-{side}.npy"
    if path is not None and path.exists():
        return np.load(path)
    taxonomy = Taxonomy.model_validate(
        {"heads": [{"name": "grade", "kind": "ordinal", "classes": list(GRADES)}]}
    )
    network = build_network(ModelParams(image_size=side, attention=False), taxonomy)[0].eval()
    parts = []
    with ProcessPoolExecutor(2) as pool, torch.inference_mode():
        drawn = pool.map(partial(square, world, side), range(number), chunksize=16)
        while batch := [photo for _, photo in zip(range(16), drawn, strict=False)]:
            photos = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2)
            parts.append(network.embed(photos).numpy())
    found = np.concatenate(parts)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, found)
    return found


def square(world: int, side: int, index: int) -> np.ndarray:
    """One photo as the network sees it, uint8 (side, side, 3)."""
    return center_crop_resize(draw_photo(index, world).pixels, side)


class Multiclass:
    """Logistic regression, K scores."""

    def __init__(self, strength: float) -> None:
        self.model = LogisticRegression(C=strength, max_iter=500)

    def fit(self, x: np.ndarray, grades: np.ndarray) -> Multiclass:
        """Learn."""
        self.model.fit(x, grades)
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The most probable grade."""
        return self.model.predict(x)


class Ordinal:
    """One score and K - 1 thresholds (CORAL, Cao et al. 2020): binary cross-entropies, L-BFGS."""

    def __init__(self, strength: float) -> None:
        self.penalty = 0.5 / strength

    def fit(self, x: np.ndarray, grades: np.ndarray) -> Ordinal:
        """Learn."""
        inputs = torch.from_numpy(x)
        worse = torch.from_numpy(grades[:, None] > np.arange(len(GRADES) - 1)).float()
        self.weight = torch.zeros(x.shape[1], requires_grad=True)
        self.bias = torch.linspace(1, -1, len(GRADES) - 1).requires_grad_()
        solver = torch.optim.LBFGS(
            [self.weight, self.bias], max_iter=300, line_search_fn="strong_wolfe"
        )

        def loss() -> torch.Tensor:
            solver.zero_grad()
            logits = (inputs @ self.weight)[:, None] + self.bias
            each = torch.nn.functional.binary_cross_entropy_with_logits(
                logits, worse, reduction="sum"
            )
            total = each + self.penalty * self.weight.square().sum()
            total.backward()
            return total

        solver.step(loss)
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The most probable grade."""
        with torch.no_grad():
            worse = torch.sigmoid((torch.from_numpy(x) @ self.weight)[:, None] + self.bias).numpy()
        edges = np.hstack([np.ones((len(x), 1)), worse, np.zeros((len(x), 1))])
        return (edges[:, :-1] - edges[:, 1:]).argmax(1)


class Scaled:
    """A model on features of mean 0 and variance 1."""

    def __init__(self, model: Multiclass | Ordinal) -> None:
        self.scale, self.model = StandardScaler(), model

    def fit(self, x: np.ndarray, grades: np.ndarray) -> Scaled:
        """Learn scale and model."""
        self.model.fit(self.scale.fit_transform(x).astype(np.float32), grades)
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Grades, 0 is the best."""
        return self.model.predict(self.scale.transform(x).astype(np.float32))


def chosen(fit: type, x: np.ndarray, grades: np.ndarray, groups: np.ndarray) -> Scaled:
    """Learned with the strength that is most often right on folds held out."""
    right = {}
    for strength in STRENGTHS:
        folds = GroupKFold(5).split(x, grades, groups)
        right[strength] = np.mean(
            [
                (Scaled(fit(strength)).fit(x[a], grades[a]).predict(x[b]) == grades[b]).mean()
                for a, b in folds
            ]
        )
    return Scaled(fit(max(right, key=right.__getitem__))).fit(x, grades)


if __name__ == "__main__":
    main()
