"""Photos of nothing that any taxonomy here knows, drawn from a seed.

An unknown score is chosen by how well it separates such photos from known ones. Real ones are
better where there are any; these cost nothing and are what people send by mistake: noise, a page
of text, a line drawing, a screenshot, a room, and things that lie where samples lie, in the same
light.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np
from PIL import Image

from cannabis_ml._io.files import written_aside
from cannabis_ml.sample_photos.camera import take_photo
from cannabis_ml.sample_photos.canvas import Bytes, Layer, blob, fractal, noise, pick, soften, turn
from cannabis_ml.sample_photos.lots import lot_of

UnknownKind = Literal["noise", "text", "drawing", "screenshot", "room", "thing"]

KINDS: tuple[UnknownKind, ...] = get_args(UnknownKind)

_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
)
_LETTERS = np.array(list("eeeettaaooiinnsshhrrddlluccmmwfgypbvk"))
_TONES = (
    (40, 40, 44),
    (200, 60, 50),
    (40, 90, 180),
    (60, 140, 80),
    (220, 170, 50),
    (240, 240, 240),
)


def draw_unknown(kind: UnknownKind, index: int, seed: int, size: int = 256) -> Bytes:
    """Draw one photo; it depends on nothing but the arguments.

    Args:
        kind: What it shows.
        index: Which photo, from 0.
        seed: Which world of photos, from 0.
        size: Pixels of the long side, at least; up to a quarter more.

    Returns:
        uint8 RGB (H, W, 3).
    """
    rng = np.random.default_rng([seed, KINDS.index(kind), index])
    long = round(size * rng.uniform(1.0, 1.25))
    short = round(long / rng.choice([1.0, 4 / 3, 1.5]))
    shape = (long, short) if rng.random() < 0.5 else (short, long)
    return _DRAWN[kind](rng, shape, size)


def write_unknown_photos(folder: Path, count: int, seed: int, size: int = 256) -> Path:
    """Draw `count` photos, the kinds in turn, and their kinds into `folder/labels.csv`.

    All or nothing: they are drawn beside `folder` and moved there when complete.

    Args:
        folder: Where to; what is there is replaced.
        count: How many photos.
        seed: As in `draw_unknown`.
        size: As in `draw_unknown`.

    Returns:
        `folder`.
    """
    with written_aside(folder) as aside:
        (aside / "photos").mkdir(parents=True)
        rows = []
        for index in range(count):
            kind = KINDS[index % len(KINDS)]
            path = f"photos/{kind}_{index // len(KINDS):04d}.jpg"
            pixels = draw_unknown(kind, index // len(KINDS), seed, size)
            Image.fromarray(pixels).save(aside / path, quality=90)
            rows.append({"path": path, "kind": kind})
        with (aside / "labels.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["path", "kind"], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return folder


def _noise(rng: np.random.Generator, shape: tuple[int, int], size: int) -> Bytes:
    """From grains of one pixel to soft clouds, gray or colored."""
    grain = float(rng.choice([1, 2, 6, 20, 60]))
    bands = 1 if rng.random() < 0.4 else 3
    layers = [fractal(rng, shape, grain, 2) if grain > 1 else rng.random(shape) for _ in range(3)]
    picture = np.stack([layers[band % bands] for band in range(3)], axis=2)
    low, high = sorted(rng.uniform(0, 255, 2))
    return _bytes(low - 40 + (high - low + 80) * picture)


def _text(rng: np.random.Generator, shape: tuple[int, int], size: int) -> Bytes:
    """A printed page, a little askew."""
    paper, ink = (245, 242, 235), (30, 30, 36)
    if rng.random() < 0.2:
        paper, ink = ink, paper
    page = np.full((*shape, 3), paper, np.uint8)
    font, scale = int(rng.choice(_FONTS)), rng.uniform(0.25, 0.7) * size / 256
    step = max(6, int(34 * scale))
    for y in range(step, shape[0], step):
        if rng.random() < 0.12:  # between paragraphs
            continue
        x = int(rng.integers(2, 12))
        cv2.putText(page, _words(rng, 80), (x, y), font, scale, ink, 1, cv2.LINE_AA)
    center = (shape[1] / 2, shape[0] / 2)
    turned = cv2.getRotationMatrix2D(center, rng.normal(0, 6), rng.uniform(1.0, 1.3))
    page = np.asarray(cv2.warpAffine(page, turned, shape[::-1], borderValue=paper), np.uint8)
    light = 0.75 + 0.35 * noise(rng, shape, max(shape))
    return _bytes(page * light[..., None])


def _drawing(rng: np.random.Generator, shape: tuple[int, int], size: int) -> Bytes:
    """Pen or crayon on white: outlines, hatching, a sun in the corner."""
    page = np.full((*shape, 3), 252, np.uint8)
    for _ in range(int(rng.integers(4, 14))):
        color = pick(rng, _TONES[:5]).clip(0, 255).tolist()
        at = (rng.uniform(0, shape[1]), rng.uniform(0, shape[0]))
        outline = complex(*at) + blob(rng, 0.3, float(rng.choice([2, 8]))) * rng.uniform(
            0.06, 0.4
        ) * min(shape)
        points = np.stack([outline.real, outline.imag], axis=1).astype(np.int32)
        width = int(rng.integers(1, 4))
        cv2.polylines(page, [points], rng.random() < 0.7, color, width, cv2.LINE_AA)
        if rng.random() < 0.3:
            cv2.fillPoly(page, [points], color, cv2.LINE_AA)
    return page


def _screenshot(rng: np.random.Generator, shape: tuple[int, int], size: int) -> Bytes:
    """A list with a bar on top, in a light or a dark theme."""
    light = rng.random() < 0.6
    ground, ink = ((248, 248, 250), (50, 50, 56)) if light else ((24, 26, 30), (210, 212, 216))
    page = np.full((*shape, 3), ground, np.uint8)
    accent = pick(rng, _TONES[1:5]).clip(0, 255).tolist()
    height, width = shape
    bar = int(height * rng.uniform(0.06, 0.14))
    cv2.rectangle(page, (0, 0), (width, bar), accent, -1)
    row = max(14, int(height * rng.uniform(0.08, 0.2)))
    scale = row / 90
    for top in range(bar + 4, height - row, row):
        icon = pick(rng, _TONES).clip(0, 255).tolist()
        center, radius = (row // 2, top + row // 2), row // 3
        if rng.random() < 0.5:
            cv2.circle(page, center, radius, icon, -1, cv2.LINE_AA)
        else:
            corner = (center[0] - radius, center[1] - radius)
            opposite = (center[0] + radius, center[1] + radius)
            cv2.rectangle(page, corner, opposite, icon, -1)
        place = (row + 4, top + row // 2)
        cv2.putText(page, _words(rng, 30), place, _FONTS[0], scale, ink, 1, cv2.LINE_AA)
        cv2.line(page, (row, top + row - 1), (width, top + row - 1), [180, 180, 186], 1)
    return page


def _room(rng: np.random.Generator, shape: tuple[int, int], size: int) -> Bytes:
    """Floor, walls, a window or a picture, and boxes for furniture, slightly out of focus."""
    height, width = shape
    walls = pick(rng, ((226, 220, 206), (198, 206, 212), (160, 150, 140), (240, 238, 232)))
    floor = pick(rng, ((150, 112, 76), (110, 100, 96), (196, 184, 168)))
    horizon = int(height * rng.uniform(0.5, 0.75))
    corner = int(width * rng.uniform(0.2, 0.8))
    page = np.empty((*shape, 3), np.float32)
    page[:] = walls * 0.86
    page[:, corner:] = walls
    skirt = np.array([(0, height), (corner, horizon), (width, height)], np.int32)
    cv2.fillPoly(page, [skirt], floor.tolist(), cv2.LINE_AA)
    page[horizon + (height - horizon) // 2 :] = floor
    for _ in range(int(rng.integers(1, 4))):
        x, y = int(rng.uniform(0, 0.8) * width), int(rng.uniform(0.05, 0.35) * height)
        w, h = int(rng.uniform(0.1, 0.3) * width), int(rng.uniform(0.1, 0.3) * height)
        pane = pick(rng, ((190, 215, 240), *_TONES[1:5])).tolist()
        cv2.rectangle(page, (x, y), (x + w, y + h), pane, -1)
        cv2.rectangle(page, (x, y), (x + w, y + h), (250.0, 250.0, 248.0), 3)
    for _ in range(int(rng.integers(2, 6))):
        x, base = int(rng.uniform(-0.1, 0.9) * width), int(rng.uniform(0.7, 1.05) * height)
        w, h = int(rng.uniform(0.12, 0.45) * width), int(rng.uniform(0.15, 0.45) * height)
        color = pick(rng, ((120, 84, 58), (70, 76, 90), (180, 60, 60), (214, 206, 192)))
        cv2.rectangle(page, (x, base - h), (x + w, base), color.tolist(), -1)
        up, right = base - h, x + w
        back, lid = w // 5, up - h // 5
        corners = [(x, up), (x + back, lid), (right + back, lid), (right, up)]
        top = np.array(corners, np.int32)
        cv2.fillPoly(page, [top], (color * 1.2).tolist(), cv2.LINE_AA)
    light = 0.6 + 0.6 * noise(rng, shape, max(shape))
    page = soften(page * light[..., None], rng.uniform(0.5, 1.6))
    return _bytes(page + rng.normal(0, 5, page.shape))


def _thing(rng: np.random.Generator, shape: tuple[int, int], size: int) -> Bytes:
    """Coins, a box, a ring or a pen, by the camera that photographs samples."""
    layer = Layer(round(size * 1.2))
    side, kind = layer.side, int(rng.integers(4))
    color = pick(rng, ((196, 160, 70), (170, 174, 180), (50, 90, 190), (200, 50, 60), (30, 30, 34)))
    if kind == 0:
        for _ in range(int(rng.integers(2, 8))):
            at = complex(*rng.uniform(0.25, 0.75, 2)) * side
            radius = rng.uniform(0.06, 0.13) * side
            layer.dome(at + blob(rng, 0.0) * radius, color * rng.uniform(0.7, 1.2), 60, 12)
            layer.dot(at, radius * 0.75, color * 0.9, 66)
    elif kind == 1:
        box = layer.center + blob(rng, 0.01, 9) * turn(rng.uniform(0, 3)) * 0.3 * side
        layer.dome(box, color, 90, 30)
        layer.line(box, color * 0.4, 120, side / 80)
    elif kind == 2:
        outer = layer.center + blob(rng, 0.0) * 0.3 * side
        layer.fill(outer, color, 90)
        layer.dot(layer.center, 0.18 * side, color * 0.2, 20)
    else:
        way = turn(rng.uniform(0, 3)) * 0.36 * side
        ends = np.linspace(layer.center - way, layer.center + way, 12)
        layer.line(ends, color, 80, side / 14)
        layer.line(ends[-2:], color * 0.3, 90, side / 24)
    layer.gloss[:] = rng.uniform(0.1, 0.9)
    index = int(rng.integers(1 << 30))
    return take_photo(layer, lot_of(index, 0), index, size)


_DRAWN: dict[str, Callable[[np.random.Generator, tuple[int, int], int], Bytes]] = {
    "noise": _noise,
    "text": _text,
    "drawing": _drawing,
    "screenshot": _screenshot,
    "room": _room,
    "thing": _thing,
}


def _words(rng: np.random.Generator, letters: int) -> str:
    drawn = rng.choice(_LETTERS, letters)
    drawn[rng.random(letters) < 0.18] = " "
    return "".join(drawn)


def _bytes(picture: np.ndarray) -> Bytes:
    return np.asarray(np.clip(picture, 0, 255).round(), np.uint8)
