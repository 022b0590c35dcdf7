"""A ladder of training recipes on real photos: accuracy and CPU minutes of one network per rung.

    kedro run --env folder --pipeline=data --params photos=DIR
    python tests/benchmarks/bench_recipes.py --photos DIR [--env folder] [--out DIR]
        [--seeds 0 1 2] [--threads 2] [--heads HEAD …] [--divide] [--start FILE] [RUNG …]

Each rung is a network and a schedule (RUNGS); all learn from the same photos and are judged on the
same ones. What a rung gave is kept in `--out`, a file per rung and seed, and not trained again, so
that a ladder can be climbed over several nights. The table shows what is there. Recipes are chosen
on validation and calibration photos together; the test photos are for the reader. A photo is right
if all `--heads` are (without: the first head).

`--divide` divides all photos anew with each seed, near-duplicates together, in equal shares of each
class: a fifth each for validation and test. For sets so small that one division says little.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
os.environ["TQDM_DISABLE"] = "1"

import numpy as np
import pandas as pd

PROJECT = Path(__file__).parents[2]
LITE0, LITE2 = "tf_efficientnet_lite0", "tf_efficientnet_lite2"
HELD_OUT = ("validation", "calibration", "test")


def heads_then(epochs: int, last_blocks: int = 5, **phase: Any) -> list[dict[str, Any]]:
    """The heads on features kept, then the top of the backbone too."""
    top = {"name": "top", "epochs": epochs, "learning_rate": 1e-3, **phase}
    heads = {"name": "heads", "epochs": 12, "learning_rate": 1e-3, "train": "heads"}
    return [heads, {**top, "train": {"last_blocks": last_blocks}}]


def solved_then(epochs: int, **phase: Any) -> list[dict[str, Any]]:
    """Heads solved by logistic regression, then the top of the backbone too."""
    top = heads_then(epochs, **phase)[1]
    return [{"name": "heads", "train": "heads", "solver": "lbfgs"}, top]


def rung(backbone: Any, size: int, phases: list[dict[str, Any]], **other: Any) -> dict[str, Any]:
    """A recipe: `training` and `model` change parameters, `copies` are augmentation's.

    `started` begins with the weights of `--start`; `balancing` is its strategy; `sharpness` is rho
    of sharpness-aware minimization.
    """
    return {"backbone": backbone, "image_size": size, "phases": phases, **other}


MIXED = {"mixup": 0.2, "cutmix": 1.0}
NO_MIXING = {"mixup": 0.0, "cutmix": 0.0}
SIDE = 128
"""Small, so that a rung costs minutes; what helps here is tried again at the size that counts."""


def on_top(
    phases: list[dict[str, Any]] | None = None,
    training: dict[str, Any] | None = None,
    backbone: Any = LITE0,
    model: dict[str, Any] | None = None,
    **other: Any,
) -> dict[str, Any]:
    """A step on top of solved heads, geometry, mixup and CutMix."""
    return rung(
        backbone,
        SIDE,
        phases or solved_then(9),
        copies=False,
        model={"hidden": 0, **(model or {})},
        training={"geometry": 1.0, **MIXED, **(training or {})},
        **other,
    )


RUNGS = {
    "heads": rung(LITE0, SIDE, heads_then(1)[:1]),
    "heads, then 9 epochs": rung(LITE0, SIDE, heads_then(9)),
    "without copies": rung(LITE0, SIDE, heads_then(9), copies=False),
    "geometry in their place": rung(
        LITE0, SIDE, heads_then(9), copies=False, training={"geometry": 1.0}
    ),
    "geometry, mixup, CutMix": rung(
        LITE0, SIDE, heads_then(9), copies=False, training={"geometry": 1.0, **MIXED}
    ),
    "mixup, CutMix": rung(LITE0, SIDE, heads_then(9), training=MIXED),
    "label smoothing 0.1": rung(
        LITE0, SIDE, heads_then(9), training={"loss": {"label_smoothing": 0.1}}
    ),
    "a third of the rate": rung(LITE0, SIDE, heads_then(9, learning_rate=3e-4)),
    "layer decay 0.8": rung(LITE0, SIDE, heads_then(9), training={"layer_decay": 0.8}),
    "last 3 layers": rung(LITE0, SIDE, heads_then(9, last_blocks=3)),
    "all layers": rung(LITE0, SIDE, heads_then(9, last_blocks=9)),
    "solved heads": rung(LITE0, SIDE, solved_then(1)[:1], model={"hidden": 0}),
    "solved heads, mirrored": rung(
        LITE0, SIDE, solved_then(1)[:1], model={"hidden": 0, "mirrored": True}
    ),
    "solved heads, geometry, mixup, CutMix": on_top(),
    "linear heads, geometry, mixup, CutMix": on_top(heads_then(9)),
    "18 epochs": rung(LITE0, SIDE, heads_then(18)),
    "… label smoothing 0.1": on_top(training={"loss": {"label_smoothing": 0.1}}),
    "… layer decay 0.8": on_top(training={"layer_decay": 0.8}),
    "… last 3 layers": on_top(solved_then(9, last_blocks=3)),
    "… all layers, layer decay 0.8": on_top(
        solved_then(9, last_blocks=9), training={"layer_decay": 0.8}
    ),
    "… 18 epochs": on_top(solved_then(18)),
    "… no mixing": on_top(training=NO_MIXING),
    "… no mixing, heads at a fifth of the rate": on_top(
        training={**NO_MIXING, "head_multiplier": 0.2}
    ),
    "… heads at a fifth of the rate": on_top(training={"head_multiplier": 0.2}),
    "… no mixing, 20 epochs": on_top(solved_then(20), training=NO_MIXING),
    "… no mixing, a third of the rate": on_top(
        solved_then(9, learning_rate=3e-4), training=NO_MIXING
    ),
    "… 40 epochs": on_top(solved_then(40)),
    "… 60 epochs": on_top(solved_then(60)),
    "… 60 epochs, a third of the rate": on_top(solved_then(60, learning_rate=3e-4)),
    "… 60 epochs, no mixing": on_top(solved_then(60), training=NO_MIXING),
    "… no average of weights": on_top(training={"ema_decay": 0.0}),
    "… mirrored": on_top(model={"mirrored": True}),
    "… 96 px at first": on_top(
        [
            *solved_then(5, image_size=96),
            {**solved_then(5)[1], "name": "larger"},
        ]
    ),
    "… rare classes oversampled": on_top(balancing="oversample"),
    "… rare classes weigh more": on_top(balancing="weighted"),
    "… sharpness-aware": on_top(sharpness=0.05),
    "… from --start": on_top(started=True),
    "… Lite2 and Lite0 fused": on_top(backbone=[LITE2, LITE0]),
    "… Lite2": on_top(backbone=LITE2),
    "160 px": rung(LITE0, 160, heads_then(9)),
    "192 px": rung(LITE0, 192, heads_then(9)),
    "Lite2": rung(LITE2, SIDE, heads_then(9)),
}


def main() -> None:
    """Climb the rungs that are not there yet, and show the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--env", default="folder")
    parser.add_argument("--out", type=Path, default=PROJECT / "data/recipes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--heads", nargs="+", help="that are judged together")
    parser.add_argument("--divide", action="store_true", help="anew with each seed")
    parser.add_argument("--start", type=Path, help="checkpoint of a rung, such as of other photos")
    parser.add_argument("rungs", nargs="*", metavar="RUNG", help=", ".join(RUNGS))
    args = parser.parse_args()
    unknown = sorted(set(args.rungs) - set(RUNGS))
    if unknown:
        parser.error(f"no rung is called {', '.join(unknown)}: {', '.join(RUNGS)}")
    if args.start is None and any(RUNGS[name].get("started") for name in args.rungs):
        parser.error("a rung begins with the weights of another: --start FILE")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.rungs:
        for seed in args.seeds:
            path = args.out / f"{name.replace(' ', '_')}-{seed}.json"
            if not path.exists():
                climb(name, seed, path, args)
                table(args.out)
    table(args.out)


def climb(name: str, seed: int, path: Path, args: argparse.Namespace) -> None:
    """Train and judge one rung with one seed; writes `path`, and predictions beside it."""
    import torch

    from cannabis_ml.networks.checkpoint import Checkpoint
    from cannabis_ml.networks.params import ModelParams
    from cannabis_ml.pipelines.balancing.nodes import balance_classes
    from cannabis_ml.pipelines.balancing.params import BalancingParams
    from cannabis_ml.splits import Split
    from cannabis_ml.training.predict import predict
    from cannabis_ml.training.schedule import Schedule, TrainingParams, TrainingPlan
    from cannabis_ml.training.train import fit
    from cannabis_ml.training.training_data import TrainingData

    torch.set_num_threads(args.threads)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    recipe = RUNGS[name]
    photo_set, copies, rows, taxonomy, model = entries(args)
    if args.divide:
        photo_set, rows, copies = divided(photo_set, taxonomy, seed), None, None
    if "balancing" in recipe:
        balancing = BalancingParams(strategy=recipe["balancing"])
        rows, _ = balance_classes(photo_set, taxonomy, balancing)
    if rows is not None:
        copies = copies if recipe.get("copies", True) else None
        data = TrainingData.balanced(photo_set, taxonomy, rows, copies)
    else:
        data = TrainingData.of_split(photo_set, taxonomy, Split.TRAIN)
    changed = {key: recipe[key] for key in ("backbone", "image_size")} | {"mirrored": False}
    training = TrainingParams(seed=seed, patience=99, **recipe.get("training", {}))
    plan = TrainingPlan(
        ModelParams(**{**model, **changed, **recipe.get("model", {})}),
        training,
        Schedule(phases=recipe["phases"], **recipe.get("schedule", {})),
        Checkpoint.read(args.start) if recipe.get("started") else None,
    )
    before, began = cpu_seconds(), time.perf_counter()
    rho = recipe.get("sharpness", 0.0)
    with sharpness_aware(rho):
        # Else states of the same plan without it would be gone on from.
        checkpoint, history = fit(data, plan, args.out / f"workspace_{rho:g}")
    cost = {"cpu": cpu_seconds() - before, "wall": time.perf_counter() - began}
    predictions = predict(checkpoint, photo_set, training=training)
    predictions.to_parquet(path.with_suffix(".parquet"))
    checkpoint.write(path.with_suffix(".safetensors"))
    best = int(history["validation_loss"].idxmin()) + 1
    heads = args.heads or [taxonomy.heads[0].name]
    scores = {split: judged(predictions, split, taxonomy, heads) for split in HELD_OUT}
    found = {"rung": name, "seed": seed, "best_epoch": best, **cost, "scores": scores}
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(found, indent=1))
    aside.replace(path)


@contextmanager
def sharpness_aware(rho: float) -> Iterator[None]:
    """Train with sharpness-aware minimization (Foret et al. 2021, eq. 2 and 3) in place of AdamW.

    Args:
        rho: Length of the step uphill; 0 changes nothing.
    """
    import torch

    from cannabis_ml.training.module import PhotoModule

    class SharpnessAware(torch.optim.AdamW):
        """AdamW on the gradient at the worst place nearby: each step costs two."""

        @torch.no_grad()
        def step(self, closure: Any = None) -> Any:
            with torch.enable_grad():
                loss = closure()
            held = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
            norm = torch.stack([p.grad.norm() for p in held]).norm()
            moves = [p.grad * (rho / (norm + 1e-12)) for p in held]
            for parameter, move in zip(held, moves, strict=True):
                parameter.add_(move)
            with torch.enable_grad():
                closure()
            for parameter, move in zip(held, moves, strict=True):
                parameter.sub_(move)
            super().step()
            return loss

    usual = PhotoModule.configure_optimizers

    def configure(module: PhotoModule) -> torch.optim.Optimizer:
        return SharpnessAware(usual(module).param_groups)

    if rho:
        PhotoModule.configure_optimizers = configure
    try:
        yield
    finally:
        PhotoModule.configure_optimizers = usual


def entries(args: argparse.Namespace) -> tuple[Any, ...]:
    """What the data stage left, and the parameters of tier 3's model."""
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    from cannabis_ml.networks.params import ModelParams

    bootstrap_project(PROJECT)
    params = {"photos": str(args.photos.resolve())}
    with KedroSession.create(PROJECT, env=args.env, runtime_params=params) as session:
        context = session.load_context()
        names = ("photo_set", "augmented_photos", "balanced_rows", "taxonomy")
        found = tuple(context.catalog.load(name) for name in names)
        model = ModelParams.model_validate(context.params["tier3"]["model"])
        return *found, model.model_dump()


def divided(photo_set: Any, taxonomy: Any, seed: int) -> Any:
    """The same photos, a fifth of them for validation and a fifth for test, drawn by the seed."""
    from sklearn.model_selection import StratifiedGroupKFold

    from cannabis_ml.photo_sets.photo_set import PhotoSet

    table = photo_set.labels()
    label = table[taxonomy.heads[0].name].fillna("")
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    parts = [fold for _, fold in folds.split(label, label, table["group"])]
    split = np.full(len(table), "train", object)
    split[parts[0]], split[parts[1]] = "test", "validation"
    arrow = photo_set.arrow.remove_columns("split").add_column("split", split.tolist())
    return PhotoSet(arrow)


def judged(
    predictions: pd.DataFrame, split: str, taxonomy: Any, heads: list[str]
) -> dict[str, float]:
    """Photos of one split with labels of all heads, how many are right, the sum of log losses."""
    rows = predictions[predictions["split"] == split]
    names = {head.name: list(head.class_names) for head in taxonomy.heads}
    known = np.logical_and.reduce([rows[f"{head}.label"].isin(names[head]) for head in heads])
    rows = rows[known]
    right, loss = np.ones(len(rows), bool), np.zeros(len(rows))
    for head in heads if len(rows) else []:
        truth = rows[f"{head}.label"].map(names[head].index).to_numpy(int)
        probs = np.stack(rows[head].to_numpy())
        right &= probs.argmax(1) == truth
        loss -= np.log(np.maximum(probs[np.arange(len(truth)), truth], 1e-9))
    return {
        "photos": len(rows),
        "right": int(right.sum()),
        "log_loss": float(loss.mean()) if len(rows) else 0.0,
    }


def cpu_seconds() -> float:
    """Of this process and its children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def table(out: Path) -> None:
    """Print a row per rung that was climbed: means over seeds, and the range of the test score."""
    files = [json.loads(path.read_text()) for path in sorted(out.glob("*.json"))]
    print("\n| rung | seeds | chosen on: accuracy | log loss | test: accuracy | range | CPU min |")
    print("|---|---|---|---|---|---|---|")
    for name in RUNGS:
        found = [file for file in files if file["rung"] == name]
        if not found:
            continue
        chosen = [pooled(file["scores"], HELD_OUT[:2]) for file in found]
        test = [100 * pooled(file["scores"], HELD_OUT[2:])[0] for file in found]
        spread = f"{min(test):.1f} to {max(test):.1f}" if len(test) > 1 else "–"
        print(
            f"| {name} | {len(found)} | {100 * np.mean([c[0] for c in chosen]):.1f}%"
            f" | {np.mean([c[1] for c in chosen]):.3f} | {np.mean(test):.1f}% | {spread}"
            f" | {np.mean([file['cpu'] for file in found]) / 60:.1f} |",
            flush=True,
        )


def pooled(scores: dict[str, dict[str, float]], splits: tuple[str, ...]) -> tuple[float, float]:
    """Accuracy and log loss over the photos of some splits together."""
    photos = sum(scores[split]["photos"] for split in splits)
    right = sum(scores[split]["right"] for split in splits)
    loss = sum(scores[split]["photos"] * scores[split]["log_loss"] for split in splits)
    return right / photos, loss / photos


if __name__ == "__main__":
    main()
