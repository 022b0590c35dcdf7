// The texts of the review page; the language is that of the main page.

import { filled, language } from "../app/language";
import en from "./texts/en.json";
import es from "./texts/es.json";

type Texts = typeof en;
export type TextKey = keyof Texts;

const ALL: Readonly<Record<string, Texts>> = { en, es };

/** A text; `{name}` is replaced by the value of that name. */
export function t(key: TextKey, values: Readonly<Record<string, string | number>> = {}): string {
  return filled((ALL[language()] ?? en)[key], values);
}

/** Why a photo is up, by the kind that the service gives. */
export function reasonOf(kind: string): string {
  const key = `kind.${kind}`;
  return t(key in en ? (key as TextKey) : "kind.other");
}
