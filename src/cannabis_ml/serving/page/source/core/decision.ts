// Mirrors cannabis_ml/inference/decision.py: from what a model gives to what is answered.

import { calibrate, type Calibrator } from "./calibrators";
import { SMALLEST, argmax, clip, rowOf, sum, type Vector } from "./numbers";
import {
  MISSING,
  allowedPairs,
  answerOf,
  classNames,
  kindOf,
  limits,
  parentsFirst,
} from "./taxonomy";
import type { DecisionRule, Head, Taxonomy } from "./wire";

/** `inference.outputs.GIVEN`: ends the name of a head's probabilities for each parent class. */
export const GIVEN = ".given";

const THRESHOLD = 0.5;
const FAINTEST_PARENT = 1e-12;

/** Outputs by name; those of `{head}.given` are (P, K), flat. */
export type Outputs = Readonly<Record<string, Vector>>;

/** Per head a class index or `MISSING`; of a multilabel head which attributes are there. */
export type Decided = Readonly<Record<string, number | boolean[]>>;

/** A class; of a multilabel head its classes; null for none. */
export type NamedAnswer = string | string[] | null;

/** What is answered for photos, by one rule. */
export class Decision {
  constructor(
    readonly taxonomy: Taxonomy,
    readonly rule: DecisionRule = {},
  ) {}

  /** The same where only some heads were asked. */
  of(heads: ReadonlySet<string>): Decision {
    const kept = this.taxonomy.heads.filter((head) => heads.has(head.name));
    return new Decision({ ...this.taxonomy, heads: kept }, this.rule);
  }

  thresholds(head: Head): number[] {
    const chosen = new Map(Object.entries(this.rule.thresholds?.[head.name] ?? {}));
    return classNames(head).map((name) => chosen.get(name) ?? THRESHOLD);
  }

  calibrator(head: string): Calibrator | undefined {
    const found = this.rule.calibrators;
    return found && Object.hasOwn(found, head) ? found[head] : undefined;
  }

  /** All outputs, calibrated where the rule has calibrators. */
  calibrated(outputs: Outputs): Outputs {
    const found: Record<string, Vector> = { ...outputs };
    const changed = new Set(
      Object.entries(this.rule.calibrators ?? {})
        .filter(([, one]) => one.kind !== "none")
        .map(([name]) => name),
    );
    if (!changed.size) return found;
    for (const head of parentsFirst(this.taxonomy)) {
      const calibrator = this.calibrator(head.name) ?? { kind: "none" };
      if (limits(this.taxonomy, head)) {
        if (changed.has(head.name) || changed.has(head.parent ?? "")) {
          this.calibrateChild(head, calibrator, outputs, found);
          changed.add(head.name); // its marginals, which its children rest on
        }
      } else if (changed.has(head.name)) {
        found[head.name] = calibrate(calibrator, outputs[head.name]);
      }
    }
    return found;
  }

  private calibrateChild(
    head: Head,
    calibrator: Calibrator,
    outputs: Outputs,
    found: Record<string, Vector>,
  ): void {
    const parent = head.parent as string;
    const allowed = allowedPairs(this.taxonomy, head);
    if (kindOf(head) === "multilabel") {
      const before = possibleMass(outputs[parent], allowed);
      const after = possibleMass(found[parent], allowed);
      const own = Float64Array.from(outputs[head.name], (prob, k) =>
        clip(prob / Math.max(before[k], SMALLEST), 0, 1),
      );
      found[head.name] = calibrate(calibrator, own).map((prob, k) => prob * Math.min(after[k], 1));
      return;
    }
    const table = conditional(outputs[head.name], allowed, outputs[head.name + GIVEN]).map(
      (row, p) => calibrate(calibrator, row, allowed[p]),
    );
    found[head.name + GIVEN] = Float64Array.from(table.flatMap((row) => [...row]));
    const mass = new Float64Array(head.classes.length);
    table.forEach((row, p) => {
      const weight = Math.max(found[parent][p], FAINTEST_PARENT);
      row.forEach((value, k) => (mass[k] += weight * value));
    });
    const total = Math.max(sum(mass), SMALLEST);
    found[head.name] = mass.map((value) => value / total);
  }

  /** Decide on every head, so that no answer contradicts its parent's. */
  decide(outputs: Outputs): Decided {
    const calibrated = this.calibrated(outputs);
    const answers = jointAnswer(calibrated, this.taxonomy);
    const found: Record<string, number | boolean[]> = {};
    for (const head of this.taxonomy.heads) {
      if (kindOf(head) !== "multilabel") {
        found[head.name] = answers[head.name];
        continue;
      }
      const possible = this.possible(head, answers);
      const from = this.thresholds(head);
      found[head.name] = from.map(
        (least, k) => calibrated[head.name][k] >= least && possible[k],
      );
    }
    return found;
  }

  /** Classes of a head that the answers of its parent allow. */
  private possible(head: Head, answers: Readonly<Record<string, number>>): boolean[] {
    if (!limits(this.taxonomy, head)) return head.classes.map(() => true);
    const parent = answers[head.parent as string];
    if (parent === MISSING) return head.classes.map(() => false);
    return allowedPairs(this.taxonomy, head)[parent];
  }

  /** Class names of what `decide` gives. */
  namesOf(decided: Decided): Record<string, NamedAnswer> {
    const found: Record<string, NamedAnswer> = {};
    for (const head of this.taxonomy.heads) {
      const names = classNames(head);
      const one = decided[head.name];
      if (Array.isArray(one)) found[head.name] = names.filter((_, k) => one[k]);
      else found[head.name] = one === MISSING ? null : names[one];
    }
    return found;
  }
}

/** Per multiclass and ordinal head a class index; no answer contradicts another. */
function jointAnswer(probs: Outputs, taxonomy: Taxonomy): Record<string, number> {
  const heads = taxonomy.heads.filter((head) => kindOf(head) !== "multilabel");
  const allowed = new Map<string, boolean[][]>();
  const tables = new Map<string, Float64Array[]>();
  for (const head of heads) {
    if (!limits(taxonomy, head)) continue;
    const pairs = allowedPairs(taxonomy, head);
    allowed.set(head.name, pairs);
    tables.set(head.name, conditional(probs[head.name], pairs, probs[head.name + GIVEN]));
  }
  const votes = new Map<string, Float64Array>();
  const found: Record<string, number> = {};
  const children = (head: Head) =>
    heads.filter((child) => allowed.has(child.name) && child.parent === head.name);

  /** What the best answers below each class of a head add to its log probability. */
  function gather(head: Head): void {
    for (const child of children(head)) {
      gather(child);
      const own = votes.get(child.name);
      const pairs = allowed.get(child.name) as boolean[][];
      const sums = votes.get(head.name) ?? new Float64Array(head.classes.length);
      (tables.get(child.name) as Float64Array[]).forEach((row, p) => {
        let best = -Infinity;
        row.forEach((prob, k) => {
          if (pairs[p][k]) best = Math.max(best, logOf(prob) + (own ? own[k] : 0));
        });
        if (pairs[p].some(Boolean)) sums[p] += best;
      });
      votes.set(head.name, sums);
    }
  }

  function decide(head: Head, own: Vector, can: readonly boolean[] | null): number {
    const more = votes.get(head.name);
    if (!more) return answerOf(head, own);
    return argmax(more.map((vote, k) => (!can || can[k] ? logOf(own[k]) + vote : -Infinity)));
  }

  function descend(head: Head): void {
    for (const child of children(head)) {
      found[child.name] = below(child, found[head.name]);
      descend(child);
    }
  }

  function below(child: Head, parent: number): number {
    const can = parent === MISSING ? [] : (allowed.get(child.name) as boolean[][])[parent];
    if (!can.some(Boolean)) return MISSING;
    const own = (tables.get(child.name) as Float64Array[])[parent];
    const answer = decide(child, own, can);
    // The median of an ordinal head whose probability is all but gone may stand on nothing.
    return can[answer] ? answer : argmax(own.map((prob, k) => (can[k] ? prob : -1)));
  }

  for (const head of heads) {
    if (allowed.has(head.name)) continue;
    gather(head);
    found[head.name] = decide(head, probs[head.name], null);
    descend(head);
  }
  return found;
}

function logOf(prob: number): number {
  return Math.log(Math.max(prob, SMALLEST));
}

/** How probable it is that the parent's class allows each class, (K). */
function possibleMass(parent: Vector, allowed: readonly boolean[][]): Float64Array {
  const found = new Float64Array(allowed[0].length);
  allowed.forEach((row, p) => row.forEach((can, k) => (found[k] += can ? parent[p] : 0)));
  return found;
}

/** (P, K); rows that allow anything sum to 1. */
function conditional(
  probs: Vector,
  allowed: readonly boolean[][],
  given: Vector | undefined,
): Float64Array[] {
  return allowed.map((row, p) => {
    if (given) return rowOf(given, p, row.length);
    const held = Float64Array.from(row, (can, k) => (can ? Math.max(probs[k], SMALLEST) : 0));
    const total = Math.max(sum(held), SMALLEST);
    return held.map((value) => value / total);
  });
}
