// Mirrors cannabis_ml/inference/routing.py and local_tier.py: which tier's answer is good enough.

import { confidenceScore } from "./confidence";
import type { Outputs } from "./decision";
import type { TierRules } from "./reliability";
import { headNamed, kindOf } from "./taxonomy";
import { BundleError, type Verdict } from "./types";
import { FIXED_THRESHOLDS, type RoutingRule, type Taxonomy, type TierThresholds } from "./wire";

/** `inference.outputs.EPISTEMIC`. */
const EPISTEMIC = ".epistemic";

/** `TierThresholds.accepts`. */
export function accepts(
  thresholds: TierThresholds,
  score: number,
  unknown: number | null,
  answer: string | null,
): boolean {
  if (thresholds.accept_all) return true;
  const least = leastScore(thresholds, answer);
  if (least === null || !(score >= least)) return false;
  const above = thresholds.unknown_above ?? null;
  return unknown === null || above === null || unknown <= above;
}

function leastScore(thresholds: TierThresholds, answer: string | null): number | null {
  const byClass = thresholds.by_class ?? {};
  const hasOwn = answer !== null && Object.hasOwn(byClass, answer);
  return hasOwn ? byClass[answer] : thresholds.accept_from;
}

/** What the rule makes of one tier's outputs, as `local_tier.tier_answer` and `Router.stream`. */
export function verdict(
  rule: RoutingRule,
  tier: string,
  rules: TierRules,
  outputs: Outputs,
): Verdict {
  const place = rule.tiers.findIndex((one) => one.tier === tier);
  if (place < 0) throw new BundleError(`The routing does not ask '${tier}'.`);
  const { decision } = rules;
  const probs = decision.calibrated(outputs)[rule.head];
  const disagreement = outputs[rule.head + EPISTEMIC]?.[0];
  const name = rule.score ?? "max_probability";
  const score = confidenceScore(name, probs, disagreement);
  if (score === undefined) {
    throw new BundleError(`This model file does not give the routing score '${name}'.`);
  }
  const unknown = rules.unknown ? rules.unknown.score(outputs) : null;
  const decided = decision.namesOf(decision.decide(outputs))[rule.head] as string | null;
  const accepted = accepts(rule.tiers[place], score, unknown, decided);
  const next = accepted ? undefined : rule.tiers[place + 1];
  return { accepted, score, unknown, decided, next: next?.tier ?? null };
}

/**
 * Thresholds that nothing was measured for, as `serving.models` takes where a bundle has no routing.
 *
 * @param unknownAbove Thresholds of the tiers' unknown scores, null for none.
 */
export function fixedRouting(
  taxonomy: Taxonomy,
  tiers: readonly string[],
  unknownAbove: readonly (number | null)[],
): RoutingRule {
  const head = taxonomy.heads.find((one) => kindOf(one) !== "multilabel");
  if (!head) throw new BundleError("No head is multiclass or ordinal, so none can route.");
  const last = tiers.length - 1;
  return {
    head: head.name,
    tiers: tiers.map((tier, i) => ({
      tier,
      accept_from: i < last ? FIXED_THRESHOLDS[Math.min(i, FIXED_THRESHOLDS.length - 1)] : null,
      accept_all: i === last,
      unknown_above: unknownAbove[i],
    })),
  };
}

/** Faults of a rule that would ask or read what is not there. */
export function checkRouting(
  rule: RoutingRule,
  taxonomy: Taxonomy,
  tiers: readonly string[],
): void {
  const strange = rule.tiers.find((one) => !tiers.includes(one.tier));
  if (strange) throw new BundleError(`Routing asks '${strange.tier}', which is not a tier.`);
  const head = headNamed(taxonomy, rule.head);
  if (!head || kindOf(head) === "multilabel") {
    throw new BundleError(`Routing is by '${rule.head}', which is not a head with one answer.`);
  }
}
