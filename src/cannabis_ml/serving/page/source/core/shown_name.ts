// Mirrors `ReportText.shown` of cannabis_ml/inference/report_text.py.

import { tagOf } from "./language";
import { shownIn } from "./report_text";
import type { Taxonomy } from "./wire";

/** The name of a class or head as people read it in a language. */
export function shownName(taxonomy: Taxonomy, name: string, language: string): string {
  return shownIn(taxonomy.names?.[tagOf(language)] ?? {}, name);
}
