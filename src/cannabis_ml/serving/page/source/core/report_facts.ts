// Mirrors cannabis_ml/inference/report.py: what is reported, before it is put into words.

import type { NamedAnswer } from "./decision";
import type { PhotoFault } from "./photo_faults";
import type { BandAround } from "./reliability";
import type { AttributeJSON, BackOff, Head, HeadJSON, PhotoReport, REPORT_SETTINGS } from "./wire";

export type Level = NonNullable<HeadJSON["recommendation"]["level"]>;
export type State = AttributeJSON["state"];
export type Missing = PhotoReport["missing"];

/** From which calibrated confidence on what is recommended, and what else a report shows. */
export type Settings = typeof REPORT_SETTINGS;

export interface AttributeFacts {
  readonly name: string;
  readonly state: State;
  readonly probability: number;
  readonly rawProbability: number;
  /** Of what was decided, present or absent. */
  readonly confidence: number;
  readonly band: BandAround | null;
  readonly level: Level | null;
}

export interface HeadFacts {
  readonly head: Head;
  /** float32 (K), calibrated where the head is. */
  readonly probs: Float32Array;
  readonly raw: Float32Array;
  readonly decided: NamedAnswer;
  readonly parentDecided: NamedAnswer;
  readonly aleatoric: number | null;
  readonly epistemic: number | null;
  readonly isCalibrated: boolean;
  readonly backedOff: boolean | null;
  readonly confidence: number | null;
  readonly band: BandAround | null;
  readonly alternatives: readonly (readonly [string, number])[];
  readonly possible: string[] | null;
  readonly coverage: number | null;
  /** Classes that are in every set, for want of photos. */
  readonly unlimited: readonly string[];
  readonly attributes: readonly AttributeFacts[];
  readonly level: Level | null;
}

export interface UnknownFacts {
  readonly isUnknown: boolean;
  readonly score: number;
  readonly threshold: number;
  readonly kept: number | null;
}

export interface ReportFacts {
  readonly photo: string | null;
  readonly tier: string;
  readonly runtime: string;
  readonly language: string;
  /** In the taxonomy's order. */
  readonly heads: readonly HeadFacts[];
  readonly photoFaults: readonly PhotoFault[];
  readonly unknown: UnknownFacts | null;
  readonly missing: Missing;
  /** Back-off rules that no threshold could be found for. */
  readonly unbounded: readonly BackOff[];
  readonly settings: Settings;
  /** Of heads and classes for people, where the taxonomy has some in that language. */
  readonly names: Readonly<Record<string, string>>;
}
