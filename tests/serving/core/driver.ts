// Lets the compiled core answer cases that Python wrote: `node driver.mjs CASES ANSWERS`.

import { readFileSync, writeFileSync } from "node:fs";

import {
  checkDevice,
  grayLevelsApart,
  languages,
  openBundle,
  photoOf,
  type DecodePhoto,
  type RawOutputs,
  type ReadFile,
} from "CORE/index";
import { shortest } from "CORE/numbers";
import { isLying, storedRegion, turned, webpWithoutExif } from "CORE/orientation";
import { PhotoBuilder } from "CORE/photo";
import type { Pixels } from "CORE/types";

type Plain = Record<string, number[]>;

const bytesOf = (text: string) => new Uint8Array(Buffer.from(text, "base64"));
const textOf = (bytes: Uint8Array | Uint8ClampedArray) => Buffer.from(bytes).toString("base64");
const singles = (plain: Plain): RawOutputs =>
  Object.fromEntries(Object.entries(plain).map(([name, v]) => [name, Float32Array.from(v)]));

interface Stored {
  width: number;
  height: number;
  data: string;
}

function pixelsOf({ width, height, data }: Stored, channels: 3 | 4 = 3): Pixels {
  return { width, height, channels, data: bytesOf(data) };
}

function reader(stored: Record<string, string>): ReadFile {
  return async (path) => {
    const text = stored[path];
    if (text === undefined) throw new Error(`there is no ${path}`);
    return bytesOf(text).buffer as ArrayBuffer;
  };
}

async function answer(one: any): Promise<unknown> {
  const bundle = await openBundle(reader(one.files));
  const tier = await bundle.openTier(one.tier);
  const photo = photoOf(pixelsOf(one.photo), [tier.imageSize]);
  const outputs = singles(one.outputs[0]);
  const others = one.others.map(singles);
  return {
    reports: one.languages.map((language: string) =>
      tier.report(outputs, photo, { language, photoName: "a.jpg" }),
    ),
    verdict: tier.verdict(outputs),
    golden: tier.checkGolden(one.expected, others),
  };
}

/** The check of a device that decodes as `pixels` has it and whose model gives `outputs` in turn. */
async function device(one: any): Promise<unknown> {
  const names = new Map(Object.entries<string>(one.files).map(([name, text]) => [text, name]));
  const decode: DecodePhoto = async (blob, sides) => {
    const name = names.get(textOf(new Uint8Array(await blob.arrayBuffer()))) as string;
    return photoOf(pixelsOf(one.pixels[name]), sides);
  };
  const seen: string[] = [];
  const run = async (input: Uint8Array) => {
    seen.push(textOf(input));
    return singles(one.outputs[seen.length - 1]);
  };
  const bundle = await openBundle(reader(one.files));
  return { report: await checkDevice(bundle, one.tier, run, decode), seen };
}

/** Why a bundle is refused, or the outputs of its model, if those are given. */
async function refused(one: any): Promise<unknown> {
  try {
    const tier = await (await openBundle(reader(one.files))).openTier(one.tier);
    if (one.outputs) tier.verdict(singles(one.outputs));
    return null;
  } catch (error) {
    return String(error);
  }
}

/** A photo in strips of rows, as the browser's canvas gives them. */
function resized(one: any): unknown {
  const pixels = pixelsOf(one.photo);
  const builder = new PhotoBuilder(pixels, one.sides);
  for (let top = 0; top < pixels.height; top += one.strip) {
    const height = Math.min(one.strip, pixels.height - top);
    const row = pixels.width * 4;
    const data = new Uint8Array(row * height).fill(77);
    for (let i = 0; i < pixels.width * height; i++) {
      const from = (top * pixels.width + i) * 3;
      data.set(pixels.data.subarray(from, from + 3), i * 4);
    }
    builder.push({ width: pixels.width, height, channels: 4, data }, top);
  }
  const { inputs, small } = builder.result();
  return {
    inputs: one.sides.map((side: number) => textOf(inputs.get(side) as Uint8Array)),
    small: { ...small, data: textOf(small.data) },
  };
}

/** The upright rows of a stored photo, strip by strip. */
function upright(one: any): unknown {
  const stored = pixelsOf(one.photo);
  const { orientation, strip } = one;
  const height = isLying(orientation) ? stored.width : stored.height;
  const strips: Buffer[] = [];
  let width = 0;
  for (let top = 0; top < height; top += strip) {
    const region = storedRegion(orientation, stored, top, Math.min(strip, height - top));
    const data = new Uint8Array(region.width * region.height * 3);
    for (let y = 0; y < region.height; y++) {
      const from = ((region.top + y) * stored.width + region.left) * 3;
      data.set(stored.data.subarray(from, from + region.width * 3), y * region.width * 3);
    }
    const found = turned(orientation, { ...region, channels: 3, data });
    width = found.width;
    strips.push(Buffer.from(found.data));
  }
  return { width, height, data: Buffer.concat(strips).toString("base64") };
}

function webp(one: any): unknown {
  const found = webpWithoutExif(bytesOf(one.file));
  return found && { orientation: found.orientation, file: textOf(found.bytes) };
}

const kinds: Record<string, (one: any) => unknown> = {
  answer,
  device,
  refused,
  model: async (one) => (await openBundle(reader(one.files))).model(one.tier),
  resized,
  upright,
  webp,
  languages,
  shortest: (one) => one.values.map(shortest),
  apart: (one) => grayLevelsApart(bytesOf(one.ours), bytesOf(one.theirs)),
};

/** JSON has no NaN and no infinity; Python reads these as floats. */
const plain = (_: string, value: unknown) =>
  typeof value === "number" && !Number.isFinite(value) ? { "not finite": String(value) } : value;

const [, , from, to] = process.argv;
const cases = JSON.parse(readFileSync(from, "utf8"));
const answers = await Promise.all(cases.map((one: any) => kinds[one.kind](one)));
writeFileSync(to, JSON.stringify(answers, plain));
