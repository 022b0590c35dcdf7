// Mirrors cannabis_ml/inference/reliability.py, backoff.py and bands.py: all that makes findings of
// a file's outputs, in the one order that every client keeps.

import { Decision, type Decided, type Outputs } from "./decision";
import { evenlySpaced, interpolate, roundHalfEven, type Vector } from "./numbers";
import { predictionSets, type Sets } from "./prediction_sets";
import { MISSING, kindOf } from "./taxonomy";
import type { UnknownScore } from "./unknown";
import type { BackOff, ConfidenceBand, Reliability } from "./wire";

/** `backoff.UNSURE`: the depth at which nothing is answered. */
export const UNSURE = -1;

/** What a tier answers for one photo. */
export interface Findings {
  /** Per head, calibrated, (K). */
  readonly probs: Outputs;
  readonly decided: Decided;
  /** Per multiclass and ordinal head, of its answer; NaN where it has none. */
  readonly confidence: Readonly<Record<string, number>>;
  readonly sets: Sets;
  /** Per chain, under the name of its deepest head, the depth that answers. */
  readonly backOff: Readonly<Record<string, number>>;
  /** null where the tier has no unknown score. */
  readonly unknown: number | null;
}

/** All that is applied to what the model files of one tier give. */
export class TierRules {
  constructor(
    readonly decision: Decision,
    readonly reliability: Reliability = {},
    readonly unknown: UnknownScore | null = null,
  ) {}

  /** @param outputs Raw, as the model file gives them for one photo. */
  apply(outputs: Outputs): Findings {
    const { taxonomy } = this.decision;
    const calibrated = this.decision.calibrated(outputs);
    const decided = this.decision.decide(outputs);
    const probs: Record<string, Vector> = {};
    const confidence: Record<string, number> = {};
    for (const head of taxonomy.heads) {
      probs[head.name] = calibrated[head.name];
      const answer = decided[head.name];
      if (kindOf(head) === "multilabel" || Array.isArray(answer)) continue;
      confidence[head.name] = answer === MISSING ? NaN : calibrated[head.name][answer];
    }
    const backOff: Record<string, number> = {};
    for (const rule of this.reliability.back_off ?? []) {
      backOff[rule.heads[rule.heads.length - 1]] = depth(
        rule,
        rule.heads.map((name) => confidence[name]),
      );
    }
    const { sets } = this.reliability;
    return {
      probs,
      decided,
      confidence,
      sets: sets ? predictionSets(sets, calibrated, decided, taxonomy) : {},
      backOff,
      unknown: this.unknown ? this.unknown.score(outputs) : null,
    };
  }
}

/** `BackOff.depth`: the deepest head that is sure enough. */
function depth(rule: BackOff, confidence: readonly number[]): number {
  const { threshold } = rule;
  if (threshold === null) return UNSURE;
  for (let level = confidence.length - 1; level >= 0; level--) {
    if (confidence[level] >= threshold) return level;
  }
  return UNSURE;
}

export interface BandAround {
  readonly low: number;
  readonly high: number;
  readonly level: number;
  readonly photos: number;
}

/** `ConfidenceBand.around`, with the photos near that confidence. */
export function bandAround(band: ConfidenceBand, confidence: number): BandAround {
  const places = evenlySpaced(band.low.length);
  return {
    low: Math.min(interpolate(confidence, places, band.low), confidence),
    high: Math.max(interpolate(confidence, places, band.high), confidence),
    level: band.level,
    photos: band.photos[roundHalfEven(confidence * (band.photos.length - 1))],
  };
}
