// Mirrors cannabis_ml/inference/report_json.py and reading.py: reports as `PhotoReport`.

import { shortest, sum } from "./numbers";
import type { BandAround } from "./reliability";
import type { HeadFacts, ReportFacts } from "./report_facts";
import { ReportText } from "./report_text";
import { classNames, kindOf } from "./taxonomy";
import type { AttributeJSON, BandJSON, HeadJSON, PhotoReport } from "./wire";

export function photoReport(report: ReportFacts): PhotoReport {
  const text = new ReportText(report);
  const faults = text.faults;
  return {
    schema_version: 1,
    photo: report.photo,
    language: report.language,
    tier: report.tier,
    runtime: report.runtime,
    summary: text.summary,
    photo_faults: report.photoFaults.map(({ name }, i) => ({ name, text: faults[i] })),
    unknown: report.unknown && {
      is_unknown: report.unknown.isUnknown,
      score: report.unknown.score,
      threshold: report.unknown.threshold,
      text: text.unknown ?? "",
    },
    heads: Object.fromEntries(report.heads.map((one) => [one.head.name, headJSON(text, one)])),
    heat_map: null,
    missing: report.missing,
    notes: text.notes,
  };
}

function headJSON(text: ReportText, facts: HeadFacts): HeadJSON {
  const { head, decided, confidence, possible, coverage } = facts;
  const isMultilabel = kindOf(head) === "multilabel";
  const names = classNames(head);
  const raw = typeof decided === "string" ? facts.raw[names.indexOf(decided)] : null;
  const sure = sureness(facts);
  return {
    kind: kindOf(head),
    answer: facts.backedOff ? null : decided,
    best_guess: decided,
    backed_off: facts.backedOff,
    is_calibrated: facts.isCalibrated,
    confidence: confidence === null ? null : shortest(confidence),
    raw_confidence: raw === null ? null : shortest(raw),
    band: facts.band && bandJSON(facts.band, text.band(facts.band)),
    alternatives: facts.alternatives.map(([name, prob]) => ({
      class: name,
      probability: shortest(prob),
    })),
    possible:
      possible && coverage !== null
        ? { classes: possible, coverage, text: text.possible(facts) ?? "" }
        : null,
    attributes: isMultilabel ? attributesJSON(facts) : null,
    recommendation: { level: facts.level, text: text.recommendation(facts) },
    or_better: sure ? sure.orBetter : null,
    within_one: sure ? sure.withinOne : null,
    aleatoric: facts.aleatoric,
    epistemic: facts.epistemic,
    probs: Object.fromEntries(names.map((name, k) => [name, shortest(facts.probs[k])])),
  };
}

function attributesJSON(facts: HeadFacts): AttributeJSON[] {
  return facts.attributes.map((one) => ({
    name: one.name,
    state: one.state,
    probability: shortest(one.probability),
    raw_probability: shortest(one.rawProbability),
    confidence: shortest(one.confidence),
    band: one.band && bandJSON(one.band, null),
    level: one.level,
  }));
}

function bandJSON(band: BandAround, text: string | null): BandJSON {
  return { low: band.low, high: band.high, level: band.level, photos: band.photos, text };
}

/** `reading.sureness`: that an ordinal answer is not too good, and that it is nearly right. */
function sureness(facts: HeadFacts): { orBetter: number; withinOne: number } | null {
  const { head, decided, parentDecided } = facts;
  if (kindOf(head) !== "ordinal" || typeof decided !== "string") return null;
  const likely = possibleProbs(facts, typeof parentDecided === "string" ? parentDecided : "");
  const k = classNames(head).indexOf(decided);
  return {
    orBetter: Math.min(1, sum(likely.subarray(0, k + 1))),
    withinOne: Math.min(1, sum(likely.subarray(Math.max(0, k - 1), k + 2))),
  };
}

/** Given what is answered for the parent. */
function possibleProbs({ head, probs }: HeadFacts, parent: string): Float64Array {
  const rules = head.allowed ?? {};
  const allowed = Object.hasOwn(rules, parent) ? rules[parent] : [];
  const all = Float64Array.from(probs);
  if (!allowed.length) return all;
  const likely = all.map((prob, k) => (allowed.includes(head.classes[k].name) ? prob : 0));
  const total = sum(likely);
  return total > 0 ? likely.map((prob) => prob / total) : all;
}
