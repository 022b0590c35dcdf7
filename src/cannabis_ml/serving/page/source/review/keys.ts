// Which key does what. Classes have digits first, then the letters that nothing else has.

const LETTERS = "bcdefgijklmopqrtvwxyz";
const DIGITS = "123456789";
const KEPT = "review.keys";

/** The key of the class at a place; null where there are more classes than keys. */
export const keyOf = (place: number): string | null => (DIGITS + LETTERS)[place] ?? null;

/** The place of the class that a key chooses; null where it chooses none. */
export function placeOf(key: string): number | null {
  const place = (DIGITS + LETTERS).indexOf(key);
  return key.length === 1 && place >= 0 ? place : null;
}

export const areOn = (): boolean => localStorage.getItem(KEPT) !== "off";
export const turn = (on: boolean): void => localStorage.setItem(KEPT, on ? "on" : "off");

/** A key that was pressed for the page; null where it is meant for a field, button or browser. */
export function pressed(event: KeyboardEvent): string | null {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return null;
  const { target, key } = event;
  if (target instanceof HTMLInputElement && target.type !== "checkbox") return null;
  if (target instanceof HTMLSelectElement) return null;
  if (key === "Enter" && target instanceof Element && target.closest("button, a, summary, input")) return null;
  if (key.length === 1) return areOn() ? key.toLowerCase() : null;
  return key;
}
