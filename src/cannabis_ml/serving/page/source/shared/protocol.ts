// What the page and its worker tell each other.

import type { GoldenReport, PhotoReport, Taxonomy } from "../core/wire";

/** Who asks, and with what right. */
export interface Caller {
  /** A pseudonym: the same one gets the same bundle. */
  readonly person: string;
  /** An API key, where the service asks for one. */
  readonly key: string | null;
}

/** What the page tells of a bundle. */
export interface BundleAbout {
  readonly id: string;
  readonly name: string;
  readonly created: string;
  readonly taxonomy: Taxonomy;
  /** Names of the tiers, smallest first. */
  readonly tiers: readonly string[];
  /** Tiers whose model runs in a browser. */
  readonly onDevice: readonly string[];
  /** Head whose answer decides which tier is asked. */
  readonly routingHead: string;
  /** Markdown with a YAML head. */
  readonly modelCard: string;
}

export type ToWorker =
  /** `checked`: `holdsFor` of the last self-check that was passed here. */
  | { kind: "start"; caller: Caller; checked: string | null }
  | { kind: "answer"; id: string; file: Blob; name: string; language: string };

/** Why the worker cannot do what it was asked. */
export type Fault = "key" | "network" | "unsupported" | "no_photo" | "disagrees" | "internal";

export type FromWorker =
  | { kind: "bundle"; about: BundleAbout }
  | { kind: "loading"; share: number }
  | { kind: "ready" }
  /** `holdsFor` names page, bundle and browser. */
  | { kind: "checked"; passed: boolean; reports: GoldenReport[]; holdsFor: string }
  /** A larger tier answers here from now on. */
  | { kind: "opened"; tier: string; report: GoldenReport }
  /** Every tier that runs here was opened; none is fetched any more. */
  | { kind: "complete" }
  /** The models cannot run here; the server may still be asked. */
  | { kind: "failed"; fault: Fault; detail: string }
  | {
      kind: "report";
      id: string;
      report: PhotoReport;
      milliseconds: number;
      /** What the largest tier sees of the photo, as PNG, where the server should be asked. */
      input: Blob | null;
    }
  | { kind: "refused"; id: string; fault: Fault; detail: string; input: Blob | null };
