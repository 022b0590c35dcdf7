// One sitting: the photos, what was chosen for each, and where the person is.

import type { Head } from "../core/wire";
import type { Opinion, Submission } from "./outbox";
import type { QueuePhoto, Suggestion } from "./service";

export type Choice =
  | { readonly kind: "classes"; readonly names: readonly string[] }
  | { readonly kind: "unsure" }
  | { readonly kind: "none" };

export interface Item {
  readonly photo: QueuePhoto;
  /** By head; heads without an answer are missing. */
  choices: Map<string, Choice>;
  /** `gone`: not up any more. */
  state: "open" | "saved" | "skipped" | "gone";
  /** Of the submissions that were saved, and not taken back, the last one last. */
  readonly keys: string[];
  /** Whether the suggestion was on screen before the opinion. */
  seen: boolean;
}

export const itemOf = (photo: QueuePhoto): Item => ({
  photo,
  choices: new Map(),
  state: "open",
  keys: [],
  seen: !photo.blind && photo.suggestion !== null,
});

/** Classes of a head that what was chosen for its parent allows. */
export function allowed(head: Head, choices: ReadonlyMap<string, Choice>): string[] {
  const names = head.classes.map(({ name }) => name);
  const parent = head.parent ? choices.get(head.parent) : undefined;
  if (!head.allowed || parent?.kind !== "classes") return names;
  const open = new Set(parent.names.flatMap((name) => head.allowed?.[name] ?? []));
  return names.filter((name) => open.has(name));
}

/** Heads that can be asked, given what was chosen. */
export const asked = (heads: readonly Head[], choices: ReadonlyMap<string, Choice>): Head[] =>
  heads.filter((head) => allowed(head, choices).length > 0);

/** Choose for a head; what it rules out for others goes. */
export function choose(item: Item, heads: readonly Head[], head: Head, choice: Choice): void {
  item.choices.set(head.name, choice);
  for (const other of heads) {
    const made = item.choices.get(other.name);
    if (made?.kind !== "classes" || other === head) continue;
    const open = allowed(other, item.choices);
    if (!made.names.every((name) => open.includes(name))) item.choices.delete(other.name);
  }
}

/** What is sent of an item; null where nothing was chosen. */
export function submissionOf(
  item: Item,
  heads: readonly Head[],
  who: { readonly key: string; readonly person: string },
): Submission | null {
  const shown = item.seen ? answeredOf(item.photo.suggestion, heads) : undefined;
  const opinions = asked(heads, item.choices).flatMap((head): Opinion[] => {
    const choice = item.choices.get(head.name);
    if (!choice) return [];
    if (choice.kind === "unsure") return [{ head: head.name, verdict: "unsure" }];
    if (choice.kind === "none") return [{ head: head.name, verdict: "none_of_these" }];
    const label = head.kind === "multilabel" ? [...choice.names] : choice.names[0] ?? "";
    const answer = shown?.heads[head.name]?.label;
    const same = answer !== undefined && answer !== null && isSame(answer, label);
    return [{ head: head.name, verdict: same ? "confirmed" : "corrected", label }];
  });
  if (!opinions.length) return null;
  return {
    ...who,
    at: new Date().toISOString(),
    photo_id: item.photo.photo_id,
    seen_answer: item.seen,
    ...(shown ? { answered: shown } : {}),
    opinions,
  };
}

function answeredOf(suggestion: Suggestion | null, heads: readonly Head[]): Submission["answered"] {
  if (!suggestion) return undefined;
  const known = heads.filter(({ name }) => name in suggestion.heads);
  if (!known.length) return undefined;
  const found: Record<string, { label: string | string[] | null; confidence?: number }> = {};
  for (const { name } of known) {
    const told = suggestion.heads[name];
    if (!told) continue;
    found[name] =
      told.confidence === null ? { label: told.label } : { label: told.label, confidence: told.confidence };
  }
  return { bundle_id: suggestion.bundle_id, tier: suggestion.tier, heads: found };
}

export function isSame(one: string | readonly string[], other: string | readonly string[]): boolean {
  if (typeof one === "string" || typeof other === "string") return one === other;
  return one.length === other.length && one.every((name) => other.includes(name));
}
