// What `bench_page_core.py` times: the page's core under node.

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { openBundle, photoOf, type Photo, type RawOutputs } from "CORE/index";
import { PhotoBuilder } from "CORE/photo";

const STRIP = 256;

function cpuOf(work: () => void): number {
  const start = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000;
}

function timed(work: () => void, times: number): { first: number; median: number } {
  const all = Array.from({ length: times }, () => cpuOf(work));
  return { first: all[0], median: all.sort((a, b) => a - b)[times >> 1] };
}

function resize(width: number, height: number, side: number): Photo {
  const builder = new PhotoBuilder({ width, height }, [side]);
  const data = new Uint8ClampedArray(width * STRIP * 4).map((_, i) => (i * 7919) % 251);
  for (let top = 0; top < height; top += STRIP) {
    builder.push({ width, height: Math.min(STRIP, height - top), channels: 4, data }, top);
  }
  return builder.result();
}

const [, , folder, timesText] = process.argv;
const times = Number(timesText);
const bundle = await openBundle(async (path) => {
  const data = readFileSync(join(folder, path));
  return data.buffer.slice(data.byteOffset, data.byteOffset + data.length) as ArrayBuffer;
});
const golden = await bundle.golden();
const found: Record<string, unknown> = {};
for (const name of bundle.tiers) {
  const tier = await bundle.openTier(name);
  const side = tier.imageSize;
  const expected = golden.tiers[name][bundle.manifest.tiers[name].ships];
  const outputs: RawOutputs = Object.fromEntries(
    Object.entries(expected.outputs).map(([output, values]) => [
      output,
      Float32Array.from([values[0]].flat(9) as number[]),
    ]),
  );
  const photo = photoOf({ width: 512, height: 512, channels: 3, data: new Uint8Array(786432) }, [side]);
  found[name] = {
    "resize 512 px": timed(() => void resize(512, 512, side), times),
    "resize 12 MP": timed(() => void resize(4000, 3000, side), times),
    "report and routing": timed(() => {
      tier.report(outputs, photo, { language: "es" });
      tier.verdict(outputs);
    }, times),
  };
}
console.log(JSON.stringify(found));
