// Mirrors cannabis_ml/inference/bundle.py: the parts of a bundle that answers follow from.

import { Decision } from "./decision";
import { compareGolden } from "./golden";
import { TierRules } from "./reliability";
import { photoReport } from "./report_json";
import { reportFacts } from "./reporter";
import { checkRouting, fixedRouting, verdict } from "./routing";
import { BundleError, type Photo, type RawOutputs, type ReadFile, type Verdict } from "./types";
import { UnknownScore } from "./unknown";
import {
  REPORT_SETTINGS,
  SCHEMA_VERSION,
  type BundleManifest,
  type ExpectedAnswers,
  type FileReport,
  type GoldenAnswers,
  type PhotoReport,
  type Reliability,
  type RoutingRule,
  type Taxonomy,
  type TierFile,
  type TierFiles,
} from "./wire";

const MANIFEST = "bundle.json";

/** What runs models in browsers, as `runtime` of a report. */
const LITERT = "litert";

export interface ReportOptions {
  /** `en`, `es`, also with a region, as `es-MX`. */
  readonly language: string;
  readonly runtime?: string;
  readonly photoName?: string | null;
  readonly settings?: typeof REPORT_SETTINGS;
}

/** All that follows from the outputs of a tier's model files. */
export class Tier {
  constructor(
    readonly name: string,
    /** The file that pages run. */
    readonly model: TierFile,
    readonly rules: TierRules,
    private readonly routing: RoutingRule,
  ) {}

  /** Side of the square that the model sees, in pixels. */
  get imageSize(): number {
    return this.model.image_size;
  }

  /**
   * @param outputs Of the model file for this photo, as it gives them.
   * @throws BundleError where an output is missing, of another size or not finite.
   */
  report(outputs: RawOutputs, photo: Photo, options: ReportOptions): PhotoReport {
    checkOutputs(outputs, this.rules.decision.taxonomy);
    const facts = reportFacts(this.rules, outputs, photo, {
      tier: this.name,
      imageSize: this.imageSize,
      runtime: options.runtime ?? LITERT,
      language: options.language,
      photoName: options.photoName ?? null,
      settings: options.settings ?? REPORT_SETTINGS,
    });
    return photoReport(facts);
  }

  /**
   * Whether this tier's answer is good enough, and which tier is asked if not.
   *
   * @param outputs As for `report`.
   * @throws BundleError As `report`.
   */
  verdict(outputs: RawOutputs): Verdict {
    checkOutputs(outputs, this.rules.decision.taxonomy);
    return verdict(this.routing, this.name, this.rules, outputs);
  }

  /** Hold this device's outputs for the golden photos against what they must be. */
  checkGolden(
    expected: ExpectedAnswers,
    outputs: readonly RawOutputs[],
    runtime = LITERT,
  ): FileReport {
    return compareGolden(expected, outputs, this.rules, runtime);
  }
}

/** What no model of this taxonomy gives must not become an answer. */
function checkOutputs(outputs: RawOutputs, taxonomy: Taxonomy): void {
  for (const head of taxonomy.heads) {
    const found = outputs[head.name]?.length ?? 0;
    if (found !== head.classes.length) {
      throw new BundleError(
        `The model gives ${found} probabilities of '${head.name}', not ${head.classes.length}.`,
      );
    }
  }
  for (const [name, values] of Object.entries(outputs)) {
    if (!values.every(Number.isFinite)) {
      throw new BundleError(`The model gives values that are not finite for '${name}'.`);
    }
  }
}

/** A bundle that a server holds; its files are read as they are needed. */
export class Bundle {
  private readonly opened = new Map<string, Promise<Tier>>();

  constructor(
    readonly manifest: BundleManifest,
    readonly routing: RoutingRule,
    readonly read: ReadFile,
  ) {}

  /** Of all that is in it: name what is kept of it by this. */
  get id(): string {
    return this.manifest.content_sha256 ?? "";
  }

  get taxonomy(): Taxonomy {
    return this.manifest.taxonomy;
  }

  /** Smallest first. */
  get tiers(): string[] {
    return Object.keys(this.manifest.tiers);
  }

  /** The file of a tier that pages run; of a tier that only servers run, what these run. */
  model(tier: string): TierFile {
    return ofPages(filesOf(this.manifest, tier));
  }

  /** Read what belongs to a tier, once; `model` is not read. */
  openTier(name: string): Promise<Tier> {
    let found = this.opened.get(name);
    if (!found) {
      found = this.readTier(name);
      this.opened.set(name, found);
      found.catch(() => this.opened.delete(name)); // the next call tries again
    }
    return found;
  }

  async golden(): Promise<GoldenAnswers> {
    return (await readJson(this.read, this.manifest.golden.file)) as GoldenAnswers;
  }

  private async readTier(name: string): Promise<Tier> {
    const files = filesOf(this.manifest, name);
    const [reliability, unknown] = await Promise.all([
      files.reliability ? readJson(this.read, files.reliability.file) : {},
      readUnknown(this.read, files),
    ]);
    const decision = new Decision(this.taxonomy, files.decision);
    const rules = new TierRules(decision, reliability as Reliability, unknown);
    return new Tier(name, ofPages(files), rules, this.routing);
  }
}

/**
 * Read a bundle's manifest and routing.
 *
 * @throws BundleError where it is of another schema, or not a bundle.
 */
export async function openBundle(read: ReadFile): Promise<Bundle> {
  const manifest = (await readJson(read, MANIFEST)) as BundleManifest;
  if (manifest?.schema_version !== SCHEMA_VERSION) {
    throw new BundleError(
      `The bundle has schema_version ${String(manifest?.schema_version)}; this page reads` +
        ` ${SCHEMA_VERSION}. Reload the page.`,
    );
  }
  return new Bundle(manifest, await routingOf(manifest, read), read);
}

async function routingOf(manifest: BundleManifest, read: ReadFile): Promise<RoutingRule> {
  const tiers = Object.keys(manifest.tiers);
  if (manifest.routing) {
    const rule = (await readJson(read, manifest.routing.file)) as RoutingRule;
    checkRouting(rule, manifest.taxonomy, tiers);
    return rule;
  }
  const scores = await Promise.all(tiers.map((name) => readUnknown(read, manifest.tiers[name])));
  const above = scores.map((score) => score?.header.threshold ?? null);
  return fixedRouting(manifest.taxonomy, tiers, above);
}

async function readUnknown(read: ReadFile, files: TierFiles): Promise<UnknownScore | null> {
  return files.unknown ? UnknownScore.read(await read(files.unknown.file)) : null;
}

function filesOf(manifest: BundleManifest, tier: string): TierFiles {
  if (Object.hasOwn(manifest.tiers, tier)) return manifest.tiers[tier];
  const tiers = Object.keys(manifest.tiers).join(", ");
  throw new BundleError(`The bundle has no tier '${tier}'; it has ${tiers}.`);
}

/** Of a tier that ships in a format that browsers do not run, the one for web pages. */
function ofPages(files: TierFiles): TierFile {
  if (files.page) return files.page;
  return files.ships === "quantized" && files.quantized ? files.quantized : files.float;
}

async function readJson(read: ReadFile, file: string): Promise<unknown> {
  const text = new TextDecoder().decode(await read(file));
  try {
    return JSON.parse(text, (_, value: unknown) => withoutPrototype(value));
  } catch (error) {
    throw new BundleError(`${file} is not JSON (${String(error)}).`);
  }
}

/** A class may be called `constructor`, and is looked up by its name. */
function withoutPrototype(value: unknown): unknown {
  const isRecord = value !== null && typeof value === "object" && !Array.isArray(value);
  return isRecord ? Object.setPrototypeOf(value, null) : value;
}
