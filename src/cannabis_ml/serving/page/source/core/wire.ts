// Mirrors the Pydantic models of inference and serving. Written by
// `python -m cannabis_ml.serving.wire_types`; a test holds it against them. What fields mean stands
// there, and of reports in docs/report-json.md.

export const SCHEMA_VERSION = 4;

export const REPORT_SETTINGS = {"reliable": 0.9, "likely": 0.75, "retake": 0.6, "alternatives": 3, "defects": {"too_large_pixels": 200000000, "too_large_megabytes": 500, "too_small_side": 32, "blurred_below": 10.0, "dark_below": 60.0, "burnt_out_above": 0.9, "almost_uniform_below": 8.0}};

export const FIXED_THRESHOLDS = [0.75, 0.8];

export const WORKING_SIDE = 256;

export interface Affine {
  kind: "affine";
  slopes: number[];
  shifts: number[];
}

export interface AlternativeJSON {
  class: string;
  probability: number;
}

export interface AttributeJSON {
  name: string;
  state: "present" | "absent" | "unsure";
  probability: number;
  raw_probability: number;
  confidence: number;
  band: BandJSON | null;
  level: "reliable" | "likely" | "retake" | "unreliable" | "unknown" | "unsure" | null;
}

export interface BackOff {
  heads: string[];
  threshold: number | null;
  alpha: number;
  groups: number;
}

export interface BandJSON {
  low: number;
  high: number;
  level: number;
  photos: number;
  text: string | null;
}

export interface Beta {
  kind: "beta";
  a: number;
  b: number;
  shift: number;
}

export interface BundleManifest {
  schema_version: 4;
  name: string;
  created: string;
  taxonomy: Taxonomy;
  taxonomy_sha256: string;
  tiers: Record<string, TierFiles>;
  golden: FileRef;
  model_card: FileRef;
  routing?: FileRef | null;
  run?: string | null;
  photo_set_fingerprint?: string | null;
  files: Record<string, string>;
  content_sha256?: string;
}

export interface ClassSpec {
  name: string;
  about?: string;
}

export interface Conclusions {
  calibrated: Record<string, number[][]>;
  answers: Record<string, (string | string[] | null)[]>;
  sets: Record<string, (string[] | Record<string, string[]>)[]>;
  back_off: Record<string, (string | null)[]>;
  unknown: number[] | null;
}

export interface ConfidenceBand {
  level: number;
  low: number[];
  high: number[];
  photos: number[];
}

export interface DecisionRule {
  thresholds?: Record<string, Record<string, number>>;
  calibrators?: Record<string, Uncalibrated | Temperature | Structured | Platt | Beta | Isotonic | Ordinal | Affine>;
}

export interface DefectParams {
  too_large_pixels?: number;
  too_large_megabytes?: number;
  too_small_side?: number;
  blurred_below?: number;
  dark_below?: number;
  burnt_out_above?: number;
  almost_uniform_below?: number;
}

export interface ExpectedAnswers {
  file: string;
  image_size: number;
  tolerance: number;
  outputs: Record<string, number[] | number[][] | number[][][]>;
  conclusions: Conclusions;
}

export interface FileRef {
  file: string;
  sha256: string;
}

export interface FileReport {
  file: string;
  runtime: string;
  tolerance: number;
  largest_difference: Record<string, number>;
  same_decision: Record<string, number>;
  calibrated_difference: Record<string, number>;
  unknown_difference: number | null;
  same_set: Record<string, number>;
  same_back_off: Record<string, number>;
  same_unknown: number | null;
  same_rules: boolean;
  passed: boolean;
}

export interface GoldenAnswers {
  about?: string;
  photos: string[];
  inputs: Record<string, string[]>;
  tiers: Record<string, Partial<Record<"float" | "quantized" | "page", ExpectedAnswers>>>;
  labels?: Record<string, (string | string[] | null)[]>;
}

export interface GoldenReport {
  passed: boolean;
  photos: number;
  inputs: Record<string, number>;
  tiers: Record<string, Record<string, FileReport>>;
  not_checked: string[];
}

export interface Head {
  name: string;
  kind?: "multiclass" | "ordinal" | "multilabel";
  about?: string;
  classes: ClassSpec[];
  parent?: string | null;
  allowed?: Record<string, string[]> | null;
}

export interface HeadJSON {
  kind: "multiclass" | "ordinal" | "multilabel";
  answer: string | string[] | null;
  best_guess: string | string[] | null;
  backed_off: boolean | null;
  is_calibrated: boolean;
  confidence: number | null;
  raw_confidence: number | null;
  band: BandJSON | null;
  alternatives: AlternativeJSON[];
  possible: PossibleJSON | null;
  attributes: AttributeJSON[] | null;
  recommendation: RecommendationJSON;
  or_better: number | null;
  within_one: number | null;
  aleatoric: number | null;
  epistemic: number | null;
  probs: Record<string, number>;
}

export interface HeadSets {
  kind: "multiclass" | "ordinal" | "multilabel";
  alpha: number;
  method?: "pooled" | "clustered" | "classwise";
  limits: (number | null)[];
  absent_limits?: (number | null)[];
  groups: number[];
  absent_groups?: number[];
}

export interface HeatMapJSON {
  file: string | null;
  kind: "occlusion" | "attention" | null;
  text: string;
}

export interface Isotonic {
  kind: "isotonic";
  confidence: number[];
  right: number[];
  smoothing?: number;
}

export interface Ordinal {
  kind: "ordinal";
  scale: number;
  shifts: number[];
  smoothing?: number;
}

export interface PhotoFaultJSON {
  name: string;
  text: string;
}

export interface PhotoReport {
  schema_version: 1;
  photo: string | null;
  language: string;
  tier: string | null;
  runtime: string;
  summary: string;
  photo_faults: PhotoFaultJSON[];
  unknown: UnknownJSON | null;
  heads: Record<string, HeadJSON>;
  heat_map: HeatMapJSON | null;
  missing: Partial<Record<"calibration" | "bands" | "sets" | "back_off" | "unknown", string[]>>;
  notes: string[];
}

export interface Platt {
  kind: "platt";
  slope: number;
  shift: number;
}

export interface PossibleJSON {
  classes: string[];
  coverage: number;
  text: string;
}

export interface PredictionSets {
  heads: Record<string, HeadSets>;
}

export interface Promised {
  error_rate: number;
  confidence: number;
  groups: number;
  accepted: number;
  errors: number;
}

export interface RecommendationJSON {
  level: "reliable" | "likely" | "retake" | "unreliable" | "unknown" | "unsure" | null;
  text: string | null;
}

export interface Reliability {
  bands?: Record<string, ConfidenceBand>;
  sets?: PredictionSets | null;
  back_off?: BackOff[];
}

export interface ReportSettings {
  reliable?: number;
  likely?: number;
  retake?: number;
  alternatives?: number;
  defects?: DefectParams;
}

export interface RoutedReport {
  bundle: string;
  tier: string;
  accepted: boolean;
  final: boolean;
  score: number;
  missing: Record<string, string>;
  report: PhotoReport;
}

export interface RoutingRule {
  head: string;
  score?: "max_probability" | "margin" | "p_norm" | "entropy" | "agreement";
  tiers: TierThresholds[];
  promised?: Promised | null;
  promised_by_class?: Record<string, Promised>;
}

export interface Structured {
  kind: "structured";
  temperature: number;
  smoothing?: number;
  diagonal: number[];
  bias: number[];
  others?: number[][] | null;
}

export interface Taxonomy {
  heads: Head[];
  names?: Record<string, Record<string, string>>;
}

export interface Temperature {
  kind: "temperature";
  temperature: number;
  smoothing?: number;
}

export interface Texts {
  name: string;
  plural: "other" | "one_other" | "one_many_other";
  percent: string;
  decimal: string;
  thousands: string;
  grouped_from: number;
  texts: Record<string, string | Record<string, string>>;
}

export interface TierCost {
  milliseconds?: number;
  money?: number;
  energy?: number;
}

export interface TierFile {
  file: string;
  sha256: string;
  bytes: number;
  format: "onnx" | "tflite";
  quantization: string;
  image_size: number;
}

export interface TierFiles {
  float: TierFile;
  quantized?: TierFile | null;
  page?: TierFile | null;
  ships: "float" | "quantized";
  decision: DecisionRule;
  reliability?: FileRef | null;
  unknown?: FileRef | null;
}

export interface TierThresholds {
  tier: string;
  accept_from: number | null;
  accept_all?: boolean;
  by_class?: Record<string, number | null>;
  unknown_above?: number | null;
  cost?: TierCost | null;
}

export interface UnansweredPhoto {
  schema_version: 1;
  photo: string;
  error: string;
}

export interface Uncalibrated {
  kind: "none";
}

export interface UnknownJSON {
  is_unknown: boolean;
  score: number;
  threshold: number;
  text: string;
}
