// Mirrors cannabis_ml/inference/prediction_sets.py: the classes that are still possible.

import { GIVEN, type Decided, type Outputs } from "./decision";
import { argmax, rowOf, type Vector } from "./numbers";
import { MISSING, allowedPairs, classNames, kindOf, limits, parentsFirst } from "./taxonomy";
import type { Head, HeadSets, PredictionSets, Taxonomy } from "./wire";

export const ABSENT = 0;
export const PRESENT = 1;

/**
 * Which classes are in: one row (K); of a multilabel head two, whether each attribute may be absent
 * and whether it may be present.
 */
export type ClassSet = boolean[][];

export type Sets = Readonly<Record<string, ClassSet>>;

/**
 * @param outputs Calibrated.
 * @param decided As from `Decision.decide`.
 */
export function predictionSets(
  fitted: PredictionSets,
  outputs: Outputs,
  decided: Decided,
  taxonomy: Taxonomy,
): Sets {
  const sets: Record<string, ClassSet> = {};
  for (const head of taxonomy.heads) {
    const limits = fitted.heads[head.name];
    if (!limits) continue;
    sets[head.name] = ownSet(head, outputs[head.name], decided[head.name], limits);
  }
  makeConsistent(sets, outputs, taxonomy);
  return sets;
}

/** Names of classes that are in every set, for want of photos. */
export function unlimited(sets: HeadSets, classes: readonly string[]): string[] {
  const absent = sets.absent_limits ?? []; // of a multilabel head alone
  return classes.filter((_, k) => sets.limits[k] === null || absent[k] === null);
}

/** The set of a photo in class names; of attributes by state. */
export function namedSet(head: Head, set: ClassSet): string[] | Record<string, string[]> {
  const names = classNames(head);
  if (kindOf(head) !== "multilabel") return names.filter((_, k) => set[0][k]);
  return {
    present: names.filter((_, k) => !set[ABSENT][k]),
    absent: names.filter((_, k) => !set[PRESENT][k]),
    unsure: names.filter((_, k) => set[ABSENT][k] && set[PRESENT][k]),
  };
}

function ownSet(
  head: Head,
  probs: Vector,
  decided: number | boolean[],
  fitted: HeadSets,
): ClassSet {
  const kind = kindOf(head);
  const inside = (nonconformity: number, limit: number | null) =>
    limit === null || nonconformity <= limit;
  if (Array.isArray(decided)) {
    const absent = fitted.absent_limits ?? [];
    return [
      decided.map((there, k) => inside(probs[k], absent[k]) || !there),
      decided.map((there, k) => inside(1 - probs[k], fitted.limits[k]) || there),
    ];
  }
  const far =
    kind === "ordinal"
      ? massNearer(probs, decided === MISSING ? argmax(probs) : decided)
      : Float64Array.from(probs, (p) => 1 - p);
  const own = Array.from(far, (value, k) => inside(value, fitted.limits[k]) || k === decided);
  // Limits may differ between classes.
  return [kind === "ordinal" ? filled(own, null) : own];
}

/** Probability of what lies nearer to the answer than each class does. */
function massNearer(probs: Vector, start: number): Float64Array {
  const found = new Float64Array(probs.length);
  const beyond = (k: number) => (k < 0 || k >= probs.length ? -1 : probs[k]);
  let [low, high, mass] = [start, start, probs[start]];
  for (let step = 1; step < probs.length; step++) {
    const down = beyond(low - 1) >= beyond(high + 1);
    const added = down ? low - 1 : high + 1;
    found[added] = Math.min(mass, 1);
    mass += probs[added];
    if (down) low = added;
    else high = added;
  }
  return found;
}

/** Extend sets until each class goes with a class of the parent's set, and of the child's. */
function makeConsistent(
  sets: Record<string, ClassSet>,
  outputs: Outputs,
  taxonomy: Taxonomy,
): void {
  const pairs = parentsFirst(taxonomy).filter(
    (head) => head.name in sets && limits(taxonomy, head) && (head.parent as string) in sets,
  );
  const single = pairs.filter((head) => kindOf(head) !== "multilabel");
  for (const head of [...single].reverse()) {
    addParents(sets, head, allowedPairs(taxonomy, head), outputs[head.parent as string]);
  }
  for (const head of single) addChildren(sets, head, allowedPairs(taxonomy, head), outputs);
  for (const head of pairs) {
    if (kindOf(head) !== "multilabel") continue;
    const possible = reached(sets[head.parent as string][0], allowedPairs(taxonomy, head));
    const own = sets[head.name];
    possible.forEach((can, k) => {
      if (can) return;
      own[PRESENT][k] = false;
      own[ABSENT][k] = true;
    });
  }
}

/** Give each class the most probable parent that allows it, where the set holds none. */
function addParents(
  sets: Readonly<Record<string, ClassSet>>,
  head: Head,
  allowed: readonly boolean[][],
  parentProbs: Vector,
): void {
  const own = sets[head.name][0];
  const parents = sets[head.parent as string][0];
  const reach = reached(parents, allowed);
  own.forEach((inside, k) => {
    own[k] = inside && allowed.some((row) => row[k]);
    if (own[k] && !reach[k]) {
      parents[argmax(allowed.map((row, p) => (row[k] ? parentProbs[p] : -1)))] = true;
    }
  });
}

/** Give each parent its most probable child, where it may have one and the set holds none. */
function addChildren(
  sets: Record<string, ClassSet>,
  head: Head,
  allowed: readonly boolean[][],
  outputs: Outputs,
): void {
  const own = sets[head.name][0];
  const parents = sets[head.parent as string][0];
  const given = outputs[head.name + GIVEN];
  const before = [...own];
  allowed.forEach((row, p) => {
    if (!parents[p] || !row.some(Boolean) || row.some((can, k) => can && before[k])) return;
    const likely = given ? rowOf(given, p, row.length) : outputs[head.name];
    own[argmax(row.map((can, k) => (can ? likely[k] : -1)))] = true;
  });
  if (kindOf(head) === "ordinal") sets[head.name] = [filled(own, reached(parents, allowed))];
}

/** Which classes any parent of a set allows. */
function reached(parents: readonly boolean[], allowed: readonly boolean[][]): boolean[] {
  return allowed[0].map((_, k) => allowed.some((row, p) => parents[p] && row[k]));
}

/** With all possible classes between the ends; null for all. */
function filled(inside: readonly boolean[], possible: readonly boolean[] | null): boolean[] {
  const low = inside.indexOf(true);
  const high = inside.lastIndexOf(true);
  return inside.map(
    (one, k) => one || (low >= 0 && k > low && k < high && (!possible || possible[k])),
  );
}
