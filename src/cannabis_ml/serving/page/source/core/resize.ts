// Mirrors cannabis_ml/photos/resize.py, which is OpenCV's resizing: INTER_AREA where a photo
// shrinks, INTER_CUBIC where it grows. Rows come in strips, so that no photo is held whole.

import { roundHalfEven } from "./numbers";
import type { Pixels } from "./types";

/** A part of a photo, in pixels. */
export interface Region {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** Makes one small image of the rows of a large one. */
export interface Resizer {
  /**
   * @param rows Whole rows of the photo, the next ones.
   * @param top Number of the first.
   */
  push(rows: Pixels, top: number): void;
  /** uint8 RGB, after the last row. */
  result(): Pixels & { readonly data: Uint8Array };
}

/** `center_crop_resize`: the largest centered square, resized to `side`. */
export function squareResizer(photo: Size, side: number): Resizer {
  const short = Math.min(photo.width, photo.height);
  const region = {
    left: Math.floor((photo.width - short) / 2),
    top: Math.floor((photo.height - short) / 2),
    width: short,
    height: short,
  };
  return resizer(region, { width: side, height: side });
}

/** `shrink`: to a short side of `side`, never larger. */
export function shrinkingResizer(photo: Size, side: number): Resizer {
  const region = { left: 0, top: 0, ...photo };
  const scale = side / Math.min(photo.width, photo.height);
  if (scale >= 1) return resizer(region, photo);
  return resizer(region, {
    width: Math.max(side, roundHalfEven(photo.width * scale)),
    height: Math.max(side, roundHalfEven(photo.height * scale)),
  });
}

/** `shrink` of a photo that is there whole. */
export function shrink(pixels: Pixels, side: number): Pixels {
  const one = shrinkingResizer(pixels, side);
  one.push(pixels, 0);
  return one.result();
}

function resizer(region: Region, size: Size): Resizer {
  if (region.width === size.width && region.height === size.height) return new Cropper(region);
  if (region.width < size.width) return new CubicResizer(region, size);
  const across = region.width / size.width;
  const down = region.height / size.height;
  const isWhole = Number.isInteger(across) && Number.isInteger(down);
  return isWhole ? new BlockResizer(region, size) : new AreaResizer(region, size);
}

/** Rows of strips that lie in a region. */
function* rowsWithin(region: Region, rows: Pixels, top: number): Generator<[number, number]> {
  const first = Math.max(region.top, top);
  const end = Math.min(region.top + region.height, top + rows.height);
  for (let y = first; y < end; y++) {
    yield [y - region.top, ((y - top) * rows.width + region.left) * rows.channels];
  }
}

/** Takes the region as it is. */
class Cropper implements Resizer {
  private readonly data: Uint8Array;

  constructor(private readonly region: Region) {
    this.data = new Uint8Array(region.width * region.height * 3);
  }

  push(rows: Pixels, top: number): void {
    const { channels, data } = rows;
    for (const [y, from] of rowsWithin(this.region, rows, top)) {
      let to = y * this.region.width * 3;
      for (let x = 0, at = from; x < this.region.width; x++, at += channels) {
        this.data[to++] = data[at];
        this.data[to++] = data[at + 1];
        this.data[to++] = data[at + 2];
      }
    }
  }

  result() {
    return { width: this.region.width, height: this.region.height, channels: 3, data: this.data } as const;
  }
}

/** Averages of whole blocks. */
class BlockResizer implements Resizer {
  private readonly sums: Uint32Array;
  private readonly across: number;
  private readonly down: number;

  constructor(
    private readonly region: Region,
    private readonly size: Size,
  ) {
    this.sums = new Uint32Array(size.width * size.height * 3);
    this.across = region.width / size.width;
    this.down = region.height / size.height;
  }

  push(rows: Pixels, top: number): void {
    const { sums, across } = this;
    const { channels, data } = rows;
    for (const [y, from] of rowsWithin(this.region, rows, top)) {
      let to = Math.floor(y / this.down) * this.size.width * 3;
      let at = from;
      for (let x = 0; x < this.size.width; x++, to += 3) {
        let [red, green, blue] = [0, 0, 0];
        for (const end = at + across * channels; at < end; at += channels) {
          red += data[at];
          green += data[at + 1];
          blue += data[at + 2];
        }
        sums[to] += red;
        sums[to + 1] += green;
        sums[to + 2] += blue;
      }
    }
  }

  result() {
    const isTwo = this.across === 2 && this.down === 2;
    const scale = Math.fround(1 / (this.across * this.down));
    const data = new Uint8ClampedArray(this.sums.length);
    for (let i = 0; i < data.length; i++) {
      data[i] = isTwo ? (this.sums[i] + 2) >> 2 : Math.fround(this.sums[i] * scale);
    }
    return { ...this.size, channels: 3, data: unclamped(data) } as const;
  }
}

/** How much one row or column of the photo counts in one of the result. */
interface Share {
  readonly to: number;
  readonly from: number;
  readonly weight: number;
}

const LEAST_SHARE = 1e-3;

/** OpenCV's computeResizeAreaTab. */
function areaShares(source: number, target: number): Share[] {
  const scale = source / target;
  const found: Share[] = [];
  for (let to = 0; to < target; to++) {
    const start = to * scale;
    const end = start + scale;
    const width = Math.min(scale, source - start);
    const last = Math.min(Math.floor(end), source - 1);
    const first = Math.min(Math.ceil(start), last);
    const add = (from: number, share: number) =>
      found.push({ to, from, weight: Math.fround(share / width) });
    if (first - start > LEAST_SHARE) add(first - 1, first - start);
    for (let from = first; from < last; from++) add(from, 1);
    if (end - last > LEAST_SHARE) add(last, Math.min(end - last, 1, width));
  }
  return found;
}

/** Averages over areas, in float32 as OpenCV sums them. */
class AreaResizer implements Resizer {
  private readonly columns: { to: Int32Array; from: Int32Array; weight: Float32Array };
  private readonly rows: Share[][];
  private readonly row: Float32Array;
  private readonly sums: Float32Array;

  constructor(
    private readonly region: Region,
    private readonly size: Size,
  ) {
    const across = areaShares(region.width, size.width);
    this.columns = {
      to: Int32Array.from(across, (one) => one.to * 3),
      from: Int32Array.from(across, (one) => one.from),
      weight: Float32Array.from(across, (one) => one.weight),
    };
    this.rows = Array.from({ length: region.height }, () => []);
    for (const one of areaShares(region.height, size.height)) this.rows[one.from].push(one);
    this.row = new Float32Array(size.width * 3);
    this.sums = new Float32Array(size.width * size.height * 3);
  }

  push(rows: Pixels, top: number): void {
    for (const [y, from] of rowsWithin(this.region, rows, top)) {
      if (!this.rows[y].length) continue;
      this.gather(rows, from);
      for (const { to, weight } of this.rows[y]) this.add(to, weight);
    }
  }

  private gather(rows: Pixels, start: number): void {
    const { row } = this;
    const { to, from, weight } = this.columns;
    const { channels, data } = rows;
    row.fill(0);
    for (let i = 0; i < to.length; i++) {
      const at = start + from[i] * channels;
      const here = to[i];
      const share = weight[i];
      row[here] += Math.fround(data[at] * share);
      row[here + 1] += Math.fround(data[at + 1] * share);
      row[here + 2] += Math.fround(data[at + 2] * share);
    }
  }

  private add(to: number, weight: number): void {
    const { row, sums } = this;
    const start = to * row.length;
    for (let i = 0; i < row.length; i++) sums[start + i] += Math.fround(row[i] * weight);
  }

  result() {
    const data = unclamped(new Uint8ClampedArray(this.sums));
    return { ...this.size, channels: 3, data } as const;
  }
}

const CUBIC = -0.75;
const CUBIC_BITS = 11;

/** OpenCV's cubic convolution in fixed point. Only photos smaller than the model's input grow. */
class CubicResizer implements Resizer {
  private readonly cropper: Cropper;

  constructor(
    private readonly region: Region,
    private readonly size: Size,
  ) {
    this.cropper = new Cropper(region);
  }

  push(rows: Pixels, top: number): void {
    this.cropper.push(rows, top);
  }

  result() {
    const { width, height } = this.size;
    const source = this.cropper.result().data;
    const across = cubicShares(this.region.width, width);
    const down = cubicShares(this.region.height, height);
    const wide = new Int32Array(width * this.region.height * 3);
    for (let y = 0; y < this.region.height; y++) {
      for (let x = 0; x < width * 3; x++) {
        const { places, weights } = across[Math.floor(x / 3)];
        let total = 0;
        for (let i = 0; i < 4; i++) {
          total += source[(y * this.region.width + places[i]) * 3 + (x % 3)] * weights[i];
        }
        wide[y * width * 3 + x] = total;
      }
    }
    const data = new Uint8ClampedArray(width * height * 3);
    for (let y = 0; y < height; y++) {
      const { places, weights } = down[y];
      for (let x = 0; x < width * 3; x++) {
        let total = 0;
        for (let i = 0; i < 4; i++) total += wide[places[i] * width * 3 + x] * weights[i];
        data[y * width * 3 + x] = Math.floor(total / 2 ** (2 * CUBIC_BITS) + 0.5);
      }
    }
    return { width, height, channels: 3, data: unclamped(data) } as const;
  }
}

function cubicShares(source: number, target: number): { places: number[]; weights: number[] }[] {
  const scale = source / target;
  return Array.from({ length: target }, (_, to) => {
    const exact = Math.fround((to + 0.5) * scale - 0.5);
    const from = Math.floor(exact);
    const x = Math.fround(exact - from);
    const A = CUBIC;
    const first = ((A * (x + 1) - 5 * A) * (x + 1) + 8 * A) * (x + 1) - 4 * A;
    const second = ((A + 2) * x - (A + 3)) * x * x + 1;
    const third = ((A + 2) * (1 - x) - (A + 3)) * (1 - x) * (1 - x) + 1;
    const weights = [first, second, third, 1 - first - second - third];
    return {
      places: [-1, 0, 1, 2].map((i) => Math.min(Math.max(from + i, 0), source - 1)),
      weights: weights.map((weight) => roundHalfEven(weight * 2 ** CUBIC_BITS)),
    };
  });
}

/** The same bytes. What is stored in clamped ones is rounded as OpenCV does: halves to even. */
function unclamped(bytes: Uint8ClampedArray<ArrayBuffer>): Uint8Array {
  return new Uint8Array(bytes.buffer);
}
