// Mirrors cannabis_ml/inference/calibrators.py: calibrated probabilities of one head.

import {
  SMALLEST,
  argmax,
  clip,
  interpolate,
  largest,
  logaddexp,
  sigmoid,
  sum,
  type Vector,
} from "./numbers";
import type {
  Affine,
  Beta,
  DecisionRule,
  Isotonic,
  Ordinal,
  Platt,
  Structured,
  Temperature,
} from "./wire";

export type Calibrator = NonNullable<DecisionRule["calibrators"]>[string];

type Allowed = readonly boolean[] | null;

const EDGE = 1e-12;
const APART = 1e-9;

/**
 * Calibrate probabilities of one head.
 *
 * @param probs (K), as the model gives them.
 * @param allowed (K), which classes can be; null for all.
 */
export function calibrate(
  calibrator: Calibrator,
  probs: Vector,
  allowed: Allowed = null,
): Float64Array {
  switch (calibrator.kind) {
    case "none":
      return Float64Array.from(probs);
    case "temperature":
      return temperature(calibrator, probs, allowed);
    case "structured":
      return structured(calibrator, probs, allowed);
    case "platt":
    case "beta":
    case "isotonic":
      return ofConfidence(curveOf(calibrator), probs, allowed);
    case "ordinal":
      return ordinal(calibrator, probs, allowed);
    case "affine":
      return affine(calibrator, probs, allowed);
    default:
      return unknownKind(calibrator);
  }
}

function unknownKind(calibrator: never): never {
  throw new Error(`There is no calibrator '${(calibrator as Calibrator).kind}'.`);
}

function temperature(
  fitted: Pick<Temperature, "temperature" | "smoothing">,
  probs: Vector,
  allowed: Allowed,
): Float64Array {
  const scaled = logs(probs).map((value) => value / fitted.temperature);
  return mixed(softmax(scaled, allowed), allowed, fitted.smoothing ?? 0);
}

function structured(fitted: Structured, probs: Vector, allowed: Allowed): Float64Array {
  const x = logs(temperature(fitted, probs, allowed));
  if (allowed) for (let k = 0; k < x.length; k++) if (!allowed[k]) x[k] = 0;
  const scores = x.map((value, k) => value * fitted.diagonal[k] + fitted.bias[k]);
  if (fitted.others) {
    const { others } = fitted;
    for (let k = 0; k < x.length; k++) {
      let more = 0;
      for (let j = 0; j < x.length; j++) more += x[j] * others[k][j];
      scores[k] += more;
    }
  }
  return softmax(scores, allowed);
}

type Curve = (logit: number) => number;

function curveOf(fitted: Platt | Beta | Isotonic): Curve {
  switch (fitted.kind) {
    case "platt":
      return (logit) => sigmoid(fitted.slope * logit + fitted.shift);
    case "beta":
      return (logit) =>
        sigmoid(-fitted.a * logaddexp(0, -logit) + fitted.b * logaddexp(0, logit) + fitted.shift);
    case "isotonic":
      return (logit) => {
        const found = interpolate(sigmoid(logit), fitted.confidence, fitted.right);
        const smoothing = fitted.smoothing ?? 0;
        return (1 - smoothing) * found + smoothing / 2;
      };
  }
}

/** Maps the probability of the most probable class; the others share the rest as before. */
function ofConfidence(curve: Curve, probs: Vector, allowed: Allowed): Float64Array {
  const p = softmax(logs(probs), allowed);
  const top = argmax(p);
  const others = p.map((value, k) => (k === top ? 0 : value));
  const rest = sum(others);
  if (rest <= 0) return p; // the only class that can be
  const second = largest(others);
  const least = (second / (rest + second)) * (1 + APART);
  const curved = curve(Math.log(p[top]) - Math.log(rest));
  const sure = clip(Math.max(curved, least), 0, 1);
  const found = others.map((value) => value * ((1 - sure) / rest));
  found[top] = sure;
  return found;
}

function ordinal(fitted: Ordinal, probs: Vector, allowed: Allowed): Float64Array {
  const logits = cumulativeLogits(probs).map(
    (value, k) => fitted.scale * value + fitted.shifts[k],
  );
  const p = softmax(logs(between(logits)), allowed);
  let median = 0;
  let total = 0;
  for (let k = 0; k < p.length; k++) {
    total += p[k];
    if (total < 0.5) median++;
  }
  const can = (k: number) => !allowed || allowed[k];
  let others = 0;
  for (let k = 0; k < p.length; k++) if (can(k) && k !== median) others++;
  // Nothing is mixed in where all others are forbidden, or rounding put the median there.
  const hasMedian = median < p.length && can(median);
  const weight = others > 0 && hasMedian ? (fitted.smoothing ?? 0) : 0;
  return p.map((value, k) => {
    const spread = !can(k) ? 0 : k === median ? 0.5 : 0.5 / Math.max(others, 1);
    return (1 - weight) * value + weight * spread;
  });
}

function affine(fitted: Affine, probs: Vector, allowed: Allowed): Float64Array {
  return Float64Array.from(probs, (prob, k) => {
    if (allowed && !allowed[k]) return 0;
    const held = clip(prob, EDGE, 1 - EDGE);
    const logit = Math.log(held) - Math.log1p(-held);
    return sigmoid(logit * fitted.slopes[k] + fitted.shifts[k]);
  });
}

/** Logit of P(worse than k) for each class but the last. */
function cumulativeLogits(probs: Vector): Float64Array {
  const held = Float64Array.from(probs, (value) => Math.max(value, SMALLEST));
  const last = held.length - 1;
  const found = new Float64Array(last);
  const worse = new Float64Array(last);
  let total = 0;
  for (let k = last; k > 0; k--) worse[k - 1] = total += held[k];
  total = 0;
  for (let k = 0; k < last; k++) {
    total += held[k];
    found[k] = Math.log(worse[k]) - Math.log(total);
  }
  return found;
}

/** Probabilities of the classes, from falling logits of P(worse than k). */
function between(logits: Float64Array): Float64Array {
  const last = logits.length;
  const found = new Float64Array(last + 1);
  found[0] = sigmoid(-logits[0]);
  for (let k = 1; k < last; k++) {
    const [above, below] = [logits[k - 1], logits[k]];
    found[k] = sigmoid(above) * sigmoid(-below) * -Math.expm1(Math.min(below - above, 0));
  }
  found[last] = sigmoid(logits[last - 1]);
  return found;
}

function logs(probs: Vector): Float64Array {
  return Float64Array.from(probs, (value) => Math.log(Math.max(value, SMALLEST)));
}

/** Over what is allowed; zeros where nothing is. */
function softmax(scores: Float64Array, allowed: Allowed): Float64Array {
  const held = allowed ? scores.map((value, k) => (allowed[k] ? value : -Infinity)) : scores;
  const highest = largest(held);
  const from = Number.isFinite(highest) ? highest : 0;
  const raised = held.map((value) => Math.exp(value - from));
  const total = sum(raised);
  return raised.map((value) => value / (total > 0 ? total : 1));
}

/** With a share of the uniform distribution over what is allowed. */
function mixed(probs: Float64Array, allowed: Allowed, share: number): Float64Array {
  const count = allowed ? allowed.filter(Boolean).length : probs.length;
  const even = 1 / Math.max(count, 1);
  return probs.map((value, k) => (1 - share) * value + (!allowed || allowed[k] ? share * even : 0));
}
