// As page_litert.ts, with onnxruntime-web; also on one thread, without a graphics processor.

import * as ort from "onnxruntime-web/wasm";

self.onmessage = async ({ data }) => {
  const began = performance.now();
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = data.folder;
  const model = new Uint8Array(await (await fetch(data.model)).arrayBuffer());
  const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  const opened = performance.now() - began;
  const input = new Uint8Array(data.side * data.side * 3).map((_, i) => (i * 37) % 256);
  const [name] = session.inputNames;
  const times: number[] = [];
  for (let i = 0; i <= data.times; i++) {
    const start = performance.now();
    await session.run({ [name]: new ort.Tensor("uint8", input, [1, data.side, data.side, 3]) });
    times.push(performance.now() - start);
  }
  self.postMessage({ opened, first: times[0], times: times.slice(1) });
};
