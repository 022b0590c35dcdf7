// What callers of the core give and get, besides the wire forms of `wire.ts`.

/** uint8, row by row, `channels` bytes per pixel; of four the last is not read. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly channels: 3 | 4;
  readonly data: Uint8Array | Uint8ClampedArray;
}

/** What is kept of a decoded photo. */
export interface Photo {
  /** Of the upright photo, in pixels. */
  readonly width: number;
  readonly height: number;
  /** By side S: what a model of that side sees, uint8 RGB (S, S, 3). */
  readonly inputs: ReadonlyMap<number, Uint8Array>;
  /** RGB with a short side of at most 256, which the checks of the photo look at. */
  readonly small: Pixels;
}

/**
 * What a model file gives for one photo, by the output's name and without the dimension of photos:
 * `{head}` (K), `{head}.given` (P, K), `embedding` (F), `{head}.aleatoric` and so on, flat.
 */
export type RawOutputs = Readonly<Record<string, Float32Array>>;

/** A file of the bundle by its path below it, such as `bundle.json`. */
export type ReadFile = (path: string) => Promise<ArrayBuffer>;

/** Runs one model file: takes uint8 RGB (S, S, 3). */
export type RunModel = (input: Uint8Array) => Promise<RawOutputs>;

/** Whether a tier's answer is good enough, and which tier is asked if it is not. */
export interface Verdict {
  readonly accepted: boolean;
  /** Routing score, higher is surer. */
  readonly score: number;
  /** Unknown score; null where the tier has none. */
  readonly unknown: number | null;
  /** Class that the routing head answers; null for none. */
  readonly decided: string | null;
  /** The tier to ask now; null where the answer is accepted, and after the last tier. */
  readonly next: string | null;
}

/** The bundle is not what it must be. */
export class BundleError extends Error {
  override name = "BundleError";
}

/** The file gives no photo. */
export class PhotoError extends Error {
  override name = "PhotoError";
}
