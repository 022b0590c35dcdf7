"""`kedro run --env quick` against logistic regression on the same frozen features, by scikit-learn.

    python tests/benchmarks/bench_quick.py [--photos DIR] [--sets NAME …] [--divisions 10]

Each set is run whole, from class folders to the bundle; its time is that of the process. What the
shipped file of every tier says of the test photos stands beside the other side: pooled features of
timm's model of the same backbone at 224 px, StandardScaler and LogisticRegression, which gets the
validation photos too, as its C is chosen by cross-validation over groups. Both sides see the same
photos in the same run. PlantDoc keeps its own test folder, PlantVillage's leaves share a split.
Sets of few photos are divided anew, group by group, and heads solved and fitted on the same
features at 224 px; the difference is the mean over divisions with its standard error.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).parent))
os.environ["TQDM_DISABLE"] = "1"

from finished_run import FinishedRun
from machine import machine

from cannabis_ml.inference.bundle import Bundle
from cannabis_ml.photo_sets.sources.plantvillage import CAPTURE
from cannabis_ml.splits import Split

PROJECT = Path(__file__).parents[2]
PHOTOS_DIR = Path(os.environ.get("PHOTOS_DIR") or PROJECT.parent / "shared" / "data")
SETS = {
    "plantdoc_256": {},
    "plantvillage_subset": {"group_pattern": CAPTURE, "group_run": 50},
    "cannabis_leaf_condition": {},
}
"""Folders, and what their sources say besides."""

SIZE = 224
FEW = 500
"""Photos below which a single division says little."""

STRENGTHS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""C of scikit-learn to choose from: features are standardized."""


def run_quick(photos: Path, source: dict[str, object], scratch: Path) -> tuple[float, float]:
    """Run the environment; its wall and CPU seconds.

    Args:
        photos: Class folders.
        source: Settings of the source besides.
        scratch: Gets `conf` and `data`.
    """
    conf = scratch / "conf"
    shutil.copytree(PROJECT / "conf", conf)
    catalog = conf / "quick/catalog_ingestion.yml"
    entries = yaml.safe_load(catalog.read_text())
    entries["source_photos"]["source"] |= source
    catalog.write_text(yaml.safe_dump(entries))
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    params = f"photos={photos},data={scratch / 'data'}"
    command = ["-m", "kedro", "run", "--env=quick", f"--params={params}", f"--conf-source={conf}"]
    done = subprocess.run(
        [sys.executable, *command], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(done.stdout[-3000:] + done.stderr[-3000:])
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def features(photo_set, names: list[str]) -> np.ndarray:
    """Pooled features of timm's models at 224 px, side by side, (N, F)."""
    import torch

    from cannabis_ml.networks.backbones import normalization
    from cannabis_ml.networks.params import ModelParams
    from cannabis_ml.networks.weights import load_backbone
    from cannabis_ml.photos.resize import center_crop_resize

    columns = []
    for name in names:
        backbone, _ = load_backbone(ModelParams(backbone=name, image_size=SIZE))
        backbone = backbone.eval().to(memory_format=torch.channels_last)
        mean, std = (255 * torch.tensor(v)[None, :, None, None] for v in normalization(backbone))
        parts = []
        for start in range(0, len(photo_set), 8):
            rows = range(start, min(start + 8, len(photo_set)))
            pixels = np.stack([center_crop_resize(photo_set.pixels(row), SIZE) for row in rows])
            batch = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
            batch = batch.float().contiguous(memory_format=torch.channels_last)
            with torch.inference_mode():
                parts.append(backbone((batch - mean) / std).numpy())
        columns.append(np.concatenate(parts))
    return np.concatenate(columns, axis=1)


def logistic_regression(values, labels, groups, learn):
    """Fitted to the rows `learn`; C by cross-validation over groups, by log loss."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    folds = StratifiedGroupKFold(3, shuffle=True, random_state=0)
    search = GridSearchCV(
        model, {"logisticregression__C": STRENGTHS}, cv=folds, scoring="neg_log_loss"
    )
    return search.fit(values[learn], labels[learn], groups=groups[learn])


def right_of_files(run: FinishedRun, tier: str, names: list[str]) -> np.ndarray:
    """Whether the shipped file is right, by photo_id in order, bool (N,) of the test photos."""
    table = run.table(tier)
    table = table[table["split"] == Split.TEST]
    head = run.taxonomy.heads[0].name
    decided = [names[int(np.argmax(probs))] for probs in table[head]]
    return np.array(decided, object) == truth_of(run, table["photo_id"])


def truth_of(run: FinishedRun, ids) -> np.ndarray:
    labels = run.photo_set.labels().set_index("photo_id")
    return labels.loc[list(ids), run.taxonomy.heads[0].name].to_numpy(object)


def paired(ours: np.ndarray, theirs: np.ndarray) -> str:
    """Difference in points with its standard error over photos."""
    gain = 100 * (ours.astype(float) - theirs.astype(float))
    return f"{gain.mean():+.1f} ± {gain.std() / np.sqrt(len(gain)):.1f}"


def compare(name: str, options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        took = "run before"
        data = options.finished
        if data is None:
            wall, cpu = run_quick(options.photos / name, SETS[name], Path(scratch))
            took = f"{wall / 60:.1f} minutes, {cpu / 60:.1f} of CPU"
            data = Path(scratch, "data")
        run = FinishedRun(data)
        table = run.photo_set.labels()
        head = run.taxonomy.heads[0]
        labels, groups = (table[column].to_numpy(str) for column in (head.name, "group"))
        split = table["split"].to_numpy(str)
        print(
            f"\n{name}: {len(table):,} photos of {len(head.classes)} classes,"
            f" {(split == Split.TEST).sum()}"
            f" for the test; {took}"
        )
        newest = max((data / "06_models/bundle").glob("*/bundle.zip"))
        print(f"in the bundle: {', '.join(Bundle.open(newest).tiers)}")
        others: dict[tuple[str, ...], np.ndarray] = {}
        values: dict[tuple[str, ...], np.ndarray] = {}
        print(f"{'':8}{'backbone':54}{'ours':>7}{'theirs':>8}   difference")
        for tier in reversed(run.tiers):
            card = run.checkpoint(tier).card
            backbones = (card.backbone,) if isinstance(card.backbone, str) else (*card.backbone,)
            answered = run.table(tier)
            ids = answered.loc[answered["split"] == Split.TEST, "photo_id"]
            if backbones not in others:
                values[backbones] = features(run.photo_set, list(backbones))
                learn = np.flatnonzero(np.isin(split, ["train", "validation"]))
                model = logistic_regression(values[backbones], labels, groups, learn)
                rows = table.reset_index().set_index("photo_id").loc[list(ids), "index"]
                others[backbones] = model.predict(values[backbones][rows.to_numpy()])
            theirs = others[backbones] == truth_of(run, ids)
            ours = right_of_files(run, tier, head.class_names)
            print(
                f"{tier:8}{' + '.join(backbones) + f', {card.image_size} px':54}{ours.mean():7.1%}"
                f"{theirs.mean():8.1%}   {paired(ours, theirs)} points"
            )
        if len(table) < FEW:
            for backbones, known in values.items():
                divide(run, list(backbones), known, options.divisions)


def divide(run: FinishedRun, backbones: list[str], values: np.ndarray, divisions: int) -> None:
    """Divide the photos anew by group, several times; solve and fit on the same features."""
    import torch
    from sklearn.model_selection import StratifiedGroupKFold

    from cannabis_ml.networks.building import restore
    from cannabis_ml.networks.params import ModelParams
    from cannabis_ml.photo_sets.photo_set import PhotoSet
    from cannabis_ml.training.schedule import Phase, Schedule, TrainingParams, TrainingPlan
    from cannabis_ml.training.train import fit
    from cannabis_ml.training.training_data import TrainingData

    head = run.taxonomy.heads[0]
    table = run.photo_set.labels()
    labels, groups = (table[column].to_numpy(str) for column in (head.name, "group"))
    model = ModelParams(
        backbone=backbones if len(backbones) > 1 else backbones[0], image_size=SIZE, attention=False
    )
    phase = Phase(name="heads", train="heads", solver="lbfgs")
    plan = TrainingPlan(model, TrainingParams(accelerator="cpu"), Schedule(phases=[phase]))
    ours, theirs = [], []
    for seed in range(divisions):
        folds = StratifiedGroupKFold(8, shuffle=True, random_state=seed)
        parts = [part for _, part in folds.split(values, labels, groups)]
        split = np.full(len(table), "train", object)
        split[np.concatenate(parts[:2])] = "test"
        split[parts[2]] = "validation"
        arrow = run.photo_set.arrow.remove_columns("split").add_column("split", list(split))
        data = TrainingData.of_split(PhotoSet(arrow), run.taxonomy)
        checkpoint, _ = fit(data, plan, features=values.astype(np.float32))
        test = np.flatnonzero(split == "test")
        with torch.inference_mode():
            logits = restore(checkpoint).classify(torch.from_numpy(values[test]))[head.name]
        decided = np.array(head.class_names)[logits.softmax(2).mean(1).argmax(1).numpy()]
        ours.append((decided == labels[test]).mean())
        other = logistic_regression(values, labels, groups, np.flatnonzero(split != "test"))
        theirs.append((other.predict(values[test]) == labels[test]).mean())
    gains = 100 * (np.array(ours) - np.array(theirs))
    error = gains.std(ddof=1) / np.sqrt(len(gains))
    print(
        f"{divisions} divisions, {' + '.join(backbones)}, {SIZE} px: {np.mean(ours):.1%} and"
        f" {np.mean(theirs):.1%}, {gains.mean():+.1f} ± {error:.1f} points"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=PHOTOS_DIR, help="folder with the sets")
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--divisions", type=int, default=10, help="of sets of few photos")
    parser.add_argument(
        "--finished", type=Path, help="folder of data of a finished run of one set, not run again"
    )
    options = parser.parse_args()
    if options.finished and len(options.sets) != 1:
        parser.error("--finished needs one set: --sets NAME")
    there = [name for name in options.sets if (options.photos / name).is_dir()]
    if not there:
        sys.exit(f"no photos in {options.photos}; set PHOTOS_DIR")
    print(machine(("torch", "timm", "scikit-learn")))
    for name in there:
        compare(name, options)


if __name__ == "__main__":
    main()
