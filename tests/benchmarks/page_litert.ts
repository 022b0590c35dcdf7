// The page's runtime in a worker: opens a model, answers, and tells how long each took.

import { openModel, openRuntime } from "../../src/cannabis_ml/serving/page/source/worker/runtime";

self.onmessage = async ({ data }) => {
  const began = performance.now();
  await openRuntime();
  const model = new Uint8Array(await (await fetch(data.model)).arrayBuffer());
  const run = await openModel(model);
  const opened = performance.now() - began;
  const input = new Uint8Array(data.side * data.side * 3).map((_, i) => (i * 37) % 256);
  const times: number[] = [];
  for (let i = 0; i <= data.times; i++) {
    const start = performance.now();
    await run(input);
    times.push(performance.now() - start);
  }
  self.postMessage({ opened, first: times[0], times: times.slice(1) });
};
