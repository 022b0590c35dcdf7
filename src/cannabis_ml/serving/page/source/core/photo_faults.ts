// Mirrors cannabis_ml/inference/photo_faults.py and the checks of cannabis_ml/photos/checks that it
// asks: what a person could avoid by taking the photo again.

import type { Photo, Pixels } from "./types";
import { REPORT_SETTINGS } from "./wire";

/** Thresholds of the checks. */
export type Defects = (typeof REPORT_SETTINGS)["defects"];

export interface PhotoFault {
  readonly name: string;
  readonly width: number;
  readonly height: number;
}

const FEWEST = 2;
const BRIGHTEST = 0.05;
const WHITE = 250;

const EXPLAINED_BY: Readonly<Record<string, readonly string[]>> = {
  blurred: ["dark", "burnt_out", "almost_uniform"],
  almost_uniform: ["dark", "burnt_out"],
};

/** @param imageSize Side of the square that the model sees. */
export function photoFaults(photo: Photo, imageSize: number, defects: Defects): PhotoFault[] {
  const small = Math.max(defects.too_small_side, Math.ceil(imageSize / FEWEST));
  const gray = luma(photo.small);
  const light = meanAndSpread(gray);
  const checks: [string, boolean][] = [
    ["too_small", Math.min(photo.width, photo.height) < small],
    ["blurred", sharpness(gray, photo.small.width, photo.small.height) < defects.blurred_below],
    ["dark", brightestLevel(gray) < defects.dark_below],
    ["burnt_out", isBurntOut(photo.small, light.mean, defects.burnt_out_above)],
    ["almost_uniform", isUniform(photo.small, light.spread, defects.almost_uniform_below)],
  ];
  const found = checks.filter(([, has]) => has).map(([name]) => name);
  return found
    .filter((name) => !(EXPLAINED_BY[name] ?? []).some((cause) => found.includes(cause)))
    .map((name) => ({ name, width: photo.width, height: photo.height }));
}

/** As OpenCV's COLOR_RGB2GRAY, in fixed point. */
export function luma(pixels: Pixels): Uint8Array {
  const { data, channels } = pixels;
  const found = new Uint8Array(pixels.width * pixels.height);
  for (let i = 0, at = 0; i < found.length; i++, at += channels) {
    found[i] = (data[at] * 9798 + data[at + 1] * 19235 + data[at + 2] * 3735 + 16384) >> 15;
  }
  return found;
}

/** Variance of the Laplacian; the border mirrors without its edge. */
function sharpness(gray: Uint8Array, width: number, height: number): number {
  const mirrored = (i: number, count: number) =>
    count === 1 ? 0 : i < 0 ? -i : i >= count ? 2 * count - 2 - i : i;
  let total = 0;
  let squares = 0;
  for (let y = 0; y < height; y++) {
    const here = y * width;
    const above = mirrored(y - 1, height) * width;
    const below = mirrored(y + 1, height) * width;
    for (let x = 0; x < width; x++) {
      const left = gray[here + mirrored(x - 1, width)];
      const right = gray[here + mirrored(x + 1, width)];
      const edge = gray[above + x] + gray[below + x] + left + right - 4 * gray[here + x];
      total += edge;
      squares += edge * edge;
    }
  }
  const mean = total / gray.length;
  return squares / gray.length - mean * mean;
}

/** Level at which the brightest twentieth begins. */
function brightestLevel(gray: Uint8Array): number {
  const counts = new Uint32Array(256);
  for (const level of gray) counts[level]++;
  const enough = (1 - BRIGHTEST) * gray.length;
  let passed = 0;
  for (let level = 0; level < counts.length; level++) {
    passed += counts[level];
    if (passed >= enough) return level;
  }
  return counts.length;
}

function isBurntOut(pixels: Pixels, brightness: number, above: number): boolean {
  if (brightness < above * WHITE - 1) return false; // so much white would be brighter
  const { data, channels } = pixels;
  const count = pixels.width * pixels.height;
  let white = 0;
  for (let at = 0; at < count * channels; at += channels) {
    if (data[at] >= WHITE && data[at + 1] >= WHITE && data[at + 2] >= WHITE) white++;
  }
  return white / count > above;
}

function isUniform(pixels: Pixels, contrast: number, below: number): boolean {
  if (contrast >= below) return false; // luma cannot vary more than its channels
  const spreads = [0, 1, 2].map((c) => meanAndSpread(pixels.data, c, pixels.channels).spread);
  return Math.max(...spreads) < below;
}

/** Mean and standard deviation of every `step`-th value. */
function meanAndSpread(
  values: Uint8Array | Uint8ClampedArray,
  from = 0,
  step = 1,
): { mean: number; spread: number } {
  let [total, squares, count] = [0, 0, 0];
  for (let i = from; i < values.length; i += step) {
    total += values[i];
    squares += values[i] * values[i];
    count++;
  }
  const mean = total / count;
  return { mean, spread: Math.sqrt(Math.max(squares / count - mean * mean, 0)) };
}
