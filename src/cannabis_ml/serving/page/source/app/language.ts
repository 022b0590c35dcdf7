// The page's own texts, and how numbers are written. What reports tell comes from the core.

import en from "./texts/en.json";
import es from "./texts/es.json";

type Texts = typeof en;
export type TextKey = keyof Texts;

const ALL: Readonly<Record<string, Texts>> = { en, es };
const KEPT = "language";

let tag = chosen();

function chosen(): string {
  const asked = new URLSearchParams(location.search).get("language");
  for (const wanted of [asked, localStorage.getItem(KEPT), ...navigator.languages]) {
    const found = wanted?.toLowerCase().split("-")[0];
    if (found && found in ALL) return found;
  }
  return "en";
}

export const language = (): string => tag;

/** Tag and own name of every language. */
export const languages = (): [string, string][] =>
  Object.entries(ALL).map(([name, texts]) => [name, texts.language]);

export function setLanguage(wanted: string): void {
  if (!(wanted in ALL)) return;
  tag = wanted;
  localStorage.setItem(KEPT, wanted);
  document.documentElement.lang = wanted;
}

/** A text; `{name}` is replaced by the value of that name. */
export function t(key: TextKey, values: Readonly<Record<string, string | number>> = {}): string {
  return filled((ALL[tag] ?? en)[key], values);
}

/** A text with its `{name}` replaced by the value of that name. */
export function filled(text: string, values: Readonly<Record<string, string | number>>): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}

/** 0.973 -> "97%". Only what is certain is 0% or 100%. */
export function percent(share: number): string {
  const rounded = Math.round(100 * share);
  const shown = share > 0 && share < 1 ? Math.min(99, Math.max(1, rounded)) : rounded;
  return new Intl.NumberFormat(tag, { style: "percent", maximumFractionDigits: 0 }).format(
    shown / 100,
  );
}

export function duration(milliseconds: number): string {
  const seconds = milliseconds >= 1000;
  const number = seconds ? milliseconds / 1000 : Math.max(1, milliseconds);
  const digits = seconds ? 1 : 0;
  return t(seconds ? "time.s" : "time.ms", {
    number: new Intl.NumberFormat(tag, { maximumFractionDigits: digits }).format(number),
  });
}

export const date = (value: Date): string =>
  new Intl.DateTimeFormat(tag, { dateStyle: "medium" }).format(value);

export const dateTime = (value: Date): string =>
  new Intl.DateTimeFormat(tag, { dateStyle: "medium", timeStyle: "short" }).format(value);
