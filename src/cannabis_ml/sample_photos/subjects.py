"""The five product types, each drawn onto a layer by its shape and texture."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from cannabis_ml.sample_photos.canvas import (
    SHIFT,
    Color,
    Float,
    Layer,
    Mask,
    Outline,
    bend,
    blob,
    corners,
    fractal,
    hair,
    leaf_halves,
    noise,
    pick,
    turn,
)
from cannabis_ml.sample_photos.lots import Lot

# Palettes overlap on purpose: colour alone must not give the product type away.
_LEAF = ((46, 122, 38), (82, 152, 48), (36, 98, 46), (112, 156, 56), (60, 112, 34), (70, 132, 72))
_BUD = (
    (108, 128, 66),
    (146, 152, 92),
    (92, 106, 54),
    (132, 118, 74),
    (88, 114, 66),
    (164, 156, 108),
)
_TRIM = ((92, 104, 46), (126, 118, 60), (72, 84, 36), (130, 104, 54), (104, 118, 62), (94, 80, 44))
_HASH = ((48, 34, 24), (84, 56, 34), (106, 76, 44), (58, 48, 32), (134, 102, 64), (34, 28, 24))
_OIL = (
    (214, 142, 34),
    (236, 190, 84),
    (160, 90, 22),
    (244, 216, 140),
    (112, 62, 22),
    (206, 170, 60),
)
_WOOD = ((120, 92, 56), (142, 124, 74), (98, 82, 48))


def draw_subject(lot: Lot, side: int) -> Layer:
    """Draw a lot's subject, without its attributes, on a square layer."""
    layer = Layer(side)
    _SUBJECTS[lot.product_type](layer, lot, lot.rng("subject"))
    return layer


def twig(
    layer: Layer, rng: np.random.Generator, start: complex, reach: complex, width: float
) -> None:
    """A woody stalk with nodes: dark rim, pale core, a stub or two."""
    color = pick(rng, _WOOD)
    path = start + reach * hair(rng, 0.12)
    for share, tone, height in ((1.0, 0.5, 150), (0.7, 1.0, 190), (0.28, 1.35, 215)):
        layer.line(path, color * tone, height, width * share)
    for _ in range(int(rng.integers(1, 4))):
        node = path[rng.integers(1, path.size - 1)]
        away = reach * turn(rng.choice((-0.8, 0.8))) * rng.uniform(0.08, 0.2)
        stub = np.array([node, node + away])
        layer.line(stub, color * 0.6, 170, width * 0.7)
        layer.line(stub, color, 195, width * 0.4)


def _plant(layer: Layer, lot: Lot, rng: np.random.Generator) -> None:
    s, ragged = layer.side, 1 - lot.quality
    color = pick(rng, _LEAF)
    leaves = int(rng.choice((1, 3, 5, 8, 12)))
    size = s * {1: 0.5, 3: 0.39, 5: 0.35, 8: 0.31, 12: 0.27}[leaves] * rng.uniform(0.85, 1.1)
    foot = s * complex(rng.uniform(0.4, 0.6), 0.97)
    top = s * complex(0.5, rng.uniform(0.2, 0.4))
    spine = foot + (top - foot) * hair(rng, 0.1, 12)
    for width, tone in ((0.022, 0.55), (0.014, 1.1)):
        layer.line(spine, color * tone + 12, 60, s * width)
    for i in range(leaves):
        near = (i + 1) / leaves
        node = spine[rng.integers(3, spine.size)]
        away = turn(rng.uniform(0, 2 * np.pi))
        heart = node + away * s * (rng.uniform(0.06, 0.28) if leaves > 1 else 0.02)
        heart -= away * max(abs(heart + away * size - layer.center) - 0.48 * s, 0)
        layer.line(np.array([node, heart]), color * 0.8 + 14, 60 + 60 * near, s * 0.01)
        _fan_leaf(
            layer,
            rng,
            heart,
            away * size,
            color=color * (0.6 + 0.4 * near),  # Leaves farther back get less light.
            height=70 + 110 * near,
            ragged=ragged,
        )
    flowering = {"orange_pistils", "dense_trichomes", "amber_trichomes", "seeds"} & lot.attributes
    if flowering or rng.random() < 0.25:
        bud = top + complex(0, s * 0.06)
        upward = turn(-np.pi / 2 + rng.normal(0, 0.3))
        _bud(layer, rng, bud, s * 0.17 * upward, slim=0.7, color=color + 10, ragged=0.5)
        layer.hearts.append((bud, s * 0.17))
    layer.tone(0.85 + 0.3 * noise(rng, (s, s), s / 60))
    layer.gloss += 0.06


def _fan_leaf(
    layer: Layer,
    rng: np.random.Generator,
    heart: complex,
    reach: complex,
    *,
    color: Color,
    height: float,
    ragged: float,
) -> None:
    fingers = int(rng.choice((5, 7, 7, 9)))
    spread = rng.uniform(1.7, 2.4)
    halves = leaf_halves(rng.uniform(0.1, 0.15), 9, 0.28)
    squash = complex(1, rng.uniform(-0.25, 0.25))
    # Outer fingers first: the middle one lies on top, as it grows.
    for place in sorted(np.linspace(-1, 1, fingers), key=abs, reverse=True):
        if rng.random() < 0.12 * ragged:
            continue
        length = reach * squash * (1 - 0.58 * abs(place) ** 1.3) * rng.uniform(0.92, 1.05)
        vector = length * turn(place * spread)
        curl = rng.normal(0, 0.14 + 0.25 * ragged)
        tint = color * rng.uniform(0.88, 1.12)
        for half, tone, lift in zip(halves, (1.1, 0.82), (18, 0), strict=True):
            layer.fill(heart + vector * bend(half, curl), tint * tone, height + lift)
        rib = heart + vector * bend(np.linspace(0, 0.96, 6, dtype=complex), curl)
        layer.line(rib, tint * 0.7 + 75, height - 25, abs(reach) * 0.012)
        for t in (0.25, 0.42, 0.59, 0.75):
            vein = np.array([t + 0.12 + 0.075j, t, t + 0.12 - 0.075j])
            layer.line(heart + vector * bend(vein, curl), tint * 0.9 + 26, height - 4)


def _dry_flower(layer: Layer, lot: Lot, rng: np.random.Generator) -> None:
    s, ragged = layer.side, 1 - lot.quality
    color = pick(rng, _BUD)
    count = int(rng.choice((1, 1, 2, 3)))
    size = s * {1: 0.4, 2: 0.27, 3: 0.22}[count]
    for i in range(count):
        around = turn(2 * np.pi * i / count + rng.uniform(0, 1)) * s * 0.24 if count > 1 else 0
        center = layer.center + around + complex(*rng.normal(0, 0.02 * s, 2))
        axis = size * rng.uniform(0.85, 1.1) * turn(rng.uniform(0, 2 * np.pi))
        slim, tint = rng.uniform(0.5, 0.85), color * rng.uniform(0.9, 1.1)
        _bud(layer, rng, center, axis, slim=slim, color=tint, ragged=ragged)
    layer.tone(0.75 + 0.5 * fractal(rng, (s, s), s / 25, 3))


def _bud(
    layer: Layer,
    rng: np.random.Generator,
    center: complex,
    axis: complex,
    *,
    slim: float,
    color: Color,
    ragged: float,
) -> None:
    """A tight cone of bracts along `axis` (its half length), `slim` its width over its length."""
    body = blob(rng, 0.04)
    body = (body.real + 1j * body.imag * slim * (1 - 0.25 * body.real)) * axis + center
    layer.fill(body, color * 0.5, 40)
    count = int(np.clip(0.85 * abs(axis), 45, 150))
    along = np.sort(rng.uniform(-0.95, 0.95, count))[::-1]  # Lower bracts cover those above.
    across = 2 * np.mod(np.arange(count) * 0.618, 1) - 1  # Golden ratio: no gaps, no rows.
    flank = np.array([-0.45 + 0.4j, 0.1 + 0.48j, 0.6 + 0.22j])
    bract = np.concatenate([[-0.6], flank, [1.05], flank[::-1].conj()])
    halves = leaf_halves(0.17, 5, 0.25)
    for u, v in zip(along, across, strict=True):
        half = slim * np.sqrt(1 - u * u) * (1 - 0.25 * u)
        place = center + axis * complex(u, v * half)
        out = axis / abs(axis) * turn(0.9 * v + rng.normal(0, 0.3))
        height = 60 + 130 * np.sqrt(max(1 - u * u - 0.8 * v * v, 0)) + rng.uniform(-12, 12)
        tint = color * rng.uniform(0.7, 1.25) + rng.normal(0, 5, 3)
        if rng.random() < 0.04 + 0.3 * ragged * abs(v):
            leaf = out * abs(axis) * rng.uniform(0.3, 0.45 + 0.4 * ragged)
            for half_leaf, tone in zip(halves, (1.0, 0.75), strict=True):
                outline = bend(half_leaf, rng.normal(0, 0.4))
                layer.fill(place + leaf * outline, tint * tone, height)
        else:
            size = abs(axis) * rng.uniform(0.13, 0.21) * (0.75 + 0.35 * (1 - abs(v)))
            layer.dome(place + out * size * bract, tint, height)


def _trim(layer: Layer, lot: Lot, rng: np.random.Generator) -> None:
    s, ragged = layer.side, 1 - lot.quality
    color, other = pick(rng, _TRIM), pick(rng, _TRIM)
    spread = s * rng.uniform(0.14, 0.22)
    count = int(rng.uniform(300, 440))
    scale = rng.uniform(0.7, 1.1) * (1.25 - 0.35 * ragged)
    shapes = [_cutting(rng) for _ in range(12)]
    heap = _stretched(blob(rng, 0.15), rng.uniform(0.6, 1.0))
    layer.fill(layer.center + spread * 1.1 * heap, color * 0.3, 30)
    distance = np.sort(np.abs(rng.normal(0, 1.45, count)))[::-1]  # The middle lies on top.
    for far in 2.2 * np.tanh(distance / 2.2):
        jitter = complex(*rng.normal(0, 0.12, 2))
        place = layer.center + spread * (far * heap[rng.integers(heap.size)] + jitter)
        cut = shapes[rng.integers(len(shapes))]
        vector = s * 0.05 * scale * rng.uniform(0.4, 1.5) * turn(rng.uniform(0, 2 * np.pi))
        tint = color + (other - color) * rng.random() + rng.normal(0, 12, 3)
        height = 45 + 120 * np.exp(-0.6 * far**2) + rng.uniform(0, 45)
        gap = place + vector * cut * 1.12 + complex(0.003, 0.004) * s
        layer.fill(gap, tint * 0.32, height - 25)
        layer.fill(place + vector * cut, tint * rng.uniform(0.65, 1.3), height)
        if rng.random() < 0.4:
            layer.line(place + vector * np.array([-0.9, 0.9]), tint * 1.25 + 12, height + 10)
    layer.tone(0.8 + 0.4 * noise(rng, (s, s), s / 70))


def _cutting(rng: np.random.Generator) -> Outline:
    """A piece of a leaflet, -1 to 1, cut across at one end or at both."""
    upper, lower = leaf_halves(rng.uniform(0.05, 0.14), 5, 0.4)
    start, stop = int(rng.integers(0, 4)), int(rng.integers(7, 12))
    edge = lower if rng.random() < 0.6 else upper.real - 0.04j
    piece = np.concatenate([upper[start:stop], edge[start:stop][::-1]])
    piece = bend((piece - piece.real.mean()) * 2 / np.ptp(piece.real), rng.normal(0, 0.35))
    return np.asarray(piece)


def _stretched(outline: Outline, stretch: float) -> Outline:
    return outline.real + 1j * outline.imag * stretch


def _hash(layer: Layer, lot: Lot, rng: np.random.Generator) -> None:
    s, ragged = layer.side, 1 - lot.quality
    color = pick(rng, _HASH)
    form = rng.choice(("slab", "ball", "coin", "chunk"))
    count = int(rng.choice((1, 1, 2, 3)))
    for i in range(count):
        radius = s * {1: 0.3, 2: 0.2, 3: 0.17}[count] * rng.uniform(0.85, 1.15)
        around = turn(2 * np.pi * i / count + rng.uniform(0, 0.8)) * s * 0.25 if count > 1 else 0
        outline = blob(
            rng,
            rough={"slab": 0.015, "ball": 0.02, "coin": 0.01, "chunk": 0.09}[form] + 0.04 * ragged,
            squareness={"slab": 7.0, "ball": 2.0, "coin": 2.0, "chunk": 3.5}[form],
            n=18 if form == "chunk" else 64,
        )
        stretch = rng.uniform(0.5, 0.85) if form == "slab" else rng.uniform(0.8, 1)
        outline = _stretched(outline, stretch)
        place = layer.center + around
        outline = place + radius * turn(rng.uniform(0, np.pi)) * outline
        if form != "ball":
            layer.fill(outline + complex(0.02, 0.06) * s, color * 0.6, 60)
        layer.fill(outline, color, 130)
        mask = _inside(outline, s)
        edge = radius if form == "ball" else 0.07 * s if form == "chunk" else 0.025 * s
        layer.inflate(mask, edge, 80, 235 if form == "ball" else 150)
        if form == "coin":
            rim = place + 0.8 * (outline - place)
            layer.line(np.append(rim, rim[0]), color * 0.72, 125, s * 0.01)
        for _ in range(int(rng.poisson(1.5 + 5 * ragged))):
            start = outline[rng.integers(outline.size)]
            crack = start + (place - start) * rng.uniform(0.3, 1.1) * hair(rng, 0.5, 9)
            layer.line(crack, color * 0.4, 100, s * rng.uniform(0.003, 0.008))
    _crumbs(layer, rng, color, int(rng.poisson(4 + 22 * ragged)))
    _press_texture(layer, rng)


def _press_texture(layer: Layer, rng: np.random.Generator) -> None:
    """Dull, fine-grained, faintly creased: pressed resin, not stone and not glass."""
    s, inside = layer.side, layer.cover
    grain = fractal(rng, (s, s), s / 18, 4)
    layer.tone(0.72 + 0.56 * grain)
    lump = 26 * (grain - 0.5) + 10 * (noise(rng, (s, s), 3) - 0.5)
    layer.paint[..., 3] = np.where(inside, np.clip(layer.paint[..., 3] + lump, 1, 255), 0)


def _crumbs(layer: Layer, rng: np.random.Generator, color: Color, count: int) -> None:
    s = layer.side
    for _ in range(count):
        place = layer.center + turn(rng.uniform(0, 2 * np.pi)) * s * rng.uniform(0.2, 0.42)
        size = s * rng.uniform(0.006, 0.022)
        layer.dome(place + size * blob(rng, 0.2, n=9), color * rng.uniform(0.8, 1.15), 40, 30)


def _extract(layer: Layer, lot: Lot, rng: np.random.Generator) -> None:
    s, clarity = layer.side, lot.quality
    color = pick(rng, _OIL)
    form = rng.choice(("puddle", "shard", "wax"), p=(0.42, 0.33, 0.25))
    if form == "wax":
        _wax(layer, rng, color)
    else:
        draw = _puddle if form == "puddle" else _shards
        thickness = draw(layer, rng, color)
        cloud = fractal(rng, (s, s), s / 6, 3)
        # Beer-Lambert: light is absorbed exponentially along its way through the oil.
        depth = thickness * (0.5 + cloud) * (1.9 - 0.9 * clarity)
        body = 255 * np.power(np.clip(color, 4, 250) / 255, (0.25 + depth)[..., None])
        layer.blend(body.astype(np.float32), layer.cover)
        haze = 0.25 + 0.4 * depth + 0.35 * (1 - clarity)
        layer.opacity = np.clip(haze, 0, 0.97).astype(np.float32)
        layer.gloss += 0.75 * layer.cover
    _crumbs(layer, rng, color, int(rng.poisson(3)))


def _puddle(layer: Layer, rng: np.random.Generator, color: Color) -> Float:
    s = layer.side
    pool = _stretched(blob(rng, 0.16), rng.uniform(0.7, 1))
    outlines = [layer.center + s * rng.uniform(0.24, 0.32) * pool]
    for _ in range(int(rng.integers(0, 5))):
        at = layer.center + turn(rng.uniform(0, 2 * np.pi)) * s * rng.uniform(0.3, 0.42)
        outlines.append(at + s * rng.uniform(0.015, 0.06) * blob(rng, 0.08))
    for outline in outlines:
        layer.fill(outline, color, 90)
    thickness = layer.inflate(layer.cover, s * rng.uniform(0.06, 0.16), 40, 190)
    for place in layer.spots(rng, int(rng.integers(0, 26)), margin=9):
        bubble = place + s * rng.uniform(0.004, 0.016) * np.exp(1j * np.linspace(0, 6.3, 14))
        layer.line(bubble, color * 0.5 + 120, 205)
    return thickness


def _shards(layer: Layer, rng: np.random.Generator, color: Color) -> Float:
    """A brittle sheet broken along straight lines, its pieces a little apart and tilted."""
    s = layer.side
    theta = np.sort(rng.uniform(0, 2 * np.pi, 8)) + np.linspace(0, 0.4, 8)
    sheet = s * rng.uniform(0.34, 0.42) * np.exp(1j * theta) * rng.uniform(0.75, 1.05, 8)
    pieces = [sheet]
    for _ in range(int(rng.integers(2, 5))):
        normal, shift = turn(rng.uniform(0, np.pi)), s * rng.normal(0, 0.08)
        pieces = [half for piece in pieces for half in _cut(piece, normal, shift)]
    relief = np.zeros((s, s), np.float32)
    y, x = np.mgrid[0:s, 0:s].astype(np.float32) / s
    for piece in pieces:
        core = piece.mean()
        slid, turned = rng.uniform(1.02, 1.16), turn(rng.normal(0, 0.08))
        apart = layer.center + core * slid + (piece - core) * turned
        mask = _inside(apart, s)
        tilt = rng.normal(0, 0.6, 2)
        layer.fill(apart, color, rng.uniform(80, 130))
        relief += mask * (rng.uniform(0.35, 1) + tilt[0] * (x - 0.5) + tilt[1] * (y - 0.5))
        layer.line(np.append(apart, apart[0]), color * 0.35 + 150, 140, s * 0.006)
    return np.clip(relief, 0, 1.2) * layer.cover


def _cut(piece: Outline, normal: complex, shift: float) -> list[Outline]:
    """Cut a convex outline along a line; one or two outlines."""
    side = (piece * normal.conjugate()).real - shift
    after, beyond = np.roll(piece, -1), np.roll(side, -1)
    crossing = side * beyond < 0
    share = side / np.where(crossing, side - beyond, np.inf)
    meet = piece + (after - piece) * share
    halves = []
    for keep in (side >= 0, side < 0):
        corners = np.stack([piece, meet], axis=1)[np.stack([keep, crossing], axis=1)]
        if corners.size > 2:
            halves.append(corners)
    return halves


def _wax(layer: Layer, rng: np.random.Generator, color: Color) -> None:
    """Whipped, crumbly paste: soft lumps that let some light in."""
    s = layer.side
    pale = color * 0.55 + np.array([255, 236, 190]) * 0.45
    for far in np.sort(np.abs(rng.normal(0, 0.11, 130)))[::-1]:
        place = layer.center + s * far * turn(rng.uniform(0, 2 * np.pi))
        size = s * rng.uniform(0.016, 0.05)
        lump = place + size * blob(rng, 0.14, n=16)
        layer.dome(lump, pale * rng.uniform(0.85, 1.1), 150 - 350 * far, 55)
    inside = layer.cover
    smooth = cv2.GaussianBlur(layer.paint, (0, 0), s / 130)
    layer.paint[inside] = smooth[inside]
    layer.gloss += 0.3 * inside
    layer.opacity -= 0.12


def _inside(outline: Outline, side: int) -> Mask:
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [corners(outline)], 1, shift=SHIFT)
    return mask.astype(bool)


_SUBJECTS: dict[str, Callable[[Layer, Lot, np.random.Generator], None]] = {
    "plant": _plant,
    "dry_flower": _dry_flower,
    "trim": _trim,
    "hash": _hash,
    "extract": _extract,
}
