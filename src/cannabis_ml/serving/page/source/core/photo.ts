// What is kept of a photo: the inputs of models and a small copy for the checks. Fed with strips, so
// that 12 megapixels are never in memory as pixels.

import { shrinkingResizer, squareResizer, type Resizer, type Size } from "./resize";
import type { Photo, Pixels } from "./types";
import { WORKING_SIDE } from "./wire";

/** Makes a `Photo` of its rows. */
export class PhotoBuilder {
  private readonly squares: Map<number, Resizer>;
  private readonly small: Resizer;

  /** @param sides Of the squares that models see. */
  constructor(
    private readonly photo: Size,
    sides: Iterable<number>,
  ) {
    this.squares = new Map([...sides].map((side) => [side, squareResizer(photo, side)]));
    this.small = shrinkingResizer(photo, WORKING_SIDE);
  }

  /**
   * @param rows The next whole rows.
   * @param top Number of the first.
   */
  push(rows: Pixels, top: number): void {
    for (const one of this.squares.values()) one.push(rows, top);
    this.small.push(rows, top);
  }

  result(): Photo {
    const inputs = [...this.squares].map(([side, one]) => [side, one.result().data] as const);
    return { ...this.photo, inputs: new Map(inputs), small: this.small.result() };
  }
}

/** A photo whose pixels are there whole. */
export function photoOf(pixels: Pixels, sides: Iterable<number>): Photo {
  const builder = new PhotoBuilder({ width: pixels.width, height: pixels.height }, sides);
  builder.push(pixels, 0);
  return builder.result();
}
