"""What this machine does in a second: a few steps of the networks that a run may train."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import cv2
import numpy as np
import torch

from cannabis_ml._io.allocator import keeping_memory
from cannabis_ml._io.parallel import available_workers
from cannabis_ml.networks.building import build_untrained
from cannabis_ml.networks.params import ModelParams
from cannabis_ml.photos.augment import draw_of, make_copies
from cannabis_ml.photos.resize import center_crop_resize
from cannabis_ml.photos.stored import decode_stored
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.training.data import Photos
from cannabis_ml.training.features import CPU_BATCH
from cannabis_ml.training.module import PhotoModule
from cannabis_ml.training.quiet import quiet
from cannabis_ml.training.recipes import Setup, backbone_name, is_fine_tuning, sides_of
from cannabis_ml.training.schedule import Phase, Schedule, TrainingParams
from cannabis_ml.training.time_needed import (
    BackboneSpeed,
    MachineSpeed,
    PerPhoto,
    trained_part,
)
from cannabis_ml.training.training_data import TrainingData

STANDARD_SIDE = 512
"""Of the standard photo, pixels."""

SMALLER = 0.6
"""Side of the second measurement over the largest that a network gets."""

LEAST, MOST = 0.5, 3.0
"""Seconds for which a measurement is repeated, at least and at most."""

FEWEST = 2
"""Times that are measured, however long one takes."""

SHARE = 0.0015
"""Of the minutes of a run that each measurement may take; there are six of a backbone."""

PHOTOS = 24
"""Of the set, that reading is measured on."""


def measure_speed(
    data: TrainingData, setups: Iterable[Setup], minutes: float = 0.0
) -> MachineSpeed:
    """Measure the networks of some setups at two sides each, reading, copying.

    Networks have random weights and see random pixels, with as many threads as training has. What
    other programs take of the machine meanwhile counts as its own slowness.

    Args:
        data: Photos of the set that reading is measured on, and the heads.
        setups: Their networks, sides, and what their phases train.
        minutes: Of the run; the more, the longer is measured, as the more rests on it.
    """
    setups = list(setups)
    enough = min(max(LEAST, minutes * 60 * SHARE), MOST)
    started = time.perf_counter()
    training = setups[0].training
    with torch.random.fork_rng(), quiet(), keeping_memory():
        torch.manual_seed(training.seed)
        backbones = {
            name: _backbone(model, max(sides), data.taxonomy, training, phases, enough)
            for name, (model, sides, phases) in _networks(setups).items()
        }
        heads = _heads(setups[0], data.taxonomy, enough)
    return MachineSpeed(
        machine=machine(training),
        unit=_unit(enough),
        reading=_reading(data, setups[0], enough),
        copying=_copying(data, setups[0], enough),
        heads=heads,
        backbones=backbones,
        probing=time.perf_counter() - started,
    )


def machine(training: TrainingParams) -> str:
    """What speed depends on, in words; the same for machines that may be taken for each other."""
    device = "cpu"
    if _device(training).type == "cuda":
        device = torch.cuda.get_device_name()
    kind = platform.processor() or platform.machine()
    return f"{kind}, {torch.get_num_threads()} threads, {available_workers()} cores, {device}"


def _networks(setups: list[Setup]) -> dict[str, tuple[ModelParams, set[int], dict[str, Phase]]]:
    """Per backbone a network's parameters, its sides, and a phase of every part that is trained."""
    found: dict[str, tuple[ModelParams, set[int], dict[str, Phase]]] = {}
    for setup in setups:
        for tier in setup.tiers.values():
            entry = (tier.model, set[int](), dict[str, Phase]())
            _, sides, phases = found.setdefault(backbone_name(tier.model), entry)
            sides.update(sides_of(tier))
            tuned = (phase for phase in tier.schedule.phases if is_fine_tuning(phase))
            phases.update({trained_part(phase): phase for phase in tuned})
    return found


def _backbone(
    model: ModelParams,
    side: int,
    taxonomy: Taxonomy,
    training: TrainingParams,
    phases: dict[str, Phase],
    enough: float,
) -> BackboneSpeed:
    smaller = max(32, round(side * SMALLER / 32) * 32)
    smaller = smaller if smaller < side else max(32, side - 32)
    device = _device(training)
    measured = {}
    for at in (smaller, side):
        network = build_untrained(model.model_copy(update={"image_size": at}), taxonomy)
        seconds = {"cpu": _looking(network, at, CPU_BATCH, torch.device("cpu"), enough)}
        seconds["features"] = seconds["cpu"]
        if device.type != "cpu":
            seconds["features"] = _looking(network, at, training.batch_size, device, enough)
        seconds["predicting"] = _looking(network, at, training.batch_size, device, enough)
        for name, phase in phases.items():
            seconds[name] = _stepping(network, at, phase, training, device, enough)
        measured[at] = seconds
    lines = {
        name: PerPhoto.through((smaller, measured[smaller][name]), (side, measured[side][name]))
        for name in measured[side]
    }
    return BackboneSpeed(
        features=lines.pop("features"),
        predicting=lines.pop("predicting"),
        cpu=lines.pop("cpu"),
        steps=lines,
    )


def _looking(network: Any, side: int, batch: int, device: torch.device, enough: float) -> float:
    """Seconds per photo of features."""
    network.to(device).eval()
    pixels = _pixels(batch, side, device)
    with torch.inference_mode():
        return _repeated(lambda: network.embed(pixels), device, enough) / batch


def _stepping(
    network: Any,
    side: int,
    phase: Phase,
    training: TrainingParams,
    device: torch.device,
    enough: float,
) -> float:
    """Seconds per photo of a training step: forward, backward, optimizer, moving average."""
    module = PhotoModule(network, training, Schedule(phases=[phase])).to(device)
    module.train()
    module.enter(0)
    optimizer = module.configure_optimizers()
    batch = max(2, training.batch_size // training.processes)
    pixels = _pixels(batch, side, device)

    def step() -> None:
        with _precision(training, device):
            logits = module.network(pixels)
            loss = torch.stack([values.float().square().mean() for values in logits.values()]).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.network.parameters(), training.gradient_clip)
        optimizer.step()
        if module.ema is not None:
            module.ema.update(module.network, 0)

    return _repeated(step, device, enough) / batch


def _heads(setup: Setup, taxonomy: Taxonomy, enough: float) -> float:
    """Seconds per photo of a step that trains heads on kept features."""
    model = next(iter(setup.tiers.values())).model
    training = setup.training
    network = build_untrained(model, taxonomy)
    features = torch.randn(training.batch_size, network.num_features)
    parameters = list(network.heads.parameters())
    optimizer = torch.optim.AdamW(parameters)

    def step() -> None:
        logits = network.classify(features)
        loss = torch.stack([values.float().square().mean() for values in logits.values()]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return _repeated(step, torch.device("cpu"), enough) / training.batch_size


def _reading(data: TrainingData, setup: Setup, enough: float) -> float:
    side = max(tier.model.image_size for tier in setup.tiers.values())
    photos = Photos(data, side, setup.training)
    positions = np.linspace(0, len(photos) - 1, min(PHOTOS, len(photos))).astype(int)

    def read() -> None:
        for position in positions:
            photos[0, int(position)]

    return _repeated(read, torch.device("cpu"), enough) / len(positions)


def _copying(data: TrainingData, setup: Setup, enough: float) -> float:
    """Seconds per copy, all cores together."""
    if not setup.copies:
        return 0.0
    rows = data.photos.rows_of(Split.TRAIN)
    stored = [data.photos.stored(int(row)) for row in rows[:: max(1, len(rows) // 4)][:4]]
    draws = [draw_of("probe", k, 0, setup.policy) for k in range(setup.copies)]

    def copy() -> None:
        for image in stored:
            make_copies(image, draws, setup.policy)

    taken = _repeated(copy, torch.device("cpu"), enough)
    return taken / (len(stored) * len(draws)) / available_workers()


def _unit(enough: float) -> float:
    """Seconds to read and shrink a standard photo: waves of color, with some noise."""
    grid = np.mgrid[:STANDARD_SIDE, :STANDARD_SIDE] / 20
    waves = np.stack([np.sin(grid[0]), np.cos(grid[1]), np.sin(grid.sum(0))], axis=-1)
    noise = np.random.default_rng(0).normal(0, 8, waves.shape)
    pixels = np.clip(127 + 90 * waves + noise, 0, 255).astype(np.uint8)
    image = cv2.imencode(".jpg", pixels)[1].tobytes()

    def read() -> None:
        center_crop_resize(decode_stored(image), 224)

    return _repeated(read, torch.device("cpu"), enough)


def _repeated(work: Callable[[], object], device: torch.device, enough: float) -> float:
    """Mean seconds of some work, after a first time that does not count."""
    work()
    _wait_for(device)
    times, started = 0, time.perf_counter()
    while True:
        work()
        _wait_for(device)
        times += 1
        taken = time.perf_counter() - started
        if times >= FEWEST and taken >= enough:
            return taken / times


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _pixels(batch: int, side: int, device: torch.device) -> torch.Tensor:
    random = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8)
    return random.to(device).contiguous(memory_format=torch.channels_last)


def _device(training: TrainingParams) -> torch.device:
    gpu = training.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return torch.device("cuda" if gpu else "cpu")


def _precision(training: TrainingParams, device: torch.device) -> AbstractContextManager[object]:
    if training.precision == "32-true":
        return nullcontext()
    kind = torch.bfloat16 if training.precision == "bf16-mixed" else torch.float16
    return torch.autocast(device.type, kind)
