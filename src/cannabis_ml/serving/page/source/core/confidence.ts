// Mirrors cannabis_ml/inference/confidence.py: numbers that rank answers by how sure they are.

import { SMALLEST, largest, sum, type Vector } from "./numbers";

const P_NORM = 4;

export type ScoreName = "max_probability" | "margin" | "p_norm" | "entropy" | "agreement";

/**
 * @param probs (K), calibrated.
 * @param disagreement Epistemic uncertainty in nats, where the model gives it.
 * @returns undefined where the model does not give the score.
 */
export function confidenceScore(
  name: ScoreName,
  probs: Vector,
  disagreement: number | undefined,
): number | undefined {
  switch (name) {
    case "max_probability":
      return largest(probs);
    case "margin":
      return margin(probs);
    case "p_norm":
      return pNorm(probs);
    case "entropy":
      return sum(Float64Array.from(probs, (p) => p * Math.log(Math.max(p, SMALLEST))));
    case "agreement":
      return disagreement === undefined ? undefined : -disagreement;
  }
}

function margin(probs: Vector): number {
  const ranked = Float64Array.from(probs).sort();
  return ranked[ranked.length - 1] - ranked[ranked.length - 2];
}

/** Largest centered logit over the norm of all of them (Cattelan & Silva 2024). */
function pNorm(probs: Vector): number {
  const logs = Float64Array.from(probs, (p) => Math.log(Math.max(p, SMALLEST)));
  const mean = sum(logs) / logs.length;
  const centered = logs.map((value) => value - mean);
  const most = largest(centered.map(Math.abs));
  const scaled = centered.map((value) => value / (most > 0 ? most : 1));
  const norm = sum(scaled.map((value) => Math.abs(value) ** P_NORM)) ** (1 / P_NORM);
  return largest(scaled) / (norm > 0 ? norm : 1);
}
