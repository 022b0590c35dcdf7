"""Whether the two parts of the uncertainty do what they are named after, on PlantDoc.

    python tests/benchmarks/bench_uncertainty.py [--photos DIR] [--seeds 3] [--figure FILE.png]

Epistemic uncertainty should fall with more training photos, aleatoric uncertainty should rise with
label noise. Heads on frozen features, trained by the project's own loop on a quarter, a half and
all of the photos, and on all with a tenth and a fifth of the labels (of validation photos too) at
random; every training takes as many steps. Means over photos that no training saw, in nats. Each
seed divides the photos anew, near-duplicates together.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import plantdoc_heads
from machine import machine
from plantdoc_heads import EPOCHS, HEAD

from cannabis_ml.networks.params import ModelParams

PHOTOS = [{"share": share, "noise": 0.0} for share in (0.25, 0.5, 1.0)]
NOISE = [{"share": 1.0, "noise": noise} for noise in (0.0, 0.1, 0.2)]
PARTS = ("aleatoric", "epistemic")


def judge(photos, seed, share, noise, **model):
    from cannabis_ml.networks.decoding import marginals, uncertainty

    split = photos.divide(seed, {"validation": 0.15, "judged": 0.2})
    random = np.random.default_rng(seed)
    train = random.permutation(split["train"])[: round(share * len(split["train"]))]
    labels = photos.labels.copy()
    wrong = random.random(len(labels)) < noise
    wrong[split["judged"]] = False
    others = random.integers(1, len(photos.taxonomy[HEAD].classes), len(labels))
    labels[wrong] = (labels[wrong] + others[wrong]) % len(photos.taxonomy[HEAD].classes)
    network = photos.fit(
        {"train": train, "validation": split["validation"]},
        labels,
        seed=seed,
        epochs=round(EPOCHS / share),
        **model,
    )
    logits = photos.logits(network, split["judged"])
    parts = uncertainty(logits, photos.taxonomy)[HEAD]
    predicted = marginals(logits, photos.taxonomy)[HEAD].argmax(dim=1).numpy()
    return {
        "photos_learned": len(train),
        "accuracy": float((predicted == photos.labels[split["judged"]]).mean()),
        "aleatoric": float(parts.aleatoric.mean()),
        "epistemic": float(parts.epistemic.mean()),
    }


def draw(table, path):
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(8, 6), sharex="col")
    for column, (by, at, label) in enumerate(
        (
            ("share", table["noise"] == 0, "share of the training photos"),
            ("noise", table["share"] == 1, "share of labels at random"),
        )
    ):
        for row, part in enumerate(PARTS):
            axis = axes[row, column]
            for _, one in table[at].groupby("seed"):
                in_order = one.sort_values(by)
                axis.plot(in_order[by], in_order[part], color="0.75", linewidth=1)
            mean = table[at].groupby(by)[part].mean()
            axis.plot(mean.index, mean, marker="o", color="C0")
            axis.set_ylabel(f"{part}, nats")
            axis.set_ylim(bottom=0)
        axes[1, column].set_xlabel(label)
        axes[1, column].set_xticks(sorted(set(table[at][by])))
    figure.suptitle("Mean uncertainty of unseen photos on PlantDoc (gray: single seeds)")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=plantdoc_heads.PHOTOS_DIR / "plantdoc_256")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--hidden", type=int, default=0, help="width of a hidden layer; 0: none")
    parser.add_argument("--ensemble", type=int, default=4, help="members of the head")
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--spread", type=float, default=ModelParams().spread, help="of members")
    parser.add_argument("--learning-curve", action="store_true", help="leave label noise out")
    parser.add_argument("--cache", type=Path, help="folder that keeps features")
    parser.add_argument("--results", type=Path, help="JSON lines; what stands there is not redone")
    parser.add_argument("--figure", type=Path, help="where to draw the curves")
    options = parser.parse_args()
    print(machine(("torch", "timm", "numpy")))
    photos = plantdoc_heads.load(options.photos, options.cache)
    model = {name: getattr(options, name) for name in ("hidden", "ensemble", "dropout", "spread")}
    settings = [
        {"seed": seed, **setting, **model}
        for seed in range(options.seeds)
        for setting in (*PHOTOS, *([] if options.learning_curve else NOISE[1:]))
    ]
    table = plantdoc_heads.measured(
        options.results, settings, lambda **setting: judge(photos, **setting)
    )
    print(f"\nmeans over {options.seeds} seeds, ± standard error of the change from the row above")
    for curve in (PHOTOS,) if options.learning_curve else (PHOTOS, NOISE):
        print(f"{'share':>6}{'noise':>7}{'accuracy':>10}" + "".join(f"{p:>28}" for p in PARTS))
        before = None
        for setting in curve:
            rows = table[
                (table["share"] == setting["share"]) & (table["noise"] == setting["noise"])
            ]
            rows = rows.set_index("seed")
            line = f"{setting['share']:6}{setting['noise']:7}{rows['accuracy'].mean():10.3f}"
            for part in PARTS:
                told = f"{rows[part].mean():.4f}"
                if before is not None:
                    apart = rows[part] - before[part]
                    error = apart.std(ddof=1) / len(apart) ** 0.5
                    told += f" ({apart.mean():+.4f} ± {error:.4f})"
                line += f"{told:>28}"
            print(line)
            before = rows
    if options.figure:
        draw(table, options.figure)


if __name__ == "__main__":
    main()
