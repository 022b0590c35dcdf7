"""What label smoothing does to accuracy, log loss and the ranking of errors, on PlantDoc.

    python tests/benchmarks/bench_label_smoothing.py [--photos DIR] [--seeds 6] [--cache DIR]

Heads on frozen features, trained by the project's own loop. Each seed divides PlantDoc's training
folder anew, near-duplicates together: 65% to learn from, 15% that choose the epoch, 20% that are
judged. The order of `p_norm` is chosen on those that choose the epoch. Smaller AUGRC is better, and
larger AUROC (of right against wrong answers).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import plantdoc_heads
from machine import machine
from plantdoc_heads import HEAD

from cannabis_ml.evaluation.ranking import augrc, auroc, best_p_norm
from cannabis_ml.inference.confidence import confidence_scores, p_norm

SCORES = ("max_probability", "margin", "p_norm", "entropy", "agreement")


def judge(photos, seed, smoothing):
    from cannabis_ml.networks.decoding import marginals, uncertainty

    split = photos.divide(seed, {"validation": 0.15, "judged": 0.2})
    network = photos.fit(split, seed=seed, label_smoothing=smoothing)
    head = photos.taxonomy[HEAD]
    found = {}
    for name in ("validation", "judged"):
        logits = photos.logits(network, split[name])
        probs = marginals(logits, photos.taxonomy)[HEAD].numpy().astype(float)
        truth = photos.labels[split[name]]
        right = probs.argmax(axis=1) == truth
        if name == "validation":
            order = best_p_norm(probs, right)
    parts = uncertainty(logits, photos.taxonomy)[HEAD]
    scores = confidence_scores(head, probs, parts.epistemic.numpy())
    scores["p_norm"] = p_norm(probs, order)
    found["accuracy"] = float(right.mean())
    found["log_loss"] = float(-np.log(probs[np.arange(len(truth)), truth]).mean())
    found["confidence"] = float(probs.max(axis=1).mean())
    for name in SCORES:
        found[f"{name}.augrc"] = augrc(scores[name], right)
        found[f"{name}.auroc"] = auroc(scores[name], right)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=plantdoc_heads.PHOTOS_DIR / "plantdoc_256")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--smoothing", type=float, nargs="+", default=[0.0, 0.1])
    parser.add_argument("--cache", type=Path, help="folder that keeps features")
    parser.add_argument("--results", type=Path, help="JSON lines; what stands there is not redone")
    options = parser.parse_args()
    print(machine(("torch", "timm", "numpy")))
    photos = plantdoc_heads.load(options.photos, options.cache)
    settings = [
        {"seed": seed, "smoothing": smoothing}
        for seed in range(options.seeds)
        for smoothing in options.smoothing
    ]
    table = plantdoc_heads.measured(
        options.results, settings, lambda **setting: judge(photos, **setting)
    )
    columns = [c for c in table if c not in ("seed", "smoothing")]
    by = {s: table[table["smoothing"] == s].set_index("seed") for s in options.smoothing}
    first = by[options.smoothing[0]]
    print(f"\nmeans over {options.seeds} seeds; difference to the first with its standard error")
    print(f"{'':26}" + "".join(f"{s:>12g}{'':>18}" for s in options.smoothing))
    for column in columns:
        line = f"{column:26}"
        for smoothing in options.smoothing:
            apart = by[smoothing][column] - first[column]
            error = apart.std(ddof=1) / len(apart) ** 0.5
            told = "" if smoothing == options.smoothing[0] else f"{apart.mean():+.4f} ± {error:.4f}"
            line += f"{by[smoothing][column].mean():12.4f}{told:>18}"
        print(line)


if __name__ == "__main__":
    main()
