// Mirrors the Pydantic models of inference and serving. Written by
// `python -m cannabis_ml.serving.wire_types`; a test holds it against them.

/** sigmoid(slope * logit + shift), for each attribute of a multilabel head. */
export interface Affine {
  kind: "affine";
  slopes: number[];
  shifts: number[];
}

/** Another class. */
export interface AlternativeJSON {
  /** Its name in the taxonomy */
  class: string;
  /** Calibrated where the head is, 0 to 1 */
  probability: number;
}

/** One class of a multilabel head. */
export interface AttributeJSON {
  /** Its name in the taxonomy */
  name: string;
  /** `unsure` where the prediction set holds both, and where it is claimed though less likely than not */
  state: "present" | "absent" | "unsure";
  /** That it is there; calibrated where the head is */
  probability: number;
  /** The same before calibration */
  raw_probability: number;
  /** Probability of what was decided, present or absent */
  confidence: number;
  /** Around `probability`; null: not in the bundle */
  band: BandJSON | null;
  /** As of a head, by `confidence` */
  level: "reliable" | "likely" | "retake" | "unreliable" | "unknown" | "unsure" | null;
}

/** From which confidence on a head of a chain answers; it travels with the model. */
export interface BackOff {
  /** A head, its child, that one's child, … */
  heads: string[];
  /** Least confidence that answers; None answers nothing */
  threshold: number | null;
  /** How often an answer may be on a wrong branch */
  alpha: number;
  /** Groups of photos that the threshold rests on */
  groups: number;
}

/** Between which shares answers of this confidence were right. */
export interface BandJSON {
  /** Lower end, 0 to 1 */
  low: number;
  /** Upper end, 0 to 1 */
  high: number;
  /** How often such a band holds the true share */
  level: number;
  /** Calibration photos with a confidence near this */
  photos: number;
  /** In words; null for a single attribute */
  text: string | null;
}

/** sigmoid(a log(c) - b log(1 - c) + shift) of confidence c (Kull et al. 2017). */
export interface Beta {
  kind: "beta";
  a: number;
  b: number;
  shift: number;
}

/** `bundle.json`. */
export interface BundleManifest {
  schema_version: 4;
  name: string;
  /** When, ISO 8601 */
  created: string;
  taxonomy: Taxonomy;
  taxonomy_sha256: string;
  tiers: Record<string, TierFiles>;
  /** Photos with the answers that every client must reproduce */
  golden: FileRef;
  /** In the format of the Hugging Face hub */
  model_card: FileRef;
  /** Which tier's answer is accepted: `RoutingRule` */
  routing?: FileRef | null;
  /** MLflow run that trained it */
  run?: string | null;
  photo_set_fingerprint?: string | null;
  /** SHA-256 of every file but this one, by path */
  files: Record<string, string>;
  /** See above */
  content_sha256?: string;
}

/** One answer of a head. */
export interface ClassSpec {
  /** As it stands in labels, metrics and exported models */
  name: string;
  /** What the eye sees */
  about?: string;
}

/** What follows from the outputs of a model file; one entry per photo each. */
export interface Conclusions {
  /** By head, probabilities */
  calibrated: Record<string, number[][]>;
  /** By head */
  answers: Record<string, (string | string[] | null)[]>;
  /** By head that has prediction sets */
  sets: Record<string, (string[] | Record<string, string[]>)[]>;
  /** By the deepest head of each chain, the head that answers */
  back_off: Record<string, (string | null)[]>;
  /** Unknown scores; null where there are none */
  unknown: number[] | null;
}

/** A band around a reported confidence of one head; it travels with the model. */
export interface ConfidenceBand {
  /** How often the band holds the true share right */
  level: number;
  /** At confidences evenly spaced from 0 to 1 */
  low: number[];
  high: number[];
  /** Calibration photos near each of these */
  photos: number[];
}

/** What was chosen for a model's decisions; it travels with the model. */
export interface DecisionRule {
  /** Per multilabel head and class, from which probability on it is decided to be there; 0.5 where none is written. Calibrated, where `calibrators` has the head */
  thresholds?: Record<string, Record<string, number>>;
  /** Per head, what calibrates its probabilities before they are compared; where its parent limits it, its probabilities given each class of the parent */
  calibrators?: Record<string, Uncalibrated | Temperature | Structured | Platt | Beta | Isotonic | Ordinal | Affine>;
}

/** What a photo may be. Each field belongs to the check that its name begins with. */
export interface DefectParams {
  /** Set aside photos of more pixels than this */
  too_large_pixels?: number;
  /** Set aside files above this, without reading them */
  too_large_megabytes?: number;
  /** Set aside photos whose short side is below, in pixels */
  too_small_side?: number;
  /** Flag photos whose variance of the Laplacian, at a short side of 256, is below */
  blurred_below?: number;
  /** Flag photos whose brightest twentieth begins below this grey level */
  dark_below?: number;
  /** Flag photos of which more than this share is white */
  burnt_out_above?: number;
  /** Flag photos whose colours all vary less (standard deviation, of 255) */
  almost_uniform_below?: number;
}

/** What a model file answers. */
export interface ExpectedAnswers {
  file: string;
  image_size: number;
  tolerance: number;
  /** By output, one entry per photo */
  outputs: Record<string, number[] | number[][] | number[][][]>;
  conclusions: Conclusions;
}

/** A file of the bundle. */
export interface FileRef {
  /** Path below the bundle, with forward slashes */
  file: string;
  sha256: string;
}

/** How the answers of one model file compare with the golden ones. */
export interface FileReport {
  file: string;
  runtime: string;
  tolerance: number;
  /** Per output, relative to its largest value where that is above 1; infinite where it is missing or has another shape */
  largest_difference: Record<string, number>;
  /** Per head, the share of photos with the same class, or of attributes that are decided alike */
  same_decision: Record<string, number>;
  /** Per head, of calibrated probabilities; infinite where an output is missing */
  calibrated_difference: Record<string, number>;
  /** Of unknown scores, as `largest_difference`; null where there are none */
  unknown_difference: number | null;
  /** Per head, the share of photos with the same prediction set; of attributes, of those with the same states */
  same_set: Record<string, number>;
  /** Per chain, the share of photos */
  same_back_off: Record<string, number>;
  /** Share of photos on the same side of the unknown score's threshold */
  same_unknown: number | null;
  /** Whether the golden outputs themselves lead to the golden conclusions here */
  same_rules: boolean;
  /** All differences within tolerance, and the same rules */
  passed: boolean;
}

/** `golden/answers.json`. */
export interface GoldenAnswers {
  about?: string;
  /** Files, in the order of the answers */
  photos: string[];
  /** By image size, what the models see */
  inputs: Record<string, string[]>;
  /** By tier and kind of file */
  tiers: Record<string, Record<string, ExpectedAnswers>>;
  /** By head, what people labelled each photo as, null where nobody did; a head without labels is left out */
  labels?: Record<string, (string | string[] | null)[]>;
}

/** Whether this machine gives the golden answers of a bundle. */
export interface GoldenReport {
  passed: boolean;
  /** How many */
  photos: number;
  /** By image size, the largest difference to the inputs of the bundle in grey levels, of which 1 is allowed */
  inputs: Record<string, number>;
  /** By tier and kind of file */
  tiers: Record<string, Record<string, FileReport>>;
  /** Files that the runtime does not run */
  not_checked: string[];
}

/** One question that a photo answers. */
export interface Head {
  name: string;
  kind?: "multiclass" | "ordinal" | "multilabel";
  about?: string;
  /** In label order; an ordinal head: best first */
  classes: ClassSpec[];
  /** Head whose answer limits this one's */
  parent?: string | null;
  /** Classes of this head that each class of the parent allows */
  allowed?: Record<string, string[]> | null;
}

/** The report on one head. */
export interface HeadJSON {
  /** `multiclass`, `ordinal` or `multilabel` */
  kind: "multiclass" | "ordinal" | "multilabel";
  /** The class; of a multilabel head the list of classes that are claimed; null where the parent's answer allows none, and where it is withheld */
  answer: string | string[] | null;
  /** As `answer`, also where that is withheld */
  best_guess: string | string[] | null;
  /** Whether the answer is withheld because it is not sure enough: take that of the parent head, if it is not withheld too; null: no rule in the bundle */
  backed_off: boolean | null;
  /** Whether confidence can be read as a chance */
  is_calibrated: boolean;
  /** Probability of `best_guess`, calibrated if `is_calibrated`, 0 to 1; null of a multilabel head and without an answer */
  confidence: number | null;
  /** The same before calibration */
  raw_confidence: number | null;
  /** Around `confidence`; null: not in the bundle */
  band: BandJSON | null;
  /** Other classes, the likeliest first */
  alternatives: AlternativeJSON[];
  /** null of a multilabel head, and: not in the bundle */
  possible: PossibleJSON | null;
  /** Of a multilabel head; else null */
  attributes: AttributeJSON[] | null;
  recommendation: RecommendationJSON;
  /** Of an ordinal head: probability of the answer or a better class; else null */
  or_better: number | null;
  /** Of an ordinal head: of the answer or one of its neighbors; else null */
  within_one: number | null;
  /** Nats, what no further training photo would lessen; null: the file gives none */
  aleatoric: number | null;
  /** Nats, what more training photos like this one would lessen; or null */
  epistemic: number | null;
  /** By class, as in `confidence`; of a multilabel head each on its own */
  probs: Record<string, number>;
}

/** Limits of one head. */
export interface HeadSets {
  kind: "multiclass" | "ordinal" | "multilabel";
  /** How often the truth may be outside */
  alpha: number;
  method?: "pooled" | "clustered" | "classwise";
  /** Per class; of a multilabel head of `present`, per attribute */
  limits: (number | null)[];
  /** Of a multilabel head of `absent`, per attribute */
  absent_limits?: (number | null)[];
  /** Groups of photos that each of `limits` rests on */
  groups: number[];
  absent_groups?: number[];
}

/** The heat map that was asked for. */
export interface HeatMapJSON {
  /** Where it was written; null where the model gives none */
  file: string | null;
  /** `occlusion`: what the answers rest on; `attention`: what was weighed most */
  kind: "occlusion" | "attention" | null;
  /** What it shows, in words */
  text: string;
}

/** A curve that never falls, straight between its knots (Zadrozny & Elkan 2002). */
export interface Isotonic {
  kind: "isotonic";
  confidence: number[];
  right: number[];
  /** Share of one half mixed in */
  smoothing?: number;
}

/** scale * logit P(worse than k) + shift k, for each k. */
export interface Ordinal {
  kind: "ordinal";
  scale: number;
  /** K - 1 */
  shifts: number[];
  smoothing?: number;
}

/** Something wrong with the photo. */
export interface PhotoFaultJSON {
  /** `too_small`, `blurred`, `dark`, `burnt_out`, `almost_uniform`; more may come */
  name: string;
  /** In words, with advice */
  text: string;
}

/** The report on one photo: a line of the output. */
export interface PhotoReport {
  schema_version: 1;
  /** As it was given; `-` for standard input */
  photo: string | null;
  /** Of all `text` fields: `en`, `es` */
  language: string;
  /** Which tier answered */
  tier: string | null;
  /** What ran it: `litert`, `tensorflow` or `onnxruntime` */
  runtime: string;
  /** The answers in a line, such as `tomato, condition unsure` */
  summary: string;
  /** Empty where nothing was found */
  photo_faults: PhotoFaultJSON[];
  /** null: the bundle has no such score */
  unknown: UnknownJSON | null;
  /** By head, in the taxonomy's order */
  heads: Record<string, HeadJSON>;
  /** null: not asked for */
  heat_map: HeatMapJSON | null;
  /** What the bundle does not hold: `calibration`, `bands`, `sets`, `back_off`, `unknown`, with the heads that it is left out of; [] of the last two */
  missing: Partial<Record<"calibration" | "bands" | "sets" | "back_off" | "unknown", string[]>>;
  /** The same in words, and which back-off no threshold was found for */
  notes: string[];
}

/** sigmoid(slope * logit(confidence) + shift) (Platt 1999). */
export interface Platt {
  kind: "platt";
  slope: number;
  shift: number;
}

/** The prediction set: classes that are still possible. */
export interface PossibleJSON {
  /** In the taxonomy's order */
  classes: string[];
  /** How often such a set holds the truth, at least */
  coverage: number;
  /** In words */
  text: string;
}

/** What makes prediction sets of one model's calibrated outputs; it travels with the model. */
export interface PredictionSets {
  heads: Record<string, HeadSets>;
}

/** What is promised of accepted answers, and what that rests on. */
export interface Promised {
  /** Largest share of accepted answers wrong */
  error_rate: number;
  /** How often such a promise is kept */
  confidence: number;
  /** Groups of photos that it was tested on */
  groups: number;
  /** Of these accepted */
  accepted: number;
  /** Of these wrong */
  errors: number;
}

/** What to do with an answer. */
export interface RecommendationJSON {
  /** By calibrated confidence `reliable`, `likely`, `retake` or `unreliable`; `unknown`: the photo is unlike those of training; `unsure`: the answer is withheld. null of a multilabel head, whose attributes have their own, and where it is not calibrated */
  level: "reliable" | "likely" | "retake" | "unreliable" | "unknown" | "unsure" | null;
  /** In words, with what is wrong with the photo; or null */
  text: string | null;
}

/** What was fitted on calibration photos for the answers of one tier; parts may be missing. */
export interface Reliability {
  /** By head, around the confidence of its answer; of a multilabel head, around the probability that an attribute is there */
  bands?: Record<string, ConfidenceBand>;
  /** None: no prediction sets */
  sets?: PredictionSets | null;
  /** One per chain of heads that limit each other */
  back_off?: BackOff[];
}

/** From which calibrated confidence on what is recommended, and what else a report shows. */
export interface ReportSettings {
  reliable?: number;
  likely?: number;
  /** From here on: consider retaking the photo */
  retake?: number;
  /** Other classes that are named */
  alternatives?: number;
  /** Thresholds of the checks of the photo */
  defects?: DefectParams;
}

/** A report on its way through the tiers. */
export interface RoutedReport {
  /** Which bundle answered */
  bundle: string;
  /** Which of its tiers */
  tier: string;
  /** Whether it is good enough by the bundle's thresholds */
  accepted: boolean;
  /** Whether no better one will come */
  final: boolean;
  /** Routing score, higher is surer */
  score: number;
  /** Tiers that should have been asked and could not answer, with the reason */
  missing: Record<string, string>;
  report: PhotoReport;
}

/** Thresholds of every tier, in the order in which they are asked; travels in the bundle. */
export interface RoutingRule {
  /** Head whose answer decides */
  head: string;
  /** Routing score */
  score?: "max_probability" | "margin" | "p_norm" | "entropy" | "agreement";
  tiers: TierThresholds[];
  /** None for fixed thresholds */
  promised?: Promised | null;
  promised_by_class?: Record<string, Promised>;
}

/** Structured vector or matrix scaling, SVS and SMS (Berta et al. 2026). */
export interface Structured {
  kind: "structured";
  /** T */
  temperature: number;
  smoothing?: number;
  diagonal: number[];
  bias: number[];
  others?: number[][] | null;
}

/** Every head, in order, checked as a whole. */
export interface Taxonomy {
  heads: Head[];
  /** By language, what people read in place of the name of a head or class: {es: {trim: recortes}}; others are shown as they are, with blanks for underscores */
  names?: Record<string, Record<string, string>>;
}

/** softmax(log p / T) (Guo et al. 2017), mixed with the uniform distribution. */
export interface Temperature {
  kind: "temperature";
  /** T */
  temperature: number;
  /** Share of the uniform distribution */
  smoothing?: number;
}

/** The texts of one language, and how it writes numbers. */
export interface Texts {
  name: string;
  plural: "other" | "one_other" | "one_many_other";
  percent: string;
  decimal: string;
  thousands: string;
  grouped_from: number;
  texts: Record<string, string | Record<string, string>>;
}

/** What it costs to ask a tier about one photo, in any unit of each kind. */
export interface TierCost {
  milliseconds?: number;
  money?: number;
  energy?: number;
}

/** A model file of a tier. */
export interface TierFile {
  /** Path below the bundle, with forward slashes */
  file: string;
  sha256: string;
  bytes: number;
  format: "onnx" | "tflite";
  /** float, or the name of the quantization */
  quantization: string;
  /** Side S of the square that the model sees */
  image_size: number;
}

/** The model files of a tier. */
export interface TierFiles {
  float: TierFile;
  quantized?: TierFile | null;
  /** Which one clients take */
  ships: "float" | "quantized";
  /** The decision rule of both files */
  decision: DecisionRule;
  /** Confidence bands, prediction sets and back-off: `Reliability` */
  reliability?: FileRef | null;
  /** The unknown score: `UnknownScore` */
  unknown?: FileRef | null;
}

/** When the answer of one tier is accepted. */
export interface TierThresholds {
  tier: string;
  /** Least routing score; None accepts nothing */
  accept_from: number | null;
  /** Accept every answer, whatever its scores */
  accept_all?: boolean;
  /** By answered class, instead of `accept_from` */
  by_class?: Record<string, number | null>;
  /** Unknown scores above this are not accepted */
  unknown_above?: number | null;
  /** Of asking it about one photo, as it was when the rule was made */
  cost?: TierCost | null;
}

/** What stands in the place of a report where a photo gave none. */
export interface UnansweredPhoto {
  schema_version: 1;
  /** As it was given */
  photo: string;
  /** Why, in English */
  error: string;
}

/** Leaves probabilities as they are. */
export interface Uncalibrated {
  kind: "none";
}

/** How unlike the training photos the photo is. */
export interface UnknownJSON {
  /** Whether `score` is above `threshold` */
  is_unknown: boolean;
  /** Higher is less known; not a probability */
  score: number;
  threshold: number;
  /** In words */
  text: string;
}
