// Mirrors cannabis_ml/inference/golden_check.py: whether this device gives the golden answers with
// one model file, from the photos on.

import type { Bundle } from "./bundle";
import { grayLevelsApart } from "./golden";
import { BundleError, type Photo, type RunModel } from "./types";
import type { GoldenReport } from "./wire";

/** `decode.decodePhoto`; a device check without a browser gives another. */
export type DecodePhoto = (blob: Blob, sides: Iterable<number>) => Promise<Photo>;

/** One gray level is allowed: decoders round differently. */
const MOST_LEVELS = 1;

/**
 * @param run Runs that tier's `model`.
 */
export async function checkDevice(
  bundle: Bundle,
  tierName: string,
  run: RunModel,
  decode: DecodePhoto,
): Promise<GoldenReport> {
  const tier = await bundle.openTier(tierName);
  const golden = await bundle.golden();
  const kinds = golden.tiers[tierName] ?? {};
  const found = Object.entries(kinds).find(([, one]) => one.file === tier.model.file);
  if (!found) throw new BundleError(`The bundle has no golden answers of ${tier.model.file}.`);
  const [kind, expected] = found;
  const side = tier.imageSize;
  const load = async (file: string) => decode(new Blob([await bundle.read(file)]), [side]);
  const outputs = [];
  let apart = 0;
  for (const [i, file] of golden.photos.entries()) {
    const input = (await load(file)).inputs.get(side) as Uint8Array;
    const seen = (await load(golden.inputs[String(side)][i])).inputs.get(side) as Uint8Array;
    apart = Math.max(apart, grayLevelsApart(input, seen));
    outputs.push(await run(input));
  }
  const report = tier.checkGolden(expected, outputs);
  return {
    passed: report.passed && apart <= MOST_LEVELS,
    photos: golden.photos.length,
    inputs: { [side]: apart },
    tiers: { [tierName]: { [kind]: report } },
    not_checked: [],
  };
}
