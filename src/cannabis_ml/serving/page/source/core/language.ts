// Mirrors cannabis_ml/inference/language.py: texts for people, of the same files.

import en from "../../../../inference/texts/en.json";
import es from "../../../../inference/texts/es.json";

import { roundHalfEven } from "./numbers";
import type { Texts } from "./wire";

/** By tag; a test holds the tags against the files. */
export const LANGUAGES: Readonly<Record<string, Texts>> = { en: en as Texts, es: es as Texts };

export const DEFAULT_LANGUAGE = "en";

/** 0.7 as float32 is 69.9999988 percent. */
export const ROUNDING = 1e-5;

export function languages(): string[] {
  return Object.keys(LANGUAGES).sort();
}

/** Of a language with a region or an encoding, as `es_MX.UTF-8`, the language: `es`. */
export function tagOf(language: string): string {
  return language.replaceAll("_", "-").split("-")[0].split(".")[0].toLowerCase();
}

/** The texts of one language, and how it writes numbers. */
export class TextsOf {
  private readonly file: Texts;

  /** @param language As `tagOf` takes it. */
  constructor(language: string) {
    const tag = tagOf(language);
    if (!Object.hasOwn(LANGUAGES, tag)) {
      throw new Error(`There are no texts in '${language}'; there are in ${languages().join(", ")}.`);
    }
    this.file = LANGUAGES[tag];
  }

  /** One text with its placeholders filled; numbers are integers, `count` decides on the plural. */
  text(key: string, values: Readonly<Record<string, string | number>> = {}): string {
    const found = this.file.texts[key];
    if (found === undefined) throw new Error(`There is no text '${key}'.`);
    const form = typeof found === "string" ? found : found[this.plural(Number(values.count))];
    return form.replace(/\{(\w+)\}/g, (_, name: string) => {
      const value = values[name];
      if (value === undefined) throw new Error(`'${key}' needs a value for '${name}'.`);
      return typeof value === "number" ? this.integer(value) : value;
    });
  }

  /** `57`, `12,345`. */
  integer(number: number): string {
    if (Math.abs(number) < this.file.grouped_from) return String(number);
    return String(number).replace(/\B(?=(\d{3})+$)/g, this.file.thousands);
  }

  /** A share in percent: `82%`, `<1%`, `>99%`; 0% and 100% only where exact. */
  share(value: number, down = false): string {
    const percent = 100 * value;
    const rounded = down ? Math.floor(percent + ROUNDING) : roundHalfEven(percent);
    let number = String(rounded);
    if (rounded === 0 && value > 0) number = "<1";
    else if (rounded === 100 && value < 1) number = ">99";
    return this.file.percent.replace("{number}", number);
  }

  private plural(count: number): string {
    switch (this.file.plural) {
      case "other":
        return "other";
      case "one_other":
        return count === 1 ? "one" : "other";
      case "one_many_other":
        if (count === 1) return "one";
        return count !== 0 && count % 1_000_000 === 0 ? "many" : "other";
    }
  }
}
