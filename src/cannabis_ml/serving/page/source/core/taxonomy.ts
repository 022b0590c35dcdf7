// Mirrors cannabis_ml/taxonomy.py: heads, and which class of a parent allows which of a child.

import { argmax, type Vector } from "./numbers";
import type { Head, Taxonomy } from "./wire";

/** `taxonomy.MISSING`: no class. */
export const MISSING = -1;

export type Kind = "multiclass" | "ordinal" | "multilabel";

export function kindOf(head: Head): Kind {
  return head.kind ?? "multiclass";
}

export function classNames(head: Head): string[] {
  return head.classes.map((one) => one.name);
}

export function headNamed(taxonomy: Taxonomy, name: string): Head | undefined {
  return taxonomy.heads.find((head) => head.name === name);
}

/** Whether the parent of a head is among these and forbids any of its classes, ever. */
export function limits(taxonomy: Taxonomy, head: Head): boolean {
  const parent = parentOf(taxonomy, head);
  if (!parent || kindOf(parent) === "multilabel") return false;
  return Object.values(head.allowed ?? {}).some((classes) => classes.length > 0);
}

export function parentOf(taxonomy: Taxonomy, head: Head): Head | undefined {
  return head.parent == null ? undefined : headNamed(taxonomy, head.parent);
}

/** Which classes of a head go with which of its parent, (P, K); of a head that its parent limits. */
export function allowedPairs(taxonomy: Taxonomy, head: Head): boolean[][] {
  const parent = parentOf(taxonomy, head);
  if (!parent) throw new Error(`The head '${head.name}' has no parent here.`);
  const rules = new Map(Object.entries(head.allowed ?? {}));
  return classNames(parent).map((name) => {
    const allowed = new Set(rules.get(name) ?? []);
    return classNames(head).map((own) => allowed.has(own));
  });
}

/** Heads in an order in which parents come before their children. */
export function parentsFirst(taxonomy: Taxonomy): Head[] {
  let waiting = [...taxonomy.heads];
  const ordered: Head[] = [];
  while (waiting.length) {
    const held = new Set(waiting.map((head) => head.name));
    const ready = waiting.filter((head) => head.parent == null || !held.has(head.parent));
    if (!ready.length) throw new Error("The parents of the taxonomy's heads go in a circle.");
    ordered.push(...ready);
    waiting = waiting.filter((head) => !ready.includes(head));
  }
  return ordered;
}

/** `Head.answer`: the most probable class; of an ordinal head the median. */
export function answerOf(head: Head, probs: Vector): number {
  if (kindOf(head) !== "ordinal") return argmax(probs);
  let passed = 0;
  let total = 0;
  for (let k = 0; k < probs.length; k++) {
    total += probs[k];
    if (total < 0.5) passed++;
  }
  return Math.min(passed, probs.length - 1);
}
