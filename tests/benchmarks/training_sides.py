"""Both sides of the training benchmarks, each in a process of its own: ours and timm's.

timm's own script, `train.py` of its repository, comes with no package: name a copy with
`--timm-script`, or in TIMM_TRAIN. It has no option to freeze a backbone or to read weights of
another head from a package, and no clock, so it is run as it is with `timm.models.create_model`
and `timm.data.create_loader` wrapped. Without it, timm's side is the script's loop written from
timm's own parts: its dataset, loader with prefetcher, AdamW, cosine schedule, label smoothing,
meters, a validation and a saved checkpoint per epoch.

timm's best settings on a CPU are taken: channels-last (a third faster), and so many workers as are
given. Both sides start from the same weights and use AdamW, batches of 32, clipping at 1, label
smoothing, crops of 0.7 to 1 of the area, mirroring, brightness and contrast. (The script's
`--color-jitter` is a single number and changes saturation too.) A frozen backbone learns nothing
and keeps its BatchNorm statistics.

The clock starts when all libraries are imported.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import runpy
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"
sys.path.insert(0, str(Path(__file__).parent))

from cannabis_ml.networks.compat import ready_torchvision

ready_torchvision()

PHOTOS_DIR = Path(os.environ.get("PHOTOS_DIR") or Path(__file__).parents[3] / "shared" / "data")
LIBRARIES = ("torch", "torchvision", "timm", "lightning", "opencv-python-headless", "pillow")
BACKBONE, SIZE, BATCH = "tf_efficientnet_lite0", 224, 32
RATE = {True: 1e-3, False: 1e-4}
"""Of training, by whether the backbone is frozen; speed does not depend on it."""


class Clock:
    """When passes over the training photos began and ended."""

    def __init__(self):
        self.passes = []

    def begin(self):
        self.passes.append((time.perf_counter(), spent()))

    def end(self):
        wall, cpu = self.passes[-1]
        self.passes[-1] = (time.perf_counter() - wall, spent() - cpu)


class Timed:
    """A loader that tells the clock of every pass; the last step is done when it ends."""

    def __init__(self, loader, clock):
        self._loader, self._clock = loader, clock

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def __len__(self):
        return len(self._loader)

    def __iter__(self):
        self._clock.begin()
        yield from self._loader
        self._clock.end()


def spent():
    """CPU seconds of this process and of those that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


# timm's side


def timm_side(options, clock):
    import timm
    import torch
    from timm import data, models

    plain_model, plain_loader = timm.create_model, data.create_loader

    def create_model(name, **kwargs):
        model = plain_model(name, num_classes=kwargs["num_classes"])
        missing, _ = model.load_state_dict(torch.load(options.weights), strict=False)
        assert all(name.startswith("classifier") for name in missing)
        if options.frozen:
            freeze(model)
        return model

    def create_loader(dataset, *args, **kwargs):
        loader = plain_loader(dataset, *args, **kwargs)
        return Timed(loader, clock) if kwargs.get("is_training") else loader

    models.create_model = create_model
    data.create_loader = create_loader
    if options.timm_script:
        return lambda: run_script(options)
    import timm.loss
    import timm.optim
    import timm.scheduler
    import timm.utils

    return lambda: timm_loop(options, create_model, create_loader)


def freeze(model):
    """Everything but the classifier, for good: the script calls `model.train()` every epoch."""
    head = {id(parameter) for parameter in model.get_classifier().parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in head)
    for module in model.modules():
        if hasattr(module, "running_mean"):
            module.eval()
            module.train = lambda _=True, module=module: module


def run_script(options):
    known = Path(options.timm_script).read_text(encoding="utf-8")
    told = {
        "train-split": "train",
        "val-split": "validation",
        "device": "cpu",
        "model": BACKBONE,
        "num-classes": len(classes_of(options.folder)),
        "batch-size": BATCH,
        "opt": "adamw",
        "lr": RATE[options.frozen],
        "weight-decay": 0.02,
        "clip-grad": 1.0,
        "sched": "cosine",
        "epochs": options.epochs,
        "warmup-epochs": 0,
        "cooldown-epochs": 0,
        "color-jitter": 0.2,
        "workers": options.workers,
        "output": options.output,
    }
    if "--device" not in known:
        sys.exit(f"{options.timm_script} is too old for a CPU: it has no --device")
    words = [word for name, value in told.items() for word in (f"--{name}", str(value))]
    sys.argv = [options.timm_script, options.folder, *words, "--scale", "0.7", "1.0"]
    sys.argv.append("--channels-last")
    runpy.run_path(options.timm_script, run_name="__main__")


def timm_loop(options, create_model, create_loader):
    """What the script does on a CPU with these options."""
    import torch
    from timm.data import create_dataset, resolve_data_config
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.scheduler import create_scheduler_v2
    from timm.utils import AverageMeter, CheckpointSaver, accuracy, dispatch_clip_grad

    device = torch.device("cpu")
    model = create_model(BACKBONE, num_classes=len(classes_of(options.folder)))
    config = resolve_data_config({}, model=model)
    model.to(memory_format=torch.channels_last)
    rate = RATE[options.frozen]
    optimizer = create_optimizer_v2(model, opt="adamw", lr=rate, weight_decay=0.02)

    def loader(split, **kwargs):
        training = split == "train"
        return create_loader(
            create_dataset("", root=options.folder, split=split, is_training=training),
            input_size=config["input_size"],
            batch_size=BATCH,
            is_training=training,
            mean=config["mean"],
            std=config["std"],
            num_workers=options.workers,
            device=device,
            **kwargs,
        )

    change = (0.2, 0.2, 0.0)
    train = loader("train", scale=(0.7, 1.0), color_jitter=change, interpolation="random")
    validation = loader(
        "validation", crop_pct=config["crop_pct"], interpolation=config["interpolation"]
    )
    scheduler, epochs = create_scheduler_v2(
        optimizer, num_epochs=options.epochs, updates_per_epoch=len(train)
    )
    saver = CheckpointSaver(model, optimizer, checkpoint_dir=options.output)
    loss_of, plain_loss = LabelSmoothingCrossEntropy(0.1), torch.nn.CrossEntropyLoss()
    updates = 0
    for epoch in range(epochs):
        model.train()
        losses = AverageMeter()
        optimizer.zero_grad()
        for photos, targets in train:
            pixels = photos.contiguous(memory_format=torch.channels_last)
            loss = loss_of(model(pixels), targets)
            loss.backward()
            learning = [p for p in model.parameters() if p.requires_grad]
            dispatch_clip_grad(learning, value=1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.update(loss.item(), len(photos))
            updates += 1
            scheduler.step_update(num_updates=updates, metric=losses.avg)
        model.eval()
        right = AverageMeter()
        with torch.no_grad():
            for photos, targets in validation:
                output = model(photos.contiguous(memory_format=torch.channels_last))
                losses.update(plain_loss(output, targets).item(), len(photos))
                right.update(accuracy(output, targets)[0].item(), len(photos))
        saver.save_checkpoint(epoch, metric=right.avg)
        scheduler.step(epoch + 1, right.avg)


# ours


def our_side(options, clock):
    import datasets.arrow_writer  # noqa: F401
    import pandas as pd

    from cannabis_ml.datasets.photo_set import PhotoSetDataset
    from cannabis_ml.networks.params import ModelParams
    from cannabis_ml.photo_sets.photo_set import PhotoStream
    from cannabis_ml.taxonomy import Taxonomy
    from cannabis_ml.training import train
    from cannabis_ml.training.schedule import Phase, Schedule, TrainingParams, TrainingPlan
    from cannabis_ml.training.training_data import TrainingData

    class TimedModule(train.PhotoModule):
        def on_train_epoch_start(self):
            clock.begin()
            super().on_train_epoch_start()

        def on_validation_epoch_start(self):
            clock.end()
            super().on_validation_epoch_start()

    train.PhotoModule = TimedModule
    model = {"backbone": BACKBONE, "image_size": SIZE, "weights": ["package", "hub"]}
    training = {"batch_size": BATCH, "workers": options.workers, "patience": options.epochs}
    if not options.defaults:  # what timm's script does: one head, no average of the weights
        model |= {"attention": False, "ensemble": 1, "dropout": 0.0}
        training |= {"ema_decay": 0.0}
    learning = {"train": "heads" if options.frozen else "all"}
    phase = Phase(
        name="only", epochs=options.epochs, learning_rate=RATE[options.frozen], **learning
    )
    stored = PhotoSetDataset(filepath=options.output + "/photo_set")
    rows = [
        (f"{path.parent.name}/{path.name}", str(path), path.parent.name, split)
        for split in ("train", "validation")
        for path in sorted(Path(options.folder, split).glob("*/*"))
    ]
    table = pd.DataFrame(rows, columns=["photo_id", "path", "label", "split"])
    table["group"] = table["photo_id"]
    head = {"name": "label", "classes": classes_of(options.folder)}

    def run():
        # The photo set is made here, on the clock: the other side starts from files too.
        stored.save(PhotoStream(table, lambda row: Path(row["path"]).read_bytes()))
        if options.mapped:
            train.keeping_memory = nullcontext
        train.fit(
            TrainingData.of_split(stored.load(), Taxonomy(heads=[head])),
            TrainingPlan(
                ModelParams(**model), TrainingParams(**training), Schedule(phases=[phase])
            ),
            Path(options.output),
        )

    return run


# around them


def classes_of(folder):
    return sorted(path.name for path in Path(folder, "train").iterdir())


def lay_out(source, folder, train, validation):
    """So many photos of class folders as `folder`/{train,validation}/class/photo, no copies.

    The same share of every class; only as many training photos as fill batches.
    """
    found = sorted(source.glob("*/*.jpg"))
    if len(found) < train + validation:
        sys.exit(f"{len(found)} JPEGs in class folders of {source}, {train + validation} wanted")
    assert train % BATCH == 0
    step = len(found) / (train + validation)
    chosen = [found[int(i * step)] for i in range(train + validation)]
    held_out = {int((i + 0.5) * len(chosen) / validation) for i in range(validation)}
    for i, path in enumerate(chosen):
        place = Path(folder, "validation" if i in held_out else "train", path.parent.name)
        place.mkdir(parents=True, exist_ok=True)
        (place / path.name).symlink_to(path.resolve())
    for name in classes_of(folder):  # timm counts classes per split
        Path(folder, "validation", name).mkdir(parents=True, exist_ok=True)
    return folder


def save_weights(path):
    """The pretrained backbone as a file, for timm's side."""
    import torch

    from cannabis_ml.networks.params import ModelParams
    from cannabis_ml.networks.weights import load_backbone

    backbone, _ = load_backbone(ModelParams(backbone=BACKBONE, image_size=SIZE))
    torch.save(backbone.state_dict(), path)
    return path


def measure(side, folder, weights, **options):
    """Run one side and give back what it measured, see `main`."""
    with tempfile.TemporaryDirectory() as output:
        # Through a shell: a process inherits the peak memory of the one that starts it.
        command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, __file__]
        command += ["--side", side, "--folder", str(folder), "--weights", str(weights)]
        command += ["--output", output]
        for name, value in options.items():
            if value is True:
                command.append(f"--{name}")
            elif value not in (False, None):
                command += [f"--{name}", str(value)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{side} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def parser_of(text):
    """The options that both benchmarks have."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=PHOTOS_DIR / "plantdoc_256" / "train")
    parser.add_argument(
        "--timm-script",
        default=os.environ.get("TIMM_TRAIN"),
        help="timm's train.py; else a loop put together from timm's own parts",
    )
    parser.add_argument("--timm-workers", type=int, default=0, help="processes that load photos")
    parser.add_argument("--threads", type=int, help="of PyTorch; one per core where not given")
    return parser


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", choices=("timm", "ours"))
    for name in ("folder", "weights", "output", "timm_script"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--frozen", action="store_true")
    parser.add_argument("--defaults", action="store_true")
    parser.add_argument("--mapped", action="store_true", help="memory as glibc gives it back")
    options = parser.parse_args()
    clock = Clock()
    run = {"timm": timm_side, "ours": our_side}[options.side](options, clock)
    start, cpu = time.perf_counter(), spent()
    run()
    told = {"wall": time.perf_counter() - start, "cpu": spent() - cpu, "passes": clock.passes}
    for name, who in (("rss", resource.RUSAGE_SELF), ("worker_rss", resource.RUSAGE_CHILDREN)):
        told[name] = resource.getrusage(who).ru_maxrss / 1024
    print(json.dumps(told))


if __name__ == "__main__":
    main()
