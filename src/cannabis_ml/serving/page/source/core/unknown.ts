// Mirrors cannabis_ml/inference/unknown.py: how unlike the training photos a photo is.

import type { Outputs } from "./decision";
import { readNpz, type NpyArray } from "./npz";
import { SMALLEST, argmax, clip, largest, sum, type Vector } from "./numbers";
import { BundleError } from "./types";

/** `inference.outputs.EMBEDDING`: the pooled features that the heads see. */
const EMBEDDING = "embedding";

const GEN_EDGE = 1e-7;
const VERSION = 1;

interface Header {
  readonly version: number;
  readonly method: string;
  readonly head: string;
  readonly numbers: Readonly<Record<string, number>>;
  /** null where none was chosen. */
  readonly threshold: number | null;
  /** Share of known photos that the threshold keeps; null if not told. */
  readonly kept: number | null;
  readonly groups: number;
}

/** A matrix, float64, row by row. */
interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly values: Float64Array;
}

/** A fitted unknown score. A photo is unknown above `threshold`. */
export class UnknownScore {
  private readonly features: ((features: Vector) => number) | null;

  private constructor(
    readonly header: Header,
    arrays: ReadonlyMap<string, NpyArray>,
  ) {
    this.features = scoreOfFeatures(header, arrays);
  }

  /** @param file As `UnknownScore.to_bytes` writes it. */
  static read(file: ArrayBuffer): UnknownScore {
    const arrays = readNpz(file);
    const text = arrays.get("header");
    if (!text) throw new BundleError("The unknown score has no header.");
    const header = JSON.parse(new TextDecoder().decode(text.data)) as Header;
    if (header.version !== VERSION) {
      throw new BundleError(
        `The unknown score has schema ${header.version}; this page reads ${VERSION}.`,
      );
    }
    return new UnknownScore(header, arrays);
  }

  /** Infinity where none was chosen. */
  get threshold(): number {
    return this.header.threshold ?? Infinity;
  }

  /** Higher is less known. @param outputs Raw, of a model file. */
  score(outputs: Outputs): number {
    if (this.features) return this.features(needed(outputs, EMBEDDING));
    const probs = needed(outputs, this.header.head);
    return this.header.method === "gen" ? gen(probs, this.header.numbers) : -largest(probs);
  }
}

function needed(outputs: Outputs, name: string): Vector {
  const found = outputs[name];
  if (!found) throw new BundleError(`The model gives no '${name}', which its unknown score reads.`);
  return found;
}

/** Generalized entropy of the largest probabilities. */
function gen(probs: Vector, numbers: Readonly<Record<string, number>>): number {
  const ranked = Float64Array.from(probs).sort().reverse();
  const held = ranked.subarray(0, Math.trunc(numbers.classes));
  return sum(
    held.map((value) => {
      const p = clip(value, GEN_EDGE, 1 - GEN_EDGE);
      return (p * (1 - p)) ** numbers.gamma;
    }),
  );
}

/** null for the methods that read probabilities. */
function scoreOfFeatures(
  header: Header,
  arrays: ReadonlyMap<string, NpyArray>,
): ((features: Vector) => number) | null {
  const { method, numbers } = header;
  const matrix = (name: string) => matrixOf(name, arrays);
  switch (method) {
    case "max_probability":
    case "gen":
      return null;
    case "energy":
      return energy(matrix("weight"), matrix("bias"));
    case "nci":
      return nci(matrix("weight"), matrix("bias"), matrix("mean"), numbers.alpha);
    case "fdbd":
      return fdbd(matrix("weight"), matrix("bias"), matrix("mean"), matrix("apart"));
    case "mahalanobis":
      return mahalanobis(matrix("center"), matrix("means"), matrix("directions"), numbers.scale);
    case "relative_mahalanobis": {
      const center = matrix("center");
      const own = mahalanobis(center, matrix("means"), matrix("directions"), numbers.scale);
      const middle = { rows: 1, columns: center.columns, values: new Float64Array(center.columns) };
      const overall = mahalanobis(
        center,
        middle,
        matrix("overall_directions"),
        numbers.overall_scale,
      );
      return (features) => own(features) - overall(features);
    }
    case "knn":
      return knn(matrix("bank"), numbers.k);
    default:
      throw new BundleError(`There is no unknown score '${method}'.`);
  }
}

/** An array of one axis as a row. */
function matrixOf(name: string, arrays: ReadonlyMap<string, NpyArray>): Matrix {
  const found = arrays.get(name);
  if (!found) throw new BundleError(`The unknown score lacks the array '${name}'.`);
  const [rows, columns] = found.shape.length === 1 ? [1, found.shape[0]] : found.shape;
  return { rows, columns, values: Float64Array.from(found.data) };
}

function energy(weight: Matrix, bias: Matrix) {
  return (features: Vector): number => {
    const logits = logitsOf(features, weight, bias);
    const top = largest(logits);
    return -(top + Math.log(sum(logits.map((logit) => Math.exp(logit - top)))));
  };
}

/** Nearness to the weight of the predicted class, and to the origin. */
function nci(weight: Matrix, bias: Matrix, mean: Matrix, alpha: number) {
  return (features: Vector): number => {
    const predicted = argmax(logitsOf(features, weight, bias));
    const away = less(features, mean.values);
    const along = dot(away, row(weight, predicted));
    const nearness = along / Math.max(Math.sqrt(dot(away, away)), SMALLEST);
    return -nearness - alpha * sum(Float64Array.from(features, Math.abs));
  };
}

/** Mean distance to the decision boundaries, by that to the mean. */
function fdbd(weight: Matrix, bias: Matrix, mean: Matrix, apart: Matrix) {
  return (features: Vector): number => {
    const logits = logitsOf(features, weight, bias);
    const predicted = argmax(logits);
    const between = row(apart, predicted);
    const distances = logits.map(
      (logit, k) => (logits[predicted] - logit) / Math.max(between[k], SMALLEST),
    );
    const away = less(features, mean.values);
    const far = Math.max(Math.sqrt(dot(away, away)), SMALLEST);
    return -sum(distances) / (logits.length - 1) / far;
  };
}

/** Squared distance to the nearest mean, by the precision scale · I - directions · directionsᵀ. */
function mahalanobis(center: Matrix, means: Matrix, directions: Matrix, scale: number) {
  const turned = times(means, directions);
  const lengths = squaresOf(means);
  const turnedLengths = squaresOf(turned);
  return (features: Vector): number => {
    const away = less(normalized(features), center.values);
    const along = times({ rows: 1, columns: away.length, values: away }, directions).values;
    let nearest = Infinity;
    for (let c = 0; c < means.rows; c++) {
      const apart = squared(away, row(means, c), lengths[c]);
      const within = squared(along, row(turned, c), turnedLengths[c]);
      nearest = Math.min(nearest, scale * apart - within);
    }
    return nearest;
  };
}

/** Cosine distance to the k-th nearest training photo. */
function knn(bank: Matrix, k: number) {
  return (features: Vector): number => {
    const own = normalized(features);
    const near = Float64Array.from({ length: bank.rows }, (_, i) => dot(own, row(bank, i))).sort();
    return 1 - near[near.length - Math.trunc(k)];
  };
}

function logitsOf(features: Vector, weight: Matrix, bias: Matrix): Float64Array {
  return bias.values.map((value, k) => dot(features, row(weight, k)) + value);
}

/** Squared distance, never below 0. */
function squared(left: Vector, right: Vector, ofRight: number): number {
  return Math.max(dot(left, left) + ofRight - 2 * dot(left, right), 0);
}

function squaresOf(matrix: Matrix): Float64Array {
  return Float64Array.from({ length: matrix.rows }, (_, i) => {
    const one = row(matrix, i);
    return dot(one, one);
  });
}

function row(matrix: Matrix, index: number): Float64Array {
  return matrix.values.subarray(index * matrix.columns, (index + 1) * matrix.columns);
}

function times(left: Matrix, right: Matrix): Matrix {
  const values = new Float64Array(left.rows * right.columns);
  for (let i = 0; i < left.rows; i++) {
    for (let j = 0; j < left.columns; j++) {
      const factor = left.values[i * left.columns + j];
      const from = j * right.columns;
      const to = i * right.columns;
      for (let k = 0; k < right.columns; k++) values[to + k] += factor * right.values[from + k];
    }
  }
  return { rows: left.rows, columns: right.columns, values };
}

function dot(left: Vector, right: Vector): number {
  let total = 0;
  for (let i = 0; i < left.length; i++) total += left[i] * right[i];
  return total;
}

function less(left: Vector, right: Vector): Float64Array {
  return Float64Array.from(left, (value, i) => value - right[i]);
}

/** Divided by its length; zeros stay. */
function normalized(features: Vector): Float64Array {
  const length = Math.sqrt(dot(features, features));
  return Float64Array.from(features, (value) => value / (length > 0 ? length : 1));
}
