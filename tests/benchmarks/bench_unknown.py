"""Which unknown score tells unknown photos from known ones best, per tier of a finished run.

    python tests/benchmarks/bench_unknown.py DATA [--near DIR] [--far DIR] [--drawn 120]

DATA is the folder of data of a run over PlantDoc without four of its classes (`NEAR`), which are
the near unknown photos:

    kedro run --env folder --params photos=PLANTDOC_WITHOUT_FOUR_CLASSES

Far ones are PlantVillage's backgrounds without leaves and drawn ones: noise, text, drawings,
screenshots, rooms and things. The model file that ships answers for all of them. Scores are fitted
to training photos; thresholds keep 95% of validation and calibration photos; known photos, and
false alarms, are those of the test split. Trains nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from finished_run import FinishedRun
from machine import machine

from cannabis_ml.calibration.tier_answers import routing_head
from cannabis_ml.calibration.unknown import choose_unknown, fit_candidates, with_threshold
from cannabis_ml.calibration.unknown_choice import linear_head
from cannabis_ml.evaluation.intervals import by_groups, wilson
from cannabis_ml.evaluation.judged_photos import evenly_spaced
from cannabis_ml.evaluation.ranking import auroc
from cannabis_ml.inference.model_file import shipped
from cannabis_ml.inference.predictor import Predictor, as_pixels, open_model
from cannabis_ml.inference.unknown import METHODS
from cannabis_ml.sample_photos.unknown_photos import KINDS, draw_unknown
from cannabis_ml.splits import Split

PHOTOS_DIR = Path(os.environ.get("PHOTOS_DIR") or Path(__file__).parents[3] / "shared" / "data")
NEAR = (
    "Tomato mold leaf",
    "Squash Powdery mildew leaf",
    "grape leaf black rot",
    "Corn rust leaf",
)
SUFFIXES = {".jpg", ".jpeg", ".png"}

Arrays = dict[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of data of a finished run")
    parser.add_argument("--near", type=Path, default=PHOTOS_DIR / "plantdoc_256")
    parser.add_argument("--classes", default=",".join(NEAR), help="folders below --near")
    parser.add_argument(
        "--far", type=Path, default=PHOTOS_DIR / "plantvillage_subset/Background_without_leaves"
    )
    parser.add_argument("--drawn", type=int, default=120, help="photos that are drawn")
    parser.add_argument("--photos", type=int, default=200, help="near, and far ones, at most")
    given = parser.parse_args()
    run = FinishedRun(given.data)
    print(machine(("numpy", "scipy", "scikit-learn", "onnxruntime", "ai-edge-litert")))
    classes = given.classes.split(",")
    files = {
        "near": _below([p for name in classes for p in given.near.glob(f"*/{name}")], given.photos),
        "far": _below([given.far], given.photos),
    }
    for tier in run.tiers:
        judge(run, tier, files, given.drawn)


def judge(run: FinishedRun, tier: str, files: dict[str, list[Path]], drawn: int) -> None:
    """Print AUROC, false alarms and what is caught, for every candidate."""
    head = routing_head(run.taxonomy)
    models, checkpoint = run.models(tier), run.checkpoint(tier)
    predictor = open_model(models[shipped(models)])
    near = _outputs(predictor, (path.read_bytes() for path in files["near"]))
    kinds = {"background": _outputs(predictor, (path.read_bytes() for path in files["far"]))}
    for number, kind in enumerate(KINDS):
        count = len(range(number, drawn, len(KINDS)))
        kinds[kind] = _outputs(predictor, (draw_unknown(kind, i, 0) for i in range(count)))
    kinds = {kind: outputs for kind, outputs in kinds.items() if outputs}
    far = _joined(list(kinds.values()))
    train = run.photos(tier, Split.TRAIN)
    held_out = run.photos(tier, Split.VALIDATION, Split.CALIBRATION)
    test = run.photos(tier, Split.TEST)
    linear = linear_head(checkpoint.state, checkpoint.card, head)
    fitted = fit_candidates(head.name, train.outputs, train.truth[head.name], linear=linear)
    unknown = {name: of for name, of in (("near", near), ("far", far)) if of}
    choice = choose_unknown(fitted, test.outputs, test.groups, unknown)
    counts = {kind: len(outputs[head.name]) for kind, outputs in kinds.items()}
    print(
        f"\n{tier}: {len(test.groups)} known test photos, {len(files['near'])} near, {counts} far;"
        f" fitted to {len(train.groups)}, threshold by {len(np.unique(held_out.groups))} groups"
    )
    print(f"{'AUROC (95% interval)':22}{'near':>22}{'far':>22}  false alarms, caught near and far")
    for method in METHODS:
        if method not in fitted:
            print(f"  {method:20} needs a linear head: model.hidden is above 0")
            continue
        row = choice.table[method]
        score = with_threshold(fitted[method], held_out.outputs, held_out.groups)
        alarms = score.is_unknown(test.outputs)
        low, high = by_groups(alarms, test.groups) or (0.0, 1.0)
        caught = "  ".join(_caught(score.is_unknown(of)) for of in (near, far) if of)
        print(
            f"  {method:20}{_area(row.near, row.near_interval):>22}"
            f"{_area(row.far, row.far_interval):>22}"
            f"  {alarms.mean():5.1%} ({low:.1%} to {high:.1%}), {caught}; {row.bytes:,} bytes"
        )
    print(f"  {choice.because}")
    best = fitted[choice.method]
    known = best.score(test.outputs)
    areas = {kind: _auroc(known, best.score(outputs)) for kind, outputs in kinds.items()}
    print(f"  {choice.method} by kind: " + ", ".join(f"{k} {v:.3f}" for k, v in areas.items()))


def _below(folders: Iterable[Path], most: int) -> list[Path]:
    """Photos in folders, evenly spaced over them."""
    found = sorted(
        p for folder in folders for p in folder.iterdir() if p.suffix.lower() in SUFFIXES
    )
    return [found[row] for row in evenly_spaced(np.arange(len(found)), most)]


def _outputs(predictor: Predictor, photos: Iterable[bytes | np.ndarray]) -> Arrays:
    """One by one, as a client asks; empty where there is no photo."""
    size = predictor.image_size
    each = [predictor.outputs([as_pixels(photo, size)], batch_size=1) for photo in photos]
    return _joined(each)


def _joined(each: list[Arrays]) -> Arrays:
    return {name: np.concatenate([one[name] for one in each]) for name in each[0]} if each else {}


def _auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    area = auroc(
        np.concatenate([known, unknown]), np.arange(len(known) + len(unknown)) >= len(known)
    )
    assert area is not None
    return area


def _area(auroc: float | None, interval: list[float] | None) -> str:
    if auroc is None or interval is None:
        return "-"
    low, high = interval
    return f"{auroc:.3f} ({low:.3f}, {high:.3f})"


def _caught(unknown: np.ndarray) -> str:
    low, high = wilson(float(unknown.sum()), len(unknown))
    return f"{unknown.mean():.0%} ({low:.0%} to {high:.0%})"


if __name__ == "__main__":
    main()
