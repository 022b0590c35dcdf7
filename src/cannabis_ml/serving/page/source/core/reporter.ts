// Mirrors cannabis_ml/inference/reporter.py and predictor.answer: from outputs to what is reported.

import type { NamedAnswer, Outputs } from "./decision";
import { tagOf } from "./language";
import { shortest, type Vector } from "./numbers";
import { photoFaults } from "./photo_faults";
import { ABSENT, PRESENT, unlimited, type ClassSet } from "./prediction_sets";
import { bandAround, type BandAround, type Findings, type TierRules } from "./reliability";
import type {
  AttributeFacts,
  HeadFacts,
  Level,
  Missing,
  ReportFacts,
  Settings,
  State,
  UnknownFacts,
} from "./report_facts";
import { classNames, kindOf, limits } from "./taxonomy";
import type { Photo, RawOutputs } from "./types";
import type { BackOff, Head } from "./wire";

/** `inference.outputs`: end the names of a head's uncertainties. */
const ALEATORIC = ".aleatoric";
const EPISTEMIC = ".epistemic";

const EVEN_ODDS = 0.5;

/** What a report is about, besides the outputs. */
export interface Asked {
  readonly tier: string;
  readonly imageSize: number;
  readonly runtime: string;
  readonly language: string;
  readonly photoName: string | null;
  readonly settings: Settings;
}

/** `make_report`. @param outputs Raw, of the model file for this one photo. */
export function reportFacts(
  rules: TierRules,
  outputs: RawOutputs,
  photo: Photo,
  asked: Asked,
): ReportFacts {
  const { taxonomy } = rules.decision;
  const findings = rules.apply(outputs);
  const unknown = unknownFacts(rules, findings);
  const maker = new HeadMaker(rules, findings, outputs, asked.settings, unknown?.isUnknown ?? false);
  return {
    photo: asked.photoName,
    tier: asked.tier,
    runtime: asked.runtime,
    language: tagOf(asked.language),
    heads: taxonomy.heads.map((head) => maker.facts(head)),
    photoFaults: photoFaults(photo, asked.imageSize, asked.settings.defects),
    unknown,
    missing: missing(rules, unknown),
    unbounded: (rules.reliability.back_off ?? []).filter((rule) => rule.threshold === null),
    settings: asked.settings,
    names: taxonomy.names?.[tagOf(asked.language)] ?? {},
  };
}

class HeadMaker {
  private readonly decided: Record<string, NamedAnswer>;
  private readonly withheld: Map<string, boolean>;

  constructor(
    private readonly rules: TierRules,
    private readonly findings: Findings,
    private readonly outputs: RawOutputs,
    private readonly settings: Settings,
    private readonly isUnknown: boolean,
  ) {
    this.decided = rules.decision.namesOf(findings.decided);
    this.withheld = withheld(rules.reliability.back_off ?? [], findings);
  }

  facts(head: Head): HeadFacts {
    const sets = this.rules.reliability.sets?.heads[head.name];
    const set = sets ? this.findings.sets[head.name] : null;
    const probs = Float32Array.from(this.findings.probs[head.name]);
    const decided = this.decided[head.name];
    const backedOff = this.isWithheld(head);
    const found: HeadFacts = {
      head,
      probs,
      raw: this.outputs[head.name],
      decided,
      parentDecided: head.parent == null ? null : (this.decided[head.parent] ?? null),
      aleatoric: first(this.outputs, head.name + ALEATORIC),
      epistemic: first(this.outputs, head.name + EPISTEMIC),
      isCalibrated: this.isCalibrated(head),
      backedOff,
      coverage: sets ? 1 - sets.alpha : null,
      unlimited: sets ? unlimited(sets, classNames(head)) : [],
      confidence: null,
      band: null,
      alternatives: [],
      possible: null,
      attributes: [],
      level: null,
    };
    if (kindOf(head) === "multilabel") return { ...found, attributes: this.attributes(head, set) };
    const alternatives = this.others(head, probs, decided);
    if (typeof decided !== "string") return { ...found, alternatives };
    const confidence = this.findings.confidence[head.name];
    return {
      ...found,
      confidence,
      band: this.band(head, confidence),
      alternatives,
      possible: set ? classNames(head).filter((_, k) => set[0][k]) : null,
      level: backedOff && !this.isUnknown ? "unsure" : this.level(head, confidence),
    };
  }

  /** Whether back-off withholds the answer; null where no rule is for it. */
  private isWithheld(head: Head): boolean | null {
    const found = this.withheld.get(head.name) ?? null;
    if (!found || this.decided[head.name] !== null) return found;
    // Without a class there is nothing to withhold, unless the parent's answer is.
    const parent = this.rules.decision.taxonomy.heads.find((one) => one.name === head.parent);
    return parent !== undefined && this.isWithheld(parent);
  }

  private isCalibrated(head: Head): boolean {
    return this.rules.decision.calibrator(head.name) !== undefined;
  }

  private level(head: Head, confidence: number): Level | null {
    if (this.isUnknown) return "unknown";
    return this.isCalibrated(head) ? levelOf(this.settings, confidence) : null;
  }

  private band(head: Head, confidence: number): BandAround | null {
    const band = this.rules.reliability.bands?.[head.name];
    return band ? bandAround(band, confidence) : null;
  }

  /** Other classes, the most probable first; of equal ones the last. */
  private others(head: Head, probs: Float32Array, decided: NamedAnswer): [string, number][] {
    const ranked = classNames(head).map((name, k) => [name, probs[k], k] as const);
    return ranked
      .sort((a, b) => b[1] - a[1] || b[2] - a[2])
      .filter(([name]) => name !== decided)
      .slice(0, this.settings.alternatives)
      .map(([name, prob]) => [name, prob]);
  }

  private attributes(head: Head, set: ClassSet | null): AttributeFacts[] {
    const probs: Vector = this.findings.probs[head.name];
    const decided = this.findings.decided[head.name] as boolean[];
    return classNames(head).map((name, k) => {
      const [prob, there] = [probs[k], decided[k]];
      const confidence = there ? prob : 1 - prob;
      const both = set !== null && set[ABSENT][k] && set[PRESENT][k];
      const state: State = there ? "present" : "absent";
      return {
        name,
        state: both || (there && prob < EVEN_ODDS) ? "unsure" : state,
        probability: prob,
        rawProbability: this.outputs[head.name][k],
        confidence,
        band: this.band(head, prob),
        level: this.level(head, confidence),
      };
    });
  }
}

/** `ReportSettings.level`, compared as the float32 that models give. */
function levelOf(settings: Settings, confidence: number): Level {
  const held = shortest(confidence);
  if (held >= settings.reliable) return "reliable";
  if (held >= settings.likely) return "likely";
  return held >= settings.retake ? "retake" : "unreliable";
}

function first(outputs: Outputs, name: string): number | null {
  return outputs[name] ? outputs[name][0] : null;
}

function unknownFacts(rules: TierRules, findings: Findings): UnknownFacts | null {
  const threshold = rules.unknown?.threshold ?? Infinity;
  if (findings.unknown === null || !Number.isFinite(threshold)) return null;
  return {
    isUnknown: findings.unknown > threshold,
    score: findings.unknown,
    threshold,
    kept: rules.unknown?.header.kept ?? null,
  };
}

/** Of each head in a chain with a threshold, whether every such chain withholds its answer. */
function withheld(rules: readonly BackOff[], findings: Findings): Map<string, boolean> {
  const found = new Map<string, boolean>();
  for (const rule of rules) {
    if (rule.threshold === null) continue;
    const depth = findings.backOff[rule.heads[rule.heads.length - 1]];
    rule.heads.forEach((name, level) => {
      found.set(name, (found.get(name) ?? true) && level > depth);
    });
  }
  return found;
}

function missing(rules: TierRules, unknown: UnknownFacts | null): Missing {
  const { taxonomy, rule } = rules.decision;
  const { bands, sets, back_off } = rules.reliability;
  const held = {
    calibration: rule.calibrators,
    bands,
    sets: sets?.heads,
  };
  const found: Missing = {};
  for (const part of ["calibration", "bands", "sets"] as const) {
    const names = taxonomy.heads.map((head) => head.name);
    const lacking = names.filter((name) => !Object.hasOwn(held[part] ?? {}, name));
    if (lacking.length) found[part] = lacking;
  }
  const hasChains = taxonomy.heads.some(
    (head) => kindOf(head) !== "multilabel" && limits(taxonomy, head),
  );
  if (hasChains && !back_off?.length) found.back_off = [];
  if (!unknown) found.unknown = [];
  return found;
}
