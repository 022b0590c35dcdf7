// Mirrors cannabis_ml/inference/report_text.py: what of a report in JSON is in words.

import { ROUNDING, TextsOf } from "./language";
import { roundHalfEven } from "./numbers";
import type { BandAround } from "./reliability";
import type { HeadFacts, ReportFacts } from "./report_facts";
import { kindOf } from "./taxonomy";

const DOUBTED = ["retake", "unreliable"];

const PARTS = ["calibration", "bands", "sets", "back_off", "unknown"] as const;

/** The words of one report. */
export class ReportText {
  private readonly texts: TextsOf;

  constructor(private readonly report: ReportFacts) {
    this.texts = new TextsOf(report.language);
  }

  /** The answers of heads with one answer, in a line. */
  get summary(): string {
    const found: string[] = [];
    for (const { head, decided, backedOff } of this.report.heads) {
      if (kindOf(head) === "multilabel") continue;
      if (backedOff) {
        found.push(this.texts.text("summary.unsure", { head: this.shown(head.name) }));
      } else if (typeof decided === "string") {
        const answer = this.shown(decided);
        // "A" alone would not be understood.
        found.push(kindOf(head) === "ordinal" ? `${this.shown(head.name)} ${answer}` : answer);
      }
    }
    return found.join(", ");
  }

  /** One sentence per fault of the photo. */
  get faults(): string[] {
    return this.report.photoFaults.map(({ name, width, height }) =>
      this.texts.text(`photo.${name}`, { width, height }),
    );
  }

  /** Whether the photo is like those of training; null where that is not known. */
  get unknown(): string | null {
    const found = this.report.unknown;
    if (!found) return null;
    if (!found.isUnknown) return this.texts.text("unknown.no");
    if (found.kept === null) return this.texts.text("unknown.yes");
    const mistaken = roundHalfEven(100 * (1 - found.kept));
    return this.texts.text("unknown.yes.kept", { mistaken });
  }

  /** What to do with the answer of a head; null where there is nothing to tell. */
  recommendation(head: HeadFacts): string | null {
    if (head.attributes.length) return this.attributeRecommendation(head);
    if (head.level === null) return null;
    const found = [this.texts.text(`recommendation.${head.level}`)];
    if (DOUBTED.includes(head.level)) {
      const faults = this.faults;
      if (faults.length) found.push(...faults);
      else found.push(this.texts.text("recommendation.photo_is_fine"));
    }
    return found.join(" ");
  }

  /** The band in a sentence, its ends rounded outwards. */
  band(band: BandAround): string {
    if (!band.photos) return this.texts.text("band.empty");
    return this.texts.text("band", {
      low: Math.floor(100 * band.low + ROUNDING),
      high: Math.ceil(100 * band.high - ROUNDING),
      level: this.texts.share(band.level),
      count: band.photos,
    });
  }

  /** The prediction set in a sentence; null where there is none. */
  possible(head: HeadFacts): string | null {
    if (!head.possible || head.coverage === null) return null;
    const coverage = roundHalfEven(100 * head.coverage);
    const found = [this.texts.text("set", { classes: this.listed(head.possible), coverage })];
    if (head.unlimited.length) {
      found.push(this.texts.text("set.unlimited", { classes: this.listed(head.unlimited) }));
    }
    return found.join(" ");
  }

  /** What the bundle does not hold. */
  get notes(): string[] {
    const found: string[] = [];
    const parts: string[] = [];
    for (const part of PARTS) {
      const names = this.report.missing[part];
      if (!names) continue;
      const ofSome = names.length > 0 && names.length < this.report.heads.length;
      const listed = ofSome ? ` (${this.listed(names)})` : "";
      parts.push(this.texts.text(`missing.${part}`) + listed);
    }
    if (parts.length) found.push(this.texts.text("missing", { parts: parts.join("; ") }));
    for (const rule of this.report.unbounded) {
      found.push(
        this.texts.text("back_off.unbounded", {
          heads: this.listed(rule.heads),
          count: rule.groups,
          risk: this.texts.share(rule.alpha),
        }),
      );
    }
    return found;
  }

  private shown(name: string): string {
    return shownIn(this.report.names, name);
  }

  private listed(names: readonly string[]): string {
    return names.map((name) => this.shown(name)).join(", ");
  }

  private attributeRecommendation(head: HeadFacts): string | null {
    if (!head.isCalibrated) return null;
    if (head.attributes.some((one) => one.level === "unknown")) {
      return this.texts.text("recommendation.unknown");
    }
    const level = this.texts.share(this.report.settings.likely);
    const doubtful = head.attributes.filter((one) => DOUBTED.includes(one.level ?? ""));
    if (!doubtful.length) return this.texts.text("attributes.reliable", { level });
    return this.texts.text("attributes.doubtful", {
      count: doubtful.length,
      level,
      attributes: this.listed(doubtful.map((one) => one.name)),
    });
  }
}

/** The name of a class or head as people read it. */
export function shownIn(names: Readonly<Record<string, string>>, name: string): string {
  return (Object.hasOwn(names, name) && names[name]) || name.replaceAll("_", " ");
}
