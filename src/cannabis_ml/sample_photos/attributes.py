"""Draw the attributes of a lot and the wear of its grade."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from cannabis_ml.sample_photos.canvas import (
    SHIFT,
    Color,
    Float,
    Layer,
    blob,
    corners,
    fractal,
    hair,
    noise,
    patches,
    pick,
    soften,
    turn,
)
from cannabis_ml.sample_photos.lots import Lot
from cannabis_ml.sample_photos.subjects import twig

_GLINT = np.full(3, 255.0)
_LUMA = np.array([0.299, 0.587, 0.114])


def draw_attributes(layer: Layer, lot: Lot) -> None:
    """Draw what the lot has, each with its own randomness, from the inside out."""
    _wear(layer, lot, lot.rng("wear"))
    for name, draw in _ATTRIBUTES.items():
        if name in lot:
            draw(layer, lot, lot.rng(name))


def _wear(layer: Layer, lot: Lot, rng: np.random.Generator) -> None:
    """Fading, browning, blemishes, dirt and rot, as far as the grade goes."""
    worn, s = 1 - lot.quality, layer.side
    faded = layer.gray[..., None] * np.array([1.06, 0.98, 0.78], np.float32)
    layer.blend(faded, layer.cover * np.float32(0.65 * max(worn - 0.2, 0)))
    if lot.grade == "A":
        blemish = layer.spots(rng, 1, margin=15)[0] + s * 0.025 * blob(rng, 0.2)
        spot = np.zeros((s, s), np.uint8)
        cv2.fillPoly(spot, [corners(blemish)], 200, shift=SHIFT)
        soft = soften(spot, s / 150) / np.float32(255)
        layer.blend(np.array([84.0, 58, 32]), soft * layer.cover)
    for place in layer.spots(rng, int(rng.poisson(26 * max(worn - 0.45, 0)))):
        speck = place + s * rng.uniform(0.003, 0.009) * blob(rng, 0.3, n=7)
        layer.fill(speck, pick(rng, _DIRT), 190)
    if lot.grade == "F":
        share = 0.12 if "mould" in lot else 0.38
        rot = patches(rng, layer.cover, share, s / 4) * (0.6 + 0.4 * noise(rng, (s, s), 4))
        layer.blend(np.array([38.0, 27, 18]), rot * 0.88)
        layer.opacity = np.maximum(layer.opacity, rot)
        for place in layer.spots(rng, int(rng.integers(1, 5))):
            reach = s * rng.uniform(0.12, 0.3) * turn(rng.uniform(0, 2 * np.pi))
            layer.line(place + reach * hair(rng, 0.35, 14), pick(rng, _FIBRE), 230, s * 0.004)


def _purple_hues(layer: Layer, lot: Lot, rng: np.random.Generator) -> None:
    s = layer.side
    where = patches(rng, layer.cover, rng.uniform(0.3, 0.55), s / 5)
    tint = pick(rng, ((112, 68, 136), (92, 56, 118), (130, 66, 108), (108, 52, 86)))
    _dye(layer, tint, where * rng.uniform(0.6, 0.85), lift=-22)


def _yellowing(layer: Layer, lot: Lot, rng: np.random.Generator) -> None:
    s = layer.side
    where = patches(rng, layer.cover, rng.uniform(0.28, 0.5), s / 7)
    tint = pick(rng, ((206, 180, 66), (190, 160, 84), (212, 192, 92)))
    _dye(layer, tint, where * rng.uniform(0.75, 0.95), lift=38)


def _dye(layer: Layer, tint: Color, weight: Float, lift: float) -> None:
    """Change the hue and keep the drawing: the tint takes over the paint's own light and dark."""
    gray = np.clip(1.15 * layer.gray + lift, 0, 200)
    layer.blend(tint.astype(np.float32) * (gray / np.float32(tint @ _LUMA))[..., None], weight)


def _stems(layer: Layer, lot: Lot, rng: np.random.Generator) -> None:
    s = layer.side
    heap = lot.product_type == "trim"
    count = int(rng.integers(6, 12) if heap else rng.integers(2, 5))
    for start in layer.spots(rng, count, margin=7):
        reach = s * rng.uniform(0.25, 0.45) * turn(rng.uniform(0, 2 * np.pi))
        # Twigs point away from the middle, so that some of their length is bare.
        if (reach * (start - layer.center).conjugate()).real < 0:
            reach = -reach
        twig(layer, rng, start, reach, s * rng.uniform(0.017, 0.028) * (0.7 if heap else 1))


def _orange_pistils(layer: Layer, lot: Lot, rng: np.random.Generator) -> None:
    s = layer.side
    color = pick(rng, ((222, 118, 34), (198, 84, 26), (232, 142, 60), (176, 72, 30)))
    for place in layer.spots(rng, int(rng.uniform(70, 130)), hearts=True):
        reach = s * rng.uniform(0.03, 0.075) * turn(rng.uniform(0, 2 * np.pi))
        path = place + reach * hair(rng, 0.35)
        layer.line(path, color * rng.uniform(0.45, 0.6), 170, s * 0.0052)
        layer.line(path + 0.4, color * rng.uniform(0.9, 1.2), 190, s * 0.0026)


def _dense_trichomes(layer: Layer, lot: Lot, rng: np.random.Generator) -> None:
    s = layer.side
    frost = np.array([236.0, 238, 230])
    haze = 0.08 + 0.42 * fractal(rng, (s, s), s / 12, 3)
    layer.blend(frost, haze.astype(np.float32) * layer.cover)
    for grain, level, strength in ((2.6, 0.8, 0.95), (1.5, 0.85, 0.8)):
        specks = np.clip((noise(rng, (s, s), grain) - level) * 8, 0, 1)
        layer.blend(np.array([252.0, 252, 246]), specks * layer.cover * np.float32(strength))
        layer.gloss += 0.5 * specks


def _amber_trichomes(layer: Layer, lot: Lot, rng: np.random.Generator) -> None:
    s = layer.side
    honey = pick(rng, ((224, 148, 36), (206, 122, 28), (236, 168, 60)))
    where = 0.5 + 0.5 * patches(rng, layer.cover, 0.5, s / 4)
    for place in layer.spots(rng, int(rng.uniform(320, 460)), hearts=True):
        if rng.random() < where[min(int(place.imag), s - 1), min(int(place.real), s - 1)]:
            size = s * rng.uniform(0.004, 0.0068)
            layer.dot(place, size, honey * 0.55, 205)
            layer.dot(place, size * 0.8, honey, 223)
            layer.dot(place - size * (0.3 + 0.3j), size * 0.32, np.array([255.0, 240, 205]), 230)


def _crystals(layer: Layer, lot: Lot, rng: np.random.Generator) -> None:
    s = layer.side
    own = layer.paint[..., :3][layer.cover].mean(axis=0)
    pale = 0.25 * own + 0.75 * np.array([248, 242, 222])
    places = layer.spots(rng, int(rng.uniform(60, 130)), margin=5)
    for place in places:
        size, sides = s * rng.uniform(0.009, 0.026), int(rng.integers(5, 8))
        theta = np.sort(rng.uniform(0, 2 * np.pi, sides)) + np.linspace(0, 0.5, sides)
        stone = place + size * np.exp(1j * theta)
        layer.fill(place + (stone - place) * 1.16, pale * 0.42, 150)
        peak = place + size * 0.35 * turn(rng.uniform(0, 2 * np.pi))
        for a, b in zip(stone, np.roll(stone, -1), strict=True):
            layer.fill(np.array([a, b, peak]), pale * rng.uniform(0.55, 1.1), rng.uniform(150, 230))
    for place in places[:: int(rng.integers(4, 8))]:
        ray = s * rng.uniform(0.014, 0.03)
        for way in (1, 1j):
            layer.line(place + ray * way * np.array([-1, 1]), _GLINT, 240, s * 0.004)
        layer.dot(place, ray * 0.28, _GLINT, 240)
    solid = cv2.boxFilter((layer.paint[..., 3] >= 150).astype(np.float32), -1, (5, 5))
    layer.opacity = np.maximum(layer.opacity, solid * 0.9)


def _seeds(layer: Layer, lot: Lot, rng: np.random.Generator) -> None:
    s = layer.side
    size = s * rng.uniform(0.034, 0.046)
    for place in layer.spots(rng, int(rng.integers(4, 10)), margin=13, hearts=True):
        color = pick(rng, ((128, 98, 66), (104, 82, 58), (150, 122, 86)))
        axis = size * rng.uniform(0.85, 1.15) * turn(rng.uniform(0, 2 * np.pi))
        seed = blob(rng, 0.01, n=28)
        shell = seed.real + 0.76j * seed.imag * (1 - 0.2 * seed.real)
        layer.fill(place + 1.12 * axis * shell, color * 0.25, 120)
        for shrink, tone, height in zip(
            (1.0, 0.85, 0.6, 0.3), (0.7, 1.0, 1.15, 1.3), (175, 205, 228, 240), strict=True
        ):
            layer.fill(place + shrink * axis * shell, color * tone, height)
        for _ in range(9):  # Tiger stripes, which no leaf and no crumb has.
            stripe = complex(*rng.uniform(-0.6, 0.6, 2)) * complex(1, 0.7) * 0.8
            path = place + axis * (stripe + 0.5 * (hair(rng, 0.3, 4) - 0.5))
            layer.line(path, color * 0.38, 225, s * 0.004)


def _mould(layer: Layer, lot: Lot, rng: np.random.Generator) -> None:
    s = layer.side
    where = patches(rng, layer.cover, rng.uniform(0.22, 0.42), s / 4)
    fuzz = soften(where, s / 70)  # It creeps over the edge.
    threads = np.zeros((s, s), np.uint8)
    ys, xs = np.nonzero(where > 0.5)
    for i in rng.integers(0, xs.size, 420):
        reach = s * rng.uniform(0.03, 0.07) * turn(rng.uniform(0, 2 * np.pi))
        thread = corners(complex(xs[i], ys[i]) + reach * hair(rng, 0.4, 5))
        shine = int(rng.integers(110, 256))
        cv2.polylines(threads, [thread], False, shine, 1, cv2.LINE_AA, SHIFT)
    web = soften(threads, 0.8) / 255
    wool = np.clip(fuzz * (0.45 + 0.5 * noise(rng, (s, s), 5)), 0, 0.95)
    gray = pick(rng, ((196, 200, 196), (206, 204, 196), (176, 188, 182)))
    weight = np.maximum(wool, np.clip(web * 1.3, 0, 0.9)).astype(np.float32)
    grows = weight > 0.06
    beyond = grows & ~layer.cover
    layer.paint[beyond, :3] = np.clip(gray, 0, 255).astype(np.uint8)
    layer.opacity = np.where(beyond, weight, np.maximum(layer.opacity, weight))
    puff = np.clip(layer.paint[..., 3] + 45 * wool + 40 * web, 0, 255)
    layer.paint[..., 3] = np.where(grows, np.maximum(puff, 30), layer.paint[..., 3])
    layer.blend(gray * 0.86, wool)
    layer.blend(gray * 1.2, web * 0.8)
    layer.gloss *= 1 - np.clip(weight, 0, 1)


def _wet_sheen(layer: Layer, lot: Lot, rng: np.random.Generator) -> None:
    s, inside = layer.side, layer.cover
    layer.tone(1 - 0.3 * inside.astype(np.float32))  # Wet things are darker.
    film = soften(layer.paint[..., 3], s / 170)
    layer.paint[..., 3] = np.where(inside, np.maximum(film, 1), 0)
    layer.gloss += inside * np.float32(0.25)
    # A film of water mirrors the lamp in broad patches, most where the surface rises to it.
    streaks = patches(rng, inside, rng.uniform(0.16, 0.26), s / 11, softness=0.3)
    streaks *= np.clip(soften(film, 2) / 110 - 0.15, 0.25, 1)
    layer.blend(np.full(3, 252.0), inside * soften(streaks, s / 150))
    for place in layer.spots(rng, int(rng.integers(10, 28)), margin=7):
        drop = s * rng.uniform(0.006, 0.015)
        at = np.clip([place.imag, place.real], 0, s - 1).astype(int)
        below = layer.paint[at[0], at[1], :3].astype(float)
        for shrink, tone, height in ((1.0, 0.6, 190), (0.8, 1.05, 215), (0.5, 1.25, 235)):
            layer.dot(place, shrink * drop, below * tone, height)
        layer.dot(place - drop * (0.3 + 0.3j), drop * 0.3, _GLINT, 240)


_DIRT = ((30, 24, 18), (70, 52, 34), (20, 20, 20), (96, 84, 60))
_FIBRE = ((30, 30, 34), (220, 60, 50), (70, 110, 190), (235, 235, 235))
# Order matters: dyes lie under what sits on the surface, and mould dulls a film of water.
_ATTRIBUTES: dict[str, Callable[[Layer, Lot, np.random.Generator], None]] = {
    "purple_hues": _purple_hues,
    "yellowing": _yellowing,
    "stems": _stems,
    "dense_trichomes": _dense_trichomes,
    "orange_pistils": _orange_pistils,
    "amber_trichomes": _amber_trichomes,
    "crystals": _crystals,
    "wet_sheen": _wet_sheen,
    "mould": _mould,
    "seeds": _seeds,
}
