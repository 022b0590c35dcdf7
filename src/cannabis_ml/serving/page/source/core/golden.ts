// Mirrors cannabis_ml/inference/golden.py: whether answers are those that every client must give.

import type { NamedAnswer, Outputs } from "./decision";
import { ABSENT, PRESENT, namedSet, type ClassSet } from "./prediction_sets";
import { UNSURE, type Findings, type TierRules } from "./reliability";
import type { RawOutputs } from "./types";
import type { Conclusions, ExpectedAnswers, FileReport } from "./wire";

/** Conclusions from the very same outputs differ by no more, relative to values above 1. */
const ARITHMETIC = 1e-6;

type Numbers = ArrayLike<number>;

/**
 * Hold answers against what they must be.
 *
 * @param outputs Of the device, one for each golden photo in order.
 */
export function compareGolden(
  expected: ExpectedAnswers,
  outputs: readonly RawOutputs[],
  rules: TierRules,
  runtime: string,
): FileReport {
  const names = Object.keys(expected.outputs);
  const photos = Object.values(expected.outputs)[0]?.length ?? 0;
  const theirs = Array.from({ length: photos }, (_, i) => expectedOutputs(expected, i));
  const differences = byName(names, (name) => {
    if (outputs.length !== photos || outputs.some((one) => !one[name])) return Infinity;
    return relativeDifference(joined(theirs, name), joined(outputs, name));
  });
  const comparable = names.filter((name) => Number.isFinite(differences[name]));
  const report: FileReport = {
    file: expected.file,
    runtime,
    tolerance: expected.tolerance,
    largest_difference: differences,
    same_decision: sameAnswers(theirs, outputs, comparable, rules),
    calibrated_difference: byName(Object.keys(expected.conclusions.calibrated), () => Infinity),
    unknown_difference: expected.conclusions.unknown === null ? null : Infinity,
    same_set: {},
    same_back_off: {},
    same_unknown: null,
    same_rules: false,
    passed: false,
  };
  if (!comparable.length || comparable.length < names.length) return report;
  return withConclusions(report, expected, rules, [theirs, outputs]);
}

/** Largest difference in gray levels; 255 where the sizes differ. */
export function grayLevelsApart(ours: Uint8Array, theirs: Uint8Array): number {
  if (ours.length !== theirs.length) return 255;
  let most = 0;
  for (let i = 0; i < ours.length; i++) most = Math.max(most, Math.abs(ours[i] - theirs[i]));
  return most;
}

function withConclusions(
  report: FileReport,
  expected: ExpectedAnswers,
  rules: TierRules,
  [theirs, ours]: readonly [readonly RawOutputs[], readonly RawOutputs[]],
): FileReport {
  const written = theirs.map((one) => rules.apply(one));
  const own = ours.map((one) => rules.apply(one));
  const calibrated = byName(Object.keys(written[0].probs), (name) =>
    relativeDifference(
      joined(written.map((one) => one.probs), name),
      joined(own.map((one) => one.probs), name),
    ),
  );
  const unknown = unknownShares(written, own, rules.unknown?.threshold ?? Infinity);
  const same_rules = areWritten(conclusions(written, rules), expected.conclusions);
  const limited = [...Object.values(report.largest_difference), ...Object.values(calibrated)];
  if (unknown) limited.push(unknown.difference);
  // Written so that NaN fails.
  const within = limited.every((apart) => apart <= expected.tolerance);
  return {
    ...report,
    calibrated_difference: calibrated,
    unknown_difference: unknown ? unknown.difference : report.unknown_difference,
    same_set: byName(Object.keys(written[0].sets), (name) =>
      sameSets(
        written.map((one) => one.sets[name]),
        own.map((one) => one.sets[name]),
      ),
    ),
    same_back_off: byName(Object.keys(written[0].backOff), (name) =>
      share(written, (one, i) => one.backOff[name] === own[i].backOff[name]),
    ),
    same_unknown: unknown ? unknown.same : null,
    same_rules,
    passed: within && same_rules,
  };
}

/** Share of photos with the same set; of attributes, of those with the same states. */
function sameSets(theirs: readonly ClassSet[], ours: readonly ClassSet[]): number {
  const [a, b] = [theirs, ours].map((all) =>
    all.flatMap((set) => {
      if (set.length === 1) return [String(set[0])];
      return set[PRESENT].map((present, k) => `${present} ${set[ABSENT][k]}`);
    }),
  );
  return share(a, (one, i) => one === b[i]);
}

function unknownShares(
  written: readonly Findings[],
  own: readonly Findings[],
  limit: number,
): { difference: number; same: number } | null {
  if (written[0].unknown === null) return null;
  const theirs = written.map((one) => one.unknown as number);
  const ours = own.map((one) => one.unknown as number);
  return {
    difference: relativeDifference(theirs, ours),
    same: share(theirs, (one, i) => one > limit === ours[i] > limit),
  };
}

/** `golden.conclusions`: findings in class names and plain numbers. */
export function conclusions(findings: readonly Findings[], rules: TierRules): Conclusions {
  const { taxonomy } = rules.decision;
  const chains = (rules.reliability.back_off ?? []).map((rule) => rule.heads);
  const answers = findings.map((one) => rules.decision.namesOf(one.decided));
  const heads = taxonomy.heads.map((head) => head.name);
  const withSets = taxonomy.heads.filter((head) => head.name in findings[0].sets);
  return {
    calibrated: byName(heads, (name) => findings.map((one) => [...singles(one.probs[name])])),
    answers: byName(heads, (name) => answers.map((one): NamedAnswer => one[name])),
    sets: Object.fromEntries(
      withSets.map((head) => [
        head.name,
        findings.map((one) => namedSet(head, one.sets[head.name])),
      ]),
    ),
    back_off: Object.fromEntries(
      chains.map((chain) => {
        const deepest = chain[chain.length - 1];
        const depths = findings.map((one) => one.backOff[deepest]);
        return [deepest, depths.map((depth) => (depth === UNSURE ? null : chain[depth]))];
      }),
    ),
    unknown: findings[0].unknown === null ? null : findings.map((one) => one.unknown as number),
  };
}

function areWritten(found: Conclusions, written: Conclusions): boolean {
  for (const part of ["answers", "sets", "back_off"] as const) {
    if (!isEqual(found[part], written[part])) return false;
  }
  const names = Object.keys(found.calibrated);
  if (!isEqual(new Set(names), new Set(Object.keys(written.calibrated)))) return false;
  if ((found.unknown === null) !== (written.unknown === null)) return false;
  const pairs: [Numbers, Numbers][] = names.map((name) => [
    written.calibrated[name].flat(),
    found.calibrated[name].flat(),
  ]);
  if (found.unknown && written.unknown) pairs.push([written.unknown, found.unknown]);
  return pairs.every(([theirs, ours]) => relativeDifference(theirs, ours) <= ARITHMETIC);
}

/** Per head whose outputs can be compared, the share of photos with the same answer. */
function sameAnswers(
  theirs: readonly RawOutputs[],
  ours: readonly RawOutputs[],
  comparable: readonly string[],
  rules: TierRules,
): Record<string, number> {
  const heads = rules.decision.taxonomy.heads.filter((head) => comparable.includes(head.name));
  const decision = rules.decision.of(new Set(heads.map((head) => head.name)));
  const only = (outputs: RawOutputs): Outputs => byName(comparable, (name) => outputs[name]);
  const written = theirs.map((one) => decision.decide(only(one)));
  const own = heads.length ? ours.map((one) => decision.decide(only(one))) : [];
  return Object.fromEntries(
    heads.map((head) => {
      const [a, b] = [written, own].map((all) =>
        all.flatMap((one): (number | boolean)[] => [one[head.name]].flat()),
      );
      return [head.name, share(a, (one, i) => one === b[i])];
    }),
  );
}

/** `outputs.relative_difference`: the largest, by the largest value where that is above 1. */
function relativeDifference(theirs: Numbers, ours: Numbers): number {
  if (theirs.length !== ours.length) return Infinity;
  let [most, apart] = [1, 0];
  for (let i = 0; i < theirs.length; i++) {
    most = Math.max(most, Math.abs(theirs[i]));
    const difference = Math.abs(ours[i] - theirs[i]);
    apart = Number.isNaN(difference) ? NaN : Math.max(apart, difference);
  }
  return apart / most;
}

/** The outputs of one golden photo, as the model gives them. */
function expectedOutputs(expected: ExpectedAnswers, photo: number): RawOutputs {
  return byName(Object.keys(expected.outputs), (name) => {
    const value = expected.outputs[name][photo];
    return Float32Array.from(typeof value === "number" ? [value] : (value.flat(9) as number[]));
  });
}

function joined(outputs: readonly Outputs[], name: string): number[] {
  return outputs.flatMap((one) => Array.from(one[name]));
}

function singles(values: Numbers): Float32Array {
  return Float32Array.from(values);
}

function share<T>(values: readonly T[], holds: (value: T, i: number) => boolean): number {
  return values.filter(holds).length / values.length;
}

function byName<T>(names: readonly string[], of: (name: string) => T): Record<string, T> {
  return Object.fromEntries(names.map((name) => [name, of(name)]));
}

/** Deep equality of plain data, whatever the order of keys. */
function isEqual(one: unknown, other: unknown): boolean {
  return JSON.stringify(sorted(one)) === JSON.stringify(sorted(other));
}

function sorted(value: unknown): unknown {
  if (value instanceof Set) return [...value].sort();
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.entries(value)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, inner]) => [key, sorted(inner)]);
}
