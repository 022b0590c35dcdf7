// Answers photos on this device: reads the bundle, opens its models, checks itself with the golden
// photos, and asks the tiers in turn. A classic worker: the runtime loads itself by importScripts.

import { checkDevice, openBundle, type Bundle, type Tier } from "../core/index";
import { decodePhoto } from "../core/decode";
import { PhotoError, type Photo, type RunModel } from "../core/types";
import type { GoldenReport } from "../core/wire";
import {
  BUNDLE_NOW,
  FETCHED,
  headersOf,
  modelPath,
  packedPath,
  packedTierPath,
} from "../shared/address";
import { readerOf, type PackedBundle } from "../shared/packed";
import type { Caller, Fault, FromWorker, ToWorker } from "../shared/protocol";
import { openModel, openRuntime } from "./runtime";

declare const self: DedicatedWorkerGlobalScope;
declare const PAGE_VERSION: string;

/** A tier whose model runs here. */
interface OpenTier {
  readonly tier: Tier;
  readonly run: RunModel;
}

class StartError extends Error {
  constructor(
    readonly fault: Fault,
    detail: string,
  ) {
    super(detail);
  }
}

const tell = (message: FromWorker): void => self.postMessage(message);

let bundle: Bundle | undefined;
const open = new Map<string, OpenTier>();
let started: Promise<void> | undefined;
/** Photos are answered one after the other. */
let turn: Promise<void> = Promise.resolve();

self.onmessage = ({ data }: MessageEvent<ToWorker>) => {
  if (data.kind === "start") {
    started = new Promise((resolve) => void start(data.caller, data.checked, resolve));
    return;
  }
  turn = turn.then(async () => {
    await started;
    await answer(data);
  });
};

/** @param answers Called once photos are answered, or never will be. */
async function start(caller: Caller, checked: string | null, answers: () => void): Promise<void> {
  let tiers: readonly string[];
  try {
    if (typeof OffscreenCanvas === "undefined") {
      throw new StartError("unsupported", "This browser cannot read pixels in a worker.");
    }
    [bundle, tiers] = await readBundle(caller);
    const [first] = tiers;
    if (!first) throw new StartError("unsupported", "No model of this bundle runs in a browser.");
    const data = receiveModel(bundle, first, caller, (share) => tell({ kind: "loading", share }));
    await Promise.all([data, openRuntime()]);
    open.set(first, await opened(bundle, first, await data));
  } catch (error) {
    open.clear();
    tell({ kind: "failed", ...faultOf(error) });
    answers();
    return;
  }
  // Where the check was passed before, nobody waits for it.
  const holdsFor = `${PAGE_VERSION} ${bundle.id} ${self.navigator.userAgent}`;
  const checking = check.bind(null, bundle, holdsFor);
  if (checked !== holdsFor) await checking();
  tell({ kind: "ready" });
  answers();
  if (checked === holdsFor) turn = turn.then(checking);
  await openLarger(bundle, tiers.slice(1), caller);
  await Promise.all(putBy);
  tell({ kind: "complete" });
}

/** What was fetched of the bundle; larger tiers add theirs. */
const packs: PackedBundle[] = [];

/** Open the bundle; returns it with the tiers that run here. */
async function readBundle(caller: Caller): Promise<[Bundle, readonly string[]]> {
  const { id } = (await (await get(BUNDLE_NOW, caller)).json()) as { id: string };
  const packed = (await (await get(packedPath(id), caller)).json()) as PackedBundle;
  packs.push(packed);
  const found = await openBundle(readerOf(packs));
  tell({
    kind: "bundle",
    about: {
      id: found.id,
      name: found.manifest.name,
      created: found.manifest.created,
      taxonomy: found.taxonomy,
      tiers: found.tiers,
      onDevice: packed.tiers,
      routingHead: found.routing.head,
      modelCard: packed.texts[found.manifest.model_card.file] ?? "",
    },
  });
  return [found, packed.tiers];
}

async function receiveModel(
  found: Bundle,
  tier: string,
  caller: Caller,
  progress: (share: number) => void,
): Promise<Uint8Array> {
  const total = found.model(tier).bytes;
  let came = 0;
  return received(await get(modelPath(found.id, tier), caller), (bytes) => {
    came += bytes;
    progress(Math.min(1, came / total));
  });
}

async function opened(found: Bundle, name: string, data: Uint8Array): Promise<OpenTier> {
  return { tier: await found.openTier(name), run: await openModel(data) };
}

/** Open larger tiers, each once it passed its check; photos are answered meanwhile. */
async function openLarger(found: Bundle, tiers: readonly string[], caller: Caller): Promise<void> {
  for (const name of tiers) {
    try {
      const path = packedTierPath(found.id, name);
      const packed = (await (await get(path, caller)).json()) as PackedBundle;
      const data = await receiveModel(found, name, caller, () => {});
      const opening = turn.then(async () => {
        packs.push(packed);
        const larger = await opened(found, name, data);
        const report = await checkDevice(found, name, larger.run, decodePhoto);
        if (!report.passed) throw new Error("Its answers for known photos are others here.");
        // Where the smallest tier fails its check meanwhile, none answers.
        if (open.size > 0) open.set(name, larger);
        tell({ kind: "opened", tier: name, report });
      });
      turn = opening.catch(() => undefined);
      await opening;
    } catch (error) {
      // The server answers for it.
      console.warn(`${name} cannot be run here:`, error);
      return;
    }
  }
}

async function check(found: Bundle, holdsFor: string): Promise<void> {
  const reports: GoldenReport[] = [];
  let passed = true;
  try {
    for (const [name, { run }] of open) {
      const report = await checkDevice(found, name, run, decodePhoto);
      reports.push(report);
      passed &&= report.passed;
    }
  } catch (error) {
    passed = false;
    console.warn("The golden photos could not be answered:", error);
  }
  if (!passed) open.clear();
  tell({ kind: "checked", passed, reports, holdsFor });
}

async function answer(asked: ToWorker & { kind: "answer" }): Promise<void> {
  const { id, file } = asked;
  let input: Blob | null = null;
  try {
    if (!bundle) throw new StartError("network", "The bundle could not be read.");
    const largest = bundle.tiers[bundle.tiers.length - 1] as string;
    const sides = new Set(
      [...bundle.tiers].filter((tier) => open.has(tier) || tier === largest).map(sideOf),
    );
    const photo = await decodePhoto(file, [...sides]);
    if (open.size === 0) {
      input = await asPng(photo, sideOf(largest));
      throw new StartError("disagrees", "This device does not answer.");
    }
    let next: string | null = bundle.tiers.find((tier) => open.has(tier)) ?? null;
    while (next !== null) {
      const here: OpenTier | undefined = open.get(next);
      if (!here) break;
      next = await ask(here, photo, largest, asked);
    }
  } catch (error) {
    tell({ kind: "refused", id, input, ...faultOf(error) });
  }
}

function sideOf(tier: string): number {
  return (bundle as Bundle).model(tier).image_size;
}

/** Tell what a tier answers; returns the tier to ask next, null where the answer is good enough. */
async function ask(
  { tier, run }: OpenTier,
  photo: Photo,
  largest: string,
  { id, language, name }: ToWorker & { kind: "answer" },
): Promise<string | null> {
  const began = performance.now();
  const outputs = await run(inputOf(photo, tier.imageSize));
  const milliseconds = performance.now() - began;
  const report = tier.report(outputs, photo, { language, runtime: "litert", photoName: name });
  const { next } = tier.verdict(outputs);
  const elsewhere = next !== null && !open.has(next);
  tell({
    kind: "report",
    id,
    report,
    milliseconds,
    input: elsewhere ? await asPng(photo, sideOf(largest)) : null,
  });
  return next;
}

/** What a model of a side sees: uint8 RGB (side, side, 3). */
function inputOf(photo: Photo, side: number): Uint8Array {
  const seen = photo.inputs.get(side);
  if (!seen) throw new Error(`No input of ${side} pixels was made.`);
  return seen;
}

/** What a model of a side sees, as PNG: the service takes it as that model's input. */
async function asPng(photo: Photo, side: number): Promise<Blob> {
  const seen = inputOf(photo, side);
  const image = new ImageData(side, side);
  for (let from = 0, to = 0; from < seen.length; from += 3, to += 4) {
    image.data[to] = seen[from] as number;
    image.data[to + 1] = seen[from + 1] as number;
    image.data[to + 2] = seen[from + 2] as number;
    image.data[to + 3] = 255;
  }
  const canvas = new OffscreenCanvas(side, side);
  const context = canvas.getContext("2d");
  if (!context) throw new Error("This browser gives no canvas.");
  context.putImageData(image, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

async function get(path: string, caller: Caller): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { headers: headersOf(caller) });
  } catch (error) {
    throw new StartError("network", String(error));
  }
  if (response.status === 401) throw new StartError("key", "An API key is needed.");
  if (!response.ok) throw new StartError("network", `${path}: status ${response.status}`);
  if (path !== BUNDLE_NOW) putBy.push(putAside(path, response.clone()));
  return response;
}

const putBy: Promise<void>[] = [];

/** Keep a file for the service worker, which would fetch it once more. */
async function putAside(path: string, response: Response): Promise<void> {
  try {
    if (self.caches && !(await caches.match(path))) {
      await (await caches.open(FETCHED)).put(path, response);
    }
  } catch (error) {
    console.warn(`${path} cannot be kept:`, error);
  }
}

async function received(response: Response, progress: (bytes: number) => void): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  const reader = response.body?.getReader();
  if (!reader) return new Uint8Array(await response.arrayBuffer());
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    pieces.push(value);
    size += value.length;
    progress(value.length);
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

function faultOf(error: unknown): { fault: Fault; detail: string } {
  if (error instanceof StartError) return { fault: error.fault, detail: error.message };
  if (error instanceof PhotoError) return { fault: "no_photo", detail: error.message };
  if (error instanceof WebAssembly.CompileError || error instanceof WebAssembly.RuntimeError) {
    return { fault: "unsupported", detail: error.message };
  }
  return { fault: "internal", detail: error instanceof Error ? error.message : String(error) };
}
